"""The median and its distribution-free 95 % confidence interval, from order statistics alone.

Standard library only, since a worker stops on it; `scipy.stats.quantile_test` gives the same (a test holds it).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

CONFIDENCE = 0.95
MIN_SAMPLES = 6  # the range of five values covers the median in 93.75 % of the cases only


class Interval(NamedTuple):
    """A median with the bounds of its confidence interval; None where there are fewer than six values."""

    median: float
    low: float | None
    high: float | None


def median_interval(values: Sequence[float]) -> Interval:
    """The median of `values` (same unit) with its CI. Raises: ValueError when there are none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    k = _rank(n)
    return Interval(middle, None, None) if k is None else Interval(middle, ordered[k - 1], ordered[n - k])


def relative_half_width(values: Sequence[float]) -> float:
    """Half the width of the CI as a share of the median; infinity where there is no CI."""
    interval = median_interval(values)
    if interval.low is None or interval.high is None or interval.median <= 0:
        return math.inf
    return (interval.high - interval.low) / 2 / interval.median


@lru_cache(maxsize=4096)
def _rank(n: int) -> int | None:
    """The largest k with P(Binomial(n, 1/2) < k) <= 2.5 %: the k-th smallest and k-th largest value bound the CI."""
    tail, k = 0.0, max(0, int(n / 2 - 4 * math.sqrt(n)))  # eight standard deviations below the mean: nothing is lost
    log_half = n * math.log(2)
    while True:
        tail += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - log_half)
        if tail > (1 - CONFIDENCE) / 2:
            return k or None
        k += 1
