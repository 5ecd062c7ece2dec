"""How a metric grows: the measured log-log slope of each series, against the law that it should follow."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from llmbench.analyze.slope import Slope, loglog_slope
from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.facet import facets_of
from llmbench.report.panels.gaps import BREAKS, Gaps
from llmbench.report.panels.grid import Cell, grid_of
from llmbench.report.panels.label import joined, plain, value_text
from llmbench.report.panels.listing import MAX_ROWS, rest_text
from llmbench.report.panels.quantity import Quantity, number_text, quantity
from llmbench.report.panels.split import Series, few, rest_names, series_of, style_text, thinned, trace
from llmbench.report.panels.sweep import default_x, legend_once
from llmbench.report.panels.why import anchor_of, empty, missing_text, why_none

METHOD = (
    "Slope: least squares through the logarithms; its 95 % CI says how well one power law describes the points. "
    "Dotted: the law that is expected, through the last point."
)


class Fit(NamedTuple):
    """A series of a subplot with its slope and the exponent it should have; `drawn` are those points that are drawn."""

    cell: Cell
    series: Series
    drawn: list[Point]
    slope: Slope | None
    theory: float | None


def complexity(spec: PanelSpec, data: PageData) -> Drawn:
    """y over x on logarithmic axes, with the slope of each series in the legend and in the table."""
    color, name = spec.color or "impl", spec.y or "peak_memory"
    points = data.chosen(spec.where, (spec.x, color, spec.facet, spec.row))
    x_name = default_x(spec, data, points)
    x, y = quantity(x_name, points, log=True), quantity(name, points, log=True)
    title = f"Growth of {y.words} with {x.words}"
    if x.kind != "number" or len(x.order) < 2:
        return empty(spec, title, f"A slope needs at least two values of a parameter; {x_name} has {len(x.order)}.")
    placed = [p for p in points if x.has(p) and y.has(p)]
    if not placed:
        return empty(spec, title, why_none(name, points, data))
    rest = rest_names(placed, [x_name, color, spec.facet, spec.row], data.varying)
    facets = facets_of(spec, placed, color=color, rest=rest)
    rest = facets.left(rest)
    kept, thin_note = thinned(placed)
    series, few_note = few(series_of(placed, color=color, rest=rest))
    grid = grid_of(placed, facet=facets.facet, row=facets.row)
    drawn, gaps = {id(p) for p in kept}, Gaps(points, x, y, (color, *rest, facets.facet, facets.row))
    fits = [fit for cell in grid.cells for fit in _fits(cell, series, drawn, spec, x_name, name)]
    traces = [t for fit in fits for t in _traces(fit, fits, x, y, gaps)]
    names = [n for n in dict.fromkeys([facets.row, facets.facet, color, *rest]) if n]
    rows = [_row(fit, names, y) for fit in fits]
    notes = [
        METHOD, facets.note, style_text(series, "dash"), missing_text(points, placed),
        BREAKS if any(None in t.data["y"] for t in traces) else "", thin_note, few_note, grid.note,
        rest_text(len(rows)),
    ]  # fmt: skip
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or title, joined(notes), None, legend_once(traces),
        {**grid.layout(x.axis(), y.axis()), "hovermode": "closest"}, grid.height_px,
        (*names, "slope", "95 % CI", "expected", "points", f"largest {y.title}"), tuple(rows[:MAX_ROWS]),
    )  # fmt: skip


def _fits(
    cell: Cell, series: Sequence[Series], drawn: set[int], spec: PanelSpec, x_name: str, y_name: str
) -> Iterator[Fit]:
    """Each series that the cell has, through all of its points, whichever are drawn."""
    members = {id(p) for p in cell.points}
    for s in series:
        points = sorted((p for p in s.points if id(p) in members), key=lambda p: float(p.facts[x_name]))
        if points:
            xs = [float(p.facts[x_name]) for p in points]
            slope = loglog_slope(xs, [p.values[y_name].value for p in points])
            shown = [p for p in points if id(p) in drawn] or points[-1:]
            yield Fit(cell, replace(s, points=points), shown, slope, spec.theory.get(s.color))


def slope_text(slope: Slope | None) -> str:
    """`1.98 [1.95, 2.01]`."""
    if slope is None:
        return "one point, no slope"
    return number_text(slope.value) + (f" {_interval(slope)}" if slope.low is not None else "")


def _interval(slope: Slope) -> str:
    if slope.low is None or slope.high is None:
        return ""
    return f"[{number_text(slope.low)}, {number_text(slope.high)}]"


def _traces(fit: Fit, fits: Sequence[Fit], x: Quantity, y: Quantity, gaps: Gaps) -> list[Trace]:
    cell, s, _, slope, theory = fit
    drawn = gaps.between(fit.drawn)
    alone = [f.slope for f in fits if f.series.color == s.color]
    slopes = [f.value for f in alone if f is not None]
    spread = list(dict.fromkeys(number_text(end(slopes)) for end in (min, max))) if slopes else []
    legend = f"{plain(s.color)}: slope {' to '.join(spread)}" if spread else plain(s.color)
    at: list[Any] = [x.at(p) for p in drawn]
    shared = {"type": "scatter", "legendgroup": s.color[:200], **cell.refs}
    head = f"{s.head}<br>slope {slope_text(slope)}"
    line = {
        **shared, "name": legend, "mode": "lines+markers", "x": at, "y": [y.at(p) for p in drawn],
        "line": s.dash, "marker": {**s.symbol, "size": 6},
        "hovertext": [f"{x.hover(p)}<br>{y.hover(p)}" for p in drawn],
        "hovertemplate": f"{head}<br>%{{hovertext}}<extra></extra>",
    }  # fmt: skip
    found = [trace(line, drawn, s.color)]
    last = y.estimate(s.points[-1])
    far: Any = x.at(s.points[-1])
    if theory is None or last is None or len(at) < 2:
        return found
    expected = [y.shown(last.value * (a / far) ** theory) for a in at]
    law = {
        **shared, "name": f"{plain(s.color)} expected", "mode": "lines", "x": at, "y": expected,
        "line": {"dash": "dot", "width": 1}, "opacity": 0.7, "showlegend": False, "meta": {"role": "theory"},
        "hovertemplate": f"{plain(s.color)}: {plain(x.name)} to the power of {theory:g}<extra></extra>",
    }  # fmt: skip
    return [*found, trace(law, drawn, s.color)]


def _row(fit: Fit, names: Sequence[str], y: Quantity) -> TableRow:
    _, s, _, slope, theory = fit
    cells = [
        *(value_text(s.points[0].facts.get(n)) for n in names),
        number_text(slope.value) if slope else "", _interval(slope) if slope else "",
        f"{theory:g}" if theory is not None else "", str(len(s.points)), y.cell(s.points[-1]),
    ]  # fmt: skip
    return TableRow(tuple(cells), s.points[0].filters)
