"""Samples in measured order beside their histogram: modes, drift and throttling become visible."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.grid import Cell, Grid, title_of
from llmbench.report.panels.label import estimate_text, facts_text, joined, plain, value_text
from llmbench.report.panels.quantity import Quantity, quantity, short
from llmbench.report.panels.split import rest_names, trace
from llmbench.report.panels.why import anchor_of, empty, why_none
from llmbench.report.scale import digits, scaled

MAX_SAMPLES = 2000  # drawn of a case
CASES = 4
BINS = 40
CENTRE = (0.05, 0.95)  # quantiles; what lies beyond by more than their distance is counted in a bin at the end
FIGURES = 8  # significant digits of a bin's place: modes lie a few thousandths apart, and bins closer
ROW_PX = 220


class _Bins(NamedTuple):
    """Counts of samples between edges in the display unit, and how many lie far below and far above."""

    counts: list[int]
    edges: list[float]
    below: int
    above: int


@dataclass(frozen=True)
class _Case:
    """The samples of a case in measured order, process after process, SI units; `flags` of each, empty as a rule."""

    point: Point
    values: list[float]
    flags: list[str]


def distribution(spec: PanelSpec, data: PageData) -> Drawn:
    """A line of two subplots a case: its samples in measured order, and their histogram on the same axis."""
    name = spec.metric or "time"
    points = data.chosen(spec.where)
    q = quantity(name, points, log=False)
    title = f"Samples of {q.words}"
    cases = [c for p in points if q.estimate(p) is not None and len((c := _samples(p, name)).values) > 1]
    if not cases:
        why = (
            why_none(name, points, data)
            if not any(name in p.values for p in points)
            else f"No samples of {name} were kept."
        )
        return empty(spec, title, why)
    limit = spec.cases or CASES
    chosen = sorted(cases, key=_interest, reverse=True)[:limit]
    names = ["impl", *rest_names([c.point for c in cases], ["impl"], data.varying)]
    grid = _grid(chosen, names)
    traces, drawn = [], 0
    for case, left, right in zip(chosen, grid.cells[::2], grid.cells[1::2], strict=True):
        kept = extremes_kept(case.values, MAX_SAMPLES)
        drawn += len(kept)
        traces += [_order(case, kept, left, q), _histogram(case, right, q)]
    total = sum(len(c.values) for c in chosen)
    notes = [
        _chosen_text(len(chosen), len(cases)),
        "Left: samples in measured order (x: throttled or host-bound). Right: their histogram.",
        _far_text([_bins(c, q) for c in chosen]),
        f"{drawn:,} of {total:,} samples are drawn, with the extremes of each stretch." if drawn < total else "",
    ]  # fmt: skip
    rows = tuple(_row(case, names, q) for case in chosen)
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or title, joined(notes), None, tuple(traces), _layout(grid, q, chosen),
        grid.height_px, (*names, "median and interval", "least", "largest", "samples", "processes", "flags"), rows,
    )  # fmt: skip


def extremes_kept(values: Sequence[float], limit: int) -> list[int]:
    """The indices of at most `limit` values, in order: least and largest of each of limit / 2 stretches."""
    if len(values) <= limit:
        return list(range(len(values)))
    found: set[int] = set()
    for stretch in np.array_split(np.arange(len(values)), limit // 2):
        part = np.asarray(values)[stretch[0] : stretch[-1] + 1]
        found |= {int(stretch[0] + np.argmin(part)), int(stretch[0] + np.argmax(part))}
    return sorted(found)


def _samples(point: Point, name: str) -> _Case:
    values: list[float] = []
    flags: list[str] = []
    for row in sorted((r for r in point.rows if r.metric == name and r.part is None), key=lambda r: r.process):
        own = row.samples or []
        values += own
        flags += row.sample_flags if row.sample_flags and len(row.sample_flags) == len(own) else [""] * len(own)
    return _Case(point, values, flags)


def _interest(case: _Case) -> tuple[int, float]:
    line = case.point.line
    return len(line.flags), (line.time.half_width or 0.0) if line.time else 0.0


def _chosen_text(shown: int, there: int) -> str:
    return f"The {shown} of {there:,} cases with the most flags, then the widest intervals." if shown < there else ""


def _grid(cases: Sequence[_Case], names: Sequence[str]) -> Grid:
    cells = []
    for i, case in enumerate(cases):
        label = facts_text({n: case.point.facts[n] for n in names if n in case.point.facts})
        cells += [Cell(2 * i + 1, 0, i, label, [case.point]), Cell(2 * i + 2, 1, i, "", [case.point])]
    return Grid(tuple(cells), 2, len(cases), row_px=ROW_PX)


def _layout(grid: Grid, q: Quantity, cases: Sequence[_Case]) -> dict[str, Any]:
    layout: dict[str, Any] = {"annotations": [], "meta": {"facets": 2, "rows": grid.rows}, "hovermode": "closest"}
    layout |= {"showlegend": False, "bargap": 0.05}
    value = {**q.axis(), "rangemode": "normal"}
    for cell in grid.cells:
        x = {"title": {"text": "samples" if cell.column else "order", "standoff": 8}, "automargin": True}
        own = grid.axes(cell, x, value, matches=False)
        suffix = cell.refs["yaxis"][1:]
        if cell.column:
            bins = _bins(cases[cell.row], q)
            if not bins.below + bins.above:
                own[f"yaxis{suffix}"] |= {"matches": grid.cells[cell.number - 2].refs["yaxis"]}
            own[f"yaxis{suffix}"].pop("title")
        if cell.row < grid.rows - 1:
            own[f"xaxis{suffix}"].pop("title")
        layout |= own
        layout["annotations"] += [title_of(cell)] if cell.label else []
    return layout


def _order(case: _Case, kept: Sequence[int], cell: Cell, q: Quantity) -> Trace:
    impl = case.point.line.impl
    data = {
        "type": "scatter", "mode": "markers", "name": plain(impl), "legendgroup": impl[:200], **cell.refs,
        "x": list(kept), "y": [q.shown(case.values[i]) for i in kept],
        "marker": {"size": 4, "symbol": ["x" if case.flags[i] else "circle" for i in kept]},
        "hovertemplate": f"sample %{{x}}<br>%{{y}} {plain(q.scale.unit)}<extra></extra>",
    }  # fmt: skip
    facts = trace({}, [case.point], None).facts
    return Trace(data, impl, facts)


def _histogram(case: _Case, cell: Cell, q: Quantity) -> Trace:
    """Counted here, so that the page holds 40 numbers and not every sample a second time."""
    impl, bins = case.point.line.impl, _bins(case, q)
    width, unit = bins.edges[1] - bins.edges[0], plain(q.scale.unit)
    places = [(a + b) / 2 for a, b in pairwise(bins.edges)]
    bars = [(at, n, f"{n} samples about {digits(at)} {unit}") for at, n in zip(places, bins.counts, strict=True)]
    far = [
        (bins.edges[0] - 1.5 * width, bins.below, f"below {digits(bins.edges[0])}"),
        (bins.edges[-1] + 1.5 * width, bins.above, f"above {digits(bins.edges[-1])}"),
    ]
    bars += [(at, n, f"{n} samples {where} {unit}") for at, n, where in far if n]
    data = {
        "type": "bar", "orientation": "h", "name": plain(impl), "legendgroup": impl[:200], "showlegend": False,
        **cell.refs, "x": [n for _, n, _ in bars],
        "y": [float(f"{at:.{FIGURES}g}") for at, _, _ in bars], "width": short(width),
        "hovertext": [text for _, _, text in bars], "hovertemplate": "%{hovertext}<extra></extra>",
    }  # fmt: skip
    return Trace(data, impl, trace({}, [case.point], None).facts)


def _bins(case: _Case, q: Quantity) -> _Bins:
    """The bins of a case: within the central samples and as far again on both sides, so that modes can be seen."""
    values = np.sort(np.asarray(case.values) / q.scale.size)
    values = values[np.isfinite(values)]
    low = float(np.quantile(values, CENTRE[0], method="higher"))
    high = float(np.quantile(values, CENTRE[1], method="lower"))
    room = (high - low) or abs(low) * 1e-3
    near = values[(values >= low - room) & (values <= high + room)]
    counts, edges = np.histogram(near, bins=min(BINS, max(5, int(len(values) ** 0.5) * 2)))
    below, above = int((values < low - room).sum()), int((values > high + room).sum())
    return _Bins([int(n) for n in counts], [float(e) for e in edges], below, above)


def _far_text(found: Sequence[_Bins]) -> str:
    far = sum(bins.below + bins.above for bins in found)
    if not far:
        return ""
    some = f"{far:,} sample{'s lie' if far > 1 else ' lies'}"
    return f"{some} far from the rest: a histogram has them in a bin at its end, on an axis of its own."


def _row(case: _Case, names: Sequence[str], q: Quantity) -> TableRow:
    return TableRow((*_cells(case, names, q),), case.point.filters)


def _cells(case: _Case, names: Sequence[str], q: Quantity) -> Iterator[str]:
    found, line = q.estimate(case.point), case.point.line
    yield from (value_text(case.point.facts.get(n)) for n in names)
    yield estimate_text(found, q.scale) if found else ""
    yield scaled(min(case.values), q.scale)
    yield scaled(max(case.values), q.scale)
    yield str(len(case.values))
    yield str(line.processes)
    yield ", ".join(f.name.replace("_", " ") for f in line.flags)
