"""The report as CSV: one line a case, numbers in SI base units, what is unknown empty."""

import csv
import io
import math
from collections.abc import Iterator

from llmbench.analyze.stats import Estimate
from llmbench.analyze.summary import Line, Summary


def render(summary: Summary) -> str:
    """The whole file with its header line, lines ending in a bare newline."""
    facts = summary.facts
    run = {"run_id": facts.run_id, "suite": facts.suite, "device_name": facts.device_name, "started": facts.started}
    rows = [{**run, **dict(_cells(line))} for line in summary.lines]
    params = sorted({name for row in rows for name in row if name.startswith(("p_", "axis_"))})
    plain = list(dict.fromkeys(name for row in rows for name in row if name not in params)) or list(run)
    after = plain.index("phase") + 1 if "phase" in plain else len(plain)
    out = io.StringIO()
    writer = csv.DictWriter(out, [*plain[:after], *params, *plain[after:]], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _cells(line: Line) -> Iterator[tuple[str, object]]:
    yield from {"case_id": line.case_id, "point_id": line.point_id, "op": line.op, "impl": line.impl}.items()
    yield from {"phase": line.phase, "is_baseline": line.is_baseline}.items()
    yield from ((f"p_{k}", v) for k, v in line.params.items())
    yield from ((f"axis_{k}", v) for k, v in line.axes.items())
    yield from {"status": line.status, "why": line.why or ""}.items()
    yield from _estimate("time", line.time)
    yield "time_basis", line.time.basis if line.time else ""
    yield from _estimate("flop_per_s", line.rates.flop_per_s)
    yield from _estimate("bytes_per_s", line.rates.bytes_per_s)
    yield from _estimate("tokens_per_s", line.rates.tokens_per_s)
    for name in ("flop_peak_fraction", "hardware_flop_peak_fraction", "bytes_peak_fraction", "intensity"):
        yield name, _number(getattr(line.rates, name))
    yield from _estimate("energy_per_token", line.rates.energy_per_token)
    yield from _estimate("peak_memory", line.peak_memory)
    yield from _estimate("compile_time", line.compile_time)
    ratio = line.speedup
    yield from _estimate("speedup", Estimate(ratio.value, ratio.low, ratio.high) if ratio else None)
    yield from {"speedup_pairs": ratio.pairs if ratio else "", "speedup_paired": ratio.paired if ratio else ""}.items()
    yield from {"max_error": _number(line.max_error), "rel_error": _number(line.rel_error)}.items()
    for name in ("n", "processes", "stop_reason", "timer", "order", "grad", "check_kind", "config", "best"):
        yield name, getattr(line, name)
    yield "flags", " ".join(f.name for f in line.flags)
    yield from ((name, _number(value)) for name, value in line.further.items())


def _estimate(name: str, found: Estimate | None) -> Iterator[tuple[str, object]]:
    yield name, _number(found and found.value)
    yield f"{name}_low", _number(found and found.low)
    yield f"{name}_high", _number(found and found.high)


def _number(value: float | None) -> object:
    return "" if value is None or not math.isfinite(value) else value
