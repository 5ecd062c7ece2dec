"""Bars: a metric with its intervals, and the parts of a metric stacked."""

from collections.abc import Sequence
from dataclasses import replace

from llmbench.analyze.stats import Estimate
from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.panels.data import PageData, Point, parts_of
from llmbench.report.panels.facet import facets_of
from llmbench.report.panels.grid import Cell, grid_of
from llmbench.report.panels.label import estimate_text, joined, plain, value_text
from llmbench.report.panels.listing import MAX_ROWS, listing, rest_text
from llmbench.report.panels.quantity import Quantity, as_category, intervals_text, quantity
from llmbench.report.panels.split import Series, few, rest_names, series_of, style_text, thinned, trace
from llmbench.report.panels.sweep import default_x, error_bars, legend_once, log_of
from llmbench.report.panels.why import anchor_of, empty, missing_text, why_none


def bars(spec: PanelSpec, data: PageData) -> Drawn:
    """A bar a case, side by side by colour; whatever else tells cases apart as a pattern."""
    name, color = spec.y or "time", spec.color or "impl"
    points = data.chosen(spec.where, (spec.x, color, spec.facet, spec.row))
    x_name = default_x(spec, data, points)
    x, y = as_category(quantity(x_name, points)), quantity(name, points, log=log_of(spec, "y") or False)
    title = f"{y.words[:1].upper()}{y.words[1:]} by {x.words}"
    placed = [p for p in points if x.has(p) and y.has(p)]
    if not placed:
        return empty(spec, title, why_none(name, points, data))
    rest = rest_names(placed, [x_name, color, spec.facet, spec.row], data.varying)
    facets = facets_of(spec, placed, color=color if color != x_name else None, rest=rest)
    rest = facets.left(rest)
    kept, thin_note = thinned(placed)
    series, few_note = few(series_of(kept, color=color, rest=rest))
    grid = grid_of(placed, facet=facets.facet, row=facets.row)
    traces = []
    for cell in grid.cells:
        members = {id(p) for p in cell.points}
        here = [replace(s, points=[p for p in s.points if id(p) in members]) for s in series]
        traces += [_bar(s, cell, x, y, alone=x_name == color) for s in here if s.points]
    table = listing(placed, [facets.row, facets.facet, color, *rest, x_name], [y])
    notes = [
        intervals_text(y, kept),
        y.span.cut(y.bounds(p) for p in kept) if y.span else "", facets.note,
        style_text(series, "pattern"), missing_text(points, placed), thin_note, few_note, grid.note, table.note,
    ]  # fmt: skip
    layout = {**grid.layout(x.axis(), y.axis()), "barmode": "group"}
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or title, joined(notes), None, legend_once(traces), layout,
        grid.height_px, table.columns, table.rows,
    )  # fmt: skip


def _bar(s: Series, cell: Cell, x: Quantity, y: Quantity, *, alone: bool) -> Trace:
    """`alone`: the colour is the axis, so a bar needs no place beside those of other colours."""
    data = {
        "type": "bar", "name": plain(s.color), "legendgroup": s.color[:200], **cell.refs,
        "offsetgroup": str(s.style) if alone else f"{plain(s.color)}-{s.style}",
        "x": [x.at(p) for p in s.points], "y": [y.at(p) for p in s.points],
        "marker": {"pattern": {"shape": s.pattern}}, **error_bars(s.points, y),
        "hovertext": [f"{x.hover(p)}<br>{y.hover(p)}" for p in s.points],
        "hovertemplate": f"{s.head}<br>%{{hovertext}}<extra></extra>",
    }  # fmt: skip
    return trace(data, s.points, s.color)


def stacked(spec: PanelSpec, data: PageData) -> Drawn:
    """The parts of a metric on top of each other, a bar a case; a subplot for whatever else tells cases apart."""
    name = spec.y or "time"
    points = data.chosen(spec.where, (spec.x, spec.facet, spec.row))
    x_name = spec.x or "impl"
    found = [(p, parts_of(p, name)) for p in points]
    kinds = list(dict.fromkeys([*spec.part, *(part for _, parts in found for part in parts)]))
    kinds = [k for k in kinds if not spec.part or k in spec.part]
    placed = [p for p, parts in found if any(k in parts for k in kinds)]
    title = f"Parts of {name.replace('_', ' ')}"
    if not placed:
        why = (
            "No parts were recorded" if not any(parts for _, parts in found) else "No part of these names was recorded"
        )
        return empty(spec, title, f"{why} for {name}.")
    x, y = as_category(quantity(x_name, placed)), quantity(name, placed, log=False)
    names = rest_names(placed, [x_name, spec.facet, spec.row], data.varying)
    grid = grid_of(placed, facet=spec.facet, row=spec.row, rest=names)
    parts = {id(p): own for p, own in found}
    traces = [
        _part(kind, cell, x, y, [p for p in _one_each(cell.points, x) if kind in parts[id(p)]], parts)
        for cell in grid.cells
        for kind in kinds
    ]
    columns = [
        *dict.fromkeys([n for n in (spec.row, spec.facet, *names, x_name) if n]),
        "part",
        f"{name} ({y.scale.unit})",
    ]
    bits = [(p, kind) for p in placed for kind in kinds if kind in parts[id(p)]]
    rows = [
        TableRow((*_texts(p, columns[:-2]), kind, estimate_text(parts[id(p)][kind], y.scale)), p.filters)
        for p, kind in bits[:MAX_ROWS]
    ]  # fmt: skip
    notes = [missing_text(points, placed), grid.note, rest_text(len(bits))]
    layout = {**grid.layout(x.axis(), y.axis()), "barmode": "stack"}
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or title, joined(notes), None,
        legend_once([t for t in traces if t.data["x"]]), layout, grid.height_px, tuple(columns), tuple(rows),
    )  # fmt: skip


def _texts(point: Point, names: Sequence[str]) -> list[str]:
    return [value_text(point.facts.get(n)) for n in names]


def _one_each(points: Sequence[Point], x: Quantity) -> list[Point]:
    """One point a place: bars of the same place would be added up."""
    return list({x.at(p): p for p in reversed(points)}.values())[::-1]


def _part(
    kind: str, cell: Cell, x: Quantity, y: Quantity, points: Sequence[Point], parts: dict[int, dict[str, Estimate]]
) -> Trace:  # fmt: skip
    found = [parts[id(p)][kind] for p in points]
    data = {
        "type": "bar", "name": plain(kind), "legendgroup": kind[:200], **cell.refs,
        "x": [x.at(p) for p in points], "y": [y.shown(e.value) for e in found],
        "hovertext": [f"{x.hover(p)}<br>{estimate_text(e, y.scale)}" for p, e in zip(points, found, strict=True)],
        "hovertemplate": f"<b>{plain(kind)}</b><br>%{{hovertext}}<extra></extra>",
    }  # fmt: skip
    return trace(data, points, kind)
