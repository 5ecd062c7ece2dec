"""Whiskers: ratios with their intervals, a case a row, the first at the top."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llmbench.report.drawn import Trace
from llmbench.report.log_axis import Span, decades, log_ticks, ratio_span
from llmbench.report.panels.label import plain
from llmbench.suite.catalog import Scalar

MOST = 200  # rows of a plot, the worst: more than a screen shows at once
ROW_PX, FRAME_PX = 18, 90  # height of a row, and of what is around them


class Whisker(NamedTuple):
    """A row: a ratio, the ends of its interval where it has one, and what is said of it beside its label."""

    label: str
    ratio: float
    low: float | None
    high: float | None
    text: str
    facts: Mapping[str, Scalar]

    @property
    def ends(self) -> tuple[float, float]:
        """Those of the interval, or the ratio itself."""
        return self.low or self.ratio, self.high or self.ratio


def trace_of(name: str, colour: str, rows: Iterable[tuple[int, Whisker]]) -> Trace:
    """The rows of a kind, each with its place among all rows."""
    own = list(rows)
    data = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "showlegend": True,
        "x": [row.ratio for _, row in own],
        "y": [place for place, _ in own],
        "marker": {"color": colour, "symbol": "square"},
        "error_x": {
            "type": "data", "symmetric": False, "color": colour,
            "array": [row.ends[1] - row.ratio for _, row in own],
            "arrayminus": [row.ratio - row.ends[0] for _, row in own],
        },
        "text": [f"{plain(row.label)}<br>{row.text}" for _, row in own],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    return Trace(data, None, {}, [dict(row.facts) for _, row in own])


def span_of(rows: Iterable[Whisker]) -> Span:
    """How far the axis reaches: one whisker that is long does not push the ratios together."""
    return ratio_span(row.ratio for row in rows)


def layout_of(rows: Sequence[Whisker], *, title: str) -> dict[str, Any]:
    """A logarithmic axis of ratios with a line at 1, and the labels of the rows."""
    places = list(range(len(rows)))
    one = {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper"}
    return {
        "xaxis": {
            "type": "log",
            "title": {"text": title},
            **log_ticks(decades([1, *(row.ratio for row in rows)])),
            **span_of(rows).clip,
        },
        "yaxis": {
            "tickvals": places,
            "ticktext": [plain(row.label) for row in rows],
            "range": [len(rows) - 0.5, -0.5],
        },
        "shapes": [one],
        "showlegend": True,
    }


def height_px(rows: Sequence[Whisker]) -> int:
    """Of the plot."""
    return FRAME_PX + ROW_PX * max(4, len(rows))
