"""A straight line through points, in a power of x: how much of them it explains."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Line(NamedTuple):
    """y = intercept + slope * x^power by least squares, in the units of x and y.

    `r2` is the share of the variance of y that it explains, 1 for points that lie on it; None with two points, which
    lie on any line, and where y does not vary.
    """

    power: float
    intercept: float
    slope: float
    r2: float | None
    points: int

    def at(self, x: float) -> float:
        """y there."""
        return float(self.intercept + self.slope * x**self.power)


def straight_line(xs: Sequence[float], ys: Sequence[float], *, power: float = 1.0) -> Line | None:
    """The line through the pairs with a positive x and a finite y; None with fewer than two different x."""
    pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if x > 0 and np.isfinite(y)]
    if len({x for x, _ in pairs}) < 2:
        return None
    x, y = np.array(pairs, dtype=float).T
    away = x**power - (x**power).mean()
    slope = float(away @ y / (away @ away))
    intercept = float(y.mean() - slope * (x**power).mean())
    left, all_of_it = y - intercept - slope * x**power, y - y.mean()
    varies = float(all_of_it @ all_of_it)
    known = len(pairs) > 2 and varies > 0
    return Line(power, intercept, slope, 1 - float(left @ left) / varies if known else None, len(pairs))
