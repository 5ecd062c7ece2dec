"""The table under a panel: the same numbers as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmbench.report.drawn import TableRow
from llmbench.report.panels.data import Point
from llmbench.report.panels.label import value_text
from llmbench.report.panels.quantity import Quantity

MAX_ROWS = 500


@dataclass(frozen=True)
class Listing:
    """Columns and rows of a table; `note` says what was left out."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    note: str = ""


def listing(points: Sequence[Point], names: Sequence[str | None], quantities: Sequence[Quantity]) -> Listing:
    """A row a point: its facts of those names, then each quantity, with its interval where any point has one."""
    quantities = [q for q in quantities if q.kind == "metric"]
    facts = list(dict.fromkeys(n for n in names if n is not None and any(n in p.facts for p in points)))
    kept = points[:MAX_ROWS]
    wide = [q for q in quantities if any(q.interval_cell(p) for p in kept)]
    columns = [*facts]
    for q in quantities:
        columns += [q.title, f"interval ({q.scale.unit})"] if q in wide else [q.title]
    rows = []
    for p in kept:
        cells = [value_text(p.facts.get(n)) for n in facts]
        for q in quantities:
            cells += [q.cell(p), q.interval_cell(p)] if q in wide else [q.cell(p)]
        rows.append(TableRow(tuple(cells), p.filters))
    return Listing(tuple(columns), tuple(rows), rest_text(len(points)))


def rest_text(count: int) -> str:
    """How many of that many rows a table leaves out, as a sentence; empty where it has them all."""
    return f"The table has {MAX_ROWS} of {count:,} rows." if count > MAX_ROWS else ""
