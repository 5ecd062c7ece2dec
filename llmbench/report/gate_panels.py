"""The panels of a gate's page: reasons, forest plots with limits, pairs in time order, components of the noise."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log
from statistics import median, stdev
from typing import Any

from llmbench.analyze.verdict import WORST_FIRST, Word
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.gate_evidence import Component, Effect, GateEvidence, PairSeries
from llmbench.report.log_axis import decades, log_ticks, ratio_span
from llmbench.report.panels.label import joined, plain
from llmbench.report.scale import MISSING
from llmbench.report.verdict_cells import HEADINGS, cells_of
from llmbench.report.whiskers import MOST, ROW_PX, Whisker, height_px, layout_of, span_of, trace_of

COLOURS: Mapping[Word, str] = {
    "ENV_ERROR": "@bad", "BROKEN": "@bad", "REGRESSED": "@bad", "MISSING": "@bad", "INCONCLUSIVE": "@warn",
    "IMPROVED": "@good", "FIXED": "@good", "NEW": "@muted", "NO_RESULT": "@muted", "PASS": "@muted",
}  # fmt: skip
ELSEWHERE = "--json has all"
MOST_LINES = 8  # cases with a line of their own among the pairs: as many as have a colour that is told apart
MOST_DOTS = 4000  # of the pairs of all others
SCREEN = "screen"
BAR_PX, BARS_FRAME_PX = 34, 80


def panels_of(evidence: GateEvidence) -> list[Drawn]:
    """Reasons, a forest plot a metric, then pairs and components where the gate has them."""
    metrics = list(dict.fromkeys(e.metric for e in evidence.effects))
    found = [_reasons(evidence), *(_forest(evidence, metric) for metric in metrics)]
    found += [_pairs(evidence)] if evidence.pairs else []
    return [*found, *([_components(evidence.components)] if evidence.components else [])]


def _reasons(evidence: GateEvidence) -> Drawn:
    passed = sum(v.word == "PASS" for v in evidence.verdicts)
    every = passed == len(evidence.verdicts) > 0
    all_passed = f"All {passed:,} cases passed." if passed > 1 else "The one case passed."
    return Drawn(
        anchor="verdicts",
        kind="verdicts",
        title="Verdicts",
        caption=all_passed if every else f"Worst first; {passed:,} passed." if passed else "",
        why_empty=None if evidence.verdicts else "There is no case.",
        columns=(*HEADINGS, "reason"),
        rows=tuple(TableRow((*cells_of(v), v.reason), v.facts) for v in evidence.verdicts),
        elsewhere=ELSEWHERE,
    )


def _forest(evidence: GateEvidence, metric: str) -> Drawn:
    found = sorted((e for e in evidence.effects if e.metric == metric), key=_pressing)
    base, head = evidence.sides
    moved = [e for e in found if not e.ratio == e.low == e.high == 1]
    shown = [(e, _whisker(e)) for e in moved[:MOST]]
    whiskers = [whisker for _, whisker in shown]
    kinds = {word: [(i, w) for i, (e, w) in enumerate(shown) if e.word == word] for word in WORST_FIRST}
    limits = _limits([e for e, _ in shown])
    uppers = _uppers([e for e, _ in shown])
    corrected, bounded = any(e.correction for e in found), any(e.upper is not None for e in found)
    still = len(found) - len(moved)
    cases = f"{'all ' if still > 1 else ''}{still:,} case{'s' if still > 1 else ''}"
    said = [
        f"{_counted(e.word for e in found)}. Above 1, the {head} needs more.",
        "Bars: 95 % CI." if any(low < high for low, high in (w.ends for w in whiskers)) else "",
        "Thin ends with a mark: the one-sided upper limit, which a PASS has below its limit." if uppers else "",
        "Upright strokes: the limits." if limits else "",
        "What a slower or faster machine did is taken out where the table says so." if corrected else "",
        f"The {MOST} worst of {len(moved):,} cases are drawn, the table has more." if len(moved) > MOST else "",
        f"In {still:,} more it is the same on both sides." if still else "",
        span_of(whiskers).cut(_reach(e, whisker) for e, whisker in shown),
    ]
    return Drawn(
        anchor=f"forest-{metric}",
        kind="forest",
        title=f"{metric}: {head} over {base}",
        caption=joined(said) if moved else "",
        why_empty=None if moved else f"{metric} is the same on both sides in {cases}.",
        traces=(
            *(trace_of(word, COLOURS[word], own) for word, own in kinds.items() if own),
            *([uppers] if uppers else []),
            *([limits] if limits else []),
        ),
        layout=layout_of(whiskers, title=f"{head} / {base}"),
        height_px=height_px(whiskers),
        columns=(
            "verdict", "case", f"{head}/{base}", "95 % CI", *(("upper limit",) if bounded else ()), "limit",
            *(("taken out",) if corrected else ()),
        ),
        rows=tuple(_row(e, bounded=bounded, corrected=corrected) for e in found) if moved else (),
        elsewhere=ELSEWHERE,
    )  # fmt: skip


def _uppers(effects: Sequence[Effect]) -> Trace | None:
    """From the end of each interval on to the upper limit by which the case is judged, where there is one."""
    own = [(i, e, e.upper) for i, e in enumerate(effects) if e.upper is not None]
    if not own:
        return None
    data = {
        "type": "scatter", "mode": "markers", "name": "upper limit", "showlegend": True,
        "x": [upper for _, _, upper in own], "y": [i for i, _, _ in own],
        "marker": {"symbol": "triangle-left", "size": 7, "color": "@ink/0.75"},
        "error_x": {
            "type": "data", "symmetric": False, "color": "@ink/0.75", "thickness": 1, "width": 0,
            "array": [0.0 for _ in own], "arrayminus": [max(0.0, upper - (e.high or e.ratio)) for _, e, upper in own],
        },
        "text": [f"{plain(e.label)}<br>{_upper(e)}" for _, e, _ in own],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    return Trace(data, None, {}, [e.facts for _, e, _ in own])


def _reach(effect: Effect, whisker: Whisker) -> tuple[float, float]:
    """The ends of what is drawn of a case."""
    low, high = whisker.ends
    return low, max(high, effect.upper or high)


def _limits(effects: Sequence[Effect]) -> Trace | None:
    """A stroke in each row where a limit lies; None where all are exact: that is the line at 1."""
    own = [(i, e) for i, e in enumerate(effects) if e.limit > 1]
    if not own:
        return None
    data = {
        "type": "scatter", "mode": "markers", "name": "limit", "showlegend": True,
        "x": [e.limit for _, e in own], "y": [i for i, _ in own],
        "marker": {"symbol": "line-ns", "size": ROW_PX - 4, "line": {"width": 1.5, "color": "@ink/0.75"}},
        "text": [f"{plain(e.label)}<br>limit {plain(_limit(e))}" for _, e in own],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    return Trace(data, None, {}, [e.facts for _, e in own])


def _whisker(effect: Effect) -> Whisker:
    text = f"{effect.word}<br>{effect.ratio:.4f} {_interval(effect)}<br>limit {plain(_limit(effect))}"
    text += f"<br>{_upper(effect)}" if effect.upper is not None else ""
    text += f"<br>taken out: {plain(effect.correction)}" if effect.correction else ""
    return Whisker(effect.label, effect.ratio, effect.low, effect.high, text, effect.facts)


def _row(effect: Effect, *, bounded: bool, corrected: bool) -> TableRow:
    cells = [effect.word, effect.label, f"{effect.ratio:.4f}", _interval(effect) or MISSING]
    cells += [MISSING if effect.upper is None else f"{effect.upper:.4f}"] if bounded else []
    cells += [_limit(effect), *([effect.correction or MISSING] if corrected else [])]
    return TableRow(tuple(cells), effect.facts)


def _upper(effect: Effect) -> str:
    """`upper limit 1.0337, not below the limit 1.03`, on which PASS and INCONCLUSIVE depend."""
    assert effect.upper is not None
    return f"upper limit {effect.upper:.4f}, {'' if effect.upper < effect.limit else 'not '}below the limit"


def _limit(effect: Effect) -> str:
    """`1.1 (below 50 us, where launches decide)`."""
    return f"{effect.limit:.4g}" + (f" ({effect.limit_of})" if effect.limit_of else "")


def _interval(effect: Effect) -> str:
    if effect.low is None or effect.high is None:
        return ""
    return f"[{effect.low:.4f}, {effect.high:.4f}]"


def _pressing(effect: Effect) -> tuple[int, float]:
    """Worst first, then the furthest beyond its limit; of what is better, the best."""
    beyond = effect.ratio / effect.limit
    return WORST_FIRST.index(effect.word), beyond if effect.word == "IMPROVED" else -beyond


def _pairs(evidence: GateEvidence) -> Drawn:
    base, head = evidence.sides
    found = sorted(evidence.pairs, key=lambda s: WORST_FIRST.index(s.word))
    lined = [s for s in found if s.word != "PASS"][:MOST_LINES] or found[:1]
    others = [s for s in found if s not in lined]
    dots = _dots(others)
    known = [r for s in found for r in s.ratios if r is not None]
    span, failed = ratio_span(known), sum(r is None for s in found for r in s.ratios)
    stages = {stage for s in found for stage in s.stages}
    drawn = len(dots.data["x"]) if dots else 0
    left = sum(len(s.ratios) for s in others) - drawn
    said = [
        "Each pair of processes, in the order in which they were measured.",
        f"Hollow: {SCREEN}; filled: what came after it, on fresh processes." if len(stages) > 1 else "",
        f"{failed:,} pair{'s' if failed > 1 else ''} failed." if failed else "",
        f"{left:,} pairs of other cases are not drawn." if left else "",
    ]
    one = {"type": "line", "y0": 1, "y1": 1, "x0": 0, "x1": 1, "xref": "paper"}
    return Drawn(
        anchor="pairs",
        kind="pairs",
        title="Pairs in time order",
        caption=joined(said),
        traces=(*([dots] if dots else []), *(_line(s) for s in lined)),
        layout={
            "xaxis": {"title": {"text": "time since the gate began (s)"}},
            "yaxis": {
                "type": "log", "title": {"text": f"{head} / {base}"}, **log_ticks(decades([1, *known])), **span.clip,
            },
            "shapes": [one],
            "showlegend": True,
        },
        columns=("verdict", "case", "pairs", f"median {head}/{base}", "sigma of a pair"),
        rows=tuple(TableRow((s.word, s.label, *_spread(s)), s.facts) for s in found),
        elsewhere=ELSEWHERE,
    )  # fmt: skip


def _line(series: PairSeries) -> Trace:
    """A case of its own; the text of a point says which pair it is."""
    hollow = [stage == SCREEN for stage in series.stages]
    data: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers", "name": plain(f"{series.word} {series.label}"), "showlegend": True,
        "x": list(series.at_s), "y": list(series.ratios), "line": {"width": 1},
        "marker": {"symbol": ["circle-open" if h else "circle" for h in hollow], "size": 6},
        "text": [f"{plain(series.label)}<br>pair {i + 1}, {plain(s)}" for i, s in enumerate(series.stages)],
        "hovertemplate": "%{text}<br>%{y:.4f}<extra></extra>",
    }  # fmt: skip
    return Trace(data, series.label, series.facts)


def _dots(others: Sequence[PairSeries]) -> Trace | None:
    """The pairs of all other cases as small dots, as many as a browser draws without a pause."""
    own = [(s, t, r, i) for s in others for i, (t, r) in enumerate(zip(s.at_s, s.ratios, strict=True))][:MOST_DOTS]
    if not own:
        return None
    data = {
        "type": "scatter", "mode": "markers", "showlegend": True,
        "name": f"{len(others):,} other case{'s' if len(others) > 1 else ''}",
        "x": [t for _, t, _, _ in own], "y": [r for _, _, r, _ in own],
        "marker": {"color": "@muted/0.45", "size": 4},
        "text": [f"{plain(s.label)}<br>pair {i + 1}" for s, _, _, i in own],
        "hovertemplate": "%{text}<br>%{y:.4f}<extra></extra>",
    }  # fmt: skip
    return Trace(data, None, {}, [s.facts for s, _, _, _ in own])


def _spread(series: PairSeries) -> tuple[str, str, str]:
    known = [r for r in series.ratios if r is not None]
    sigma = f"{stdev(map(log, known)) * 100:.3g} %" if len(known) > 1 else MISSING
    return f"{len(known)}", f"{median(known):.4f}" if known else MISSING, sigma


def _components(components: Sequence[Component]) -> Drawn:
    shown = list(components)
    data = {
        "type": "bar", "orientation": "h", "name": "sigma", "showlegend": False,
        "x": [100 * c.sigma for c in shown], "y": [plain(c.name) for c in shown],
        "marker": {"color": "@0"}, "width": 0.5,
        "error_x": {
            "type": "data", "symmetric": False, "color": "@ink/0.7",
            "array": [100 * ((c.high if c.high is not None else c.sigma) - c.sigma) for c in shown],
            "arrayminus": [100 * (c.sigma - (c.low if c.low is not None else c.sigma)) for c in shown],
        },
        "text": [plain(c.meaning, 200) for c in shown],
        "textposition": "none", "hovertemplate": "%{y}: %{x:.3g} %<br>%{text}<extra></extra>",
    }  # fmt: skip
    return Drawn(
        anchor="noise",
        kind="components",
        title="Where the noise comes from",
        caption="Standard deviations over the suite, as shares of a time, with their 95 % CI.",
        traces=(Trace(data),),
        layout={
            "xaxis": {"title": {"text": "sigma (%)"}, "rangemode": "tozero"},
            "yaxis": {"type": "category", "autorange": "reversed"},
        },
        height_px=BARS_FRAME_PX + BAR_PX * len(shown),
        columns=("component", "sigma", "95 % CI", "what it is"),
        rows=tuple(TableRow((c.name, f"{100 * c.sigma:.3g} %", _share_interval(c), c.meaning)) for c in shown),
    )


def _share_interval(component: Component) -> str:
    if component.low is None or component.high is None:
        return MISSING
    return f"[{100 * component.low:.3g}, {100 * component.high:.3g}] %"


def _counted(words: Iterable[Word]) -> str:
    counts = Counter(words)
    return ", ".join(f"{counts[word]:,} {word}" for word in WORST_FIRST if counts[word])
