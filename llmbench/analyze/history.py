"""Where a run stands in the history of its cases: what runs of unchanged code do, and whether this one does more.

The unit is one run: the mean of the logs of its process medians. Samples, and processes of one run, say nothing about
how runs differ; the history does.
"""

# R runs, C cases

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from llmbench.analyze.change import POWER
from llmbench.analyze.common_mode import Following, Spread, followings
from llmbench.analyze.noise import LEAST_ERROR, Noise
from llmbench.analyze.pace import Pace, no_pace
from llmbench.store.past import FIRST, Levels

MIN_RUNS = 10  # in a segment; below, its spread is a guess: of three runs it is off by a factor of two in one of four
ALPHA = 0.005
"""One-sided, of all tests of a run together: unchanged code is called regressed in one of 200 runs. Stricter than the
.01 of a gate that measures both sides anew, as here nothing confirms a finding."""

SUSPICION = 0.05  # below this and above ALPHA a finding decides nothing
BEYOND = 1.5
"""Where a history has runs further from the others than normal noise has, a run must be so many times as far as they:
of Student's t with 4 degrees of freedom, one in five of what is farther than all before is as far as that."""

PACED = frozenset({"time", "compile_time"})  # metrics that a slower machine makes longer

Key = tuple[str, str]  # case, metric
_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """One metric of one case in its history; `usual` and `seen` in the unit of the metric, geometric means.

    Without errors and probabilities where the history is too young. `error`: of the log of the ratio, if nothing
    changed. `follows`: the sentinel that the case follows, by its history; `usual` is what it takes at the usual pace
    of the machine, `moved` how much longer that sentinel took in this run than usual, which the ratio does not hold.
    """

    runs: int
    processes: int  # of the run
    usual: float
    seen: float
    error: float | None = None
    freedom: float | None = None
    level: float | None = None  # one-sided, of this test alone
    more: float | None = None  # probability of so much or more if nothing changed, Holm over all tests
    less: float | None = None  # of so little or less
    crept: float | None = None  # the latest runs, this one included, over the first ones
    crept_more: float | None = None  # as `more`, of creeping so far
    follows: str | None = None
    moved: float = 1.0

    @property
    def ratio(self) -> float:
        """The run over what is usual, at the pace that the machine had."""
        return self.seen / self.usual / self.moved

    @property
    def limit(self) -> float | None:
        """The ratio that one new run of unchanged code exceeds with a probability of `level`."""
        return None if self.error is None else math.exp(min(700.0, self._t(1 - (self.level or 0)) * self.error))

    @property
    def interval(self) -> tuple[float, float] | None:
        """What the ratio of the change itself may be, 95 %."""
        if self.error is None:
            return None
        half = min(700.0, self._t(0.975) * self.error)
        return self.ratio * math.exp(-half), self.ratio * math.exp(half)

    def detectable(self, limit: float) -> float | None:
        """The least increase, as a share, that is found in four of five runs, where it may be `limit`."""
        if self.error is None:
            return None
        reach = max(math.log1p(limit), self._t(1 - (self.level or 0)) * self.error)
        return math.exp(min(700.0, reach + self._t(POWER) * self.error)) - 1

    def _t(self, probability: float) -> float:
        return float(stdtrit(self.freedom or 1.0, probability))


class _Table(NamedTuple):
    """The history of a metric. `logs`: of levels, R x C, NaN where a run lacks a case; the others are by case."""

    cases: list[str]
    logs: _Reals
    heads: _Reals
    shares: _Reals
    processes: _Reals

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many runs have each case."""
        return np.asarray(np.sum(~np.isnan(self.logs), axis=0))

    def of(self, chosen: npt.NDArray[np.bool_]) -> "_Table":
        """The cases that are chosen."""
        cases = [case for case, is_chosen in zip(self.cases, chosen, strict=True) if is_chosen]
        return _Table(cases, self.logs[:, chosen], self.heads[chosen], self.shares[chosen], self.processes[chosen])


class _Tested(NamedTuple):
    """A standing and the probabilities of its tests, each alone."""

    standing: Standing
    more: float
    less: float
    crept_more: float


class _Test(NamedTuple):
    """How far above what is expected each case is, as a log, the error of that, and the error's degrees of freedom."""

    distances: _Reals
    errors: _Reals
    freedoms: _Reals


def standings(
    past: Sequence[Levels], head: Levels, metrics: Collection[str], pace: Pace | None = None
) -> dict[Key, Standing]:
    """Where the run `head` stands among the runs of `past`, in their order, for every case that both have.

    A metric of a case with a value that is not positive is left out: it has no logarithm. `pace`: of the machine in
    these runs, by which times are corrected where their history follows it.
    """
    tables = {metric: _table(past, head, metric) for metric in metrics}
    unwatched = no_pace(len(past))
    found = {
        (case, metric): Standing(int(n), int(processes), math.exp(usual), math.exp(seen))
        for metric, table in tables.items()
        for case, n, processes, usual, seen in zip(
            table.cases, table.counts, table.processes, _means(table), table.heads, strict=True
        )
    }
    level = ALPHA / max(1, 2 * sum(int((t.counts >= MIN_RUNS).sum()) for t in tables.values()))
    tested: dict[Key, _Tested] = {}
    for metric, table in tables.items():
        ripe = table.of(table.counts >= MIN_RUNS)
        if ripe.cases:
            for own in followings(ripe.logs, pace if pace and metric in PACED else unwatched, least=MIN_RUNS):
                tested |= _tested(metric, ripe.of(own.chosen), own, found, level)
    return {**found, **_judged(tested)}


def _tested(
    metric: str, table: _Table, own: Following, found: Mapping[Key, Standing], level: float
) -> dict[Key, _Tested]:
    """The cases of the table, which follow the same sentinel or none."""
    table = table._replace(logs=own.logs, heads=table.heads - own.moved)
    jump, creep = _jump(table, own, level), _creep(table._replace(logs=own.whole), own.spread, level)
    more, less, crept_more = (
        stdtr(test.freedoms, sign * test.distances / test.errors) for test, sign in ((jump, -1), (jump, 1), (creep, -1))
    )
    return {
        (case, metric): _Tested(
            replace(
                found[case, metric], error=float(jump.errors[i]), freedom=float(jump.freedoms[i]), level=level,
                crept=math.exp(creep.distances[i]), runs=int(table.counts[i]), usual=math.exp(_means(table)[i]),
                follows=own.name, moved=math.exp(own.moved),
            ),
            float(more[i]), float(less[i]), float(crept_more[i]),
        )
        for i, case in enumerate(table.cases)
    }  # fmt: skip


def _judged(tested: Mapping[Key, _Tested]) -> dict[Key, Standing]:
    """With probabilities that hold for all of them together: more and crept are one family, less is another."""
    more = holm([t.more for t in tested.values()] + [t.crept_more for t in tested.values()])
    less = holm([t.less for t in tested.values()])
    return {
        key: replace(found.standing, more=more[i], less=less[i], crept_more=more[len(tested) + i])
        for i, (key, found) in enumerate(tested.items())
    }


def holm(probabilities: Sequence[float]) -> list[float]:
    """Each probability as it counts among all of them: rejecting what is below a level errs at most so often, in any.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = sorted(range(len(probabilities)), key=lambda i: probabilities[i])
    found, least = [0.0] * len(probabilities), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, probabilities[i] * (len(probabilities) - rank)))
        found[i] = least
    return found


def _table(past: Sequence[Levels], head: Levels, metric: str) -> _Table:
    """`share`: by how much more the run may vary than those before, as it has fewer processes.

    That is at most the ratio of their numbers: processes of a run share what the run itself draws. A run with more
    processes is not trusted more.
    """
    cases: list[str] = []
    columns, heads, shares, counts = [], [], [], []
    for (case, name), values in head.items():
        seen = [levels.get((case, metric), ()) for levels in past] if name == metric else []
        if not any(seen) or min(*values, *(v for some in seen for v in some)) <= 0:
            continue
        cases.append(case)
        columns.append([_level(some) if some else math.nan for some in seen])
        heads.append(_level(values))
        usual = median(len(some) for some in seen if some)
        shares.append(max(1.0, usual / len(values)))
        counts.append(len(values))
    log_RC = np.array(columns, dtype=np.float64).T if cases else np.empty((len(past), 0))
    return _Table(cases, log_RC, np.array(heads), np.array(shares), np.array(counts, dtype=np.float64))


def _means(table: _Table) -> _Reals:
    return np.asarray(np.nansum(table.logs, axis=0) / table.counts)


def _level(values: Sequence[float]) -> float:
    return math.fsum(math.log(v) for v in values) / len(values)


def _jump(table: _Table, own: Following, level: float) -> _Test:
    """The run against the mean of all before it: a prediction, so that its own noise counts beside that of the mean.

    Where cases follow a sentinel, and it is far from where it was, how closely they do counts as well, as the slope of
    a line through the history would.
    """
    error_C = np.sqrt(own.spread.jump.variances * (table.shares + 1 / table.counts + own.reach))
    return _test(table.heads - _means(table), error_C, own.spread.jump, level)


def _creep(table: _Table, spread: Spread, level: float) -> _Test:
    """The latest runs, this one included, against the first; noise is what is left beside a steady drift."""
    distance_C = np.empty(len(table.cases))
    for i, column_R in enumerate(table.logs.T):
        known = column_R[~np.isnan(column_R)]
        late = known[1 - FIRST :].sum() + table.heads[i]
        distance_C[i] = (late - known[:FIRST].sum()) / FIRST
    error_C = np.sqrt(spread.steady * spread.creep.variances * (1 / FIRST + (FIRST - 1 + table.shares) / FIRST**2))
    return _test(distance_C, error_C, spread.creep, level)


def _test(distance_C: _Reals, error_C: _Reals, noise: Noise, level: float) -> _Test:
    """The error is wider where the history itself goes beyond the limit that it sets: its tails are not normal ones."""
    limit_C = stdtrit(noise.freedoms, 1 - level)
    seldom_C = stdtrit(noise.freedoms, 1 - SUSPICION / 2 / max(1, noise.values))
    wider_C = np.where(noise.farthest > seldom_C, np.maximum(1.0, BEYOND * noise.farthest / limit_C), 1.0)
    return _Test(distance_C, np.maximum(error_C * wider_C, LEAST_ERROR), noise.freedoms)
