"""Every case and its status, with the reason where it has no result; and the numbers as a table alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from llmbench.analyze.summary import counted
from llmbench.report.dashboard import PanelSpec
from llmbench.report.dashboard_names import ALL_METRICS, NOTES
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.grid import ROW_PX, Cell, grid_of
from llmbench.report.panels.label import joined, plain, value_text
from llmbench.report.panels.listing import MAX_ROWS, Listing, rest_text
from llmbench.report.panels.quantity import UNPAIRED, Quantity, as_category, is_unpaired, quantity
from llmbench.report.panels.split import rest_names, thinned, trace
from llmbench.report.panels.sweep import default_x, legend_once
from llmbench.report.panels.why import anchor_of, empty
from llmbench.report.scale import MISSING
from llmbench.report.words import asides, notes_of
from llmbench.store.record import WORST_FIRST
from llmbench.suite.catalog import Scalar

SYMBOLS = {
    "ok": "circle", "skipped": "circle-open", "unavailable": "line-ew-open", "inferred": "triangle-up-open",
    "oom": "triangle-up", "timeout": "hourglass", "error": "x", "crashed": "star", "wrong": "diamond",
}  # fmt: skip
LEAST_PX, LINE_PX = 110, 36  # height of a subplot, and of an implementation in it
NUMBERS = ("time", "flop_per_s", "bytes_per_s", "tokens_per_s", "peak_memory", "compile_time", "speedup", "max_error")


def status(spec: PanelSpec, data: PageData) -> Drawn:
    """A mark for each case, by implementation and size; the table names every reason once."""
    points = data.chosen(spec.where, (spec.x,))
    if not points:
        return empty(spec, "Status", "No case of the run matches where." if data.points else "The run has no case.")
    x_name = default_x(spec, data, points)
    if x_name == "impl":
        x_name = "phase"
    x, y = as_category(quantity(x_name, points)), as_category(quantity("impl", points))
    kept, thin_note = thinned(points, what="cases")
    rest = rest_names(points, [x_name, "impl"], data.varying)
    grid = replace(grid_of(kept, rest=rest), row_px=max(LEAST_PX, min(ROW_PX, LINE_PX * len(y.order))))
    order = [s for s in reversed(WORST_FIRST) if any(p.line.status == s for p in kept)]
    traces = [t for cell in grid.cells for s in order if (t := _marks(cell, s, x, y)) is not None]
    table = _reasons(points, data)
    axes = grid.layout(x.axis(), {**y.axis(), "autorange": "reversed"})
    counts = f"{counted(Counter(p.line.status for p in points))}."
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or "Status", joined([counts, thin_note, grid.note, table.note]), None,
        legend_once(traces), {**axes, "hovermode": "closest"}, grid.height_px,
        table.columns, table.rows,
    )  # fmt: skip


def _marks(cell: Cell, name: str, x: Quantity, y: Quantity) -> Trace | None:
    points = [p for p in cell.points if p.line.status == name and x.has(p)]
    if not points:
        return None
    data = {
        "type": "scatter", "mode": "markers", "name": name, "legendgroup": name, **cell.refs,
        "x": [x.at(p) for p in points], "y": [y.at(p) for p in points],
        "marker": {"symbol": SYMBOLS.get(name, "square"), "size": 10},
        "hovertext": [f"{x.hover(p)}{'<br>' + plain(p.line.why, 100) if p.line.why else ''}" for p in points],
        "hovertemplate": f"<b>%{{y}}</b> {plain(name)}<br>%{{hovertext}}<extra></extra>", "meta": {"role": "status"},
    }  # fmt: skip
    return trace(data, points, name)


def _reasons(points: Sequence[Point], data: PageData) -> Listing:
    """Every reason once with the cases that share it, or that there is none."""
    rows: list[TableRow] = []
    wanted = {(p.facts["run"], p.line.case_id) for p in points}
    for label, summary in zip(data.labels, data.summaries, strict=True):
        lines = [line for line in summary.lines if (label, line.case_id) in wanted]
        for aside in asides(replace(summary, lines=lines)):
            facts: dict[str, Scalar] = {
                "run": label,
                **({"impl": aside.name} if any(x.impl == aside.name for x in lines) else {}),
            }
            rows.append(TableRow((label, aside.name, aside.status, aside.where or "everywhere", aside.why), facts))
    names: tuple[str, ...] = ("run", "name", "status", "where", "reason")
    if len(data.labels) == 1:
        names, rows = names[1:], [TableRow(r.cells[1:], r.facts) for r in rows]
    return Listing(names, tuple(rows[:MAX_ROWS]), rest_text(len(rows)) if rows else "Every case has a result.")


def table(spec: PanelSpec, data: PageData) -> Drawn:
    """The numbers of every case, or the columns that the dashboard names, without a chart."""
    points = data.chosen(spec.where, spec.columns)
    if not points:
        return empty(spec, "Cases", "No case of the run matches where." if data.points else "The run has no case.")
    rest = rest_names(points, ["impl"], data.varying)
    names = spec.columns or (
        "impl",
        *rest,
        *(n for n in NUMBERS if any(n in p.values for p in points)),
        "status",
        NOTES,
    )
    shown = points[:MAX_ROWS]
    columns = [(name, quantity(name, points, log=False) if name in ALL_METRICS else None) for name in names]
    wide = {n for n, q in columns if q is not None and any(q.interval_cell(p) for p in shown)}
    headings = [h for n, q in columns for h in _headings(n, q, n in wide)]
    rows = [TableRow(tuple(c for n, q in columns for c in _cells(p, n, q, n in wide)), p.filters) for p in shown]
    apart = UNPAIRED if "speedup" in names and any(map(is_unpaired, points)) else ""
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or "Cases", joined([apart, rest_text(len(points))]),
        columns=tuple(headings), rows=tuple(rows),
    )  # fmt: skip


def _headings(name: str, q: Quantity | None, wide: bool) -> list[str]:
    if q is None:
        return [name]
    return [q.title, f"interval ({q.scale.unit})"] if wide else [q.title]


def _cells(point: Point, name: str, q: Quantity | None, wide: bool) -> list[str]:
    if q is not None:
        return [q.cell(point), q.interval_cell(point)] if wide else [q.cell(point)]
    if name == NOTES:
        return [", ".join(notes_of(point.line)) if point.line.status == "ok" else point.line.why or ""]
    return [value_text(point.facts[name]) if name in point.facts else MISSING]
