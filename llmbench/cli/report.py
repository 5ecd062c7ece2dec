"""`llmbench report`."""

from typing import Annotated

import typer
from rich.console import Console

from llmbench.analyze.summary import summarise
from llmbench.cli.options import RESULTS, Results
from llmbench.errors import UsageError
from llmbench.report import csv, document, markdown, table
from llmbench.store.query import read_run
from llmbench.store.runs import find_run


def command(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's folder, latest or latest:SUITE.")] = "latest",
    results: Results = RESULTS,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A markdown table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, SI units.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One line a case, SI units.")] = False,
) -> None:
    """Show what a run found."""
    if as_markdown + as_json + as_csv > 1:
        raise UsageError("--markdown, --json and --csv: choose one")
    summary = summarise(read_run(find_run(run, results)))
    if as_markdown:
        print(markdown.render(summary), end="")
    elif as_json:
        print(document.render(summary), end="")
    elif as_csv:
        print(csv.render(summary), end="")
    else:
        table.show(summary, Console(highlight=False))
