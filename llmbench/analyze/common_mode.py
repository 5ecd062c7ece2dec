"""Common mode: what moves a machine as a whole moves its sentinels too, and is taken out of the cases that follow one.

Whether a case follows a sentinel, and which, is asked of its history alone, never of the run that is judged.
"""

# R runs, C cases, K sentinels; NaN where a run lacks a case or a sentinel

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from llmbench.analyze.noise import Noise, noise_of, steadiness
from llmbench.analyze.pace import Pace

_Reals = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

CLEARLY = 0.75  # of a case's variance between runs: what may be left of it where the case follows a sentinel
CHANCE = 0.1
"""Of the cases that are taken for followers of a sentinel, those that may be so by chance (a false discovery rate). By
`CLEARLY` alone, a fifth of cases that have nothing to do with three sentinels would follow one over ten runs."""

MOST = 0.5  # of the cases: where more follow beyond chance, the others need no proof of their own to do so, too


class Spread(NamedTuple):
    """How runs of unchanged code vary around what is usual, and around a line; and how steady they are."""

    jump: Noise
    creep: Noise
    steady: float


class Following(NamedTuple):
    """Cases that follow one sentinel, or none (`name` None), as logs without what moved the machine.

    `chosen`: which these are; `logs`: of runs that have the sentinel; `whole`: with the others as they are. `reach`:
    the square of what `moved` the sentinel in the run that is judged, over the sum of these squares in the history.
    """

    chosen: _Bools
    name: str | None
    logs: _Reals
    whole: _Reals
    spread: Spread
    moved: float = 0.0
    reach: float = 0.0


class _Sums(NamedTuple):
    """Sums of squares and products of cases y and sentinels s around their means, over n runs that have both."""

    yy: _Reals
    ys: _Reals
    ss: _Reals
    n: npt.NDArray[np.int64]

    @property
    def left(self) -> _Reals:
        """The variance of y - s over that of y."""
        return np.asarray((self.yy - 2 * self.ys + self.ss) / self.yy)

    @property
    def odds(self) -> _Reals:
        """The probability of so little left, where y - s does not vary less than y.

        By what tells whether two dependent variances differ: the correlation of their sum with their difference, here
        of 2 y - s with s. Source: Pitman 1939, A note on normal correlation; Morgan 1939.
        """
        r = (2 * self.ys - self.ss) / np.sqrt(self.ss * (4 * self.yy - 4 * self.ys + self.ss))
        r = np.clip(r, -1.0, 1.0)
        return np.asarray(stdtr(self.n - 2, -r * np.sqrt((self.n - 2) / np.maximum(1 - r**2, 1e-15))))


def followings(log_RC: _Reals, pace: Pace, *, least: int) -> Iterator[Following]:
    """The cases of a history, by the sentinel that they follow. `least`: runs that must have both.

    A slope of one is assumed: what slows a sentinel by 5 % slows by 5 % whoever follows it.
    """
    all_C = np.ones(log_RC.shape[1], dtype=bool)
    if not pace.names:
        yield from _others(log_RC, all_C, apart_C=all_C)
        return
    sums, others = _sums(log_RC, pace)
    fits_CK = sums.n >= least
    with np.errstate(invalid="ignore", divide="ignore"):
        left_CK, best_RC = sums.left, np.argmin(np.where(fits_CK, others.left, np.inf), axis=2)
        clear_CK = fits_CK & (left_CK <= CLEARLY)
        proven_CK = clear_CK & _discovered(np.where(fits_CK, sums.odds, 1.0))
    follows_CK = clear_CK if proven_CK.any(axis=1).mean() > MOST else proven_CK
    follows_C = np.asarray(follows_CK.any(axis=1))
    chosen_C = np.argmin(np.where(follows_CK, left_CK, np.inf), axis=1)
    away_RK = pace.logs - pace.usual
    for k, name in enumerate(pace.names):
        if (own_C := follows_C & (chosen_C == k)).any():
            best_RK = np.take_along_axis(away_RK, best_RC[:, own_C], axis=1)
            reach = float(pace.moved[k] ** 2 / np.nansum(away_RK[:, k] ** 2))
            yield _following(own_C, name, log_RC[:, own_C], away_RK[:, [k]], best_RK, float(pace.moved[k]), reach)
    nearer_C = np.asarray((fits_CK & (left_CK < 1)).any(axis=1))
    yield from _others(log_RC, np.logical_not(follows_C), apart_C=np.logical_not(nearer_C))


def _following(
    own_C: _Bools, name: str, log_RC: _Reals, away_R1: _Reals, best_RC: _Reals, moved: float, reach: float
) -> Following:
    """Followers of a sentinel that was `away` from what is usual. What is left of them varies as a prediction does:
    each run is corrected by the sentinel that is `best` by all others."""
    known_R1 = np.where(np.isnan(away_R1), np.nan, 0.0)
    honest_RC = log_RC - np.nan_to_num(best_RC)
    spread = Spread(
        noise_of(honest_RC + known_R1, line=False), noise_of(honest_RC, line=True), steadiness(honest_RC)
    )  # fmt: skip
    return Following(own_C, name, log_RC - away_R1, log_RC - np.nan_to_num(away_R1), spread, moved, reach)


def _others(log_RC: _Reals, own_C: _Bools, *, apart_C: _Bools) -> Iterator[Following]:
    """Those that follow no sentinel. Beside followers some are not clear, as they vary a little less with one: these
    vary as if nobody followed any, all cases together; only who stands apart is judged without the followers."""
    groups = [own_C] if own_C.all() else [own_C & apart_C, own_C & ~apart_C]
    for group_C, beside_C in zip(groups, (groups[0], np.ones_like(own_C)), strict=False):
        if group_C.any():
            log_RB, picked_B = log_RC[:, beside_C], group_C[beside_C]
            jump, creep = (noise_of(log_RB, line=line).of(picked_B) for line in (False, True))
            own_RC = log_RC[:, group_C]
            yield Following(group_C, None, own_RC, own_RC, Spread(jump, creep, steadiness(log_RB)))


def _sums(log_RC: _Reals, pace: Pace) -> tuple[_Sums, _Sums]:
    """Over all runs, C x K; and over all runs but each, R x C x K."""
    both_RCK = ~np.isnan(log_RC)[:, :, None] & ~np.isnan(pace.logs)[:, None, :]
    n_CK = both_RCK.sum(axis=0)
    y_RCK, s_RCK = (
        np.where(both_RCK, a - np.where(both_RCK, a, 0.0).sum(axis=0) / np.maximum(1, n_CK), 0.0)
        for a in np.broadcast_arrays(np.nan_to_num(log_RC)[:, :, None], np.nan_to_num(pace.logs)[:, None, :])
    )
    products = [a * b for a, b in ((y_RCK, y_RCK), (y_RCK, s_RCK), (s_RCK, s_RCK))]
    more_CK = n_CK / np.maximum(1, n_CK - 1)  # what a run adds to a sum is so many times its own product
    yy, ys, ss = (p.sum(axis=0) for p in products)
    beside_yy, beside_ys, beside_ss = (p.sum(axis=0) - more_CK * p for p in products)
    return _Sums(yy, ys, ss, n_CK), _Sums(beside_yy, beside_ys, beside_ss, n_CK - both_RCK)


def _discovered(odds_CK: _Reals) -> _Bools:
    """Which cases follow each sentinel, if at most `CHANCE` of these may be wrong, for all sentinels together.

    Source: Benjamini & Hochberg 1995, Controlling the false discovery rate.
    """
    cases, sentinels = odds_CK.shape
    ordered_CK = np.sort(odds_CK, axis=0)
    allowed_C1 = CHANCE / max(1, sentinels) * np.arange(1, cases + 1)[:, None] / cases
    most_K = np.where(ordered_CK <= allowed_C1, allowed_C1, 0.0).max(axis=0)
    return np.asarray(odds_CK <= most_K)
