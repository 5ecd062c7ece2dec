"""Energy by another way than the counter: the power of telemetry, integrated."""

from collections.abc import Sequence
from itertools import pairwise

from llmbench.measure.power import Row


def integrated_j(rows: Sequence[Row], start_ns: int, end_ns: int) -> float | None:
    """Joules between two moments by the power in telemetry's rows, straight lines between them; None outside of them.

    To cross-check the counter: the two come from different fields of the driver.
    """
    points = [
        (t, float(w))
        for r in rows
        if isinstance(t := r.get("t_ns"), int) and isinstance(w := r.get("power_w"), int | float)
    ]
    points.sort()
    if len(points) < 2 or not points[0][0] <= start_ns < end_ns <= points[-1][0]:
        return None
    total = 0.0
    for (t0, w0), (t1, w1) in pairwise(points):
        a, b = max(t0, start_ns), min(t1, end_ns)
        if a < b:
            at = [w0 + (w1 - w0) * (t - t0) / (t1 - t0) for t in (a, b)]
            total += (at[0] + at[1]) / 2 * (b - a) / 1e9
    return total
