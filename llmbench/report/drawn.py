"""A panel as it goes into a page: traces and a table as plain data, free of colours and of the size of a screen."""

from dataclasses import dataclass, field
from typing import Any

from llmbench.suite.catalog import Scalar

FILTERS = ("run", "impl", "heads", "phase", "dtype")
"""Facts that the page's side bar filters by, where they differ; a bundle or parameter of that name."""


@dataclass(frozen=True)
class Trace:
    """A plotly trace without its colour: `series` names it (the same series has the same colour in every panel).

    `facts` are true of the whole trace; where points differ, `point_facts` holds one mapping a point, in the order of
    the trace's `x`. A filter hides a trace, or drops points, whose facts do not match.
    """

    data: dict[str, Any]
    series: str | None = None
    facts: dict[str, Scalar] = field(default_factory=dict)
    point_facts: list[dict[str, Scalar]] | None = None


@dataclass(frozen=True)
class TableRow:
    """A row of the table under a panel: texts as people read them, and the facts that a filter looks at."""

    cells: tuple[str, ...]
    facts: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A panel: traces and layout for plotly, the same numbers as a table, or the sentence that says why it is empty."""

    anchor: str  # permanent: from the dashboard, not from what the run held
    kind: str
    title: str
    caption: str = ""
    why_empty: str | None = None
    traces: tuple[Trace, ...] = ()
    layout: dict[str, Any] = field(default_factory=dict)  # axes, facets as subplots, annotations; no colours, no width
    height_px: int = 420
    columns: tuple[str, ...] = ()
    rows: tuple[TableRow, ...] = ()
    elsewhere: str = "llmbench report --csv has all cases"  # where the rows are that a page leaves out
