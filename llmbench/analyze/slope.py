"""How a cost grows: the exponent of a power law, from a straight line through the logarithms."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from llmbench.orderstat import CONFIDENCE


class Slope(NamedTuple):
    """The exponent k of y ~ x^k with its 95 % CI, and where the line passes: y = scale * x^k, in the units of x and y.

    The interval is that of least squares, from how far the points lie from the line: it says how well one power law
    describes them, not how well each was measured. None with two points, which lie on any line.
    """

    value: float
    low: float | None
    high: float | None
    scale: float
    points: int


def loglog_slope(xs: Sequence[float], ys: Sequence[float]) -> Slope | None:
    """The slope of log y over log x for the pairs that are positive; None with fewer than two different x."""
    from scipy import stats  # takes most of a second to import, which a table does not need

    pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if x > 0 and y > 0 and np.isfinite(y)]
    if len({x for x, _ in pairs}) < 2:
        return None
    logs = np.log(np.array(pairs))
    fit = stats.linregress(logs[:, 0], logs[:, 1])
    value, scale = float(fit.slope), float(np.exp(fit.intercept))
    if len(pairs) < 3:
        return Slope(value, None, None, scale, len(pairs))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(pairs) - 2)) * float(fit.stderr)
    return Slope(value, value - half, value + half, scale, len(pairs))
