"""`llmbench report`."""

import gc
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from llmbench.analyze.summary import Summary, summarise
from llmbench.cli.options import RESULTS, Results
from llmbench.cli.output import check_file, check_folder, save
from llmbench.errors import UsageError
from llmbench.report import csv, document, markdown, table
from llmbench.report import overhead as ledger
from llmbench.report.dashboard import Dashboard, load_dashboard
from llmbench.report.page import render_page
from llmbench.report.panels.data import PageData, page_data
from llmbench.report.panels.draw import draw_all
from llmbench.report.picture import pictures
from llmbench.store.query import Run, read_run
from llmbench.store.runs import find_run, read_manifest

Names = Annotated[list[str], typer.Argument(metavar="[RUN]...", help="Folders of runs, latest or latest:SUITE.")]
BESIDE, PAGE = "beside", "report.html"


def command(
    runs: Names = ["latest"],  # noqa: B006  (typer reads it)
    results: Results = RESULTS,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A markdown table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, SI units.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One line a case, SI units.")] = False,
    html: Annotated[
        str | None,
        typer.Option(
            "--html", metavar="FILE|beside", help=f"Write a page of plots there; beside: as {PAGE} in the (first) run."
        ),
    ] = None,
    open_it: Annotated[
        bool,
        typer.Option("--open", help=f"Open the page in a browser; without --html it is {PAGE} in the (first) run."),
    ] = False,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="DIR", help="Write each plot as PNG; needs kaleido and a browser.")
    ] = None,
    dashboard: Annotated[
        str | None,
        typer.Option(
            "--dashboard", metavar="FILE", help="What to plot: a file, or a bundled name. Default: by suite or op."
        ),
    ] = None,
    overhead: Annotated[
        bool, typer.Option("--overhead", help="Where the run's wall time went, stage by stage; with --json as data.")
    ] = False,
) -> None:
    """Show what runs found: a table here, and plots on a page."""
    gc.disable()  # a large report makes millions of objects that all live to its end: searching them takes long
    if as_markdown + as_json + as_csv > 1:
        raise UsageError("--markdown, --json and --csv: choose one")
    if len(runs) > 1 and (as_json or as_csv):
        raise UsageError("--json and --csv take one run at a time")
    if dashboard and not (html or open_it or png):
        raise UsageError("--dashboard says what to plot: give --html FILE, --open or --png DIR too")
    if overhead:
        _overhead(runs, results, as_json=as_json, alone=not (as_markdown or as_csv or html or open_it or png))
        return
    found = [read_run(_closed(run, results)) for run in runs]
    show = _markdown if as_markdown else _json if as_json else _csv if as_csv else _table
    if not (html or open_it or png):
        show([summarise(run) for run in found])
        return
    chosen = load_dashboard(dashboard, found)
    page = _page_path(html, found) if html or open_it else None
    if page:
        check_file(_asked_by(html), page)
    if png:
        check_folder("--png", png)
    data = page_data(found)
    show(data.summaries)
    _write(data, chosen, page=page, asked_by=_asked_by(html), png=png, open_it=open_it)


def _overhead(runs: Sequence[str], results: Path, *, as_json: bool, alone: bool) -> None:
    if not alone:
        raise UsageError("--overhead stands alone, or with --json")
    manifests = [read_manifest(_closed(run, results)) for run in runs]
    console = Console(highlight=False)
    for i, manifest in enumerate(manifests):
        if as_json:
            print(ledger.document(manifest), end="")
        else:
            print() if i else None
            ledger.show(manifest, console)


def _closed(run: str, results: Path) -> Path:
    """The run that a name stands for; a newer one that was not closed is told."""
    folder = find_run(run, results)
    if run.startswith("latest"):
        newest = find_run(run, results, closed=False)
        if newest.name > folder.name:
            print(
                f"llmbench: a newer run, {newest}, was not closed; go on with it: llmbench run --resume {newest}",
                file=sys.stderr,
            )
    return folder


def _write(
    data: PageData, chosen: Dashboard, *, page: Path | None, asked_by: str, png: Path | None, open_it: bool
) -> None:
    """Writes the page and the pictures that are asked for, and says where."""
    panels = draw_all(chosen, data)
    if page:
        facts = [s.facts for s in data.summaries]
        _save(asked_by, page, render_page(title=chosen.title, facts=facts, panels=panels, labels=data.labels))
    if page and open_it and not webbrowser.open(page.resolve().as_uri()):
        print(f"llmbench: there is no browser here to open {page}", file=sys.stderr)
    if png:
        for anchor, picture in pictures(panels):
            _save("--png", png / f"{anchor}.png", picture)


def _page_path(html: str | None, runs: Sequence[Run]) -> Path:
    """Where the page goes: a file, or a file in a folder that is there."""
    path = runs[0].folder / PAGE if html in (None, BESIDE) else Path(str(html))
    return path / PAGE if path.is_dir() else path


def _asked_by(html: str | None) -> str:
    return "--html" if html else "--open"


def _save(option: str, path: Path, content: str | bytes) -> None:
    save(option, path, content)
    print(f"llmbench: wrote {path}", file=sys.stderr)


def _table(summaries: Sequence[Summary]) -> None:
    console = Console(highlight=False)
    for i, summary in enumerate(summaries):
        print() if i else None
        table.show(summary, console)


def _markdown(summaries: Sequence[Summary]) -> None:
    print("\n".join(markdown.render(summary) for summary in summaries), end="")


def _json(summaries: Sequence[Summary]) -> None:
    print(document.render(summaries[0]), end="")


def _csv(summaries: Sequence[Summary]) -> None:
    print(csv.render(summaries[0]), end="")
