"""How a cost grows: the exponent of a power law, from a straight line through the logarithms."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes half a second to import

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
    pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if x > 0 and y > 0 and np.isfinite(y)]
    if len({x for x, _ in pairs}) < 2:
        return None
    x, y = np.log(np.array(pairs)).T
    away = x - x.mean()
    value = float(away @ y / (away @ away))
    intercept = float(y.mean() - value * x.mean())
    if len(pairs) < 3:
        return Slope(value, None, None, float(np.exp(intercept)), len(pairs))
    left = y - intercept - value * x
    error = float(np.sqrt(left @ left / (len(pairs) - 2) / (away @ away)))
    half = float(stdtrit(len(pairs) - 2, (1 + CONFIDENCE) / 2)) * error
    return Slope(value, value - half, value + half, float(np.exp(intercept)), len(pairs))
