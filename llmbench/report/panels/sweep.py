"""Lines over an axis: sweeps of any metric with their intervals, and speed-ups against the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, Trace
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.facet import facets_of
from llmbench.report.panels.gaps import BREAKS, Gaps, place, stretches
from llmbench.report.panels.grid import Cell, grid_of
from llmbench.report.panels.label import facts_text, joined, plain
from llmbench.report.panels.listing import listing
from llmbench.report.panels.quantity import Quantity, intervals_text, quantity
from llmbench.report.panels.split import Series, few, rest_names, series_of, style_text, thinned, trace
from llmbench.report.panels.why import anchor_of, empty, missing_text, why_none
from llmbench.report.scale import scaled

BASELINE = "baseline"
COARSE = ("run", "phase")  # what the symbols of scattered points tell apart; the hover boxes tell the rest


def sweep(spec: PanelSpec, data: PageData) -> Drawn:
    """y over x, a line for each colour and whatever else tells points apart; markers alone where x is a metric."""
    return _curves(spec, data, spec.y or "time", bars=False)


def speedup(spec: PanelSpec, data: PageData) -> Drawn:
    """The speed-up against the baseline over x, the baseline as a line at 1."""
    return _curves(spec, data, "speedup", bars=True)


def log_of(spec: PanelSpec, axis: str) -> bool | None:
    """Whether the dashboard wants that axis logarithmic; None where it leaves it open."""
    return None if spec.log is None else axis in spec.log


def default_x(spec: PanelSpec, data: PageData, points: Sequence[Point]) -> str:
    """The axis that the dashboard names, else the sizes, else the first fact that varies."""
    named = spec.x or data.size_axis
    return named or next(iter(rest_names(points, ["impl", "run"], data.varying)), "impl")


def _curves(spec: PanelSpec, data: PageData, y_name: str, *, bars: bool) -> Drawn:
    color = spec.color or "impl"
    points = data.chosen(spec.where, (spec.x, spec.y, color, spec.facet, spec.row))
    x_name = default_x(spec, data, points)
    x, y = quantity(x_name, points, log=log_of(spec, "x")), quantity(y_name, points, log=log_of(spec, "y"))
    y = replace(y, span=None) if spec.diagonal else y  # what is possible has its place too
    title = f"{y.words[:1].upper()}{y.words[1:]} by {x.words}"
    placed = [p for p in points if x.has(p) and y.has(p)]
    if not placed:
        no_x = x.kind == "metric" and not any(map(x.has, points))
        lacking = x_name if no_x and (y.kind != "metric" or any(map(y.has, points))) else y_name
        return empty(spec, title, why_none(lacking, points, data))
    rest = rest_names(placed, [x_name, y_name, color, spec.facet, spec.row], data.varying)
    styled = rest if x.kind != "metric" else [n for n in rest if n in COARSE]
    facets = facets_of(spec, placed, color=color if color != x_name else None, rest=styled)
    rest, styled = facets.left(rest), facets.left(styled)
    kept, thin_note = thinned([p for p in placed if not (bars and p.line.is_baseline)] or placed)
    kept_series, few_note = few(series_of(kept, color=color, rest=styled))
    grid = grid_of(placed, facet=facets.facet, row=facets.row)
    banded = not bars and spec.band != "none"
    gaps = Gaps(points, x, y, (color, *styled, facets.facet, facets.row))
    traces: list[Trace] = []
    for cell in grid.cells:
        if bars:
            traces += _baselines(cell, x)
        if spec.diagonal:
            traces += _diagonal(cell, x, y)
        traces += _references(cell, x, y, spec.reference)
        members = {id(p) for p in cell.points}
        for s in kept_series:
            here = replace(s, points=[p for p in s.points if id(p) in members])
            if here.points:
                here = replace(here, points=here.points if _scattered(x) else gaps.between(here.points))
                traces += _series(here, cell, x, y, told=[n for n in rest if n not in styled], band=banded, bars=bars)
    table = listing(placed, [facets.row, facets.facet, color, *rest, x_name], [x, y])
    notes = [
        intervals_text(y, kept) if bars or spec.band != "none" else "",
        y.span.cut(y.bounds(p) for p in kept) if y.span else "",
        facets.note, style_text(kept_series, "symbol" if _scattered(x) else "dash"),
        missing_text(points, placed), BREAKS if any(None in t.data["y"] for t in traces) else "",
        thin_note, few_note, grid.note, table.note,
    ]  # fmt: skip
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or title, joined(notes), None, legend_once(traces),
        {**grid.layout(x.axis(), y.axis()), "hovermode": "closest"}, grid.height_px, table.columns, table.rows,
    )  # fmt: skip


def _scattered(x: Quantity) -> bool:
    return x.kind != "number"


def _series(
    s: Series, cell: Cell, x: Quantity, y: Quantity, *, told: Sequence[str], band: bool, bars: bool
) -> list[Trace]:
    """The line of a series, over its band, or with bars where that had no width; only hover boxes tell of `told`."""
    points = s.points if x.kind == "metric" else sorted(s.points, key=lambda p: place(x, p))
    shared: dict[str, Any] = {"type": "scatter", "name": plain(s.color), "legendgroup": s.color[:200], **cell.refs}
    line = {
        **shared,
        "mode": "markers" if _scattered(x) else "lines+markers",
        "x": [x.at(p) for p in points],
        "y": [y.at(p) for p in points],
        "line": s.dash,
        "marker": {**s.symbol, "size": 6},
        "hovertext": [hover_text(p, told, x, y) for p in points],
        "hovertemplate": f"{s.head}<br>%{{hovertext}}<extra></extra>",
    }
    bounds = [y.bounds(p) for p in points]
    parts = [part for part in stretches(points, y) if len({x.at(p) for p in part if y.bounds(p)}) > 1]
    wide = {id(p) for part in parts for p in part} if band and not _scattered(x) else set()
    narrow = [id(p) not in wide for p in points]  # an area between fewer than two places has no width
    if bars or (band and any(b and own for b, own in zip(bounds, narrow, strict=True))):
        line |= error_bars(points, y, own=narrow)
    area = [_band(parts, s.color, shared, x, y)] if wide else []
    return [*area, trace(line, points, s.color)]


def _band(parts: Sequence[Sequence[Point]], color: str, shared: dict[str, Any], x: Quantity, y: Quantity) -> Trace:
    """The intervals as areas under the parts of a line: there along the lower bounds and back along the upper ones."""
    around: list[tuple[Point, float | str | None, float | None]] = []
    for part in parts:
        known = [(p, b) for p in part if (b := y.bounds(p)) is not None]
        around += [(part[0], None, None)] if around else []
        around += [(p, x.at(p), low) for p, (low, _) in known]
        around += [(p, x.at(p), high) for p, (_, high) in reversed(known)]
    area = {
        **shared,
        "mode": "lines", "fill": "toself", "line": {"width": 0}, "hoverinfo": "skip",
        "x": [at for _, at, _ in around], "y": [value for _, _, value in around],
        "showlegend": False, "meta": {"role": "band"},
    }  # fmt: skip
    return trace(area, [p for p, _, _ in around], color)


def error_bars(points: Sequence[Point], y: Quantity, own: Sequence[bool] | None = None) -> dict[str, Any]:
    """The intervals of the points as bars, of those that are their `own`; nothing where no point has one."""
    bounds = [y.bounds(p) if own is None or own[i] else None for i, p in enumerate(points)]
    if not any(bounds):
        return {}
    at = [y.estimate(p) for p in points]
    above = [
        y.shown(e.high - e.value) if b and e and e.high is not None else 0 for b, e in zip(bounds, at, strict=True)
    ]
    below = [y.shown(e.value - e.low) if b and e and e.low is not None else 0 for b, e in zip(bounds, at, strict=True)]
    return {
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": below,
            "thickness": 1.5,
            "width": 3,
        }
    }


def _baselines(cell: Cell, x: Quantity) -> list[Trace]:
    """A line at 1 from the first to the last baseline of the subplot; a dash at 1 where they are at one place."""
    bases = [p for p in cell.points if p.line.is_baseline]
    if not bases:
        return []
    places = sorted({place(x, p): x.at(p) for p in bases}.items())
    ends = [places[0][1], places[-1][1]] if len(places) > 1 else [places[0][1]]
    name = plain(bases[0].line.impl) if len({p.line.impl for p in bases}) == 1 else BASELINE
    line = {"mode": "lines", "line": {"dash": "dot"}}
    mark = {"mode": "markers", "marker": {"symbol": "line-ew-open", "size": 40, "line": {"width": 2}}}
    data = {
        "type": "scatter", "name": f"{name} (baseline)", "legendgroup": BASELINE, **cell.refs,
        "x": ends, "y": [1] * len(ends), **(line if len(ends) > 1 else mark),
        "hovertemplate": f"baseline {name}<extra></extra>", "meta": {"role": "baseline"},
    }  # fmt: skip
    facts = trace(data, bases, None).facts
    return [Trace(data, bases[0].line.impl, {k: v for k, v in facts.items() if k != "impl"})]


def _diagonal(cell: Cell, x: Quantity, y: Quantity) -> list[Trace]:
    """A line where y equals x, over the x of the subplot; nothing where x is no number."""
    places = sorted({at for p in cell.points if isinstance(at := x.at(p), int | float)})
    if not places:
        return []
    ends = [places[0], places[-1]] if len(places) > 1 else [places[0] / 1.1, places[0] * 1.1]
    name = f"{plain(y.words)} = {plain(x.words)}"
    data = {
        "type": "scatter", "name": name, "legendgroup": name, **cell.refs, "x": ends, "y": ends, "mode": "lines",
        "line": {"dash": "dot"}, "hovertemplate": f"{name}<extra></extra>", "meta": {"role": "baseline"},
    }  # fmt: skip
    return [Trace(data, None, {})]


def _references(cell: Cell, x: Quantity, y: Quantity, known: Mapping[str, float]) -> list[Trace]:
    """A line along x at each value that is known from elsewhere."""
    places = sorted({place(x, p): x.at(p) for p in cell.points}.items())
    ends = [at for _, at in (places[0], places[-1])] if len(places) > 1 else [at for _, at in places]
    line = {"mode": "lines", "line": {"dash": "dot"}}
    mark = {"mode": "markers", "marker": {"symbol": "line-ew-open", "size": 40, "line": {"width": 2}}}
    return [
        Trace({
            "type": "scatter", "name": plain(name), "legendgroup": f"reference {name}"[:200], **cell.refs,
            "x": ends, "y": [y.shown(value)] * len(ends), **(line if len(ends) > 1 else mark),
            "hovertemplate": f"{plain(name)} {scaled(value, y.scale)}<extra></extra>", "meta": {"role": "baseline"},
        }, None, {})
        for name, value in known.items()
        if ends and (value > 0 or not y.log)
    ]  # fmt: skip


def hover_text(point: Point, names: Sequence[str], x: Quantity, y: Quantity) -> str:
    """The lines of a hover box: facts of these names, both values, and what weakens them."""
    facts = facts_text({n: point.facts[n] for n in names if n in point.facts})
    return "<br>".join(filter(None, [facts, x.hover(point), y.hover(point), *_notes(point)]))


def _notes(point: Point) -> list[str]:
    notes = [f"{point.line.n} samples"] if point.line.n else []
    notes += [f"{point.line.processes} processes"] if point.line.processes > 1 else []
    return [", ".join([*notes, *(f.name.replace("_", " ") for f in point.line.flags)])]


def legend_once(traces: Sequence[Trace]) -> tuple[Trace, ...]:
    """One entry a group in the legend, its first line."""
    seen: set[str] = set()
    found = []
    for t in traces:
        group = str(t.data.get("legendgroup", ""))
        shown = t.data.get("showlegend", True) and group not in seen
        seen |= {group} if shown else set()
        found.append(replace(t, data={**t.data, "showlegend": bool(shown)}))
    return tuple(found)
