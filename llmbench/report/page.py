"""The report as one HTML page that needs nothing else: plots, their numbers as tables, and filters over all of them."""

import base64
import hashlib
import importlib.resources
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from llmbench.analyze.facts import Facts
from llmbench.report.drawn import Drawn, TableRow
from llmbench.report.escape import html_text
from llmbench.report.palette import PAPER, SERIES, Theme, series_of
from llmbench.report.payload import RowFacts, anchor_of, filters_of, payload
from llmbench.report.words import heading
from llmbench.store.record import WORST_FIRST

MOST_ROWS = 1000  # of a table: a browser lays out this many at once without a pause
WHOLE_ROWS = 60  # of a table without a plot, up to which it has no box that scrolls
WIDE = 12  # columns, from which a table is printed small
SCRIPTS = ("facets.js", "link.js", "page.js")
SENTENCE = 40  # characters, above which a cell may wrap
LONG_CELL = 200  # characters, above which a cell gets a box that scrolls
_NUMBER = re.compile(r"[±~<≥≤+−-]?\d|–$|$")


def render_page(
    *, title: str, facts: Sequence[Facts], panels: Sequence[Drawn], labels: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> str:  # fmt: skip
    """The whole document: `facts` of each run that it shows, `panels` in their order; `labels` name the runs.

    `warnings` are of all runs together; they stand above those of each run.
    It works offline, asks nothing of any network (its Content-Security-Policy forbids it) and holds plotly.js once.
    """
    devices = ", ".join(dict.fromkeys(f.device_name for f in facts))
    name = " · ".join(filter(None, [title, devices, "llmbench"]))
    return page_around(_header(title, facts, labels, warnings), name=name, panels=panels)


def page_around(header: str, *, name: str, panels: Sequence[Drawn]) -> str:
    """The whole document below a header, which is HTML; `name` is that of the window."""
    filters = filters_of(panels)
    known = RowFacts(filters)
    sections = [_panel(panel, known) for panel in panels]
    scripts = [_plotly_js(), "\n".join(_asset(script) for script in SCRIPTS)]
    body = [
        '<a class="skip" href="#panels">Skip to the panels</a>',
        header,
        f'<div class="columns">{_side(panels, filters)}',
        f'<main id="panels">{"".join(sections) or "<p>There is nothing to show.</p>"}</main></div>',
        f'<script type="application/json" id="data">{payload(panels, filters, known)}</script>',
        *(f"<script>{script}</script>" for script in scripts),
    ]
    return f"<!doctype html>\n<html lang=en>\n{_head(name, scripts)}<body>\n" + "\n".join(body) + "\n</body></html>\n"


def notices(told: Iterable[tuple[str, str, str]]) -> str:
    """A strip of warnings and notes below the title: kind, text, and whose it is if that must be said."""
    items = "".join(
        f'<li class="{kind}"><strong>{kind}</strong> {html_text(text)}'
        + (f' <span class="where">{html_text(where)}</span>' if where else "")
        + "</li>"
        for kind, text, where in told
    )
    return f'<ul class="told" aria-label="Warnings and notes">{items}</ul>' if items else ""


def _head(name: str, scripts: Iterable[str]) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        f'<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{html_text(name)}</title>\n<style>\n{_variables()}\n{_asset('page.css')}</style>\n</head>\n"
    )


def _variables() -> str:
    """The colours as CSS variables: dark where the system is dark, light on paper whatever the system is."""

    def declared(theme: Theme) -> str:
        named = {**PAPER[theme], **{f"s{i}": colour for i, colour in enumerate(SERIES[theme])}}
        return " ".join(f"--{name}: {colour};" for name, colour in named.items())

    return (
        f":root {{ {declared('light')} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {declared('dark')} }} }}"
    )


def _header(title: str, facts: Sequence[Facts], labels: Sequence[str], warnings: Sequence[str]) -> str:
    several = len(facts) > 1
    names = list(labels) if len(labels) == len(facts) else [f.run_id for f in facts]
    runs = "".join(_run(f, name if several else "") for f, name in zip(facts, names, strict=True))
    told: dict[tuple[str, str], list[str]] = {("warning", text): list(names) for text in warnings}
    for kind, run, text in (
        *(("warning", name, text) for f, name in zip(facts, names, strict=True) for text in f.warnings),
        *(("note", name, text) for f, name in zip(facts, names, strict=True) for text in f.notes),
    ):
        told.setdefault((kind, text), []).append(run)
    strip = notices(
        (kind, text, ", ".join(own) if several and len(own) < len(facts) else "") for (kind, text), own in told.items()
    )
    return f'<header><h1>{html_text(title)}</h1>{strip}<div class="runs">{runs}</div></header>'


def _run(facts: Facts, name: str) -> str:
    head = f"<h2>{html_text(name)}</h2>" if name else ""
    pairs = "".join(
        f"<div><dt>{html_text(label)}</dt><dd>{html_text(text)}</dd></div>"
        for label, text in heading(facts)
        if label != "cases"
    )
    return (
        f'<section class="run" aria-label="{html_text(f"Run {facts.run_id}")}">{head}<dl>{pairs}'
        f"<div><dt>cases</dt><dd>{_counts(facts.counts)}</dd></div></dl></section>"
    )


def _counts(counts: Mapping[str, int]) -> str:
    """Cases by status, best first."""
    known = [s for s in reversed(WORST_FIRST) if counts.get(s)]
    ordered = [*known, *sorted(set(counts) - set(known))]
    classes = {"ok": "good", "skipped": "plain", "unavailable": "plain", "inferred": "warn", "oom": "warn"}
    return (
        " ".join(
            f'<span class="count {classes.get(s, "bad")}">{counts[s]} {html_text(s)}</span>'
            for s in ordered
            if counts[s]
        )
        or "none"
    )


def _side(panels: Sequence[Drawn], filters: Mapping[str, Sequence[str]]) -> str:
    links = "".join(f'<li><a href="#{anchor_of(p)}">{html_text(p.title)}</a></li>' for p in panels)
    series = series_of(panels)
    boxes = "".join(_filter(key, values, series) for key, values in filters.items())
    form = (
        f'<form class="filters" aria-label="Filters of all panels" autocomplete="off">{boxes}'
        '<p class="filtered" role="status"></p></form>'
    )
    return (
        '<aside><details id="side" open><summary>Filters and panels <span class="filtered"></span></summary>'
        '<div class="inside">'
        f'{form if boxes else ""}<nav aria-label="Panels"><h2>panels</h2><ol>{links}</ol></nav>'
        "</div></details></aside>"
    )


def _filter(key: str, values: Sequence[str], series: Sequence[str]) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" checked data-key="{html_text(key)}" data-at="{at}" value="{escape(value)}">'
        f"{_swatch(value, series)}<span>{html_text(value)}</span></label>"
        for at, value in enumerate(values)
    )
    return (
        f'<fieldset data-key="{html_text(key)}"><legend>{html_text(key)}</legend><p class="all">'
        f'<button type="button" data-all="{html_text(key)}">all</button> '
        f'<button type="button" data-none="{html_text(key)}">none</button></p>{boxes}</fieldset>'
    )


def _swatch(value: str, series: Sequence[str]) -> str:
    if value not in series:
        return ""
    return f'<i class="swatch" style="background: var(--s{series.index(value) % len(SERIES["light"])})"></i>'


def _panel(panel: Drawn, known: RowFacts) -> str:
    anchor, title = anchor_of(panel), html_text(panel.title)
    has_plot = bool(panel.traces) and not panel.why_empty
    parts = [f'<h2>{title} <a class="anchor" href="#{anchor}" aria-label="Link to {title}">#</a></h2>']
    parts += [f'<p class="caption">{html_text(panel.caption)}</p>'] if panel.caption else []
    parts += [f'<p class="empty">{html_text(panel.why_empty)}</p>'] if panel.why_empty else []
    parts += _plot(panel) if has_plot else []
    table = _table(panel, known, alone=not has_plot) if panel.rows else ""
    state = "waiting" if has_plot else "empty" if panel.why_empty else "table"
    attributes = f'class="panel" id="{anchor}" data-kind="{html_text(panel.kind)}" data-state="{state}"'
    return f'<section {attributes}><div class="figure">{"".join(parts)}</div>{table}</section>\n'


def _plot(panel: Drawn) -> list[str]:
    """Where page.js draws, and the buttons that save it."""
    title, below = html_text(panel.title), "The numbers are in the table below." if panel.rows else ""
    told = html_text(f"{panel.title}. {panel.caption} {below}".strip())
    return [
        f'<div class="scroll"><div class="plot" role="img" aria-label="{told}"'
        f' style="min-height: {panel.height_px:d}px"></div></div>',
        '<p class="empty nothing" hidden>The filters leave nothing of this panel.</p>',
        f'<div class="keys" role="group" aria-label="Legend of {title}"></div>',
        '<p class="tools">',
        *(
            f'<button type="button" data-save="{kind}" aria-label="Download {title} as {kind.upper()}">'
            f"{kind.upper()}</button>"
            for kind in ("svg", "png")
        ),
        "</p>",
    ]


def _table(panel: Drawn, known: RowFacts, *, alone: bool) -> str:
    shown = panel.rows[:MOST_ROWS]
    said = f"{len(panel.rows):,} row{'s' if len(panel.rows) > 1 else ''}"
    if len(shown) < len(panel.rows):
        said = f"the first {len(shown):,} of {said}; {panel.elsewhere}"
    classes = [_class_of([row.cells[i] for row in shown if i < len(row.cells)]) for i in range(len(panel.columns))]
    head = "".join(
        f'<th scope="col"{kind}>{html_text(column)}</th>' for kind, column in zip(classes, panel.columns, strict=True)
    )
    body = "".join(_row(row, classes, known) for row in shown)
    wide = ' class="wide"' if len(panel.columns) >= WIDE else ""
    region = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Numbers of {html_text(panel.title)}"><table{wide}>'
        f'<caption>{html_text(panel.title)}: <span class="rows">{said}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    if alone:
        whole = " whole" if len(shown) <= WHOLE_ROWS else ""
        return f'<div class="numbers{whole}">{region}</div>'
    return f'<details class="numbers" data-rows="{len(shown)}"><summary>Numbers</summary>{region}</details>'


def _row(row: TableRow, classes: Sequence[str], known: RowFacts) -> str:
    return f'<tr data-f="{known.number(row.facts)}">{"".join(_cells(row.cells, classes))}</tr>'


def _cells(cells: Sequence[str], classes: Sequence[str]) -> Iterator[str]:
    for i, cell in enumerate(cells):
        kind, text = classes[i] if i < len(classes) else "", html_text(cell)
        text = f'<div class="long" tabindex="0">{text}</div>' if len(cell) > LONG_CELL else text
        yield f'<th scope="row"{kind}>{text}</th>' if i == 0 else f"<td{kind}>{text}</td>"


def _class_of(cells: Sequence[str]) -> str:
    """Numbers are set to the right, and only sentences may wrap."""
    if all(_NUMBER.match(cell) for cell in cells):
        return ' class="num"'
    return ' class="text"' if any(len(cell) > SENTENCE for cell in cells) else ""


def _asset(name: str) -> str:
    return importlib.resources.files("llmbench.report").joinpath("assets", name).read_text(encoding="utf-8")


def _plotly_js() -> str:
    """plotly.js as its Python package ships it, read without importing the package, which takes half a second."""
    source = pkgutil.get_data("plotly", "package_data/plotly.min.js")
    assert source is not None
    return source.decode().replace("\r\n", "\n")
