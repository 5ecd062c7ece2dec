"""The terminal's table: a block a point, columns aligned over all of them, as many as the width has room for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from llmbench.analyze.facts import Facts
from llmbench.analyze.summary import Line, Summary
from llmbench.report.escape import one_line, visible
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
    time_unit_of,
    title_of,
)

GAP = "  "
GIVEN_UP = ("interval", "tokens", "peak", "memory", "spread")  # columns that a narrow terminal goes without, in order
NAME_SHARE = 0.4  # of the width that names may take
STATUS_STYLES = {"skipped": "dim", "unavailable": "dim", "inferred": "yellow", "oom": "yellow"}


@dataclass(frozen=True)
class _Layout:
    """The columns of the terminal: how wide the names are, and each column after them."""

    name_width: int
    widths: dict[str, int]
    total: int

    @property
    def left(self) -> int:
        """What a line has left for its notes."""
        return self.total - self.used

    @property
    def used(self) -> int:
        """Cells up to the end of the last column."""
        return len(GAP) + self.name_width + sum(len(GAP) + w for w in self.widths.values())


def show(summary: Summary, console: Console) -> None:
    """Prints the report of a run, as wide as the console is."""
    for text in _head(summary.facts, console):
        _put(console, text)
    columns, hidden = columns_of(summary), set_aside(summary)
    points = [kept for point in summary.points if (kept := [x for x in point if x.case_id not in hidden])]
    cells = {line.case_id: cells_of(line, columns, time_unit=time_unit_of(point)) for point in points for line in point}
    layout = _lay_out(points, cells, columns, console.width)
    for point in points:
        _put(console, Text(), *_block(point, cells, columns, layout))
    if not points:
        _put(console, Text("\nNothing could be measured."))
    for text in _tail(summary, columns, console):
        _put(console, text)


def _put(console: Console, *lines: Text) -> None:
    """Prints the lines at once: a call of `print` costs half a millisecond, and a large run has 50,000 lines."""
    for line in lines:
        line.rstrip()
    console.print(Text("\n").join(lines), no_wrap=True, overflow="ellipsis", crop=True)


def _head(facts: Facts, console: Console) -> Iterator[Text]:
    entries = [(label, text, "bold" if label == "suite" else "") for label, text in heading(facts)]
    entries += [("warning", text, "yellow") for text in facts.warnings]
    entries += [("note", text, "") for text in facts.notes]
    width = min(max(cell_len(one_line(label)) for label, _, _ in entries), console.width // 3)
    for label, text, style in entries:
        lead = Text(_fitted(one_line(label), width) + GAP, style="yellow" if label == "warning" else "dim")
        yield from _hanging(lead, Text(one_line(text), style=style), console)


def _hanging(lead: Text, body: Text, console: Console) -> Iterator[Text]:
    """`body` wrapped to the width that `lead` leaves, its further lines indented below the first."""
    indent = cell_len(lead.plain)
    for i, line in enumerate(body.wrap(console, max(20, console.width - indent), overflow="fold")):
        yield Text.assemble(lead if i == 0 else " " * indent, line)


def _lay_out(
    points: Sequence[Sequence[Line]], cells: dict[str, dict[str, str]], columns: Columns, total: int
) -> _Layout:
    """Gives up columns until the rest fits, then lets titles share the line of the headings where there is room."""
    ok = [line for point in points for line in point if line.status == "ok"]
    widths = {
        key: max([cell_len(text), *(cell_len(cells[line.case_id][key]) for line in ok)])
        for key, text in columns.headings.items()
    }
    names = max((cell_len(one_line(name_of(line))) for point in points for line in point), default=0)
    titles = max((cell_len(one_line(title_of(point[0]))) for point in points), default=0)
    layout = _Layout(min(names, int(total * NAME_SHARE)), widths, total)
    for key in GIVEN_UP:
        if layout.used > total:
            layout = _Layout(layout.name_width, {k: w for k, w in layout.widths.items() if k != key}, total)
    notes = max((cell_len(_notes(line)) for line in ok), default=0)
    room = layout.left - (notes + len(GAP) if notes else 0)
    wanted = titles - len(GAP) - layout.name_width
    return _Layout(layout.name_width + wanted, layout.widths, total) if 0 < wanted <= room else layout


def _block(
    point: Sequence[Line], cells: dict[str, dict[str, str]], columns: Columns, layout: _Layout
) -> Iterator[Text]:
    title = one_line(title_of(point[0]))
    headings = "".join(GAP + columns.headings[key].rjust(width) for key, width in layout.widths.items())
    if cell_len(title) > layout.name_width + len(GAP):
        yield Text(title, style="bold")
        title = ""
    if any(line.status == "ok" for line in point):
        yield Text.assemble((set_cell_size(title, layout.name_width + len(GAP)), "bold"), (headings, "dim"))
    elif title:
        yield Text(title, style="bold")
    for line in point:
        yield from _rows(line, cells[line.case_id], layout)


def _rows(line: Line, cells: dict[str, str], layout: _Layout) -> Iterator[Text]:
    name = _fitted(one_line(name_of(line)), layout.name_width)
    if line.status != "ok":
        why = f": {line.why}" if line.why else ""
        style = STATUS_STYLES.get(line.status, "red")
        yield Text.assemble(GAP, (name, "dim"), GAP, (one_line(f"{line.status}{why}"), style))
        return
    text = Text.assemble("* " if line.best else GAP, name)
    for key, width in layout.widths.items():
        text.append(GAP + " " * (width - cell_len(cells[key])) + cells[key])
    if line.best:
        text.stylize("bold green")
    notes = _notes(line)
    if notes and cell_len(notes) + len(GAP) <= layout.left:
        yield text.append(GAP + notes, style="not bold yellow")
        return
    yield text
    if notes:
        yield Text(GAP * 2 + notes, style="yellow")


def _notes(line: Line) -> str:
    return one_line(", ".join(notes_of(line)))


def _tail(summary: Summary, columns: Columns, console: Console) -> Iterator[Text]:
    if columns.headings:
        yield Text()
        yield from _hanging(Text(), Text("; ".join(legend(summary, columns)), style="dim"), console)
    found = asides(summary)
    if not found:
        return
    yield Text("\nWithout a result", style="bold")
    for aside in found:
        where = f" ({one_line(aside.where)})" if aside.where else ""
        style = STATUS_STYLES.get(aside.status, "red")
        which = Text.assemble(one_line(aside.name), where, ": ", (one_line(aside.status), style))
        yield from _hanging(Text(GAP), which, console)
        yield from _hanging(Text(GAP * 2), Text(visible(aside.why)), console)


def _fitted(text: str, width: int) -> str:
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
