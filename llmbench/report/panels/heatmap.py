"""A metric over two axes, as a heat map."""

from collections.abc import Sequence
from typing import Any

from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, Trace
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.grid import Cell, grid_of
from llmbench.report.panels.label import facts_text, joined, plain
from llmbench.report.panels.listing import listing
from llmbench.report.panels.quantity import Quantity, as_category, quantity
from llmbench.report.panels.split import rest_names, thinned, trace
from llmbench.report.panels.sweep import default_x
from llmbench.report.panels.why import anchor_of, empty, missing_text, why_none


def heatmap(spec: PanelSpec, data: PageData) -> Drawn:
    """z over x and y, one subplot for whatever else tells cases apart."""
    z_name = spec.z or "time"
    points = data.chosen(spec.where, (spec.x, spec.y, spec.facet, spec.row))
    x_name = default_x(spec, data, points)
    y_name = spec.y or ("impl" if x_name != "impl" else "phase")
    x, y, z = (
        as_category(quantity(x_name, points)),
        as_category(quantity(y_name, points)),
        quantity(z_name, points, log=False),
    )
    title = f"{z.words[:1].upper()}{z.words[1:]} over {x.words} and {y.words}"
    placed = [p for p in points if all(q.has(p) for q in (x, y, z))]
    if not placed:
        return empty(spec, title, why_none(z_name, points, data))
    x, y = (as_category(quantity(name, placed)) for name in (x_name, y_name))  # without categories that have no square
    kept, thin_note = thinned(placed)
    rest = rest_names(placed, [x_name, y_name, spec.facet, spec.row], data.varying)
    grid = grid_of(kept, facet=spec.facet, row=spec.row, rest=rest)
    traces = [t for cell in grid.cells for t in _cell(cell, x, y, z)]
    table = listing(placed, [spec.row, spec.facet, *rest, y_name, x_name], [z])
    layout = {
        **grid.layout(_axis(x), {**_axis(y), "autorange": "reversed"}),
        "coloraxis": {"colorbar": {"title": {"text": plain(z.title), "side": "right"}}},
    }
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or title,
        joined([missing_text(points, placed), thin_note, grid.note, table.note]), None, tuple(traces), layout,
        grid.height_px, table.columns, table.rows,
    )  # fmt: skip


def _cell(cell: Cell, x: Quantity, y: Quantity, z: Quantity) -> list[Trace]:
    """A trace for each set of facts that the page filters by, so that a filter hides squares, not whole maps."""
    groups: dict[tuple[object, ...], list[Point]] = {}
    for p in cell.points:
        groups.setdefault(tuple(p.filters.items()), []).append(p)
    return [_map(cell, points, x, y, z) for points in groups.values()]


def _map(cell: Cell, points: Sequence[Point], x: Quantity, y: Quantity, z: Quantity) -> Trace:
    """Squares at the places of their categories; between them none is missing: plotly would widen its neighbours."""
    at = {(_place(x, p), _place(y, p)): p for p in reversed(points)}
    across, down = (_stretch([place[i] for place in at]) for i in (0, 1))
    matrix = [[at.get((a, b)) for a in across] for b in down]
    data = {
        "type": "heatmap", **cell.refs, "x": across, "y": down, "coloraxis": "coloraxis", "xgap": 1, "ygap": 1,
        "z": [[None if p is None else z.at(p) for p in line] for line in matrix],
        "hovertext": [["" if p is None else _hover(p, x, y, z) for p in line] for line in matrix],
        "hovertemplate": "%{hovertext}<extra></extra>", "hoverongaps": False,
    }  # fmt: skip
    return Trace(data, None, trace({}, points, None).facts)


def _axis(found: Quantity) -> dict[str, Any]:
    """Categories as numbers from 0: on a category axis plotly misplaces a map that has not all of them."""
    names = [plain(v) for v in found.order]
    return {
        "title": {"text": plain(found.title), "standoff": 8}, "automargin": True, "showgrid": False,
        "tickvals": list(range(len(names))), "ticktext": names,
    }  # fmt: skip


def _place(found: Quantity, point: Point) -> int:
    return found.order.index(point.facts[found.name])


def _stretch(places: Sequence[int]) -> list[int]:
    return list(range(min(places), max(places) + 1))


def _hover(point: Point, x: Quantity, y: Quantity, z: Quantity) -> str:
    facts = {q.name: point.facts[q.name] for q in (y, x)}
    return f"{facts_text(facts)}<br>{z.hover(point)}"
