"""Estimates and ratios with intervals that say what they rest on: samples, processes, or a mere range.

A case's value is the median of its samples; with several processes, the median of the process medians.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from llmbench.orderstat import CONFIDENCE, MIN_SAMPLES, median_interval
from llmbench.store.query import Row

Basis = Literal["samples", "processes", "range", "none"]
"""What an interval rests on.

`samples`: 95 % CI of the median over the samples of one process; says nothing about other processes.
`processes`: 95 % CI of the median over at least six process medians.
`range`: two to five processes, too few for a CI: from the lowest lower to the highest upper bound of their own CIs.
`none`: no interval.
"""

TAU = 0.03
"""The least change that counts of a metric that no suite's `gate` names: where processes differ by 1 %, three a side
find 3.8 % in four of five cases."""

RESAMPLES = 2000  # the 2.5 % point of a bootstrap then rests on 50 draws
SEED = 0

_Reals = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A value with its interval, in the unit of the metric; `basis` says what the interval is."""

    value: float
    low: float | None = None
    high: float | None = None
    basis: Basis = "none"

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval as a share of the value; None without an interval."""
        if self.low is None or self.high is None or self.value <= 0:
            return None
        return (self.high - self.low) / 2 / self.value


class Ratio(NamedTuple):
    """base / other, so above 1 the other is faster. `pairs` counts the (process, block) pairs, 0 when not paired."""

    value: float
    low: float | None
    high: float | None
    pairs: int
    paired: bool


def estimate(rows: Sequence[Row]) -> Estimate | None:
    """The value of one metric of one case over its processes (one row each); None where no row has a finite value.

    With two to five processes the interval is the envelope of the processes' own: no 95 % statement about the next
    process can be made from so few (the range of five covers the median in 93.75 % of the cases, of two in half), so
    none is claimed and `basis` reads `range`. It is missing when a process has none of its own.
    """
    known = [r for r in rows if r.value is not None and math.isfinite(r.value)]
    values = [r.value for r in known if r.value is not None]
    if not values:
        return None
    if len(values) == 1:
        return _alone(known[0], values[0])
    if len(values) >= MIN_SAMPLES:
        middle, low, high = median_interval(values)
        return Estimate(middle, low, high, "processes")
    lows = [r.low for r in known if r.low is not None and math.isfinite(r.low)]
    highs = [r.high for r in known if r.high is not None and math.isfinite(r.high)]
    if len(lows) < len(values) or len(highs) < len(values):
        return Estimate(median(values))
    return Estimate(median(values), min(lows), max(highs), "range")


def _alone(row: Row, value: float) -> Estimate:
    """What one process says."""
    if row.low is None or row.high is None or not math.isfinite(row.low + row.high):
        return Estimate(value)
    return Estimate(value, row.low, row.high, "samples")


def paired_ratio(base_rows: Sequence[Row], other_rows: Sequence[Row]) -> Ratio | None:
    """How many times less `other` takes than `base`, from the rows of one metric (one row a process each).

    A pair is a block of one process in which both were sampled in turn; its ratio is that of the two block medians, so
    that what drifts slower than a block cancels. The value is the median over the pairs' log ratios (of the process
    medians of these, with several processes), so that swapping the sides gives exactly the inverse.

    95 % interval: in one process order statistics over the pairs; with six or more, over the process medians; with two
    to five a bootstrap over processes and then pairs, seeded. Simulated with 12 pairs each, that one covers 96 % or
    more where processes differ less than pairs do, but only 70, 85 and 92 % with two, three and five processes that
    differ twice as much. None with fewer than six pairs.

    Where nothing pairs (measured apart), the ratio of the two medians, from the far ends of their intervals:
    `paired` is False, and drift between the two is in it. None where a side has no positive value.
    """
    logs = _log_ratios(base_rows, other_rows)
    if not logs:
        return _unpaired(estimate(base_rows), estimate(other_rows))
    pairs = sum(len(values) for values in logs)
    middles = [median(values) for values in logs]
    low: float | None = None
    high: float | None = None
    if len(logs) >= MIN_SAMPLES:
        _, low, high = median_interval(middles)
    elif pairs >= MIN_SAMPLES:
        low, high = (
            median_interval(logs[0])[1:]
            if len(logs) == 1
            else _cluster_bootstrap([np.array(values) for values in logs])
        )
    return Ratio(math.exp(median(middles)), _exp(low), _exp(high), pairs, True)


KNOWN = 1024  # rows whose block medians are kept: each is held against several others of its point
_known: dict[int, tuple[Row, dict[int, float]]] = {}


def block_medians(row: Row) -> dict[int, float]:
    """The median of the samples of each block, by block."""
    blocks: dict[int, list[float]] = {}
    for block, value in zip(row.sample_block or [], row.samples or [], strict=False):
        blocks.setdefault(block, []).append(value)
    return {block: values[0] if len(values) == 1 else median(values) for block, values in blocks.items()}


def _levels(row: Row) -> dict[int, float]:
    """The median of each block that has a positive one, by block."""
    known = _known.get(id(row))
    if known is not None and known[0] is row:
        return known[1]
    found = {block: value for block, value in block_medians(row).items() if 0 < value < math.inf}
    if len(_known) >= KNOWN:
        _known.clear()
    _known[id(row)] = row, found
    return found


def _log_ratios(base_rows: Sequence[Row], other_rows: Sequence[Row]) -> list[list[float]]:
    """The log ratios of the pairs, a list a process; processes without a pair are left out."""
    others = {r.process: r for r in other_rows if r.order != "apart"}
    found = []
    for base in base_rows:
        other = others.get(base.process)
        if other is None or base.order == "apart":
            continue
        ours, theirs = _levels(base), _levels(other)
        logs = [math.log(ours[b] / theirs[b]) for b in ours if b in theirs]
        if logs:
            found.append(logs)
    return found


def _cluster_bootstrap(clusters: Sequence[_Reals]) -> tuple[float, float]:
    """The percentile interval of the median of cluster medians, resampling clusters and then the values in each."""
    rng = np.random.default_rng(SEED)
    n = len(clusters)
    drawn = rng.integers(0, n, size=(RESAMPLES, n))
    medians = np.empty(drawn.shape)
    for i, values in enumerate(clusters):
        here = drawn == i
        medians[here] = bootstrap_medians(values, rng, int(here.sum()))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(medians, axis=1), [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_medians(values: _Reals, rng: np.random.Generator, size: int) -> _Reals:
    """The medians of `size` resamples of `values`, drawn from their exact distribution: short kernels have 10^4 blocks.

    The k-th smallest of n uniforms is Beta(k, n - k + 1), the gap to the next one Beta(1, n - k) of what is left above.
    """
    ordered, n = np.sort(values), len(values)
    k = (n + 1) // 2
    lower = rng.beta(k, n - k + 1, size)
    upper = lower if n % 2 else lower + (1 - lower) * rng.beta(1, n - k, size)
    picked = [ordered[np.minimum((u * n).astype(np.intp), n - 1)] for u in (lower, upper)]
    return np.asarray((picked[0] + picked[1]) / 2)


def _unpaired(base: Estimate | None, other: Estimate | None) -> Ratio | None:
    if base is None or other is None or base.value <= 0 or other.value <= 0:
        return None
    low = high = None
    if base.low is not None and base.high is not None and other.low is not None and other.high is not None:
        low = base.low / other.high if other.high > 0 else None
        high = base.high / other.low if other.low > 0 else None
    if low is None or high is None:
        low = high = None
    return Ratio(base.value / other.value, low, high, 0, False)


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)
