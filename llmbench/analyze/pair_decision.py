"""What is said of each case of a paired gate, and of its suite as a whole, with the numbers and the reason."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmbench.analyze.pair_evidence import PairedWord, PairEvidence, Stage, StageName
from llmbench.analyze.pair_stats import Floats, Ints, detectable, half_width, pairs_for
from llmbench.analyze.verdict import percent

TAIL = 0.025  # of a two-sided 95 % interval


@dataclass(frozen=True)
class PairCounts:
    """Pairs that gave a value, by look."""

    screen: int = 0
    confirm: int = 0
    extension: int = 0  # without those of the confirm, which count there too
    spare: int = 0


@dataclass(frozen=True)
class PValues:
    """Of each look that the case was in: the lesser direction's, the flagged one's (twice), two-sided."""

    screen: float | None = None
    confirm: float | None = None
    extension: float | None = None
    spare: float | None = None


@dataclass(frozen=True)
class Decision:
    """What is said of a case. Ratios are head over base, above 1 slower; `low` and `high` are a 95 % CI.

    Numbers are those of the look that decided (`look`): the last one with pairs enough, on its fresh pairs alone.
    `lower` and `upper` are one-sided limits, and PASS has `upper` below 1 + `limit`. `sigma_pair` is the sd of D of one
    pair. `p` is against the margin. `detectable` is the least true increase that is found in four of five cases, where
    no budget ends; `pairs_needed` what an increase by `limit` takes to be told from the margin in 99 of 100.
    """

    case: str
    word: PairedWord
    reason: str
    limit: float
    look: StageName | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    lower: float | None = None
    upper: float | None = None
    sigma_pair: float | None = None
    pairs: PairCounts = PairCounts()
    p: PValues = PValues()
    detectable: float | None = None
    pairs_needed: int | None = None
    beyond_suite: float | None = None  # the ratio beyond the suite's shift, where it has one
    questions: tuple[int, ...] = ()  # the judge's, from 1, whose pairs it goes by; below 0 where it was measured alone

    @property
    def is_suspect(self) -> bool:
        """Whether it is open, but its 95 % CI lies beyond its limit: too few pairs came to call it a regression."""
        return self.word == "INCONCLUSIVE" and self.low is not None and self.low >= 1 + self.limit


@dataclass(frozen=True)
class Systemic:
    """What is said of the suite as a whole. `ratio`: of its middle, over fresh pairs; `suite_ratio`: geomean, screened.

    Not `confirmed`: the screen suspected a shift that fresh pairs did not show, or for which there were none. Not
    `found`: that, or one that does not reach `limit`, the median of the limits of its cases.
    """

    confirmed: bool
    found: bool
    slower: bool
    limit: float
    reason: str
    flagged: int
    cases: int
    suite_ratio: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    p: float | None = None


def decisions_of(evidence: PairEvidence, words: Sequence[PairedWord]) -> Iterator[Decision]:
    """One for each case, in their order."""
    found: dict[int, Decision] = {}
    for stage in evidence.stages:  # later looks overwrite what earlier ones said, where they know the case
        known = np.ones(len(stage.rows), np.bool_) if stage.name == "screen" else stage.known
        found |= _by(stage, evidence, words, np.flatnonzero(known))
    return (found[i] for i in range(len(evidence.keys)))


def systemic_of(evidence: PairEvidence) -> Systemic | None:
    """What is said of the suite, None where nothing suggested that it moved."""
    shift, rule = evidence.shift, evidence.rule
    if shift is None:
        return None
    word, cases, limit = "slower" if shift.slower else "faster", len(evidence.keys), math.expm1(shift.bound)
    many = f"the screen flagged {shift.flagged} of {cases} cases, its geomean {math.exp(shift.screened):.4g}"
    least, pairs = rule.confirm_least, int(shift.moments.n[0])
    if not shift.asked:
        reason = f"{many}: the suite as a whole may be {word}, but {pairs} fresh pairs are fewer than {least}"
        return Systemic(
            False, False, shift.slower, limit, reason, shift.flagged, cases, _ratio(shift.screened), pairs=pairs
        )  # fmt: skip
    mean = float(shift.moments.mean[0])
    half = float(half_width(shift.moments, shift.spread, TAIL)[0])
    seen = f"the middle of the suite {math.exp(mean):.4g} [{math.exp(mean - half):.4g}, {math.exp(mean + half):.4g}]"
    tested = f"over {pairs} fresh pairs, p = {shift.p:.2g} at {shift.level:g} against {percent(rule.margin)}"
    reaches = f"{1 + limit:.4g}" if shift.slower else f"{1 / (1 + limit):.4g}"
    if shift.found:
        reason = (
            f"{many}; {seen} {tested}: all of it is {word} and reaches the limit {reaches}, so look at what all cases "
            "share (what the head imports, flags, allocator, clock, driver) before any kernel; only cases that stand "
            "out of it are judged alone"
        )
    elif shift.confirmed:
        reason = (
            f"{many}; {seen} {tested}: all of it is {word}, but does not reach the limit {reaches}, so cases are "
            "judged one by one"
        )
    else:
        reason = f"{many}; {seen} {tested}: not confirmed, so cases are judged one by one"
    return Systemic(
        shift.confirmed, shift.found, shift.slower, limit, reason, shift.flagged, cases, _ratio(shift.screened),
        _ratio(mean), _ratio(mean - half), _ratio(mean + half), pairs, shift.p,
    )  # fmt: skip


def _by(
    stage: Stage, evidence: PairEvidence, words: Sequence[PairedWord], places: Ints
) -> Iterator[tuple[int, Decision]]:
    """Decisions by one look, for the cases at these places of it."""
    m = stage.moments
    interval = half_width(m, stage.spread, TAIL)
    limit = stage.to_limit
    sigma = np.sqrt(stage.spread.variance)
    found, needed = _detectable(stage, evidence, sigma), _needed(stage, evidence, sigma)
    counts, p = _per_case(evidence)
    questions = evidence.questions(stage.name)
    for i in places.tolist():
        row, mean = int(stage.rows[i]), float(m.mean[i])
        decision = Decision(
            evidence.keys[row], words[row], "", float(evidence.limits[row]), stage.name if m.n[i] else None,
            _ratio(mean), _ratio(mean - interval[i]), _ratio(mean + interval[i]), _ratio(mean - limit[i]),
            _ratio(mean + limit[i]), _finite(sigma[i]), PairCounts(**counts[row]), PValues(**p[row]),
            _share(found[i]), None if np.isnan(needed[i]) else int(needed[i]), _ratio(stage.beyond[i]),
            tuple(questions.get(row, ())),
        )  # fmt: skip
        yield row, replace(decision, reason=_reason(decision, stage, i, evidence, row))


def _per_case(evidence: PairEvidence) -> tuple[list[dict[str, int]], list[dict[str, float]]]:
    """Pairs and p values by look, of each case."""
    counts: list[dict[str, int]] = [{} for _ in evidence.keys]
    p: list[dict[str, float]] = [{} for _ in evidence.keys]
    for stage in evidence.stages:
        for row, n, value in zip(stage.rows.tolist(), stage.moments.n.tolist(), stage.p.tolist(), strict=True):
            counts[row][stage.name] = n - counts[row].get("confirm", 0) if stage.name == "extension" else n
            p[row][stage.name] = value
    return counts, p


def _look(stage: Stage, evidence: PairEvidence) -> tuple[float, Ints]:
    """Level and pairs of the test that may reject: this look's, or after the screen those of the confirm to come."""
    rule = evidence.rule
    if stage.name == "screen":
        family = max(1, int(np.count_nonzero(evidence.direction)))
        return rule.level * rule.confirm_level_share / family, np.full_like(stage.moments.n, rule.confirm_pairs)
    return stage.level / stage.family / (2 if stage.name == "spare" else 1), stage.moments.n


def _detectable(stage: Stage, evidence: PairEvidence, sigma: Floats) -> Floats:
    """Log of the least true increase that passes screen and test, and whose estimate reaches the limit, as shares."""
    rule, m = evidence.rule, stage.moments
    margin, power = math.log1p(rule.margin), rule.detectable_power
    level, n = _look(stage, evidence)
    df = np.where(m.n > 1, n - 1.0, 0.0)
    needs = [
        detectable(sigma, n, df, above=margin, level=level, power=power),
        detectable(sigma, n, df, above=evidence.bounds[stage.rows], level=0.5, power=power),
    ]
    if stage.name == "screen":
        needs.append(detectable(sigma, m.n, stage.spread.df, above=margin, level=rule.screen_level, power=power))
    return np.asarray(np.maximum.reduce(needs))


def _needed(stage: Stage, evidence: PairEvidence, sigma: Floats) -> Floats:
    """Pairs for an increase by the limit, NaN where none are enough or none is needed."""
    rule = evidence.rule
    level, _ = _look(stage, evidence)
    bounds = evidence.bounds[stage.rows]
    return pairs_for(bounds, sigma, margin=math.log1p(rule.margin), level=level, power=rule.power)


def _reason(d: Decision, stage: Stage, i: int, evidence: PairEvidence, row: int) -> str:
    """Why the word is this one, in a sentence."""
    rule, top, n = evidence.rule, 1 + d.limit, int(stage.moments.n[i])
    if d.ratio is None:
        spent = stage.name in evidence.short and not stage.moments.n.any()
        return "no pair: the budget was spent" if spent else "no pair gave a value"
    interval = "" if d.low is None else f", 95 % CI [{d.low:.4g}, {d.high:.4g}]"
    seen = f"ratio {d.ratio:.4g}{interval} over {n} {'pairs' if stage.name == 'screen' else 'fresh pairs'}"
    if n < stage.least:
        return f"{seen}: a verdict needs at least {stage.least}"
    tested = f"(p = {stage.p[i]:.2g}, Holm at {stage.level:g} over {_cases(stage.family)})"
    way = "slower" if d.ratio > 1 else "faster"
    off = f"{way} by more than {percent(rule.margin)}"
    if d.beyond_suite is not None:
        seen += f", {d.beyond_suite:.4g} beyond the suite's shift"
    if d.word == "REGRESSED":
        return f"{seen}: {off} {tested}, and reaches the limit {top:.4g}"
    if d.word == "IMPROVED":
        return f"{seen}: {off} {tested}, and no more than {1 / top:.4g}"
    bound = f"upper limit {_told(d.upper)}"
    if d.word == "PASS":
        also = f"; {off}, but within the limit" if stage.rejected[i] else ""
        return f"{seen}, {bound} below the limit {math.exp(evidence.bounds[row]):.4g}{also}"
    why = _open(d, stage, i, evidence, row, bound, off, tested)
    return f"{seen}, {why}" if d.is_suspect else f"{seen}, {why}; {_sight(d)}"


def _open(
    d: Decision, stage: Stage, i: int, evidence: PairEvidence, row: int, bound: str, off: str, tested: str
) -> str:  # fmt: skip
    """What keeps a case from a verdict."""
    limit, shift = f"the limit {math.exp(evidence.bounds[row]):.4g}", evidence.shift
    if stage.name == "screen" and evidence.direction[row]:
        way = "slower" if evidence.direction[row] > 0 else "faster"
        if shift is not None and shift.found:
            return f"{way} as the suite is, and does not stand out of it"
        asked, seen = evidence.rule.confirm_pairs, d.pairs.confirm
        flagged = f"flagged as {way} (p = {stage.p[i]:.2g}), but {seen} of {asked} fresh pairs came to confirm it"
        return f"{flagged}: give more minutes"
    if stage.rejected[i]:
        return f"{off} {tested}, but {bound} is not below {limit} and the estimate does not reach it"
    if stage.name == "screen":
        return f"{bound} is not below {limit}, and not flagged as changed"
    return f"{bound} is not below {limit}, and not told from {percent(evidence.rule.margin)} {tested}"


def _sight(d: Decision) -> str:
    sight = (
        "no detectable effect known" if d.detectable is None else f"minimum detectable effect {percent(d.detectable)}"
    )
    return f"{sight}, {percent(d.limit)} needs {d.pairs_needed} pairs" if d.pairs_needed else sight


def _cases(n: int) -> str:
    return f"{n} case{'' if n == 1 else 's'}"


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _ratio(log: float) -> float | None:
    """None where it is unknown or too large to say."""
    return math.exp(log) if abs(log) < 700 else None


def _share(log: float) -> float | None:
    return math.expm1(log) if abs(log) < 700 else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
