"""`llmbench gate`."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from llmbench.analyze.stored import Inconclusive, Outcome, gate, refuse_itself, without_baseline
from llmbench.analyze.tripwire import gate_by_store
from llmbench.cli.gate_output import (
    AsMarkdown,
    Forms,
    Github,
    Html,
    Junit,
    OnInconclusive,
    Targets,
    WhenInconclusive,
)
from llmbench.cli.gate_paired import paired, self_test
from llmbench.cli.options import RESULTS, AsJson, Results
from llmbench.errors import RunError, UsageError
from llmbench.report import github, junit, stored_page, verdict_table
from llmbench.store.baselines import Store, find_baseline
from llmbench.store.origin import read_evidence
from llmbench.store.runs import find_run

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def command() -> None:
    """Turn a run and its baseline into an exit code."""


@app.command("stored")
def stored(
    run: Annotated[str, typer.Argument(metavar="RUN", help="What is judged: a run's folder, latest or latest:SUITE.")],
    baseline: Annotated[
        str,
        typer.Option("--baseline", metavar="RUN|STORE", help="The run, or the store of runs, that it is judged by."),
    ],
    results: Results = RESULTS,
    inconclusive: WhenInconclusive = OnInconclusive.fail,
    everything: Annotated[bool, typer.Option("--all", help="Also what passed or has no result, one by one.")] = False,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
    junit_file: Junit = None,
    html_file: Html = None,
    for_github: Github = False,
) -> None:
    """Judge a run against a baseline that was measured before: a run, or the history in a store.

    Exits 0 pass, 1 regression or a case broken, 2 usage, 3 another device or a throttled or busy one, 4 missing case or
    baseline, or nothing to judge by, 5 inconclusive.
    """
    if as_markdown + as_json > 1:
        raise UsageError("--markdown and --json: choose one")
    targets = Targets(junit_file, html_file, for_github)
    targets.check()
    head = read_evidence(find_run(run, results))
    when: Inconclusive = "pass" if inconclusive == "pass" else "fail"
    try:
        found = find_baseline(baseline, results)
    except RunError as e:
        print(f"llmbench: --baseline {e}", file=sys.stderr)
        outcome = without_baseline(head, f"--baseline {e}", inconclusive=when)
    else:
        if isinstance(found, Store):
            outcome = gate_by_store(found, head, inconclusive=when)
        else:
            refuse_itself(base := read_evidence(found), head, name=baseline)
            outcome = gate(base, head, inconclusive=when)
    targets.write(_forms(outcome, everything=everything))
    if as_json:
        print(verdict_table.document(outcome), end="")
    elif as_markdown:
        print(verdict_table.render(outcome, everything=everything), end="")
    else:
        verdict_table.show(outcome, Console(highlight=False), everything=everything)
    raise typer.Exit(outcome.exit_code)


def _forms(outcome: Outcome, *, everything: bool) -> Forms:
    return Forms(
        junit=lambda: junit.render(outcome),
        html=lambda: stored_page.render(outcome),
        markdown=lambda most: verdict_table.render(outcome, everything=everything, most_bytes=most),
        commands=lambda: github.commands(
            outcome.verdicts,
            title=f"llmbench gate {outcome.head.suite}",
            summary=verdict_table.summary(outcome),
            exit_code=outcome.exit_code,
            warnings=outcome.warnings,
        ),
    )


app.command("paired")(paired)
app.command("self-test")(self_test)
