"""The stored gate: a run against a baseline that was measured before, as verdicts and one exit code."""

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from llmbench.analyze.compare import Side, compare, side_of
from llmbench.analyze.verdict import WORST_FIRST, Verdict, Word, judge, limits_of
from llmbench.errors import UsageError
from llmbench.store.origin import Evidence

NO_BASELINE = 4
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
    base: Side
    head: Side
    limits: dict[str, float]  # metric -> the share by which it may grow
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...]

    @property
    def counts(self) -> dict[Word, int]:
        """Cases by verdict, worst first."""
        words = [v.word for v in self.verdicts]
        return {word: n for word in WORST_FIRST if (n := words.count(word))}

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


def gate(base: Evidence, head: Evidence, *, inconclusive: Inconclusive = "fail") -> Outcome:
    """Judges every case of either run. What is gated, and by how much, is what the suite of `head` says.

    Raises: UsageError when either is a quick run.
    """
    for name, evidence in (("RUN", head), ("--baseline", base)):
        refuse_quick(name, evidence)
    limits = limits_of(head.run.manifest.header.suite.gate)
    warnings: tuple[str, ...] = ()
    if base.origin.device_key != head.origin.device_key or head.origin.device_key is None:
        verdicts: tuple[Verdict, ...] = (_other_device(base, head),)
    else:
        found = compare(base, head, names=("baseline", "run"))
        verdicts = tuple(judge(pair, limits) for pair in found.pairs)
        verdicts = tuple(sorted(verdicts, key=lambda v: WORST_FIRST.index(v.word)))
        warnings = found.warnings
        if not any(v.findings for v in verdicts):
            warnings = ("no case has a result on both sides: nothing was judged", *warnings)
    if not base.run.rows:
        warnings = ("the baseline holds no records", *warnings)
    code = exit_code({v.word for v in verdicts}, inconclusive=inconclusive)
    if code in (0, 5) and not base.run.rows:
        code = NO_BASELINE
    return Outcome(code, inconclusive, side_of(base), side_of(head), limits, verdicts, warnings)


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


def _other_device(base: Evidence, head: Evidence) -> Verdict:
    names = [f"{e.origin.device_name} ({e.origin.device_key})" for e in (head, base)]
    a, b = (e.run.manifest.header.machine.key for e in (base, head))
    keys = sorted(k for k in {*a, *b} if a.get(k) != b.get(k))
    differs = "; ".join(f"{k} {b.get(k)} against {a.get(k)}" for k in keys)
    reason = f"the run was measured on {names[0]}, the baseline on {names[1]}{': ' if differs else ''}{differs}"
    return Verdict(None, "device", "ENV_ERROR", reason)
