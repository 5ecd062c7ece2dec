"""Subplots of a panel: a cell for each value of facet and row, with axes that match across the panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.report.panels.data import Point
from llmbench.report.panels.label import LONGEST, facts_text, plain
from llmbench.suite.catalog import Scalar

NARROW = 40  # characters of a title that fit beside others; a longer one takes two lines
WRAP = 3  # subplots in a line where nothing else says how many
MAX_CELLS = 24
GAP, ROW_GAP_PX, ROW_PX, BASE_PX = 0.07, 70, 300, 120


@dataclass(frozen=True)
class Cell:
    """One subplot; `number` counts from 1, as plotly's axes do."""

    number: int
    column: int
    row: int
    label: str
    points: list[Point]

    @property
    def refs(self) -> dict[str, str]:
        """The axes that its traces name."""
        suffix = "" if self.number == 1 else str(self.number)
        return {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}


@dataclass(frozen=True)
class Grid:
    """The cells of a panel; `note` says what was left out."""

    cells: tuple[Cell, ...]
    columns: int
    rows: int
    note: str = ""
    row_px: int = ROW_PX

    @property
    def height_px(self) -> int:
        """The height of the panel."""
        return BASE_PX + self.rows * self.row_px

    def layout(self, x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
        """Axes and titles of all cells, all of them like `x` and `y`."""
        layout: dict[str, Any] = {"annotations": [], "meta": {"facets": self.columns, "rows": self.rows}}
        for cell in self.cells:
            layout |= self.axes(cell, x, y, matches=True)
            if cell.label:
                layout["annotations"].append(title_of(cell))
        return layout

    def axes(self, cell: Cell, x: dict[str, Any], y: dict[str, Any], *, matches: bool) -> dict[str, Any]:
        """The two axes of a cell, titled at the left and at the bottom of the panel."""
        refs = cell.refs
        suffix = refs["xaxis"][1:]
        below = any(c.column == cell.column and c.row > cell.row for c in self.cells)
        x_axis = {**x, "domain": _share(cell.column, self.columns, GAP), "anchor": refs["yaxis"]}
        down = _share(self.rows - 1 - cell.row, self.rows, ROW_GAP_PX / max(1, self.height_px - BASE_PX))
        y_axis = {**y, "domain": down, "anchor": refs["xaxis"]}
        if below and matches:
            x_axis.pop("title", None)
        if cell.column and matches:
            y_axis.pop("title", None)
        if matches and cell.number > 1:
            x_axis["matches"], y_axis["matches"] = "x", "y"
        return {f"xaxis{suffix}": x_axis, f"yaxis{suffix}": y_axis}


def title_of(cell: Cell) -> dict[str, Any]:
    """The cell's label above it, tied to its axes so that it follows them."""
    refs = cell.refs
    return {
        "text": cell.label, "xref": f"{refs['xaxis']} domain", "yref": f"{refs['yaxis']} domain",
        "x": 0.5, "y": 1.0, "xanchor": "center", "yanchor": "bottom", "showarrow": False,
    }  # fmt: skip


def grid_of(
    points: Sequence[Point], *, facet: str | None = None, row: str | None = None, rest: Sequence[str] = ()
) -> Grid:
    """A cell for each value of facet (columns) and row; without a row, or by `rest`, wrapped at three in a line."""
    across = [facet] if facet else []
    if row and not rest:
        return _crossed(points, facet, row)
    groups: dict[tuple[Scalar | None, ...], list[Point]] = {}
    names = [*across, *([row] if row else []), *rest]
    for p in points:
        groups.setdefault(tuple(p.facts.get(n) for n in names), []).append(p)
    ordered = sorted(groups.items(), key=lambda kv: [_rank(v) for v in kv[0]]) if len(names) == 1 else groups.items()
    wrap = 2 if len(groups) == 4 else WRAP
    columns = max(1, min(wrap, len(groups)))
    cells = [
        Cell(i + 1, i % columns, i // columns, _label(names, values), members)
        for i, (values, members) in enumerate(ordered)
    ]
    note = f"{len(cells) - MAX_CELLS} more subplots are not drawn." if len(cells) > MAX_CELLS else ""
    kept = tuple(cells[:MAX_CELLS]) or (Cell(1, 0, 0, "", []),)
    return Grid(kept, columns, max(c.row for c in kept) + 1, note)


def _crossed(points: Sequence[Point], facet: str | None, row: str) -> Grid:
    columns = _values(points, facet) if facet else [None]
    lines = _values(points, row)
    room = max(1, MAX_CELLS // len(columns[:MAX_CELLS]))
    left = len(columns) * len(lines) - len(columns[:MAX_CELLS]) * len(lines[:room])
    members: dict[tuple[Scalar | None, Scalar | None], list[Point]] = {}
    for p in points:
        members.setdefault((p.facts.get(facet) if facet else None, p.facts.get(row)), []).append(p)
    cells: list[Cell] = []
    for j, below in enumerate(lines[:room]):
        for i, beside in enumerate(columns[:MAX_CELLS]):
            label = _label([*([facet] if facet else []), row], [*([beside] if facet else []), below])
            cells.append(Cell(len(cells) + 1, i, j, label, members.get((beside, below), [])))
    note = f"{left} more subplots are not drawn." if left else ""
    return Grid(tuple(cells), len(columns[:MAX_CELLS]), len(lines[:room]), note)


def _values(points: Sequence[Point], name: str) -> list[Scalar | None]:
    return sorted(dict.fromkeys(p.facts.get(name) for p in points), key=_rank)


def _rank(value: Scalar | None) -> float:
    """Numbers by size; anything else where it first appears."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _label(names: Sequence[str], values: Sequence[Scalar | None]) -> str:
    known = {n: v for n, v in zip(names, values, strict=True) if v is not None}
    text = facts_text(known)
    if len(text) > 3 * LONGEST:
        return plain(text)
    if len(text) <= NARROW or len(known) < 2:
        return text
    facts, half = list(known.items()), (len(known) + 1) // 2
    return "<br>".join(facts_text(dict(some)) for some in (facts[:half], facts[half:]))


def _share(index: int, count: int, gap: float) -> list[float]:
    """The part of the unit interval that the index-th of `count` has, with gaps between."""
    gap = min(gap, 0.5 / count)
    width = (1 - gap * (count - 1)) / count
    low = index * (width + gap)
    return [round(low, 4), round(min(1.0, low + width), 4)]
