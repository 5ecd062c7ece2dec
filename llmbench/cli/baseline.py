"""`llmbench baseline`."""

import getpass
import os
import platform
from typing import Annotated

import typer
from rich.console import Console

from llmbench.cli.options import RESULTS, AsJson, Results
from llmbench.errors import UsageError
from llmbench.report import baseline_table
from llmbench.store.baselines import open_store
from llmbench.store.runs import find_run

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Where = Annotated[str, typer.Option("--store", metavar="STORE", help="A folder of its own, or any URL of fsspec.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, latest or latest:SUITE.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, kept with it.")]


@app.callback()
def command() -> None:
    """Keep the runs that a gate judges by."""


@app.command("add")
def add(
    run: RunName,
    store: Where,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="A remark, kept with it.")] = None,
    results: Results = RESULTS,
) -> None:
    """Add a run to its history: of its suite, device, op version, torch, triton and cuDNN.

    Refused (exit 2) are quick and incomplete runs, those with failed cases or beside other load, and those that are
    there already or in quarantine.
    """
    opened = open_store(store)
    entry = opened.add(find_run(run, results), by=_user(), why=why)
    print(baseline_table.added(entry, opened.entries(entry.run.suite, entry.run.device_key)))


@app.command("accept")
def accept(run: RunName, store: Where, why: Why, results: Results = RESULTS) -> None:
    """Start a new history with a run: what it takes is what is usual from now on."""
    opened = open_store(store)
    entry = opened.accept(find_run(run, results), by=_user(), why=_reason(why))
    print(baseline_table.added(entry, opened.entries(entry.run.suite, entry.run.device_key)))


@app.command("quarantine")
def quarantine(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id or folder, or the id of its entry.")],
    store: Where,
    why: Why,
    results: Results = RESULTS,
) -> None:
    """Mark a run as wrong: nothing is judged by it any more, and nothing is deleted."""
    entry = open_store(store).quarantine(run, results, by=_user(), why=_reason(why))
    print(f"{entry.run.run_id}: in quarantine")


@app.command("list")
def list_(store: Where, as_json: AsJson = False) -> None:
    """Show what a store holds: segments, their runs, and what is in quarantine."""
    opened = open_store(store)
    entries = opened.entries()
    if as_json:
        print(baseline_table.document(opened.url, entries), end="")
    else:
        baseline_table.show(opened.url, entries, Console(highlight=False))


def _reason(why: str) -> str:
    if not why.strip():
        raise UsageError("--why is empty; wanted: the reason, for those who read it in a year")
    return why


def _user() -> str:
    """`someone@host`: who does it."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a name for its user
        name = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{name}@{platform.node() or 'unknown'}"
