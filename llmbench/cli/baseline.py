"""`llmbench baseline`."""

import getpass
import os
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from llmbench.analyze.tripwire import told_slower
from llmbench.cli.options import RESULTS, AsJson, Results
from llmbench.errors import LlmbenchError, UsageError
from llmbench.report import baseline_table
from llmbench.store.baselines import Store, existing_store, open_store
from llmbench.store.origin import read_evidence
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
    there already or in quarantine. One that is slower than its history allows is taken, and that is said.
    """
    opened = open_store(store)
    folder = find_run(run, results)
    entry = opened.add(folder, by=_user(), why=why)
    print(baseline_table.added(entry, opened.entries(entry.run.suite, entry.run.device_key)))
    if (slower := _told_slower(opened, folder)) is not None:
        print(f"llmbench: {entry.run.run_id}: {slower}", file=sys.stderr)


@app.command("accept")
def accept(run: RunName, store: Where, why: Why, results: Results = RESULTS) -> None:
    """Start a new history with a run: what it takes is what is usual from now on.

    Undone by `quarantine` of that run: then the history before it goes on.
    """
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
    """Mark a run as wrong: nothing is judged by it any more, and nothing is deleted.

    If it was accepted, that does not count any more: the history before it goes on.
    """
    opened = existing_store(store)
    entry = opened.quarantine(run, results, by=_user(), why=_reason(why))
    print(baseline_table.quarantined(entry, opened.entries(entry.run.suite, entry.run.device_key)))


@app.command("list")
def list_(store: Where, as_json: AsJson = False) -> None:
    """Show what a store holds: segments, their runs, and what is in quarantine. Exits 2 where there is no store."""
    opened = existing_store(store)
    entries = opened.entries()
    if as_json:
        print(baseline_table.document(opened.url, entries), end="")
    else:
        baseline_table.show(opened.url, entries, Console(highlight=False))


def _told_slower(store: Store, folder: Path) -> str | None:
    """That a run which was just added is slower than its history allows, and what to do; or why nobody can tell."""
    try:
        slower = told_slower(store, read_evidence(folder))
    except LlmbenchError as e:
        return f"whether it is slower than its history cannot be told: {e}"
    if slower is None:
        return None
    what_to_do = (
        f"if it is wrong: llmbench baseline quarantine RUN --store {store.url} --why TEXT; "
        f"if it is meant: llmbench baseline accept RUN --store {store.url} --why TEXT"
    )
    return f"{slower}; {what_to_do}"


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
