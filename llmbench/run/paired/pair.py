"""A pair: fresh processes of both sides, all cases prepared on each, then blocks in turn, one process at a time."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from random import Random
from time import monotonic
from typing import Literal, NamedTuple

from llmbench.machine.simulated import NAME as SIMULATED
from llmbench.run.paired.cores import Cores, parent_on
from llmbench.run.paired.process import Crew, Died, Process
from llmbench.run.paired.turns import SIDES, Size, Turn, order_apart, order_of
from llmbench.run.protocol import Block, BlockDone, CaseReady, Found, Prepare, Release, Way
from llmbench.store.pairs import PairBlock
from llmbench.store.record import Record, SideName
from llmbench.suite.case import Case
from llmbench.suite.suite import Measure

Layout = Literal["both", "sequential"]
"""`both`: a process of each side is up and holds every case. `sequential`: one process at a time, one case in it."""


@dataclass(frozen=True)
class Plan:
    """How a case is measured, the same on both sides: agreed once, by the base's first process."""

    case: Case
    size: Size
    way: Way
    timer: str

    @property
    def key(self) -> str:
        """The case's id."""
        return self.case.case_id


@dataclass
class Watch:
    """What a budget is spent by: seconds on the wall, and those on a device that exists in numbers only."""

    simulated_s: float = 0.0

    def now(self) -> float:
        """Seconds since some moment."""
        return monotonic() + self.simulated_s


@dataclass(frozen=True)
class Setting:
    """What all pairs of a gate share."""

    measure: Measure
    seed: int
    cores: Cores
    deadline: float | None = None  # by the watch
    watch: Watch = field(default_factory=Watch)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and self.watch.now() >= self.deadline

    def prepare(self, case: Case, process: Process, *, way: Way | None = None, probes: tuple[str, ...] = ()) -> Prepare:
        """The question that makes a case ready in a process."""
        return Prepare(case, process.name, process.number, self.measure, probes, self.seed, self.cores.workers, way)


class Loss(NamedTuple):
    """A case that failed in this pair, so that it has no value."""

    key: str
    side: SideName
    why: str
    record: Record | None = None  # None where nobody failed, but the sides are not measured alike


@dataclass
class Measured:
    """What a pair gave. Not `complete`: the time was up, so none of its blocks count."""

    blocks: list[PairBlock] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    complete: bool = True
    number: int = 0
    case_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # of each case, both sides

    @property
    def lost(self) -> set[str]:
        """The cases without a value."""
        return {loss.key for loss in self.losses}


def measure_pair(
    plans: Sequence[Plan], crew: Crew, setting: Setting, dice: Random, *, layout: Layout, look: int, number: int,
    first: SideName | None = None,
) -> Measured:  # fmt: skip
    """One pair of some cases. A process that dies costs the case that it died of; the others are measured anew.

    Raises: SideBroken, NotStarted; MachineError.
    """
    found = Measured(number=number)
    todo = list(plans)
    while todo:
        attempt = _Attempt(crew, setting, {p.key: p for p in todo}, look, number, first)
        try:
            attempt.both(dice) if layout == "both" else attempt.apart(dice)
        except Died as death:
            crew.drop()
            case = attempt.at or todo[0].key
            lost = Loss(case, death.side, death.why, Record(case, death.number, death.status, why=death.why))
            found.losses += [*attempt.losses, lost]
            todo = [p for p in todo if p.key not in found.lost]
            continue
        found.losses += attempt.losses
        found.blocks, found.complete, found.case_s = attempt.marked(), attempt.complete, attempt.case_s
        break
    return found


@dataclass
class _Attempt:
    """A pair in the making. `at` is the case that a process is at work on."""

    crew: Crew
    setting: Setting
    plans: dict[str, Plan]
    look: int
    number: int
    first: SideName | None
    blocks: list[PairBlock] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    complete: bool = True
    at: str | None = None
    case_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def both(self, dice: Random) -> None:
        order = order_of(list(self.plans), dice, first=self.first)
        pair = self.crew.pair(order.first)
        sides: tuple[SideName, ...] = SIDES if order.first == "base" else SIDES[::-1]
        with parent_on(self.setting.cores):
            for side in sides:
                self._prepare(pair.of(side), self.plans)
            for turn in order.turns:
                if self._ended():
                    break
                if turn.key not in self._lost():
                    self._block(pair.of(turn.side), turn)
            for side in sides if self.complete else ():
                self._release(pair.of(side), [k for k in self.plans if k not in self._lost()])
        self.crew.end(*pair)

    def apart(self, dice: Random) -> None:
        order = order_apart(list(self.plans), dice, first=self.first)
        for turns in _runs(order.turns, lambda turn: turn.quad):
            process = self.crew.one(turns[0].side)
            with parent_on(self.setting.cores):
                for own in _runs(turns, lambda turn: turn.key):
                    key = own[0].key
                    if key in self._lost() or self._ended():
                        continue
                    self._prepare(process, [key])
                    for turn in own:
                        if key not in self._lost():
                            self._block(process, turn)
                    if key not in self._lost():
                        self._release(process, [key])
            self.crew.end(process)
            if not self.complete:
                return

    def marked(self) -> list[PairBlock]:
        """The blocks; those of a case that was lost, or of a pair that was not finished, do not count."""
        lost = self._lost()
        return [replace(b, counts=self.complete and b.case_id not in lost) for b in self.blocks]

    def _lost(self) -> Collection[str]:
        return {loss.key for loss in self.losses}

    def _ended(self) -> bool:
        if self.setting.is_over:
            self.complete = False
        return not self.complete

    def _prepare(self, process: Process, keys: Collection[str]) -> None:
        for key in keys:
            if key in self._lost() or self._ended():
                continue
            plan = self.plans[key]
            question = self.setting.prepare(plan.case, process, way=plan.way)
            with self._working_on(key):
                ready = process.ask(question, CaseReady, timeout_s=self.setting.measure.timeout_s)
            if ready.record.status != "ok":
                self._lose(process, key, ready.record)
            elif (ready.way, ready.timer) != (plan.way, plan.timer):
                why = f"timed in another way than its base: {ready.way}, {ready.timer}; wanted {plan.way}, {plan.timer}"
                self.losses.append(Loss(key, process.side, why))

    def _block(self, process: Process, turn: Turn) -> None:
        plan = self.plans[turn.key]
        size = plan.size
        with self._working_on(turn.key):
            done = process.ask(
                Block(turn.key, size.samples, size.calls), BlockDone, timeout_s=self.setting.measure.timeout_s
            )
            if plan.timer == SIMULATED:
                self.setting.watch.simulated_s += done.calls * sum(done.time_s)
        if done.record is not None:
            self._lose(process, turn.key, done.record)
            return
        self.blocks.append(PairBlock(
            self.look, self.number, len(self.blocks), turn.quad, process.side, process.number, turn.key,
            alone=len(self.plans) == 1, counts=True, dropped=size.dropped, calls=done.calls, faults=done.faults,
            switches=done.switches, cpu_s=done.cpu_s, time_s=done.time_s, t_ns=done.t_ns, flags=done.flags,
        ))  # fmt: skip

    def _release(self, process: Process, keys: Collection[str]) -> None:
        for key in keys:
            with self._working_on(key):
                record = process.ask(Release(key), Found, timeout_s=self.setting.measure.timeout_s).record
            if record.status != "ok":
                self._lose(process, key, record)

    @contextmanager
    def _working_on(self, key: str) -> Iterator[None]:
        self.at, since = key, self.setting.watch.now()
        yield
        self.case_s[key] += self.setting.watch.now() - since

    def _lose(self, process: Process, key: str, record: Record) -> None:
        self.losses.append(Loss(key, process.side, record.why or record.status, record))


def _runs(turns: Sequence[Turn], what: Callable[[Turn], object]) -> list[list[Turn]]:
    """The turns in runs that share `what`."""
    return [list(run) for _, run in groupby(turns, what)]
