"""Two metrics against each other: what nothing else of the same point beats in both."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase as LETTERS  # noqa: N812  (the names of the best)

from llmbench.report.dashboard import PanelSpec
from llmbench.report.dashboard_names import ALL_METRICS
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.grid import Cell, grid_of
from llmbench.report.panels.label import facts_text, joined, plain, value_text
from llmbench.report.panels.listing import Listing, listing
from llmbench.report.panels.quantity import Quantity, quantity
from llmbench.report.panels.split import few, rest_names, series_of, thinned, trace
from llmbench.report.panels.sweep import hover_text, legend_once, log_of
from llmbench.report.panels.why import anchor_of, empty, missing_text, why_none
from llmbench.suite.catalog import Scalar

FRONTS = 60  # lines drawn; more cannot be told apart


def pareto(spec: PanelSpec, data: PageData) -> Drawn:
    """x against y; filled is what no other case of its point, or of its subplot, beats in both, joined by a line."""
    color = spec.color or "impl"
    points = data.chosen(spec.where, (color, spec.facet, spec.row))
    x = quantity(spec.x or "time", points, log=log_of(spec, "x"))
    y = quantity(spec.y or "peak_memory", points, log=log_of(spec, "y"))
    title = f"{x.words[:1].upper()}{x.words[1:]} against {y.words}"
    placed = [p for p in points if x.has(p) and y.has(p)]
    if not placed:
        lacking = x.name if not any(x.has(p) for p in points) else y.name
        return empty(spec, title, why_none(lacking, points, data))
    kept, thin_note = thinned(placed)
    rest = rest_names(placed, [color], data.varying)
    grid = grid_of(placed, facet=spec.facet, row=spec.row)
    named = spec.front == "subplot"
    fronts = (
        [front_of(alike, x.name, y.name) for c in grid.cells for alike in _alike(c.points)]
        if named
        else _fronts(placed, rest, x.name, y.name)
    )
    best = [p for front in fronts for p in front]
    marks = dict(zip(map(id, best), LETTERS if named else (), strict=False))
    on_front = {id(p): marks.get(id(p), "") for p in best}
    traces = [t for cell in grid.cells for t in _lines(cell, fronts, x, y, rest)]
    for cell in grid.cells:
        members = {id(p) for p in cell.points}
        here = [p for p in kept if id(p) in members]
        traces += [
            _marks(s.points, s.color, cell, x, y, rest, on_front) for s in few(series_of(here, color=color, rest=()))[0]
        ]
    table = _listing(placed, [color, *rest], x, y, on_front)
    among = "of its run in its subplot that asks for as much work a token" if named else "of its point"
    more = f"{len(fronts) - FRONTS} more fronts are not drawn as lines." if len(fronts) > FRONTS else ""
    notes = [
        f"Filled: on the front, no other case {among} is {_better(x)} and {_better(y)}.",
        _names(best, [color, *rest], x, y) if named else "",
        missing_text(points, placed), thin_note, more, grid.note, table.note,
    ]  # fmt: skip
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or title, joined(notes), None, legend_once(traces),
        {**grid.layout(x.axis(), y.axis()), "hovermode": "closest"}, grid.height_px, table.columns, table.rows,
    )  # fmt: skip


def front_of(points: Sequence[Point], x_name: str, y_name: str) -> list[Point]:
    """The points that no other is at least as good as in both metrics and better in one, by x."""
    costs = {id(p): (_cost(p, x_name), _cost(p, y_name)) for p in points}
    front: list[Point] = []
    best = float("inf")
    for p in sorted(points, key=lambda p: costs[id(p)]):
        x, y = costs[id(p)]
        if y < best or (front and costs[id(front[-1])] == (x, y)):
            front.append(p)
            best = y
    return front


def _cost(point: Point, name: str) -> float:
    value = point.values[name].value
    return -value if ALL_METRICS[name].better == "higher" else value


def _better(q: Quantity) -> str:
    return f"{'higher' if ALL_METRICS[q.name].better == 'higher' else 'lower'} in {q.words}"


def _fronts(points: Sequence[Point], rest: Sequence[str], x_name: str, y_name: str) -> list[list[Point]]:
    groups: dict[tuple[Scalar | None, ...], list[Point]] = {}
    for p in points:
        groups.setdefault(tuple(p.facts.get(n) for n in rest), []).append(p)
    return [front_of(members, x_name, y_name) for members in groups.values()]


def _alike(points: Sequence[Point]) -> list[list[Point]]:
    """The points that may be beaten by each other: of one run, and of as many FLOP for each token."""
    groups: dict[tuple[object, ...], list[Point]] = {}
    for p in points:
        row = p.rows[0]
        work = row.flop / row.tokens if row.flop and row.tokens else None
        groups.setdefault((p.facts.get("run"), row.op, work and f"{work:.6g}"), []).append(p)
    return list(groups.values())


def _names(best: Sequence[Point], names: Sequence[str], x: Quantity, y: Quantity) -> str:
    """`A: none sdpa_flash, 12 k/s at 1.2 GiB; B: …`, in the order of the fronts."""
    told = []
    for letter, p in zip(LETTERS, best, strict=False):
        facts = " ".join(value_text(p.facts[n]) for n in names if n in p.facts)
        told.append(f"{letter}: {facts}, {x.cell(p)} {x.scale.unit} at {y.cell(p)} {y.scale.unit}")
    more = f"; and {len(best) - len(told)} more" if len(best) > len(told) else ""
    return f"{'; '.join(told)}{more}." if told else ""


def _lines(cell: Cell, fronts: Sequence[list[Point]], x: Quantity, y: Quantity, rest: Sequence[str]) -> list[Trace]:
    members = {id(p) for p in cell.points}
    found = []
    for front in fronts[:FRONTS]:
        here = list({(x.at(p), y.at(p)): p for p in front if id(p) in members}.values())
        if len(here) > 1:
            facts = {n: here[0].facts[n] for n in rest if n in here[0].facts}
            line = {
                "type": "scatter", "mode": "lines", "name": "front", "legendgroup": "front", **cell.refs,
                "x": [x.at(p) for p in here], "y": [y.at(p) for p in here], "line": {"width": 1, "dash": "dot"},
                "hovertemplate": f"front {facts_text(facts)}<extra></extra>", "meta": {"role": "front"},
            }  # fmt: skip
            found.append(trace(line, here, None))
    return found


def _marks(
    points: Sequence[Point], color: str, cell: Cell, x: Quantity, y: Quantity, rest: Sequence[str],
    on_front: Mapping[int, str],
) -> Trace:  # fmt: skip
    points = sorted(points, key=lambda p: id(p) not in on_front)  # the legend's mark is that of the first
    marks = {
        "type": "scatter", "mode": "markers+text", "name": plain(color), "legendgroup": color[:200], **cell.refs,
        "x": [x.at(p) for p in points], "y": [y.at(p) for p in points],
        "marker": {"symbol": ["circle" if id(p) in on_front else "circle-open" for p in points], "size": 8},
        "text": [on_front.get(id(p), "") for p in points], "textposition": "top center",
        "hovertext": [hover_text(p, rest, x, y) for p in points],
        "hovertemplate": f"<b>{plain(color)}</b> %{{hovertext}}<extra></extra>",
    }  # fmt: skip
    return trace(marks, points, color)


def _listing(
    points: Sequence[Point], names: Sequence[str], x: Quantity, y: Quantity, on_front: Mapping[int, str]
) -> Listing:
    table = listing(points, names, [x, y])
    marked = [
        TableRow((*row.cells, on_front[id(p)] or "front" if id(p) in on_front else ""), row.facts)
        for row, p in zip(table.rows, points, strict=False)
    ]
    return Listing((*table.columns, "front"), tuple(marked), table.note)
