"""The report as markdown, for pull requests and notes: a table a point."""

from collections.abc import Collection, Iterator, Sequence

from llmbench.analyze.summary import Line, Summary
from llmbench.report.escape import markdown
from llmbench.report.words import (
    Columns,
    asides,
    cells_of,
    columns_of,
    heading,
    legend,
    name_of,
    notes_of,
    set_aside,
    status_of,
    time_unit_of,
    title_of,
    told_below,
)


def render(summary: Summary) -> str:
    """The whole document, ending in a newline."""
    facts, columns, hidden = summary.facts, columns_of(summary), set_aside(summary)
    lines = [f"# {markdown(facts.suite)} on {markdown(facts.device_name)}", ""]
    lines += [f"- **{markdown(label)}**: {markdown(text)}" for label, text in heading(facts)]
    lines += [f"- **warning**: {markdown(text)}" for text in facts.warnings]
    lines += [f"- **note**: {markdown(text)}" for text in facts.notes]
    points = [kept for point in summary.points if (kept := [x for x in point if x.case_id not in hidden])]
    found = asides(summary)
    told = told_below(found)
    for point in points:
        lines += ["", f"## {markdown(title_of(point[0]))}", "", *_table(point, columns, told)]
    if not points:
        lines += ["", "Nothing could be measured."]
    elif columns.headings:
        lines += ["", markdown("; ".join(legend(summary, columns, best="bold:")))]
    if found:
        lines += ["", "## Without a result", ""]
    for aside in found:
        where = f" ({aside.where})" if aside.where else ""
        lines.append(f"- **{markdown(aside.name + where)}**: {markdown(f'{aside.status}: {aside.why}')}")
    return "\n".join(lines) + "\n"


def _table(point: Sequence[Line], columns: Columns, told: Collection[str]) -> Iterator[str]:
    """The rows of a point; the last column holds notes, or the status of a line without numbers."""
    unit = time_unit_of(point)
    yield "| " + " | ".join(["", *columns.headings.values(), "status"]) + " |"
    yield "|" + "|".join(["---", *("---:" for _ in columns.headings), "---"]) + "|"
    for line in point:
        name = markdown(name_of(line))
        if line.status == "ok":
            cells = list(cells_of(line, columns, time_unit=unit).values())
            status = markdown(", ".join(["ok", *notes_of(line)]))
        else:
            cells = [""] * len(columns.headings)
            status = markdown(status_of(line, told))
        yield "| " + " | ".join([f"**{name}**" if line.best else name, *cells, status]) + " |"
