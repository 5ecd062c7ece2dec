"""The pace of a machine: how fast it was by its sentinels, in the runs of a history and in the one that is judged."""

# R runs, K sentinels

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from llmbench.analyze.verdict import pace_text, percent
from llmbench.store.sentinels import SentinelLevel

_Reals = npt.NDArray[np.float64]

UNUSUAL = 0.01  # one-sided, for all sentinels together: what a machine does in more than one of fifty runs is not told


class Pace(NamedTuple):
    """Logs of what sentinels take: R x K in the history, NaN where a run lacks one, and K in the run that is judged.

    Only those that the run and enough of the history have.
    """

    names: tuple[str, ...]
    logs: _Reals
    heads: _Reals

    @property
    def usual(self) -> _Reals:
        """Of each sentinel, the mean of the history."""
        return np.asarray(np.nanmean(self.logs, axis=0)) if self.names else self.heads

    @property
    def moved(self) -> _Reals:
        """By how much the run is above it."""
        return self.heads - self.usual


def no_pace(runs: int) -> Pace:
    """That of a machine that nobody watched."""
    return Pace((), np.empty((runs, 0)), np.empty(0))


class Move(NamedTuple):
    """A sentinel that took longer, or less, than is usual: the ratio of the two, and the one that is the limit on that
    side, where there is a history of so many runs; without one, `limit` is None."""

    name: str
    ratio: float
    limit: float | None
    runs: int

    @property
    def text(self) -> str:
        """`6.2 % slower by the sentinel gemm (limit 2.1 %)`."""
        return self.beside("")

    def beside(self, what: str) -> str:
        """The same, as ` than in the last 14 runs` has it."""
        limit = "" if self.limit is None else f" (limit {percent(abs(self.limit - 1))})"
        return f"{pace_text(self.ratio)}{what} by the sentinel {self.name}{limit}"


def pace_of(past: Sequence[Sequence[SentinelLevel]], head: Sequence[SentinelLevel], *, least: int) -> Pace:
    """The pace of a machine; sentinels of another version or other work are others, and those of fewer than `least`
    runs say nothing."""
    mine = {level.key: math.log(level.level_s) for level in head}
    seen = [{level.key: math.log(level.level_s) for level in levels} for levels in past]
    keys = [key for key in mine if sum(key in levels for levels in seen) >= least]
    log_RK = np.array([[levels.get(key, math.nan) for key in keys] for levels in seen]).reshape(len(past), len(keys))
    return Pace(tuple(name for name, _, _ in keys), log_RK, np.array([mine[key] for key in keys]))


def moves_of(pace: Pace) -> list[Move]:
    """The sentinels that are beyond their prediction limits in the run."""
    found = []
    for name, log_R, moved in zip(pace.names, pace.logs.T, pace.moved, strict=True):
        known_R = log_R[~np.isnan(log_R)]
        n = len(known_R)
        error = float(np.std(known_R, ddof=1)) * math.sqrt(1 + 1 / n)
        limit = float(stdtrit(n - 1, 1 - UNUSUAL / len(pace.names))) * error
        if abs(moved) > limit:
            found.append(Move(name, math.exp(moved), math.exp(math.copysign(limit, moved)), n))
    return found


def moves_between(base: Sequence[SentinelLevel], head: Sequence[SentinelLevel], *, least: float) -> list[Move]:
    """The sentinels that took longer, or less, than in one other run, by at least that share."""
    before = {level.key: level.level_s for level in base}
    ratios = {level.name: level.level_s / before[level.key] for level in head if level.key in before}
    return [Move(name, r, None, 1) for name, r in ratios.items() if abs(math.log(r)) >= math.log1p(least)]


def told(moves: Sequence[Move], *, than: str) -> str:
    """`this machine was 6.2 % slower than in the baseline by the sentinel gemm and 3 % faster by the sentinel copy`."""
    first, *others = moves
    texts = [first.beside(f" than {than}"), *(move.text for move in others)]
    listed = " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
    return f"this machine was {listed}"
