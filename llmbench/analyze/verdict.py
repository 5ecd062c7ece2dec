"""Verdicts: what the stored gate says of a case of a run against its baseline, each with its reason in a sentence."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from llmbench.analyze.change import Change
from llmbench.analyze.compare import NOT_RUN, Pair, Seen
from llmbench.analyze.conditions import SLOWED, disturbance
from llmbench.analyze.limits import CaseLimits
from llmbench.analyze.stats import TAU
from llmbench.metrics import DETERMINISTIC
from llmbench.suite.catalog import Scalar

MIN_PROCESSES = 3  # a side: with two, Welch's t has so few degrees of freedom that hardly anything excludes 1

Word = Literal[
    "ENV_ERROR", "BROKEN", "REGRESSED", "MISSING", "INCONCLUSIVE", "IMPROVED", "FIXED", "NEW", "NO_RESULT", "PASS"
]
WORST_FIRST: tuple[Word, ...] = (
    "ENV_ERROR", "BROKEN", "REGRESSED", "MISSING", "INCONCLUSIVE", "IMPROVED", "FIXED", "NEW", "NO_RESULT", "PASS",
)  # fmt: skip
"""A case with several metrics has the first of these that any of them has.

ENV_ERROR another device, or a machine so disturbed that a time decides nothing; BROKEN ok in the baseline, failed now;
FIXED the other way round; MISSING without a result that the baseline has; NEW the other way round; NO_RESULT on neither
side.
"""


@dataclass(frozen=True)
class Correction:
    """What was taken out of a time: how much longer a sentinel took in this run than it does as a rule, as a ratio."""

    sentinel: str
    ratio: float

    @property
    def text(self) -> str:
        """`6.2 % slower by the sentinel gemm`."""
        return f"{pace_text(self.ratio)} by the sentinel {self.sentinel}"


@dataclass(frozen=True)
class Finding:
    """What is said of one metric of a case. `limit` is the share by which it may grow, and `limit_of` whose limit that
    is, in the suite's words, where it is not that of all cases."""

    metric: str
    word: Word
    reason: str
    limit: float
    detectable: float | None  # the least increase that such runs would show as REGRESSED in four of five cases
    change: Change
    runs: int | None = None  # of the history that it was judged by, where that is more than one run
    limit_of: str | None = None
    correction: Correction | None = None  # of the ratio, which is one at the pace that the machine had

    @property
    def judged(self) -> bool:
        """Whether there was something to judge it by: a value on both sides."""
        return self.change.a is not None and self.change.b is not None

    @property
    def demoted(self) -> bool:
        """Whether a deterministic metric was judged like a time, as processes of a side disagree on it."""
        return self.judged and self.metric in DETERMINISTIC and self.change.basis != "exact"

    @property
    def excess(self) -> float:
        """The ratio over its limit; of what is better, the other way round. 0 where nothing is known of it."""
        change, top = self.change, 1 + self.limit
        if change.a is None or change.b is None:
            return 0.0
        if change.ratio is None:  # from nothing to something
            return inf if change.b > change.a else 0.0
        return 1 / (change.ratio * top) if self.word == "IMPROVED" else change.ratio / top


@dataclass(frozen=True)
class Verdict:
    """What is said of a case, or of the whole run where `case_id` is None."""

    case_id: str | None
    label: str
    word: Word
    reason: str
    findings: tuple[Finding, ...] = ()
    facts: dict[str, Scalar] = field(default_factory=dict)  # what tells the case from the others
    not_gated: dict[str, str] = field(default_factory=dict)  # metrics that the suite leaves out for the case -> its why

    @property
    def deciding(self) -> Finding | None:
        """The finding that made the word: time before others, then the furthest beyond its limit; None without one."""
        return min((f for f in self.findings if f.word == self.word), key=_pressing, default=None)

    @property
    def pressing(self) -> tuple[int, float, tuple[tuple[int, str], ...]]:
        """Sorts worst first: by word, then by how far the deciding finding is beyond its limit, then by label.

        What no finding made, such as a verdict on the whole suite or a case that fails, is before what has a number.
        """
        excess = self.deciding.excess if self.deciding else inf
        return WORST_FIRST.index(self.word), -excess, _natural(self.label)


Judge = Callable[[str, Change, float], "Finding"]
"""(case, change of a metric, limit) -> what is said of it."""


def judge(pair: Pair, limits: CaseLimits, by: Judge | None = None) -> Verdict:
    """The verdict on a case, A being the baseline and B the run: its status first, then each metric with a limit, `by`
    the two runs alone unless something else is given."""
    said = by_status(pair.a, pair.b)
    if said is not None:
        return Verdict(pair.case_id, pair.label, *said, facts=pair.facts)
    findings = tuple(
        _as_disturbed(by_limit(by(pair.case_id, change, limit) if by else judge_change(change, limit), limits), pair)
        for name, limit in limits.shares.items()
        if (change := pair.change(name)) is not None
    )
    return verdict_of(pair.case_id, pair.label, findings, pair.facts, limits.not_gated)


def by_limit(finding: Finding, limits: CaseLimits) -> Finding:
    """The finding; where its limit is one of the case's own, it says so."""
    words = limits.own.get(finding.metric)
    if words is None:
        return finding
    told = f"{finding.reason}; its own limit of {percent(limits.shares[finding.metric])}: {words}"
    return replace(finding, reason=told, limit_of=words)


def verdict_of(
    case_id: str, label: str, findings: Sequence[Finding], facts: dict[str, Scalar], not_gated: Mapping[str, str]
) -> Verdict:
    """The verdict on a case that is ok on both sides: the worst finding, with the reasons of those that did not pass,
    first that of the one that decides.

    `not_gated`: what the suite leaves out for it, and why.
    """
    nothing: Word = "NO_RESULT"
    word = min((f.word for f in findings), key=WORST_FIRST.index, default=nothing)
    telling = [f for f in findings if f.word != "PASS"] or list(findings)
    telling.sort(key=_pressing)
    reasons = [f.reason for f in telling] or ["ok on both sides, but neither has a metric that is gated"]
    reasons += [f"{metric} is not gated: {why}" for metric, why in not_gated.items()]
    return Verdict(case_id, label, word, "; ".join(reasons), tuple(findings), facts, dict(not_gated))


def judge_change(change: Change, limit: float) -> Finding:
    """The finding on one metric of a case that is ok on both sides.

    Deterministic metrics are compared as they are; one on which processes of a side disagree is judged like a time,
    and that is said, but more than the baseline has in every process is more.
    """
    if change.a is None or change.b is None:
        word: Word = "NEW" if change.a is None else "MISSING"
        where = "the run but not in the baseline" if change.a is None else "the baseline but not in the run"
        return Finding(change.metric, word, f"{change.metric} was measured in {where}", limit, None, change)
    if change.negative is not None:
        reason = f"{change.metric} is {_number(change.negative)}{_unit(change)}, which nothing can be"
        return Finding(change.metric, "INCONCLUSIVE", reason, limit, None, change)
    if change.basis == "exact":
        return Finding(change.metric, *_exactly(change.a, change.b, change, limit), limit, None, change)
    if change.metric not in DETERMINISTIC:
        return Finding(change.metric, *_by_processes(change, limit), limit, change.detectable(limit), change)
    if change.exceeds(limit):
        return Finding(change.metric, "REGRESSED", _in_every_process(change, limit), limit, None, change)
    limit = max(limit, TAU)
    word, reason = _by_processes(change, limit)
    reason += "; judged like a time, as processes of one side disagree on it"
    return Finding(change.metric, word, reason, limit, change.detectable(limit), change)


def _as_disturbed(finding: Finding, pair: Pair) -> Finding:
    """The finding, or ENV_ERROR where the machine may have made it."""
    if finding.metric not in SLOWED or not finding.judged or pair.a is None or pair.b is None:
        return finding
    slower, not_slower = finding.word == "REGRESSED", finding.word in ("PASS", "IMPROVED")
    why = disturbance(pair.a.conditions, pair.b.conditions, slower=slower, not_slower=not_slower)
    if why is None:
        return finding
    return replace(finding, word="ENV_ERROR", reason=f"{why} ({finding.word}: {finding.reason})")


def by_status(a: Seen | None, b: Seen | None) -> tuple[Word, str] | None:
    """Word and reason for a case that is not ok on both sides."""
    if a is None:
        return "NEW", f"only in the run ({_told(b)})"
    if b is None:
        if a.status in NOT_RUN:
            return "NO_RESULT", f"not in the run, and {_told(a)} in the baseline"
        return "MISSING", f"in the baseline ({a.status}), not in the run"
    if a.status == "ok":
        if b.status == "ok":
            return None
        word: Word = "MISSING" if b.status in NOT_RUN else "BROKEN"
        return word, f"ok in the baseline, {_told(b)}"
    if b.status == "ok":
        return "NEW" if a.status in NOT_RUN else "FIXED", f"ok in the run, in the baseline {_told(a)}"
    return "NO_RESULT", f"{_told(b)}; in the baseline {a.status} too, so there is nothing to judge"


def _exactly(a: float, b: float, change: Change, limit: float) -> tuple[Word, str]:
    unit = _unit(change)
    seen = f"{change.metric} {_number(b)}{unit}"
    if a == b:
        return "PASS", f"{seen}, the same as in the baseline"
    share = f" ({(b / a - 1) * 100:+.3g} %)" if a > 0 else ""
    seen += f" against {_number(a)}{unit} in the baseline: {'+' if b > a else '-'}{_number(abs(b - a))}{unit}{share}"
    if b > a * (1 + limit):
        return "REGRESSED", f"{seen}, more than the limit of {percent(limit)}"
    if b < a / (1 + limit):
        return "IMPROVED", f"{seen}, less by more than the limit of {percent(limit)}"
    return "PASS", f"{seen}, within the limit of {percent(limit)}"


def _in_every_process(change: Change, limit: float) -> str:
    assert change.span_a and change.span_b
    (least, most), unit = map(_number, change.span_b), _unit(change)
    seen = f"{change.metric} {least} to {most}{unit}, in every process more than the {_number(change.span_a[0])}{unit}"
    return f"{seen} of the baseline by more than the limit of {percent(limit)}"


def _by_processes(change: Change, limit: float) -> tuple[Word, str]:
    """By the ratio of process medians and its CI."""
    name, top = change.metric, 1 + limit
    few = min(change.processes_a, change.processes_b) < MIN_PROCESSES
    if change.ratio is None:
        return "INCONCLUSIVE", f"{name} has no ratio, as a value is not positive"
    seen = f"{name} ratio {change.ratio:.4g}{_interval(change)}"
    if few:
        return "INCONCLUSIVE", (
            f"{seen}, from {_counts(change)}: a verdict needs at least {MIN_PROCESSES} a side "
            f"(run with --processes {MIN_PROCESSES} or more); limit {top:.4g}"
        )
    if change.basis != "processes" or change.low is None:
        return "INCONCLUSIVE", f"{seen}, without an interval over processes"
    if change.ratio >= top and change.ratio > 1:
        if change.excludes_one:
            return "REGRESSED", f"{seen}, excludes 1 and reaches the limit {top:.4g}"
        return "INCONCLUSIVE", f"{seen}, reaches the limit {top:.4g} but does not exclude 1; {_sight(change, limit)}"
    if change.ratio <= 1 / top and change.excludes_one:
        return "IMPROVED", f"{seen}, excludes 1 and is no more than {1 / top:.4g}"
    return "PASS", f"{seen}, below the limit {top:.4g}; {_sight(change, limit)}"


def _interval(change: Change) -> str:
    if change.low is None or change.high is None:
        return ""
    over = " within one process" if change.basis == "within one process" else f" over {_counts(change)}"
    return f", 95 % CI [{change.low:.4g}, {change.high:.4g}]{over}"


def _counts(change: Change) -> str:
    return f"{change.processes_a} and {change.processes_b} processes"


def _sight(change: Change, limit: float) -> str:
    found = change.detectable(limit)
    return f"minimum detectable effect {percent(found)}" if found is not None else "no detectable effect known"


def _told(seen: Seen | None) -> str:
    if seen is None:
        return "absent"
    return f"{seen.status}: {seen.why}" if seen.why else seen.status


def _unit(change: Change) -> str:
    """With a space before it; nothing for a count."""
    return f" {change.unit}" if change.unit and change.unit != "1" else ""


def _pressing(finding: Finding) -> tuple[int, bool, float]:
    """Sorts findings of a case: worst first, time before others, then by how far each is beyond its limit."""
    return WORST_FIRST.index(finding.word), finding.metric != "time", -finding.excess


def _natural(label: str) -> tuple[tuple[int, str], ...]:
    """Sorts `seq_len=512` before `seq_len=1024`."""
    parts = re.split(r"([0-9]+)", label)
    return tuple((int(part), "") if i % 2 and len(part) < 20 else (0, part) for i, part in enumerate(parts))


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 2**53 else f"{value!r}"


def pace_text(ratio: float) -> str:
    """`6.2 % slower`, of what took 1.062 times as long; `5.84 % faster`, of 0.942 times."""
    return f"{percent(abs(ratio - 1))} {'slower' if ratio >= 1 else 'faster'}"


def percent(share: float) -> str:
    """`3.79 %`."""
    return f"{share * 100:.3g} %" if share < 10 else "over 1000 %"
