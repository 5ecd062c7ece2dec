"""`llmbench gate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from llmbench.analyze.stored import Inconclusive, gate, without_baseline
from llmbench.cli.gate_paired import paired, self_test
from llmbench.cli.options import RESULTS, AsJson, OnInconclusive, Results
from llmbench.cli.output import check_file, save
from llmbench.errors import RunError, UsageError
from llmbench.report import junit, verdict_table
from llmbench.store.origin import read_evidence
from llmbench.store.runs import find_run

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def command() -> None:
    """Turn a run and its baseline into an exit code."""


@app.command("stored")
def stored(
    run: Annotated[str, typer.Argument(metavar="RUN", help="What is judged: a run's folder, latest or latest:SUITE.")],
    baseline: Annotated[str, typer.Option("--baseline", metavar="RUN", help="The run that it is judged against.")],
    results: Results = RESULTS,
    inconclusive: Annotated[
        OnInconclusive, typer.Option("--inconclusive", help="Whether INCONCLUSIVE exits 5 or counts as a pass.")
    ] = OnInconclusive.fail,
    everything: Annotated[bool, typer.Option("--all", help="Also what passed or has no result, one by one.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A markdown table.")] = False,
    as_json: AsJson = False,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML to this file.")
    ] = None,
) -> None:
    """Judge a run against a baseline that was measured before.

    Exits 0 pass, 1 regression or a case broken, 2 usage, 3 another device or a throttled or busy one, 4 missing case or
    baseline, or nothing to judge by, 5 inconclusive.
    """
    if as_markdown + as_json > 1:
        raise UsageError("--markdown and --json: choose one")
    if junit_file is not None:
        check_file("--junit", junit_file)
    head = read_evidence(find_run(run, results))
    when: Inconclusive = "pass" if inconclusive == "pass" else "fail"
    try:
        base = find_run(baseline, results)
    except RunError as e:
        print(f"llmbench: --baseline {e}", file=sys.stderr)
        outcome = without_baseline(head, f"--baseline {e}", inconclusive=when)
    else:
        outcome = gate(read_evidence(base), head, inconclusive=when)
    if junit_file is not None:
        save("--junit", junit_file, junit.render(outcome))
    if as_json:
        print(verdict_table.document(outcome), end="")
    elif as_markdown:
        print(verdict_table.render(outcome, everything=everything), end="")
    else:
        verdict_table.show(outcome, Console(highlight=False), everything=everything)
    raise typer.Exit(outcome.exit_code)


app.command("paired")(paired)
app.command("self-test")(self_test)
