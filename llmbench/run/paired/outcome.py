"""What a paired gate says: exact metrics and times of each case as verdicts, in the words of the stored gate."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from llmbench.analyze.change import Change, change
from llmbench.analyze.compare import Seen
from llmbench.analyze.conditions import Conditions, disturbance
from llmbench.analyze.limits import CaseLimits, Limits, limits_of
from llmbench.analyze.paired import Decision, Systemic
from llmbench.analyze.stats import TAU
from llmbench.analyze.verdict import Finding, Verdict, Word, by_limit, by_status, judge_change, verdict_of
from llmbench.metrics import DETERMINISTIC, METRICS
from llmbench.run.paired.pair import Loss
from llmbench.run.paired.quantile import logs_of, ratio_of
from llmbench.run.paired.tier import Tier
from llmbench.run.paired.turns import SIDES
from llmbench.store.pairs import PairBlock
from llmbench.store.query import Row
from llmbench.store.record import WORST_FIRST, Measurement, Record, SideName
from llmbench.suite.case import Case, facts_of
from llmbench.suite.catalog import DeviceSpec, Scalar
from llmbench.suite.level import levels
from llmbench.suite.load import SuiteText
from llmbench.suite.suite import Suite

EXACT = ("peak_memory", "launches", "counted_flop", "graph_breaks", "spills")
"""Deterministic metrics that are gated whether the suite's `gate` names them or not, to the last one; the others
(registers, shared memory, recompiles) are means and no costs, and are told where they differ."""


FAILS = 2  # processes of the head in which a case must fail to be broken: one may have been the machine's doing


def paired_limits(suite: Suite) -> Limits:
    """The limits of the suite: those of its `gate`, time and the exact metrics always, unless it leaves them out."""
    found = limits_of(suite)
    return replace(found, shares=_with_exact(found.shares, found.left_out))


def stated_limits(text: SuiteText, device: DeviceSpec) -> Limits:
    """Those of all its cases as its text says them: all that is known where no side tells which cases there are."""
    part, _ = levels(text.spec, device)[-1].owner("gate")
    stated = part.gate.limits
    left_out = tuple(name for name, limit in stated.items() if limit is None)
    named = {name: limit for name, limit in stated.items() if limit is not None}
    return Limits(_with_exact(named, left_out), left_out=left_out)


def _with_exact(shares: Mapping[str, float], left_out: Collection[str]) -> dict[str, float]:
    """Time first, then the exact metrics, then what else has a limit."""
    always = {"time": TAU, **dict.fromkeys(EXACT, 0.0), **shares}
    return {name: limit for name, limit in always.items() if name not in left_out}


def verdict_on(
    case: Case, tier: Tier, losses: Sequence[Loss], decision: Decision | None, blocks: Sequence[PairBlock],
    limits: CaseLimits,
) -> Verdict:  # fmt: skip
    """The verdict on a case: how it fared in the exact tier, then whether it fails in pairs, then metrics with a limit.

    `losses` and `blocks` are those of this case. What fails now and then in a pair decides nothing of other pairs: see
    `_broken` and `_with_losses`.
    """
    facts: dict[str, Scalar] = {"impl": case.impl, "phase": case.phase, **case.told}
    if case.skip is not None:
        return Verdict(case.case_id, case.label, "NO_RESULT", f"skipped: {case.skip}", facts=facts)
    records = {side: tier.records.get((side, case.case_id), []) for side in SIDES}
    base, head = (_seen(records[side], blocks, side) for side in SIDES)
    said = by_status(base, head) if base or head else None
    if said is not None:
        return Verdict(case.case_id, case.label, *said, facts=facts)
    if not tier.is_examined(case):
        reason = f"the budget was spent before it was examined{' twice' if base or head else ''}"
        return Verdict(case.case_id, case.label, "INCONCLUSIVE", reason, facts=facts)
    if (why := _broken(losses, blocks)) is not None:
        return Verdict(case.case_id, case.label, "BROKEN", why, facts=facts)
    findings = list(_exact(case, records, limits))
    outputs = _outputs(case, tier)
    if decision is None and "time" in limits.shares:
        reason = "time was not judged: the gate ended before"
        untimed = Change("time", "s", None, None, 0, 0)
        findings.append(Finding("time", "INCONCLUSIVE", reason, limits.shares["time"], None, untimed))
    if decision is not None:
        time = _with_losses(_time(decision, blocks, losses), losses, blocks)
        why = disturbance(
            base.conditions, head.conditions, slower=time.word == "REGRESSED",
            not_slower=time.word in ("PASS", "IMPROVED"),
        ) if base and head else None  # fmt: skip
        if why is not None:
            time = Finding("time", "ENV_ERROR", f"{why} ({time.word}: {time.reason})", time.limit, None, time.change)
        findings.insert(0, by_limit(time, limits))
    if outputs is not None:
        findings.append(outputs)
    return verdict_of(case.case_id, case.label, findings, facts, limits.not_gated)


def systemic_verdict(found: Systemic) -> Verdict | str:
    """The one verdict on the suite as a whole where its shift reaches the limit, else what to say of it."""
    if not found.found:
        return found.reason
    word: Word = "REGRESSED" if found.slower else "IMPROVED"
    return Verdict(None, "the whole suite (SYSTEMIC)", word, found.reason)


def missing(case: Case, reason: str) -> Verdict:
    """The verdict on a case of the base's suite that the head does not measure."""
    return Verdict(case.case_id, case.label, "MISSING", reason, facts={"impl": case.impl, "phase": case.phase})


def untold_differences(cases: Sequence[Case], tier: Tier, limits: Limits) -> Iterator[str]:
    """What differs between the sides without being gated: other counts, what one side alone has, names of kernels."""
    for case in cases:
        rows = {side: [m for r in tier.records.get((side, case.case_id), []) for m in r.measurements] for side in SIDES}
        own = limits.of(facts_of(case))
        for metric in sorted(DETERMINISTIC - {*own.shares} - {*own.not_gated}):
            a, b = ({m.value for m in rows[side] if m.metric == metric and m.part is None} for side in SIDES)
            if a and b and a != b:
                yield f"{case.label}: {metric} {_values(b)} against {_values(a)}, which the suite's gate does not name"
        for metric in (m for m in EXACT if m not in own.not_gated) if tier.is_ok(case) else ():
            has = [any(m.metric == metric and m.part is None for m in rows[side]) for side in SIDES]
            if has[0] != has[1]:
                yield f"{case.label}: {metric} in {SIDES[has.index(True)]} alone, so it is not compared"
        a_names, b_names = (
            {m.part: m.value for m in rows[side] if m.metric == "launches" and m.part is not None} for side in SIDES
        )
        if a_names and b_names and a_names != b_names and "launches" not in own.not_gated:
            more = [f"{b_names.get(k, 0):g} {k} against {a_names.get(k, 0):g}" for k in sorted({*a_names, *b_names})
                    if a_names.get(k) != b_names.get(k)]  # fmt: skip
            yield f"{case.label}: launches {', '.join(more[:4])}{' and more' if len(more) > 4 else ''}"


def demoted(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """What is not exact after all."""
    counts: dict[str, int] = {}
    for finding in (f for v in verdicts for f in v.findings if f.demoted):
        counts[finding.metric] = counts.get(finding.metric, 0) + 1
    for metric, n in counts.items():
        cases = f"{n} case{'s' if n > 1 else ''}"
        yield f"{metric} differs between processes of one side in {cases}: judged like a time there, not exactly"


def _broken(losses: Sequence[Loss], blocks: Sequence[PairBlock]) -> str | None:
    """Why a case is broken by the head that was right in the exact tier: it failed in two processes or more of the head
    that were timed, and in none of the base. None where it is not."""
    base, head = (_failures(losses, side) for side in SIDES)
    if base or len(head) < FAILS:
        return None
    total = _processes(losses, blocks, "head")
    return f"failed in {len(head)} of {total} processes of the head, in none of the base: {head[0].why}"


def _with_losses(time: Finding, losses: Sequence[Loss], blocks: Sequence[PairBlock]) -> Finding:
    """What is said of the time of a case that failed in some pairs, which the decision is without.

    Where the head failed, only a regression in the other pairs stands: nothing else can be said of code that fails now
    and then. Failures of the base alone are told. What always fails on both sides has no result, as in the exact tier.
    """
    failures = {side: _failures(losses, side) for side in SIDES}
    if not any(failures.values()):
        return time
    told = " and ".join(
        f"failed in {len(own)} of {_processes(losses, blocks, side)} processes of the {side} ({own[0].why})"
        for side, own in failures.items() if own
    )  # fmt: skip
    if time.change.ratio is None and all(len(own) >= FAILS for own in failures.values()):
        return replace(time, word="NO_RESULT", reason=f"{told}: in the baseline too")
    if failures["head"] and time.word != "REGRESSED":
        return replace(time, word="INCONCLUSIVE", reason=f"{told}; in the other pairs {time.word}: {time.reason}")
    return replace(time, reason=f"{time.reason}; {told}: these pairs have no value")


def _failures(losses: Sequence[Loss], side: SideName) -> list[Loss]:
    return [loss for loss in losses if loss.side == side and loss.record is not None]


def _processes(losses: Sequence[Loss], blocks: Sequence[PairBlock], side: SideName) -> int:
    """How many processes of a side had the case in a pair."""
    failed = {loss.record.process for loss in _failures(losses, side) if loss.record is not None}
    return len(failed | {b.process for b in blocks if b.side == side})


def _seen(records: Sequence[Record], blocks: Sequence[PairBlock], side: SideName) -> Seen | None:
    """How a case fared on a side: by its worst process."""
    if not records:
        return None
    worst = min(records, key=lambda record: WORST_FIRST.index(record.status))
    flags = [flag for b in blocks if b.side == side and b.counts for flag in b.flags[b.dropped :]]
    throttled = sum("throttled" in flag for flag in flags) / len(flags) if flags else 0.0
    return Seen(worst.status, worst.why, len(records), Conditions(throttled, 0.0))


def _exact(case: Case, records: Mapping[SideName, Sequence[Record]], limits: CaseLimits) -> Iterator[Finding]:
    """Findings on the deterministic metrics that have a limit."""
    for metric in sorted(DETERMINISTIC & {*limits.shares}):
        rows = [
            [_row(case, r, m) for r in records[side] for m in r.measurements if (m.metric, m.part) == (metric, None)]
            for side in SIDES
        ]
        found = change(metric, *rows)
        if found is not None and found.a is not None and found.b is not None:
            yield by_limit(judge_change(found, limits.shares[metric]), limits)


def _time(decision: Decision, blocks: Sequence[PairBlock], losses: Sequence[Loss]) -> Finding:
    """The finding on time; its values are those of the pairs that decided, so that run / baseline is the ratio."""
    by_pair: dict[tuple[int, int], list[PairBlock]] = {}
    for block in blocks:
        if block.look in decision.questions:
            by_pair.setdefault((block.look, block.pair), []).append(block)
    pairs = [logs_of(own).get(decision.case, {}) for own in by_pair.values()]
    a, b = ([logs[side] for logs in pairs if math.isfinite(ratio_of(logs))] for side in SIDES)
    reason = decision.reason if decision.reason.startswith("time") else f"time {decision.reason}"
    unlike = next((loss.why for loss in losses if loss.record is None), None)
    base_s, head_s = (math.exp(fmean(side)) if side else None for side in (a, b))
    seen = Change(
        "time", METRICS["time"].unit, base_s, head_s, len(a), len(b), decision.ratio, decision.low, decision.high,
        "pairs" if decision.low is not None else "none",
    )  # fmt: skip
    told = f"{reason}; {unlike}" if unlike else reason
    return Finding("time", decision.word, told, decision.limit, decision.detectable, seen)


def _outputs(case: Case, tier: Tier) -> Finding | None:
    """Whether outputs differ by more than rounding, where no oracle says what is right; None where one does."""
    base, head = (tier.ready.get((side, case.case_id), []) for side in SIDES)
    if (
        not base
        or not head
        or any(r.record.check is not None and r.record.check.kind != "none" for r in (*base, *head))
    ):
        return None
    if any(r.checksums != own[0].checksums for own in (base, head) for r in own):
        return None  # random, or added up in another order each time
    for one, other in zip(base[0].checksums, head[0].checksums, strict=False):
        allowed = max(one[2], other[2])
        for a, b in zip(one[:2], other[:2], strict=True):
            if not (abs(a - b) <= allowed or (math.isnan(a) and math.isnan(b))):
                seen = Change("checksum", None, a, b, len(base), len(head), basis="exact")
                more = f"{b:.9g} against {a:.9g}, more than rounding ({allowed:.3g})"
                reason = f"outputs differ: {more}; no oracle says which is right"
                return Finding("checksum", "BROKEN", reason, 0.0, None, seen)
    return None


def _row(case: Case, record: Record, m: Measurement) -> Row:
    """A measurement of the tier as analyses read it."""
    known = METRICS.get(m.metric)
    return Row(
        run_id="", case_id=case.case_id, point_id=case.point_id, suite="", op=case.op, impl=case.impl, phase=case.phase,
        is_baseline=case.is_baseline, cache=case.cache, process=record.process, metric=m.metric, part=m.part,
        status=record.status, why=record.why, value=m.value, low=None, high=None, unit=known.unit if known else None,
        better=known.better if known else None, n=1, samples=None, sample_block=None, sample_flags=None,
        stop_reason=None, timer=None, order=None, grad=record.grad, check_kind=None, config=record.config,
        impl_hash=record.impl_hash, flop=record.flop, bytes=record.bytes, tokens=record.tokens, device="",
        device_name="", params=case.params, axes=case.axes,
    )  # fmt: skip


def _values(values: set[float]) -> str:
    return ", ".join(f"{v:g}" for v in sorted(values))
