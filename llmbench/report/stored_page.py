"""The page of a stored gate: a run against a baseline that was measured before."""

from collections.abc import Iterator

from llmbench.analyze.stored import Outcome
from llmbench.analyze.verdict import Verdict
from llmbench.report import gate_page
from llmbench.report.compare_table import side_text
from llmbench.report.gate_evidence import Effect, GateEvidence
from llmbench.report.verdict_table import limits_text, meaning, sight_text


def render(outcome: Outcome) -> str:
    """The whole document."""
    return gate_page.render(evidence_of(outcome))


def evidence_of(outcome: Outcome) -> GateEvidence:
    """What the page shows of it; a metric without a positive ratio is in the reasons alone."""
    sides = (("run", outcome.head), ("baseline", outcome.base))
    told = [(name, side_text(side)) for name, side in sides if side is not None]
    told += [("limits", limits_text(outcome))]
    told += [("passed", sight_text(outcome.sight))] if outcome.sight else []
    return GateEvidence(
        title=f"Gate: {outcome.head.suite}",
        exit_code=outcome.exit_code,
        meaning=meaning(outcome),
        told=tuple(told),
        warnings=outcome.warnings,
        verdicts=outcome.verdicts,
        effects=tuple(e for metric in outcome.limits for v in outcome.verdicts for e in _effects(v, metric)),
    )


def _effects(verdict: Verdict, metric: str) -> Iterator[Effect]:
    for found in verdict.findings:
        ratio, exact = found.change.ratio, found.change.basis == "exact"
        if found.metric != metric or not ratio:
            continue
        low, high = (ratio, ratio) if exact else (found.change.low, found.change.high)
        yield Effect(metric, verdict.label, found.word, ratio, low, high, 1 + found.limit, verdict.facts)
