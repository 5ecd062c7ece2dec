"""The forest plots of a comparison: a case a row, its ratio as a point with its interval, worst at the top."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmbench.analyze.compare import Comparison, ForestRow, Kind, forest
from llmbench.report.compare_table import HEADINGS, code_text, legend, rows_of, status_lines, tally
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.log_axis import Span, decades, log_ticks, ratio_span
from llmbench.report.panels.label import joined, plain
from llmbench.suite.catalog import Scalar

MOST = 200  # rows of a plot, the worst: more than a screen shows at once
ROW_PX, FRAME_PX = 18, 90  # height of a row, and of what is around them
COLOURS: Mapping[Kind, str] = {"worse": "@bad", "unclear": "@warn", "better": "@good", "same": "@muted"}


def panels_of(comparison: Comparison) -> list[Drawn]:
    """A forest plot a metric, after a table of the cases that are not ok on both sides, if there are any."""
    told = [TableRow((p.kind, p.label, text), p.facts) for p, text in status_lines(comparison)]
    status = Drawn("status", "status", "Cases without a result on a side", columns=("", "case", "A → B"),
                   rows=tuple(told))  # fmt: skip
    return [*([status] if told else []), *(_panel(comparison, metric) for metric in comparison.metrics)]


def _panel(comparison: Comparison, metric: str) -> Drawn:
    found = sorted(forest(comparison, metric), key=lambda row: row.kind == "same")
    shown, facts = found[:MOST], {p.case_id: p.facts for p in comparison.pairs}
    more = f"The {MOST} worst of {len(found)} cases are drawn; the table has all." if len(found) > MOST else ""
    span = ratio_span(row.ratio for row in shown)
    cut = span.cut(_ends(row) for row in shown)
    means = f"{legend(comparison)}."
    code = f"Code changed: {code_text(comparison)}." if comparison.code_changed else ""
    caption = joined([f"{tally(comparison, metric)}. B/A: above 1, B needs more.", more, cut, code, means])
    rows = rows_of(comparison, metric, everything=True)
    noted = any(row.notes for row in rows)
    return Drawn(
        anchor=f"forest-{metric}",
        kind="forest",
        title=f"{metric}: B over A",
        caption=caption,
        why_empty=None if found else f"No case has a ratio of {metric}.",
        traces=tuple(_trace(kind, shown, facts) for kind in COLOURS if any(r.kind == kind for r in shown)),
        layout=_layout(shown, span),
        height_px=FRAME_PX + ROW_PX * max(4, len(shown)),
        columns=(*HEADINGS.values(), *(["notes"] if noted else [])),
        rows=tuple(
            TableRow((*row.cells.values(), *(["; ".join(row.notes)] if noted else [])), row.pair.facts) for row in rows
        ),
    )


def _trace(kind: Kind, rows: Sequence[ForestRow], facts: Mapping[str, dict[str, Scalar]]) -> Trace:
    """The rows of a kind; each stands at its place among all of them."""
    own = [(place, row) for place, row in enumerate(rows) if row.kind == kind]
    ends = [_ends(row) for _, row in own]
    data = {
        "type": "scatter",
        "mode": "markers",
        "name": kind,
        "showlegend": True,
        "x": [row.ratio for _, row in own],
        "y": [place for place, _ in own],
        "marker": {"color": COLOURS[kind], "symbol": "square"},
        "error_x": {
            "type": "data", "symmetric": False, "color": COLOURS[kind],
            "array": [high - row.ratio for (_, row), (_, high) in zip(own, ends, strict=True)],
            "arrayminus": [row.ratio - low for (_, row), (low, _) in zip(own, ends, strict=True)],
        },
        "text": [f"{plain(row.label)}<br>B/A {row.ratio:.4f}{_interval(row)}" for _, row in own],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    return Trace(data, None, {}, [facts[row.case_id] for _, row in own])


def _interval(row: ForestRow) -> str:
    if row.low is None or row.high is None:
        return ""
    return f" {'~' if row.basis == 'within one process' else ''}[{row.low:.4f}, {row.high:.4f}]"


def _ends(row: ForestRow) -> tuple[float, float]:
    return row.low or row.ratio, row.high or row.ratio


def _layout(rows: Sequence[ForestRow], span: Span) -> dict[str, Any]:
    places = list(range(len(rows)))
    ticks = {"tickvals": places, "ticktext": [plain(row.label) for row in rows]}
    one = {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper"}
    return {
        "xaxis": {
            "type": "log",
            "title": {"text": "B/A"},
            **log_ticks(decades([1, *(row.ratio for row in rows)])),
            **span.clip,
        },
        "yaxis": {**ticks, "range": [len(rows) - 0.5, -0.5]},
        "shapes": [one],
        "showlegend": True,
    }
