"""The forest plots of a comparison: a case a row, its ratio as a point with its interval, worst at the top."""

from collections.abc import Mapping

from llmbench.analyze.compare import Comparison, ForestRow, Kind, forest
from llmbench.report.compare_table import HEADINGS, code_text, legend, rows_of, status_lines, tally
from llmbench.report.drawn import Drawn, TableRow
from llmbench.report.panels.label import joined
from llmbench.report.whiskers import MOST, Whisker, height_px, layout_of, span_of, trace_of
from llmbench.suite.catalog import Scalar

COLOURS: Mapping[Kind, str] = {"worse": "@bad", "unclear": "@warn", "better": "@good", "same": "@muted"}


def panels_of(comparison: Comparison) -> list[Drawn]:
    """A forest plot a metric, after a table of the cases that are not ok on both sides, if there are any."""
    told = [TableRow((p.kind, p.label, text), p.facts) for p, text in status_lines(comparison)]
    status = Drawn("status", "status", "Cases without a result on a side", columns=("", "case", "A → B"),
                   rows=tuple(told))  # fmt: skip
    return [*([status] if told else []), *(_panel(comparison, metric) for metric in comparison.metrics)]


def _panel(comparison: Comparison, metric: str) -> Drawn:
    found = sorted(forest(comparison, metric), key=lambda row: row.kind == "same")
    facts = {p.case_id: p.facts for p in comparison.pairs}
    shown = [(row.kind, _whisker(row, facts[row.case_id])) for row in found[:MOST]]
    whiskers = [whisker for _, whisker in shown]
    more = f"The {MOST} worst of {len(found)} cases are drawn; the table has all." if len(found) > MOST else ""
    cut = span_of(whiskers).cut(whisker.ends for whisker in whiskers)
    means = f"{legend(comparison)}."
    code = f"Code changed: {code_text(comparison)}." if comparison.code_changed else ""
    caption = joined([f"{tally(comparison, metric)}. B/A: above 1, B needs more.", more, cut, code, means])
    rows = rows_of(comparison, metric, everything=True)
    noted = any(row.notes for row in rows)
    traces = {kind: [(i, w) for i, (own, w) in enumerate(shown) if own == kind] for kind in COLOURS}
    return Drawn(
        anchor=f"forest-{metric}",
        kind="forest",
        title=f"{metric}: B over A",
        caption=caption,
        why_empty=None if found else f"No case has a ratio of {metric}.",
        traces=tuple(trace_of(kind, COLOURS[kind], own) for kind, own in traces.items() if own),
        layout=layout_of(whiskers, title="B/A"),
        height_px=height_px(whiskers),
        columns=(*HEADINGS.values(), *(["notes"] if noted else [])),
        rows=tuple(
            TableRow((*row.cells.values(), *(["; ".join(row.notes)] if noted else [])), row.pair.facts) for row in rows
        ),
    )


def _whisker(row: ForestRow, facts: Mapping[str, Scalar]) -> Whisker:
    return Whisker(row.label, row.ratio, row.low, row.high, f"B/A {row.ratio:.4f}{_interval(row)}", facts)


def _interval(row: ForestRow) -> str:
    if row.low is None or row.high is None:
        return ""
    return f" {'~' if row.basis == 'within one process' else ''}[{row.low:.4f}, {row.high:.4f}]"
