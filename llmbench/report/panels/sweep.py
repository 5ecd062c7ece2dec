"""Lines over an axis: sweeps of any metric with their intervals, and speed-ups against the baseline."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, Trace
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.facet import facets_of
from llmbench.report.panels.grid import Cell, grid_of
from llmbench.report.panels.label import bases_text, facts_text, joined, plain
from llmbench.report.panels.listing import listing
from llmbench.report.panels.quantity import Quantity, quantity
from llmbench.report.panels.split import Series, few, rest_names, series_of, style_text, thinned, trace
from llmbench.report.panels.why import anchor_of, empty, missing_text, why_none

BASELINE = "baseline"
COARSE = ("run", "phase")  # what the symbols of scattered points tell apart; the hover boxes tell the rest
PAIRED = "Speed-up: time of the baseline over that of the case, bars its 95 % CI over pairs of blocks."


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
    rest = rest_names(points, ["impl", "run"], data.varying)
    return spec.x or data.size_axis or (rest[0] if rest else "impl")


def _curves(spec: PanelSpec, data: PageData, y_name: str, *, bars: bool) -> Drawn:
    color = spec.color or "impl"
    points = data.chosen(spec.where, (spec.x, spec.y, color, spec.facet, spec.row))
    x_name = default_x(spec, data, points)
    x, y = quantity(x_name, points, log=log_of(spec, "x")), quantity(y_name, points, log=log_of(spec, "y"))
    title = f"{y.words[:1].upper()}{y.words[1:]} by {x.words}"
    placed = [p for p in points if x.has(p) and y.has(p)]
    if not placed:
        lacking = x_name if y.kind != "metric" and x.kind == "metric" else y_name
        return empty(spec, title, why_none(lacking, points, data))
    rest = rest_names(placed, [x_name, y_name, color, spec.facet, spec.row], data.varying)
    styled = rest if x.kind != "metric" else [n for n in rest if n in COARSE]
    facets = facets_of(spec, placed, color=color if color != x_name else None, rest=styled)
    rest, styled = facets.left(rest), facets.left(styled)
    kept, thin_note = thinned([p for p in placed if not (bars and p.line.is_baseline)] or placed)
    kept_series, few_note = few(series_of(kept, color=color, rest=styled))
    grid = grid_of(placed, facet=facets.facet, row=facets.row)
    banded = not bars and spec.band != "none"
    traces: list[Trace] = []
    for cell in grid.cells:
        if bars:
            traces += _baselines(cell, x)
        members = {id(p) for p in cell.points}
        for s in kept_series:
            here = replace(s, points=[p for p in s.points if id(p) in members])
            if here.points:
                traces += _series(here, cell, x, y, told=[n for n in rest if n not in styled], band=banded, bars=bars)
    table = listing(placed, [facets.row, facets.facet, color, *rest, x_name], [x, y])
    estimates = [e for p in kept if (e := y.estimate(p)) is not None]
    notes = [
        PAIRED if bars else bases_text(estimates) if spec.band != "none" else "",
        y.span.cut(y.bounds(p) for p in kept) if y.span else "",
        facets.note, style_text(kept_series, "symbol" if _scattered(x) else "dash"),
        missing_text(points, [x, y]), thin_note, few_note, grid.note, table.note,
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
    points = s.points if x.kind == "metric" else sorted(s.points, key=lambda p: _place(x, p))
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
    places = {x.at(p) for p, b in zip(points, bounds, strict=True) if b}
    wide = band and len(places) > 1 and not _scattered(x)  # an area between fewer places has no width
    if (bars or band) and not wide:
        line |= error_bars(points, y)
    area = [_band(points, s.color, shared, x, bounds)] if wide else []
    return [*area, trace(line, points, s.color)]


def _band(
    points: Sequence[Point],
    color: str,
    shared: dict[str, Any],
    x: Quantity,
    bounds: Sequence[tuple[float, float] | None],
) -> Trace:
    """The intervals as an area under the line: there along the lower bounds and back along the upper ones."""
    known = [(p, b) for p, b in zip(points, bounds, strict=True) if b is not None]
    there = [(p, low) for p, (low, _) in known]
    back = [(p, high) for p, (_, high) in reversed(known)]
    area = {
        **shared,
        "mode": "lines", "fill": "toself", "line": {"width": 0}, "hoverinfo": "skip",
        "x": [x.at(p) for p, _ in (*there, *back)], "y": [value for _, value in (*there, *back)],
        "showlegend": False, "meta": {"role": "band"},
    }  # fmt: skip
    return trace(area, [p for p, _ in (*there, *back)], color)


def error_bars(points: Sequence[Point], y: Quantity, axis: str = "error_y") -> dict[str, Any]:
    """The intervals of the points as bars; nothing where no point has one."""
    bounds = [y.bounds(p) for p in points]
    if not any(bounds):
        return {}
    at = [y.estimate(p) for p in points]
    above = [
        y.shown(e.high - e.value) if b and e and e.high is not None else 0 for b, e in zip(bounds, at, strict=True)
    ]
    below = [y.shown(e.value - e.low) if b and e and e.low is not None else 0 for b, e in zip(bounds, at, strict=True)]
    return {
        axis: {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.5, "width": 3}
    }


def _baselines(cell: Cell, x: Quantity) -> list[Trace]:
    """A line at 1 from the first to the last baseline of the subplot; a dash at 1 where they are at one place."""
    bases = [p for p in cell.points if p.line.is_baseline]
    if not bases:
        return []
    places = sorted({_place(x, p): x.at(p) for p in bases}.items())
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


def _place(x: Quantity, point: Point) -> float:
    """Where the point stands along the axis, for sorting."""
    if x.kind == "category":
        return float(x.order.index(point.facts[x.name]))
    value = x.at(point)
    return float(value) if isinstance(value, int | float) else 0.0


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
