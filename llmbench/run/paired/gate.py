"""The paired gate from its first process to its verdicts: sides, lock, exact metrics, pairs, guard, evidence."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from secrets import randbits
from time import monotonic

from llmbench.analyze.paired import Decision, Judged, PairedRule, judge_pairs
from llmbench.analyze.stored import Inconclusive
from llmbench.codec import from_plain
from llmbench.errors import SuiteError
from llmbench.machine.simulated import NAME as SIMULATED
from llmbench.run.ask import ask_worker
from llmbench.run.describe import describe
from llmbench.run.load import load_note, load_now
from llmbench.run.lock import device_lock
from llmbench.run.paired.cores import cores_for
from llmbench.run.paired.evidence import keep, keep_rest
from llmbench.run.paired.guard import confirmed_alone, suspicious
from llmbench.run.paired.outcome import paired_limits, stated_limits
from llmbench.run.paired.pair import Setting
from llmbench.run.paired.process import Crew, Died, NotStarted, Pair, SideBroken
from llmbench.run.paired.seen import Seen
from llmbench.run.paired.source import Source
from llmbench.run.paired.subject import Asked, Side, open_sides, text_of
from llmbench.run.paired.tier import look_at
from llmbench.run.paired.verdicts import Found, broken, foreign_processes, found_of, not_up, other_device
from llmbench.run.protocol import Offer, Offered
from llmbench.run.session import new_folder, points_of
from llmbench.store.record import SideName
from llmbench.suite.case import Case, expand, facts_of, only
from llmbench.suite.catalog import Catalog, DeviceSpec
from llmbench.suite.level import levels
from llmbench.suite.load import SuiteText, parse, resolve
from llmbench.suite.narrow import suite_filter
from llmbench.suite.suite import Match

OFFER_S = 60.0
ENDS_S = 5.0  # of the budget, for imports before the first process and for what comes after the last pair
Say = Callable[[str], None]


@dataclass(frozen=True)
class GateOrder:
    """What is asked for."""

    asked: Asked
    results: Path
    device: str | None = None
    only: tuple[str, ...] = ()
    max_minutes: float | None = None
    rule: PairedRule = field(default_factory=PairedRule)
    inconclusive: Inconclusive = "fail"
    seed: int | None = None  # of the order of starts and blocks; None: the system's, so that no two gates share it


def run_gate(order: GateOrder, say: Say) -> Found:
    """Measures both sides in turns and judges. Raises: UsageError, SuiteError for what cannot be; MachineError."""
    begin = monotonic()
    with open_sides(order.asked) as sides:
        text = text_of(order.asked.suite, sides.suite_path)
        spec = _device(order.device or (SIMULATED if text.spec.op == SIMULATED else None), sides.head)
        load = load_now() if spec.device == "cpu" else None
        with device_lock(spec.device, uuid=spec.uuid, run=f"gate paired {text.name}") as lock:
            code = sides.head.commit or "no-commit"
            folder = new_folder(order.results, text.name, spec, code=code, kind="-paired")
            seen = Seen(order.asked, sides, folder, text.name, order.inconclusive, order.max_minutes, load)
            seen.limits = stated_limits(text, spec)
            seen.seed = randbits(32) if order.seed is None else order.seed
            if load is not None and (note := load_note(load, in_turns=True)):
                seen.notes.append(note)
            crew = Crew(sides, spec.device, sides.plugins, folder, _threads(text, spec), lock, seen.note)
            if (busy := foreign_processes(spec)) is not None:
                seen.refused.append(busy)
            try:
                say(f"base {sides.base.revision} against head {sides.head.revision} on {spec.name}")
                _measure(order, seen, crew, text, begin, say)
            except BaseException:
                keep_rest(seen)
                raise
            finally:
                crew.drop()
            seen.wall_s = monotonic() - begin
            return keep(found_of(seen))


def _device(name: str | None, head: Side) -> DeviceSpec:
    """The device as the head's interpreter sees it: torch need not be where the gate itself is."""
    if head.python == sys.executable:
        return describe(device=name).device
    asked = ask_worker("describe", device=name, python=head.python, harness=head.harness)
    return from_plain(Catalog, asked).device


def _measure(order: GateOrder, seen: Seen, crew: Crew, text: SuiteText, begin: float, say: Say) -> None:
    """Fills `seen`: catalogs, exact metrics, pairs, decisions; as far as the sides allow."""
    if seen.refused:
        return
    try:
        pair = crew.pair()
        seen.hellos = {"base": pair.base.hello, "head": pair.head.hello}
        if other_device(seen) is not None:
            return
        _cases(order, seen, pair, text)
        suite = seen.suite
        assert suite is not None
        deadline = None if order.max_minutes is None else begin + max(0.0, order.max_minutes * 60 - ENDS_S)
        seen.cores = cores_for(suite.device, threads=suite.measure.threads or 1)
        setting = Setting(suite.measure, suite.seed, seen.cores, deadline)
        seen.tier = look_at(
            [c for c in seen.cases if c.skip is None], crew, setting, pair, isolation=suite.isolation,
            packages=seen.packages, say=say,
        )  # fmt: skip
        if any(True for _ in seen.strangers()):
            return
        _time(order, seen, crew, setting, say)
    except SideBroken as e:
        broken(seen, e.why)
    except NotStarted as e:
        not_up(seen, e.side, f"a process did not start: {e.why}")
    except Died as e:  # beside any case: those that a case dies of are the case's
        not_up(seen, e.side, f"a process died: {e.why}")


def _cases(order: GateOrder, seen: Seen, pair: Pair, text: SuiteText) -> None:
    """The cases of the head's suite, and those that only the base's has. Raises: SuiteError, UsageError, RunError."""
    base, head = (p.ask(Offer(), Offered, timeout_s=OFFER_S).catalog for p in pair)
    if seen.sides.repository is None:
        _refuse_broken(base, head)
    suite = resolve(text, head)
    match = suite_filter(list(order.only), suite)
    seen.suite, seen.limits = suite, paired_limits(suite)
    seen.cases = [case for point in points_of(suite, match) for case in point.cases]
    seen.notes += [note for note in head.notes if note not in seen.notes]
    every = [case for point in expand(suite) for case in point.cases]
    seen.gone = _gone(seen, base, match, {case.case_id for case in every if case.skip is None})


def _refuse_broken(base: Catalog, head: Catalog) -> None:
    """Where environments are the subject, an installed plugin that only one of them can load breaks the other.

    One that neither can load stops nobody, as elsewhere. Raises: SideBroken.
    """
    alone: dict[SideName, list[str]] = {
        "base": [note for note in base.notes if note not in head.notes],
        "head": [note for note in head.notes if note not in base.notes],
    }
    why = {side: notes[0] for side, notes in alone.items() if notes}
    if why:
        raise SideBroken(why)


def _gone(seen: Seen, catalog: Catalog, match: Match, known: set[str]) -> list[Case]:
    """The cases of the base's own suite, by its own code, that the head's has not, or skips."""
    own = seen.sides.base.suite_path
    assert seen.suite is not None
    if own is None or own == seen.sides.head.suite_path:
        return []
    try:
        suite = resolve(parse(own.read_bytes(), path=own.name), catalog)
    except (SuiteError, OSError) as e:
        seen.notes.append(f"the suite of {seen.sides.base.revision} does not resolve, so no case of it is missed: {e}")
        return []
    if suite.op.version != seen.suite.op.version:
        seen.notes.append(
            f"op {suite.op.name} is of version {seen.suite.op.version} in the head and {suite.op.version} in the base: "
            "what they measure is not the same, and nothing is compared"
        )
        return []
    able = {i.name for i in suite.op.impls if i.why_unavailable is None}
    cases = [case for point in only(expand(suite), match) for case in point.cases]
    return [c for c in cases if c.case_id not in known and c.skip is None and c.impl in able]


def _time(order: GateOrder, seen: Seen, crew: Crew, setting: Setting, say: Say) -> None:
    """Pairs as the judge asks for them; then what page faults may have made, alone."""
    assert seen.suite is not None and seen.tier is not None
    own = {case.case_id: seen.limits.of(facts_of(case)).shares for case in seen.cases}
    plans = seen.tier.plans([case for case in seen.cases if "time" in own[case.case_id]])
    seen.spent = not all(seen.tier.is_examined(case) for case in seen.cases if case.skip is None)
    if not plans:
        return
    limits = {p.key: own[p.key]["time"] for p in plans}
    seen.layout = "both" if seen.tier.fits_together(plans) else "sequential"
    source = Source(
        crew, setting, {p.key: p for p in plans}, seen.layout, seen.suite.isolation, Random(seen.seed), say,
        seen.blocks, seen.losses,
    )  # fmt: skip
    guarded: dict[str, Decision] = {}

    def alone(key: str) -> Judged:
        return judge_pairs({key: limits[key]}, source.alone, rule=replace(order.rule, spare_pairs=0))

    def guard(judged: Judged) -> None:
        together = len(plans) > 1 and source.isolation == "point" and source.layout == "both"
        for key, decision in judged.decisions.items() if together else ():
            faults = suspicious(key, seen.blocks, margin=order.rule.margin)
            if decision.word in ("REGRESSED", "IMPROVED") and faults is not None and key not in guarded:
                say(f"{source.plans[key].case.label}: {faults.text}; measured again, alone")
                guarded[key] = confirmed_alone(decision, faults, alone)

    try:
        seen.judged = judge_pairs(limits, source.take, rule=order.rule, room=source.room, before_spare=guard)
        guard(seen.judged)  # what only the left-over budget found
        seen.decisions = {**seen.judged.decisions, **guarded}
    finally:
        seen.layout, seen.pairs, seen.pairs_s = source.layout, source.pairs, source.seconds
        seen.spent = seen.spent or source.spent or (seen.judged is not None and bool(seen.judged.evidence.short))


def _threads(text: SuiteText, device: DeviceSpec) -> int | None:
    """Of torch's kernels on a CPU: one, unless the suite asks for more."""
    if device.device != "cpu":
        return None
    part, _ = levels(text.spec, device)[-1].owner("measure")
    return part.measure.threads or 1
