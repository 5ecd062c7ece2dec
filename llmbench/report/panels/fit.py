"""Straight lines in a power of x: what grows with layers, and what with their square root."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from llmbench.analyze.line import Line, straight_line
from llmbench.analyze.stats import Estimate
from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.panels.data import PageData, Point, parts_of
from llmbench.report.panels.facet import facets_of
from llmbench.report.panels.grid import Cell, grid_of
from llmbench.report.panels.label import joined, plain, value_text
from llmbench.report.panels.listing import MAX_ROWS, rest_text
from llmbench.report.panels.quantity import Quantity, number_text, quantity
from llmbench.report.panels.split import Series, few, rest_names, series_of, style_text, trace
from llmbench.report.panels.sweep import default_x, legend_once
from llmbench.report.panels.why import anchor_of, empty, missing_text, why_none

METHOD = "Lines: least squares; R² is the share of the variance that a line explains."
STEPS = 40  # places at which a line is drawn


class Fit(NamedTuple):
    """A series of a subplot with the line that it should follow, and others that it could."""

    cell: Cell
    series: Series
    line: Line | None
    others: tuple[Line | None, ...]


def fit(spec: PanelSpec, data: PageData) -> Drawn:
    """y, or the sum of some of its parts, over x; each series with a straight line in the power of x it should follow.

    Powers are the dashboard's `theory`, 1 for a series that it does not name.
    """
    color, name = spec.color or "impl", spec.y or "peak_memory"
    points = [_summed(p, name, spec.part) for p in data.chosen(spec.where, (spec.x, color, spec.facet, spec.row))]
    x_name = default_x(spec, data, points)
    x, y = quantity(x_name, points, log=False), quantity(name, points, log=False)
    what = f"{y.words} of {' and '.join(spec.part)}" if spec.part else y.words
    title = f"{what[:1].upper()}{what[1:]} by {x.words}, and straight lines"
    if x.kind != "number" or len(x.order) < 2:
        return empty(spec, title, f"A line needs at least two values of a parameter; {x_name} has {len(x.order)}.")
    placed = [p for p in points if x.has(p) and y.has(p)]
    if not placed:
        lacking = f"No case has these parts of {name}: {', '.join(spec.part)}."
        return empty(spec, title, lacking if spec.part else why_none(name, points, data))
    rest = rest_names(placed, [x_name, color, spec.facet, spec.row], data.varying)
    facets = facets_of(spec, placed, color=color, rest=rest)
    rest = facets.left(rest)
    series, few_note = few(series_of(placed, color=color, rest=rest))
    grid = grid_of(placed, facet=facets.facet, row=facets.row)
    powers = tuple(dict.fromkeys([1.0, *spec.theory.values()]))
    fits = [f for cell in grid.cells for s in series if (f := _fit(cell, s, spec, x_name, name, powers)) is not None]
    names = [n for n in dict.fromkeys([facets.row, facets.facet, color, *rest]) if n]
    rows = [_row(f, names, y) for f in fits]
    notes = [
        METHOD, facets.note, style_text(series, "symbol"), missing_text(points, placed), few_note, grid.note,
        rest_text(len(rows)),
    ]  # fmt: skip
    explained = [f"R² in {_power_text(x.name, power)}" for power in powers]
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or title, joined(notes), None,
        legend_once([t for f in fits for t in _traces(f, x, y)]),
        {**grid.layout(x.axis(), y.axis()), "hovermode": "closest"}, grid.height_px,
        (*names, "line in", f"slope ({y.scale.unit})", f"at 0 ({y.scale.unit})", *explained, "points"),
        tuple(rows[:MAX_ROWS]),
    )  # fmt: skip


def _summed(point: Point, name: str, parts: Sequence[str]) -> Point:
    """The point with the sum of these parts in place of the whole; without a value where it lacks one of them."""
    if not parts:
        return point
    found = parts_of(point, name)
    values = {k: v for k, v in point.values.items() if k != name}
    if all(part in found for part in parts):
        values[name] = Estimate(sum(found[part].value for part in parts))
    return replace(point, values=values)


def _fit(
    cell: Cell, s: Series, spec: PanelSpec, x_name: str, y_name: str, powers: Sequence[float]
) -> Fit | None:  # fmt: skip
    members = {id(p) for p in cell.points}
    points = [p for p in s.points if id(p) in members and float(p.facts[x_name]) > 0]
    points.sort(key=lambda p: float(p.facts[x_name]))
    if not points:
        return None
    xs, ys = [float(p.facts[x_name]) for p in points], [p.values[y_name].value for p in points]
    lines = [straight_line(xs, ys, power=power) for power in powers]
    own = lines[powers.index(spec.theory.get(s.color, 1.0))]
    return Fit(cell, replace(s, points=points), own, tuple(lines))


def _traces(found: Fit, x: Quantity, y: Quantity) -> list[Trace]:
    cell, s, line, _ = found
    r2 = "" if line is None or line.r2 is None else f", R² {r2_text(line.r2)} in {_power_text(x.name, line.power)}"
    shared: dict[str, Any] = {"type": "scatter", "legendgroup": s.color[:200], **cell.refs}
    marks = {
        **shared, "name": f"{plain(s.color)}{r2}", "mode": "markers", "x": [x.at(p) for p in s.points],
        "y": [y.at(p) for p in s.points], "marker": {**s.symbol, "size": 7},
        "hovertext": [f"{x.hover(p)}<br>{y.hover(p)}" for p in s.points],
        "hovertemplate": f"{s.head}<br>%{{hovertext}}<extra></extra>",
    }  # fmt: skip
    if line is None:
        return [trace(marks, s.points, s.color)]
    first, last = (float(s.points[i].facts[x.name]) for i in (0, -1))
    places = [first + (last - first) * i / STEPS for i in range(STEPS + 1)]
    drawn = {
        **shared, "name": f"{plain(s.color)} line", "mode": "lines", "x": places,
        "y": [y.shown(line.at(at)) for at in places], "line": {"width": 1.5}, "showlegend": False,
        "hoverinfo": "skip", "meta": {"role": "theory"},
    }  # fmt: skip
    return [trace(marks, s.points, s.color), trace(drawn, s.points[-1:], s.color)]


def _row(found: Fit, names: Sequence[str], y: Quantity) -> TableRow:
    _, s, line, others = found
    cells = [
        *(value_text(s.points[0].facts.get(n)) for n in names),
        f"power {line.power:g}" if line else "",
        number_text(y.shown(line.slope)) if line else "", number_text(y.shown(line.intercept)) if line else "",
        *("" if o is None or o.r2 is None else r2_text(o.r2) for o in others), str(len(s.points)),
    ]  # fmt: skip
    return TableRow(tuple(cells), s.points[0].filters)


def r2_text(r2: float) -> str:
    """Four decimals: 0.995 and 0.9995 are told apart."""
    return f"{r2:.4f}"


def _power_text(name: str, power: float) -> str:
    """`layers`, `√layers`, `layers^2`."""
    return {1.0: plain(name), 0.5: f"√{plain(name)}"}.get(power, f"{plain(name)}^{power:g}")
