"""The terminal's table: a block a point, columns aligned over all of them, as many as the width has room for."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from llmbench.analyze.facts import Facts
from llmbench.analyze.summary import Line, Summary
from llmbench.report.escape import one_line, visible
from llmbench.report.words import (
    Aside,
    Columns,
    asides,
    cells_of,
    choices,
    columns_of,
    heading,
    legend,
    letters_legend,
    letters_of,
    name_of,
    notes_of,
    set_aside,
    status_of,
    time_unit_of,
    title_of,
    told_below,
)

GAP = "  "
GIVEN_UP = (
    "interval",
    "tokens",
    "peak",
    "memory",
    "spread",
    "error",
)  # columns that a narrow terminal goes without, in order
NAME_SHARE = 0.4  # of the width that names may take
Spans = list[tuple[str, str]]  # a line: texts with their styles
STATUS_STYLES = {"skipped": "dim", "unavailable": "dim", "inferred": "yellow", "oom": "yellow"}


@dataclass(frozen=True)
class _Layout:
    """The columns of the terminal: how wide the names are, and each column after them."""

    name_width: int
    widths: dict[str, int]
    total: int
    compact: bool = False  # `0.275–0.307` for `[0.275, 0.307]`
    letters: bool = False  # notes are letters

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
    found = asides(summary)
    told = told_below(found)
    for point in points:
        _put_rows(console, [[], *_block(point, cells, columns, layout, told)])
    if not points:
        _put(console, Text("\nNothing could be measured."))
    how = [*legend(summary, columns), *([letters_legend(summary.lines)] if layout.letters else [])]
    if missing := [text for key, text in columns.headings.items() if key not in layout.widths]:
        how.append(f"no room for {', '.join(missing)}: widen the terminal, or COLUMNS=200")
    for text in _tail(how if columns.headings else [], found, console):
        _put(console, text)
    chosen = choices(summary)
    if chosen:
        _put(console, Text("\nChosen", style="bold"))
    for name, config in chosen:
        for text in _hanging(Text(GAP), Text(f"{one_line(name)}: {one_line(config)}"), console):
            _put(console, text)


def _put(console: Console, *lines: Text) -> None:
    for line in lines:
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def _put_rows(console: Console, rows: Sequence[Spans]) -> None:
    """Prints the rows of a point at once: a call of `print` costs half a millisecond, and a large run has 50,000 lines.

    A file or a pipe gets their text as it is, without a detour by rich, which takes several times as long.
    """
    if console.color_system is None and not console.is_terminal:
        width = console.width
        texts = ("".join(text for text, _ in spans).rstrip() for spans in rows)
        console.file.write("".join(f"{_fitted_end(text, width)}\n" for text in texts))
        return
    _put(console, Text("\n").join(Text.assemble(*spans) for spans in rows))


def _fitted_end(text: str, width: int) -> str:
    """Cut to the width, line by line, as the terminal's lines are."""
    return "\n".join(
        line if cell_len(line) <= width else set_cell_size(line, width - 1) + "…" for line in text.split("\n")
    )


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
    """The widest layout that leaves room for notes, as letters where words would not fit on the line; titles share the
    line of the headings where there is room."""
    ok = [line for point in points for line in point if line.status == "ok"]
    texts = {key: [text, *(cells[line.case_id][key] for line in ok)] for key, text in columns.headings.items()}
    names = max((cell_len(one_line(name_of(line))) for point in points for line in point), default=0)
    titles = max((cell_len(one_line(title_of(point[0]))) for point in points), default=0)
    letters, words = (max((_room(notes(line)) for line in ok), default=0) for notes in (letters_of, _words))
    for layout in _layouts(min(names, int(total * NAME_SHARE)), texts, total):
        if layout.left >= letters:
            break
    layout = replace(layout, letters=words > layout.left)
    wanted = titles - len(GAP) - layout.name_width
    room = layout.left - (letters if layout.letters else words)
    return replace(layout, name_width=layout.name_width + wanted) if 0 < wanted <= room else layout


def _layouts(name_width: int, texts: dict[str, list[str]], total: int) -> Iterator[_Layout]:
    """Ever narrower ones: first the interval gets compact, then columns are given up."""
    widths = {key: max(map(cell_len, found)) for key, found in texts.items()}
    yield _Layout(name_width, widths, total)
    if "interval" in widths:
        widths["interval"] = max(cell_len(_compact(text)) for text in texts["interval"])
    yield _Layout(name_width, widths, total, compact=True)
    for key in GIVEN_UP:
        widths = {k: w for k, w in widths.items() if k != key}
        yield _Layout(name_width, widths, total, compact=True)


def _block(
    point: Sequence[Line],
    cells: dict[str, dict[str, str]],
    columns: Columns,
    layout: _Layout,
    told: Collection[str],
) -> Iterator[Spans]:
    title = one_line(title_of(point[0]))
    headings = "".join(GAP + columns.headings[key].rjust(width) for key, width in layout.widths.items())
    if cell_len(title) > layout.name_width + len(GAP):
        yield [(title, "bold")]
        title = ""
    if any(line.status == "ok" for line in point):
        yield [(set_cell_size(title, layout.name_width + len(GAP)), "bold"), (headings, "dim")]
    elif title:
        yield [(title, "bold")]
    for line in point:
        name = _fitted(one_line(name_of(line)), layout.name_width)
        if line.status == "ok":
            yield from _rows(line, name, cells[line.case_id], layout)
        else:
            style = STATUS_STYLES.get(line.status, "red")
            yield [(GAP, ""), (name, "dim"), (GAP, ""), (one_line(status_of(line, told)), style)]


def _rows(line: Line, name: str, cells: dict[str, str], layout: _Layout) -> Iterator[Spans]:
    parts = ["* " if line.best else GAP, name]
    for key, width in layout.widths.items():
        cell = _compact(cells[key]) if layout.compact and key == "interval" else cells[key]
        parts.append(GAP + " " * (width - cell_len(cell)) + cell)
    row = ("".join(parts), "bold green" if line.best else "")
    notes = letters_of(line) if layout.letters else _words(line)
    if notes and _room(notes) <= layout.left:
        yield [row, (GAP + notes, "yellow")]
        return
    yield [row]
    if notes:
        yield [(GAP * 2 + notes, "yellow")]


def _words(line: Line) -> str:
    return one_line(", ".join(notes_of(line)))


def _room(notes: str) -> int:
    return len(GAP) + cell_len(notes) if notes else 0


def _compact(interval: str) -> str:
    return interval.strip("[]").replace(", ", "–")


def _tail(how: Sequence[str], found: Sequence[Aside], console: Console) -> Iterator[Text]:
    if how:
        yield Text()
        yield from _hanging(Text(), Text("; ".join(how), style="dim"), console)
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
