"""Where pairs come from: real processes, until the time is up, with every block that they gave; or blocks on disk."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from llmbench.run.paired.pair import Layout, Loss, Measured, Plan, Setting, measure_pair
from llmbench.run.paired.process import Crew
from llmbench.run.paired.quantile import logs_of, ratio_of
from llmbench.run.paired.turns import starts
from llmbench.store.pairs import PairBlock
from llmbench.store.record import SideName
from llmbench.suite.catalog import Isolation

Floats = NDArray[np.float64]
HOPELESS = 4  # processes of the head that a case failed in, before it is asked of no more


@dataclass
class Source:
    """Measures pairs of some cases when it is asked for them, as `take` of `judge_pairs`."""

    crew: Crew
    setting: Setting
    plans: dict[str, Plan]
    layout: Layout
    isolation: Isolation
    dice: Random
    say: Callable[[str], None]
    blocks: list[PairBlock] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    pairs: int = 0  # that were finished
    looks: int = 0  # questions of the judge so far
    apart: Counter[str] = field(default_factory=Counter)  # case -> questions about it alone so far
    look: int = 0  # that is being answered
    spent: bool = False  # the time was up before all pairs were measured that were asked for
    pair_s: dict[str, float] = field(default_factory=dict)  # case -> seconds that it took in its last pair
    start_s: float = 0.0  # that the last pair took beside its cases: processes that start and end
    seconds: float = 0.0  # of all pairs, the starts of processes included

    def take(self, cases: Sequence[str], pairs: int) -> Floats:
        """D[case, pair] of fresh pairs; fewer columns than asked for where the time is up, NaN where a case failed."""
        self.looks += 1
        return self._answer(self.looks, cases, pairs)

    def alone(self, cases: Sequence[str], pairs: int) -> Floats:
        """The same, each case in processes of its own; the looks of a case count down from -1."""
        self.apart.update(cases)
        before = self.isolation
        self.isolation = "case"
        try:
            return self._answer(-max(self.apart[case] for case in cases), cases, pairs)
        finally:
            self.isolation = before

    def _answer(self, look: int, cases: Sequence[str], pairs: int) -> Floats:
        self.look = look
        name = f"look {look}" if look > 0 else f"look {-look}, alone"
        columns: list[list[float]] = []
        firsts = starts(self.dice)
        for i in range(pairs):
            if self._would_be_late(cases):
                self.spent = True
                break
            self.say(f"{name}: pair {i + 1} of {pairs}, {len(cases)} case{'' if len(cases) == 1 else 's'}")
            found = self._one(cases, next(firsts), together=self.isolation == "point")
            if found is None:
                self.spent = True
                break
            columns.append([found.get(case, np.nan) for case in cases])
            if self.pairs == 1:
                self.say(self._outlook(cases, pairs))
        return np.array(columns, dtype=np.float64).reshape(len(columns), len(cases)).T

    def _one(self, cases: Sequence[str], first: SideName, *, together: bool) -> dict[str, float] | None:
        """D of each case in one pair; None where the time was up."""
        begin = monotonic()
        asked = [case for case in cases if not self._is_hopeless(case)]
        groups = [asked] if together else [[case] for case in asked]
        found: dict[str, float] = {}
        for group in filter(None, groups):
            since = self.setting.watch.now()
            measured = self._measure(group, first)
            self.losses += measured.losses
            self.blocks += measured.blocks
            if not measured.complete:
                return None
            found |= {case: ratio_of(logs) for case, logs in logs_of(measured.blocks).items()}
            self.pair_s |= measured.case_s
            self.start_s = self.setting.watch.now() - since - sum(measured.case_s.values())
        self.pairs += bool(asked)
        self.seconds += monotonic() - begin
        return found

    def _measure(self, group: Sequence[str], first: SideName) -> Measured:
        """One pair of a group. Where two processes at once have too little memory, one at a time from then on."""
        number = self.pairs
        plans = [self.plans[case] for case in group]

        def pair() -> Measured:
            return measure_pair(
                plans, self.crew, self.setting, self.dice, layout=self.layout, look=self.look, number=number,
                first=first,
            )  # fmt: skip

        found = pair()
        if self.layout == "both" and any(loss.record and loss.record.status == "oom" for loss in found.losses):
            self.layout = "sequential"
            self.say("both sides at once run out of memory: one process at a time from here on")
            self.blocks += [replace(b, counts=False) for b in found.blocks]
            return pair()
        return found

    def _is_hopeless(self, case: str) -> bool:
        """Whether it fails in the head again and again, and never in the base, so that more of that tells nothing."""
        failed = [loss.side for loss in self.losses if loss.key == case and loss.record is not None]
        return len(failed) >= HOPELESS and "base" not in failed

    def room(self, cases: Collection[str]) -> float:
        """How many pairs of some cases the time suffices for, if they are as long as the last ones; infinite without a
        budget."""
        if self.setting.deadline is None:
            return math.inf
        left_s = self.setting.deadline - self.setting.watch.now()
        pair_s = self._expected_s(cases)
        return left_s / pair_s if pair_s > 0 else math.copysign(math.inf, left_s)

    def _would_be_late(self, cases: Collection[str]) -> bool:
        """Whether the time is up, or would be before a pair as long as the last ones is through."""
        return self.room(cases) < 1

    def _expected_s(self, cases: Collection[str]) -> float:
        """Seconds of a pair of these cases."""
        starts_s = self.start_s * (1 if self.isolation == "point" else len(cases))
        return sum(self.pair_s.get(case, 0.0) for case in cases) + starts_s

    def _outlook(self, cases: Collection[str], pairs: int) -> str:
        """What the first pair tells of how long the others take."""
        pair_s, text = self._expected_s(cases), ""
        if self.setting.deadline is not None:
            left_s = self.setting.deadline - self.setting.watch.now()
            text = f" of the {max(0.0, left_s):.0f} s that are left"
        whole = f"a pair of {len(cases)} case{'' if len(cases) == 1 else 's'} takes {pair_s:.1f} s"
        return f"{whole}: {pairs - 1} more take some {(pairs - 1) * pair_s:.0f} s{text}"


@dataclass
class Replay:
    """The same pairs again, from the blocks that were kept: what `judge_pairs` asks for in the same order."""

    blocks: Iterable[PairBlock]
    looks: int = 0

    def take(self, cases: Sequence[str], pairs: int) -> Floats:
        """D[case, pair] of the next look; those of the guard are below 0, so none of them is one."""
        self.looks += 1
        by_pair: dict[int, list[PairBlock]] = {}
        for block in self.blocks:
            if block.look == self.looks and block.counts:
                by_pair.setdefault(block.pair, []).append(block)
        logs = [logs_of(own) for _, own in sorted(by_pair.items())]
        return np.array([[ratio_of(found.get(c)) for c in cases] for found in logs], dtype=np.float64).reshape(
            len(logs), len(cases)
        ).T  # fmt: skip
