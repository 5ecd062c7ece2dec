"""The deterministic tier: what two processes of each side tell of every case before anything is timed."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmbench.metrics import DETERMINISTIC
from llmbench.run.paired.pair import Plan, Setting
from llmbench.run.paired.process import Crew, Died, Pair, Process
from llmbench.run.paired.turns import SIDES, size_of
from llmbench.run.protocol import CaseReady, Found, Loaded, Release, Source, Sources
from llmbench.store.record import Record, SideName
from llmbench.suite.case import Case
from llmbench.suite.catalog import Isolation

PROCESSES = 2  # a side: what differs between them is not deterministic
MORE_PROCESSES = 2  # where something did: a verdict by processes needs three a side
PROBES = ("memory", "kernels")
FITS = 0.7  # of the free memory: what both sides may need together to be up at once

Key = tuple[SideName, str]


@dataclass
class Tier:
    """By side and case: the records of its processes, and what they said when the case was ready."""

    records: dict[Key, list[Record]] = field(default_factory=dict)
    ready: dict[Key, list[CaseReady]] = field(default_factory=dict)
    sources: dict[SideName, tuple[Source, ...]] = field(default_factory=dict)  # that were loaded
    free_bytes: float = 0.0  # before any case
    rounds: Counter[str] = field(default_factory=Counter)  # case -> in how many processes a side it was examined

    def is_examined(self, case: Case) -> bool:
        """Whether it was in enough processes a side: with one alone nobody knows what is deterministic."""
        return self.rounds[case.case_id] >= PROCESSES

    def is_ok(self, case: Case) -> bool:
        """Whether it is right in every process of both sides."""
        return all(self._all_ok((side, case.case_id)) for side in SIDES)

    def _all_ok(self, key: Key) -> bool:
        found = self.records.get(key, [])
        return bool(found) and all(record.status == "ok" for record in found)

    def plans(self, cases: Sequence[Case]) -> list[Plan]:
        """How each case that is right on both sides is timed: as the base's first process found best.

        In a CUDA graph only where both sides can.
        """
        found = []
        for case in cases:
            if not self.is_examined(case) or not self.is_ok(case):
                continue
            base, head = (self.ready[side, case.case_id][0] for side in SIDES)
            size = size_of(base.call_s, before_s=base.before_s, most_calls=min(base.most_calls, head.most_calls))
            chosen = base if base.way.in_graph == head.way.in_graph or not base.way.in_graph else head
            found.append(Plan(case, size, chosen.way, chosen.timer))
        return found

    def fits_together(self, plans: Sequence[Plan]) -> bool:
        """Whether a process of each side, with all cases ready, and the largest call fit into the free memory."""
        total = largest = 0.0
        for side in SIDES:
            problems: dict[str, float] = {}
            for plan in plans:
                ready = self.ready[side, plan.key][0]
                name = repr((plan.case.phase, sorted(plan.case.params.items())))
                problems[name] = max(problems.get(name, 0.0), ready.problem_bytes)
                total += ready.kept_bytes
                peaks = (m.value for m in ready.record.measurements if m.metric == "peak_memory")
                largest = max(largest, *peaks, 0.0)
            total += sum(problems.values())
        return total + largest <= FITS * self.free_bytes

    def disagreeing(self, cases: Sequence[Case]) -> list[Case]:
        """The cases whose deterministic metrics, or outputs, differ between processes of one side."""
        return [c for c in cases if any(self._disagrees((side, c.case_id)) for side in SIDES)]

    def _disagrees(self, key: Key) -> bool:
        seen = [
            {(m.metric, m.part): m.value for m in record.measurements if m.metric in DETERMINISTIC and m.part is None}
            for record in self.records.get(key, [])
            if record.status == "ok"
        ]
        return any(other != seen[0] for other in seen[1:])


def look_at(
    cases: Sequence[Case], crew: Crew, setting: Setting, first: Pair, *, isolation: Isolation,
    packages: Sequence[str], say: Callable[[str], None],
) -> Tier:  # fmt: skip
    """What processes of both sides tell of the cases; `first` are up already. Those that the time does not suffice for
    are not examined.

    Raises: SideBroken, NotStarted; MachineError.
    """
    tier = Tier()
    say(f"what is exact first: {len(cases)} cases in {PROCESSES} processes a side")
    _round(tier, cases, crew, setting, first, isolation, packages)
    for _ in range(1, PROCESSES):
        _round(tier, cases, crew, setting, None, isolation, packages)
    if unsteady := tier.disagreeing(cases):
        say(f"{len(unsteady)} differ between processes of one side: {MORE_PROCESSES} more a side for them")
        for _ in range(MORE_PROCESSES):
            _round(tier, unsteady, crew, setting, None, isolation, packages)
    return tier


def _round(
    tier: Tier, cases: Sequence[Case], crew: Crew, setting: Setting, first: Pair | None, isolation: Isolation,
    packages: Sequence[str],
) -> None:  # fmt: skip
    """One process a side, or where cases are isolated one for each of them."""
    up: dict[SideName, Process] = {"base": first.base, "head": first.head} if first else {}
    for case in cases:
        if setting.is_over:
            break
        tier.rounds[case.case_id] += 1
        for side, ready in _ask_both(case, crew, setting, up, tier).items():
            if not tier.free_bytes:
                tier.free_bytes = ready.free_bytes
            tier.ready.setdefault((side, case.case_id), []).append(ready)
        if isolation == "case":
            _end(up, crew, tier, packages)
    _end(up, crew, tier, packages)


def _ask_both(
    case: Case, crew: Crew, setting: Setting, up: dict[SideName, Process], tier: Tier
) -> dict[SideName, CaseReady]:
    """Asks one side and then the other, so that one process at a time has the device."""
    found: dict[SideName, CaseReady] = {}
    missing = [side for side in SIDES if side not in up]
    if len(missing) == len(SIDES):
        pair = crew.pair()
        up |= {"base": pair.base, "head": pair.head}
    for side in SIDES:
        process = up.get(side) or crew.one(side)
        up[side] = process
        try:
            ready = process.ask(
                setting.prepare(case, process, probes=PROBES), CaseReady, timeout_s=setting.measure.timeout_s
            )
            record = ready.record
            if record.status == "ok":
                found[side] = ready
                record = process.ask(Release(case.case_id), Found, timeout_s=setting.measure.timeout_s).record
        except Died as death:
            crew.forget(process)
            del up[side]
            record = Record(case.case_id, process.number, death.status, why=death.why)
        tier.records.setdefault((side, case.case_id), []).append(record)
    return found


def _end(up: dict[SideName, Process], crew: Crew, tier: Tier, packages: Sequence[str]) -> None:
    """Asks for the sources that were loaded, and lets the processes end."""
    for side, process in up.items():
        own = crew.sides.of(side)
        folders = tuple(str(p) for p in (own.path, crew.sides.repository and crew.sides.repository.root) if p)
        try:
            question = Sources(folders, tuple(packages), installed=own.path is None)
            loaded = process.ask(question, Loaded, timeout_s=60.0)
        except Died:
            crew.forget(process)
            continue
        known = {source.module: source for source in tier.sources.get(side, ())}
        known |= {source.module: source for source in loaded.sources}
        tier.sources[side] = tuple(known[name] for name in sorted(known))
        crew.end(process)
    up.clear()
