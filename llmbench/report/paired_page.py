"""The page of a paired gate: head against base, with every pair in time order and the components of the noise."""

import math
from collections.abc import Iterator

from llmbench.analyze.pair_stats import Components
from llmbench.report import gate_page
from llmbench.report.compare_table import side_text
from llmbench.report.gate_evidence import Bound, Component, GateEvidence, PairSeries, effects_of
from llmbench.report.paired_table import told
from llmbench.report.verdict_table import limits_text, meaning, sight_text
from llmbench.run.paired.quantile import logs_of, ratio_of
from llmbench.run.paired.verdicts import Found
from llmbench.store.pairs import PairBlock

STAGES = ("screen", "confirm")


def render(found: Found) -> str:
    """The whole document."""
    return gate_page.render(evidence_of(found))


def evidence_of(found: Found) -> GateEvidence:
    """What the page shows of it."""
    outcome, judged = found.outcome, found.seen.judged
    sides = [(name, side_text(side)) for name, side in (("head", outcome.head), ("base", outcome.base)) if side]
    limits = [("limits", text)] if (text := limits_text(outcome)) else []
    sight = [("passed", sight_text(outcome.sight))] if outcome.sight else []
    components = judged.components if judged else None
    return GateEvidence(
        title=f"Gate: {outcome.head.suite}",
        exit_code=outcome.exit_code,
        meaning=meaning(outcome),
        told=(*sides, *limits, *sight, *told(found)),
        warnings=outcome.warnings,
        verdicts=outcome.verdicts,
        effects=tuple(effects_of(outcome.verdicts, outcome.gated, _bounds(found))),
        sides=("base", "head"),
        pairs=tuple(_series(found)),
        components=tuple(_components(components)) if components else (),
    )


def _bounds(found: Found) -> dict[str, Bound]:
    """Case -> its upper limit, and its limit or the rule's margin where that is more: nothing smaller is tested."""
    judged = found.seen.judged
    margin = judged.evidence.rule.margin if judged else 0.0
    return {case: Bound(d.upper, 1 + max(d.limit, margin)) for case, d in found.seen.decisions.items()}


def _series(found: Found) -> Iterator[PairSeries]:
    """The pairs of each case, those that gave no value as None."""
    by_case: dict[str, dict[tuple[int, int], list[PairBlock]]] = {}
    for block in found.seen.blocks:
        by_case.setdefault(block.case_id, {}).setdefault((block.look, block.pair), []).append(block)
    begin = min((t for b in found.seen.blocks for t in b.t_ns[:1]), default=0)
    for verdict in found.outcome.verdicts:
        pairs = by_case.get(verdict.case_id or "", {})
        if not pairs:
            continue
        logs = [ratio_of(logs_of(blocks).get(verdict.case_id or "")) for blocks in pairs.values()]
        yield PairSeries(
            verdict.label,
            verdict.word,
            at_s=tuple((min(b.t_ns[0] for b in blocks if b.t_ns) - begin) / 1e9 for blocks in pairs.values()),
            ratios=tuple(math.exp(d) if math.isfinite(d) else None for d in logs),
            stages=tuple(STAGES[look != 1] for look, _ in pairs),
            facts=verdict.facts,
        )


def _components(found: Components) -> Iterator[Component]:
    """Those of one pair: what is shared by its cases, and what is a case's own."""
    yield Component(
        "shared", found.shared, found.shared_low, found.shared_high,
        "what all cases of a pair have in common although the sides took turns; 95 % CI",
    )  # fmt: skip
    yield Component(
        "own", found.own, found.own_tenth, found.own_ninetieth,
        "what a process of a case draws for itself: the median case; from the tenth to the ninetieth of a hundred",
    )  # fmt: skip
