"""The stored gate: a run against a baseline that was measured before, as verdicts and one exit code."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import median
from typing import Literal, NamedTuple

from llmbench.analyze.compare import Side, compare, side_of
from llmbench.analyze.limits import Limits, limits_of, named_facts
from llmbench.analyze.pace import moves_between, told
from llmbench.analyze.verdict import WORST_FIRST, Judge, Verdict, Word, judge
from llmbench.errors import UsageError
from llmbench.store.baselines import digest_of
from llmbench.store.origin import Evidence
from llmbench.store.sentinels import sentinel_levels
from llmbench.suite.suite import Suite

NO_BASELINE = 4
LEAST_MOVE = 0.01  # of the machine between two runs: less is told of no two
EXIT_CODES: tuple[tuple[int, frozenset[Word]], ...] = (
    (3, frozenset({"ENV_ERROR"})),
    (1, frozenset({"BROKEN", "REGRESSED"})),
    (NO_BASELINE, frozenset({"MISSING"})),
    (5, frozenset({"INCONCLUSIVE"})),
)
"""The first that applies; 0 if none does. Usage, 2, comes before them all: it is raised."""

Inconclusive = Literal["fail", "pass"]


class Sight(NamedTuple):
    """What a gate could see: the minimum detectable effects, as shares, of the times that passed."""

    cases: int
    median: float
    worst: float
    worst_case: Verdict


@dataclass(frozen=True)
class Outcome:
    """What a gate found, worst first."""

    exit_code: int
    inconclusive: Inconclusive
    base: Side | None  # None where there is none
    head: Side
    limits: dict[str, float]  # metric -> the share by which it may grow, in cases that have no limit of their own
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...]
    history: str | None = None  # what the baseline is, where it is more than one run
    itself: bool = False  # both sides are the same code, so that what is found is a false alarm

    @property
    def counts(self) -> dict[Word, int]:
        """Cases by verdict, worst first."""
        words = [v.word for v in self.verdicts]
        return {word: n for word in WORST_FIRST if (n := words.count(word))}

    @property
    def gated(self) -> tuple[str, ...]:
        """The metrics with a limit, those that only some cases have last."""
        own = (f.metric for v in self.verdicts for f in v.findings if f.limit_of is not None)
        return tuple(dict.fromkeys([*self.limits, *own]))

    @property
    def judged(self) -> bool:
        """Whether anything was: a metric that both sides have. Without that nothing has passed."""
        return any(f.judged for v in self.verdicts for f in v.findings)

    @property
    def sight(self) -> Sight | None:
        """How weak a pass of time may be; None where no time passed."""
        passed = [
            (f.detectable, v) for v in self.verdicts for f in v.findings if (f.metric, f.word) == ("time", "PASS")
        ]
        known = [(share, verdict) for share, verdict in passed if share is not None]
        if not known:
            return None
        worst, case = max(known, key=lambda found: found[0])
        return Sight(len(known), median(share for share, _ in known), worst, case)


def gate(base: Evidence, head: Evidence, *, inconclusive: Inconclusive = "fail", by: Judge | None = None) -> Outcome:
    """Judges every case of either run. What is gated, and by how much, is what the suite of `head` says; `by` judges
    metrics otherwise than by these two runs.

    Raises: UsageError when either is a quick run.
    """
    for name, evidence in (("RUN", head), ("--baseline", base)):
        refuse_quick(name, evidence)
    suite, measured = head.run.manifest.header.suite, _measured(base, head)
    limits = _limits(suite, measured)
    verdicts: tuple[Verdict, ...] = (_other_device(base, head),)
    warnings: tuple[str, ...] = ()
    if base.origin.device_key == head.origin.device_key and head.origin.device_key is not None:
        found = compare(base, head, names=("baseline", "run"))
        facts = {r.case_id: named_facts(r) for e in (base, head) for r in e.run.rows}
        said = (judge(p, limits.of(facts[p.case_id]), by) for p in found.pairs)
        verdicts = tuple(sorted(said, key=lambda v: v.pressing))
        unknown = [name for name in limits.metrics if name not in measured]
        moved = _moved(base, head, least=max(LEAST_MOVE, limits.shares.get("time", 0.0) / 2))
        warnings = (*_doubts(base, head, unknown, verdicts), *moved, *found.warnings)
    code = exit_code({v.word for v in verdicts}, inconclusive=inconclusive)
    outcome = Outcome(code, inconclusive, side_of(base), side_of(head), limits.shares, verdicts, warnings)
    return outcome if code not in (0, 5) or outcome.judged else replace(outcome, exit_code=NO_BASELINE)


def without_baseline(head: Evidence, why: str, *, inconclusive: Inconclusive = "fail") -> Outcome:
    """The outcome where there is no baseline to judge by. Raises: UsageError when the run is a quick one."""
    refuse_quick("RUN", head)
    limits = _limits(head.run.manifest.header.suite, _measured(head)).shares
    return Outcome(
        NO_BASELINE, inconclusive, None, side_of(head), limits, (Verdict(None, "baseline", "MISSING", why),), ()
    )


def exit_code(words: Collection[Word], *, inconclusive: Inconclusive) -> int:
    """The one exit code of these verdicts."""
    code = next((code for code, reasons in EXIT_CODES if reasons & {*words}), 0)
    return 0 if code == 5 and inconclusive == "pass" else code


def refuse_quick(name: str, evidence: Evidence) -> None:
    """Raises: UsageError when the run is a quick one."""
    if evidence.origin.quick:
        suite = evidence.run.manifest.header.suite.name
        raise UsageError(
            f"{name} {evidence.run.folder}: a quick run, too short to decide anything; "
            f"measure it in full with: llmbench run {suite} --processes 3"
        )


def refuse_itself(base: Evidence, head: Evidence, *, name: str) -> None:
    """Raises: UsageError when the baseline, which the user calls `name`, is the run that is judged, or a copy of it."""
    one, other = (e.run.manifest.header.run_id for e in (base, head))
    if one == other and digest_of(base.run.folder) == digest_of(head.run.folder):
        raise UsageError(
            f"--baseline {name}: this is run {one}, the very run that is judged, so nothing could be found; wanted: "
            "a run that was measured before it, or a store of such runs (llmbench baseline add RUN --store STORE)"
        )


def _doubts(base: Evidence, head: Evidence, unknown: Sequence[str], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What the exit code does not say, most important first; `unknown` are gated metrics that neither has."""
    findings = [f for v in verdicts for f in v.findings]
    if not base.run.rows:
        yield "the baseline holds no records"
    if not any(f.judged for f in findings):
        yield "no case has a result on both sides: nothing was judged, so nothing passes"
    if unknown:
        yield f"gate names {', '.join(unknown)}, which neither run has"
    demoted = Counter(f.metric for f in findings if f.demoted)
    for metric, n in demoted.items():
        cases = f"{n} case{'s' if n > 1 else ''}"
        yield f"{metric} differs between processes of one side in {cases}: judged like a time there, not exactly"


def _moved(base: Evidence, head: Evidence, *, least: float) -> Iterator[str]:
    """What the sentinels say of the machine, where it moved by that share."""
    moves = moves_between(*(sentinel_levels(e.run.manifest.sentinels) for e in (base, head)), least=least)
    if moves:
        why = "a change of all times may be its doing; only a store of runs tells which times to correct"
        yield f"{told(moves, than='in the baseline')}: {why}"


def _limits(suite: Suite, measured: Collection[str]) -> Limits:
    """The limits of what is judged: what the gate names, and of what always is what was measured."""
    limits = limits_of(suite)
    shares = {name: limit for name, limit in limits.shares.items() if name in suite.gate or name in measured}
    return replace(limits, shares=shares)


def _measured(*runs: Evidence) -> set[str]:
    """The metrics of which any of the runs has a value for a whole case."""
    rows = (r for e in runs for r in e.run.rows if r.part is None and r.value is not None and isfinite(r.value))
    return {r.metric for r in rows if r.metric is not None}


def _other_device(base: Evidence, head: Evidence) -> Verdict:
    names = [f"{e.origin.device_name} ({e.origin.device_key})" for e in (head, base)]
    a, b = (e.run.manifest.header.machine.key for e in (base, head))
    keys = sorted(k for k in {*a, *b} if a.get(k) != b.get(k))
    differs = "; ".join(f"{k} {b.get(k)} against {a.get(k)}" for k in keys)
    reason = f"the run was measured on {names[0]}, the baseline on {names[1]}{': ' if differs else ''}{differs}"
    return Verdict(None, "device", "ENV_ERROR", reason)
