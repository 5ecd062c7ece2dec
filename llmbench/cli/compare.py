"""`llmbench compare`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from llmbench.analyze.compare import compare, refuse_disjoint
from llmbench.cli.options import RESULTS, AsJson, Results
from llmbench.cli.output import check_file, save
from llmbench.errors import UsageError
from llmbench.report import compare_table
from llmbench.report.forest import panels_of
from llmbench.report.page import render_page
from llmbench.store.origin import read_evidence
from llmbench.store.runs import find_run

RUN = "A run's folder, latest or latest:SUITE."


def command(
    a: Annotated[str, typer.Argument(metavar="A", help=f"What to compare with. {RUN}")],
    b: Annotated[str, typer.Argument(metavar="B", help=f"What is compared. {RUN}")],
    results: Results = RESULTS,
    everything: Annotated[bool, typer.Option("--all", help="Also the cases that did not change.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Markdown tables.")] = False,
    as_json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write forest plots, one self-contained page.")
    ] = None,
) -> None:
    """Show what changed from one run to another."""
    if as_markdown + as_json > 1:
        raise UsageError("--markdown and --json: choose one")
    if html is not None:
        check_file("--html", html)
    found = compare(read_evidence(find_run(a, results)), read_evidence(find_run(b, results)))
    refuse_disjoint(found)
    if html is not None:
        title, sides = f"{found.b.run_id} (B) against {found.a.run_id} (A)", ("A", "B")
        page = render_page(
            title=title, facts=found.facts, panels=panels_of(found), labels=sides, warnings=found.warnings
        )
        save("--html", html, page)
    if as_json:
        print(compare_table.document(found), end="")
    elif as_markdown:
        print(compare_table.render(found, everything=everything), end="")
    else:
        compare_table.show(found, Console(highlight=False), everything=everything)
