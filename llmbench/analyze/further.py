"""What a case has beside the numbers of every report: parts of its time and memory, and all that its op tells."""

from collections.abc import Sequence
from statistics import median

from llmbench.store.query import Row

SHOWN = frozenset({"time", "peak_memory", "compile_time", "max_error", "rel_error"})  # whole, in fields of their own
BY_PARTS = frozenset({"time", "peak_memory"})  # of others a part is a kernel, and there are hundreds


def further(rows: Sequence[Row]) -> dict[str, float]:
    """`metric` or `metric_part` -> the median over processes, SI units, in the order of the records."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.metric is None or row.value is None:
            continue
        if row.part is None and row.metric not in SHOWN:
            found.setdefault(row.metric, []).append(row.value)
        elif row.part is not None and row.metric in BY_PARTS:
            found.setdefault(f"{row.metric}_{row.part}", []).append(row.value)
    return {name: median(values) for name, values in found.items()}
