"""The page of a stored gate: a run against a baseline that was measured before."""

from llmbench.analyze.stored import Outcome
from llmbench.report import gate_page
from llmbench.report.compare_table import side_text
from llmbench.report.gate_evidence import GateEvidence, effects_of
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
        effects=tuple(effects_of(outcome.verdicts, outcome.gated)),
    )
