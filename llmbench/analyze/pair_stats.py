"""Statistics of pairs, all cases at once: moderated t, one-sided limits, Holm, power, and what pairs have in common.

Rows are cases, columns pairs of processes; a value is D, the log of head over base. NaN is a pair that gave nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, nctdtr, stdtr, stdtrit  # scipy.stats takes a second to import

from llmbench.analyze import moderation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_SD = 1e-9  # of D: a nanosecond in a second is below any clock, and a variance of 0 would be certainty
MOST_PAIRS = 4096  # that `pairs_for` looks at
SURE = 60.0  # sds beyond which power is 1: the noncentral t is not computed there


class Moments(NamedTuple):
    """Count, mean and variance (ddof 1) of each case's finite values; NaN where there are too few."""

    n: Ints
    mean: Floats
    variance: Floats

    def of(self, rows: Ints | Bools) -> "Moments":
        """Those of some cases."""
        return Moments(self.n[rows], self.mean[rows], self.variance[rows])


class Spread(NamedTuple):
    """What a t statistic divides by: the variance of one pair of each case, and its degrees of freedom."""

    variance: Floats
    df: Floats

    def of(self, rows: Ints | Bools) -> "Spread":
        """Those of some cases."""
        return Spread(self.variance[rows], self.df[rows])


@dataclass(frozen=True)
class Components:
    """Sds of D within a suite, as shares.

    `shared` is what all cases of a pair have in common although base and head took turns (`shared_low`, `shared_high`:
    95 % CI), `own` what is a case's alone: the median case, and the tenth and ninetieth of a hundred.
    """

    shared: float
    shared_low: float
    shared_high: float
    own: float
    own_tenth: float
    own_ninetieth: float


def moments(d_CP: Floats) -> Moments:
    """Of each row, over its finite values."""
    there = np.isfinite(d_CP)
    n = there.sum(axis=1).astype(np.int64)
    whole = d_CP if there.all() else np.where(there, d_CP, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, whole.sum(axis=1) / n, np.nan)
        off = np.where(there, whole - mean[:, None], 0.0)
        variance = np.where(n > 1, (off * off).sum(axis=1) / (n - 1), np.nan)
    return Moments(n, mean, variance)


def plain(m: Moments) -> Spread:
    """Each case's own variance."""
    variance = np.where(np.isnan(m.variance), np.nan, np.maximum(m.variance, LEAST_SD**2))
    return Spread(variance, np.maximum(m.n - 1, 0).astype(np.float64))


def pooled(m: Moments, other: Moments) -> Spread:
    """One variance of each case for two sets of its pairs, each about its own mean."""
    two = [(np.maximum(each.n - 1, 0).astype(np.float64), np.nan_to_num(each.variance)) for each in (m, other)]
    df = two[0][0] + two[1][0]
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (two[0][0] * two[0][1] + two[1][0] * two[1][1]) / df
    return Spread(np.where(df > 0, np.maximum(variance, LEAST_SD**2), np.nan), df)


def moderated(m: Moments) -> Spread:
    """Variances drawn towards what the suite has in common, with the degrees of freedom that this brings."""
    found = moderation.moderated(m.variance, plain(m).df, least=LEAST_SD**2)
    there = m.n > 0
    variance = np.where(there, np.maximum(found.variances, LEAST_SD**2), np.nan)
    return Spread(variance, np.where(there, found.freedoms, 0.0))


def p_above(m: Moments, spread: Spread, at: float) -> Floats:
    """The p value of each case against "its mean is `at` or less"; 1 where it cannot be told."""
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (m.mean - at) / np.sqrt(spread.variance / m.n)
        p = stdtr(np.maximum(spread.df, 1.0), -t)
    return np.where(np.isfinite(t) & (spread.df > 0), p, 1.0)


def p_below(m: Moments, spread: Spread, at: float) -> Floats:
    """The p value of each case against "its mean is `at` or more"."""
    return p_above(Moments(m.n, -m.mean, m.variance), spread, -at)


def half_width(m: Moments, spread: Spread, level: float) -> Floats:
    """From the mean to the one-sided limit that the true mean passes with probability `level`; infinite if unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        half = -stdtrit(np.maximum(spread.df, 1.0), level) * np.sqrt(spread.variance / m.n)
    return np.where(np.isfinite(half) & (spread.df > 0), half, np.inf)


def holm(p: Floats, level: float, family: int | None = None) -> Bools:
    """Which hypotheses Holm's step-down rejects at a family-wise `level`; those of `family` not in `p` have p = 1.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    m = len(p) if family is None else family
    order = np.argsort(p, kind="stable")
    passed = p[order] <= level / (m - np.arange(len(p)))
    rejected = np.zeros(len(p), dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(passed)
    return rejected


def power_of(effect: Floats, sigma: Floats, n: Ints, *, margin: float, level: float) -> Floats:
    """The probability that `n` pairs reject "no more than margin" one-sided where `effect` is true. On log scale."""
    n = np.asarray(n, dtype=np.int64)
    df = np.maximum(n - 1, 1).astype(np.float64)
    critical = -stdtrit(df, level)
    away = (effect - margin) / np.maximum(sigma, LEAST_SD) * np.sqrt(n)
    sure = away > critical * (1 + SURE / np.sqrt(2 * df)) + SURE
    with np.errstate(all="ignore"):
        found = 1.0 - nctdtr(df, np.where(sure, 0.0, away), critical)
    found = np.where(np.isfinite(found), found, away > critical)  # it is NaN where the two are far apart
    return np.where(n < 2, 0.0, np.where(sure, 1.0, found))


def pairs_for(effect: Floats, sigma: Floats, *, margin: float, level: float, power: float) -> Floats:
    """The least number of pairs with that power; NaN where none to 4,096 has it. All on log scale."""
    effect, sigma = np.broadcast_arrays(np.asarray(effect, np.float64), np.asarray(sigma, np.float64))
    low, high = np.full(effect.shape, 1, np.int64), np.full(effect.shape, MOST_PAIRS, np.int64)
    reachable = power_of(effect, sigma, high, margin=margin, level=level) >= power
    while (high - low > 1).any():
        middle = (low + high) // 2
        enough = power_of(effect, sigma, middle, margin=margin, level=level) >= power
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(reachable & np.isfinite(sigma), high.astype(np.float64), np.nan)


def detectable(sigma: Floats, n: Ints, df: Floats, *, above: float | Floats, level: float, power: float) -> Floats:
    """The least mean beyond `above` that a one-sided t test at `level` finds with that power; infinite if unknown.

    By the sum of both quantiles of t; its power is .75 to .8 from eight pairs on where .8 is asked.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        steps = -stdtrit(np.maximum(df, 1.0), level) + stdtrit(np.maximum(df, 1.0), power)
        found = above + np.maximum(steps, 0.0) * sigma / np.sqrt(n)
    return np.where(np.isfinite(found) & (df > 0), found, np.inf)


def components(d_CP: Floats) -> Components | None:
    """What the pairs of a suite have in common, and what is a case's own; None with fewer than two cases or pairs.

    Each pair's weighted mean over the cases varies by shared^2 + 1 / sum of weights, the weights being 1 / variance.
    """
    m = moments(d_CP)
    known = (m.n == d_CP.shape[1]) & np.isfinite(m.variance)
    pairs = d_CP.shape[1]
    if known.sum() < 2 or pairs < 2:
        return None
    own = np.sqrt(m.variance[known])
    weights = 1 / moderated(m.of(known)).variance
    of_pairs = weights @ (d_CP[known] - m.mean[known, None]) / weights.sum()
    seen, alone = float(of_pairs.var(ddof=1)), float(1 / weights.sum())
    low, high = (seen * (pairs - 1) / float(chdtri(pairs - 1, p)) for p in (0.025, 0.975))
    shared, low, high = (float(np.sqrt(max(0.0, v - alone))) for v in (seen, low, high))
    tenth, middle, ninetieth = (float(q) for q in np.quantile(own, [0.1, 0.5, 0.9]))
    return Components(shared, low, high, middle, tenth, ninetieth)
