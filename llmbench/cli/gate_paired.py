"""`llmbench gate paired` and `llmbench gate self-test`."""

import json
import signal
import sys
from dataclasses import replace
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from llmbench.analyze.paired import PairedRule
from llmbench.analyze.stored import Inconclusive
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
from llmbench.cli.options import RESULTS, AsJson, Device, Only, Results
from llmbench.errors import UsageError
from llmbench.report import github, junit, paired_page, paired_table, verdict_table
from llmbench.run.paired.evidence import document
from llmbench.run.paired.gate import GateOrder, run_gate
from llmbench.run.paired.subject import Asked
from llmbench.run.paired.verdicts import Found
from llmbench.store.pairs import seconds_by_case

INTERRUPTED = 130
RULE = PairedRule(spare_pairs=384)  # four times what is spent without a budget: here there always is one
MINUTES = 15.0

Suite = Annotated[str, typer.Argument(metavar="SUITE", help="A file, or a bundled suite's name.")]
MaxMinutes = Annotated[
    float, typer.Option("--max-minutes", min=0.0, help="What it may take; what is left goes where least is seen.")
]
Everything = Annotated[bool, typer.Option("--all", help="Also what passed or has no result, one by one.")]
Pairs = Annotated[
    int | None,
    typer.Option("--pairs", min=RULE.screen_least, help="Pairs of the first look; three times as many confirm."),
]


def paired(
    suite: Suite,
    base: Annotated[str | None, typer.Option("--base", metavar="REV", help="What it is judged against.")] = None,
    head: Annotated[
        str | None, typer.Option("--head", metavar="REV", help="What is judged. Default: the working tree as it is.")
    ] = None,
    base_python: Annotated[
        str | None, typer.Option("--base-python", metavar="FILE", help="Interpreter of the base's environment.")
    ] = None,
    head_python: Annotated[
        str | None, typer.Option("--head-python", metavar="FILE", help="Interpreter of the head's environment.")
    ] = None,
    device: Device = None,
    only: Only = [],  # noqa: B006  (typer reads it)
    max_minutes: MaxMinutes = MINUTES,
    pairs: Pairs = None,
    inconclusive: WhenInconclusive = OnInconclusive.fail,
    results: Results = RESULTS,
    everything: Everything = False,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
    junit_file: Junit = None,
    html_file: Html = None,
    for_github: Github = False,
) -> None:
    """Measure two revisions in turns, pair by pair, and judge the one against the other.

    Only the plugin under test, or llmbench.kernels, comes from the revisions. Exits 0 pass, 1 regression or broken by
    the head, 2 usage, 3 environment, 4 a case that is missing or that the head skips, or a base that does not import,
    5 inconclusive, or nothing timed, 130 interrupted.
    """
    asked = Asked(suite, base, head, base_python, head_python)
    order = GateOrder(asked, results, device, tuple(only), max_minutes, _rule(pairs), _when(inconclusive))
    _carry_out(
        order,
        everything=everything,
        as_markdown=as_markdown,
        as_json=as_json,
        targets=Targets(junit_file, html_file, for_github),
    )


def self_test(
    suite: Suite,
    device: Device = None,
    only: Only = [],  # noqa: B006  (typer reads it)
    max_minutes: MaxMinutes = MINUTES,
    pairs: Pairs = None,
    inconclusive: WhenInconclusive = OnInconclusive.fail,
    results: Results = RESULTS,
    everything: Everything = False,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
    junit_file: Junit = None,
    html_file: Html = None,
    for_github: Github = False,
) -> None:
    """Gate the commit that is checked out against itself: what is found here is a false alarm.

    Exits 0 none, 1 a false alarm (an improvement is one too), 2 usage, 3 environment, 5 inconclusive, 130 interrupted.
    """
    asked = Asked(suite, itself=True)
    order = GateOrder(asked, results, device, tuple(only), max_minutes, _rule(pairs), _when(inconclusive))
    _carry_out(
        order,
        everything=everything,
        as_markdown=as_markdown,
        as_json=as_json,
        targets=Targets(junit_file, html_file, for_github),
    )


def _carry_out(
    order: GateOrder, *, everything: bool, as_markdown: bool, as_json: bool, targets: Targets
) -> None:  # fmt: skip
    if as_markdown + as_json > 1:
        raise UsageError("--markdown and --json: choose one")
    targets.check()
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:  # nohup stays nohup
            signal.signal(name, _interrupt)
    try:
        found = run_gate(order, lambda text: print(f"llmbench: {text}", file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print("llmbench: interrupted: nothing is judged", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    targets.write(_forms(found, everything=everything))
    if as_json:
        print(json.dumps(document(found), indent=1, allow_nan=False))
    elif as_markdown:
        print(paired_table.render(found, everything=everything), end="")
    else:
        paired_table.show(found, Console(highlight=False), everything=everything)
    raise typer.Exit(found.outcome.exit_code)


def _forms(found: Found, *, everything: bool) -> Forms:
    outcome = found.outcome
    return Forms(
        junit=lambda: junit.render(outcome, case_s=seconds_by_case(found.seen.blocks), whole_s=found.seen.wall_s),
        html=lambda: paired_page.render(found),
        markdown=lambda most: paired_table.render(found, everything=everything, most_bytes=most),
        commands=lambda: github.commands(
            outcome.verdicts, title=f"llmbench gate {outcome.head.suite}", summary=verdict_table.summary(outcome),
            exit_code=outcome.exit_code, warnings=outcome.warnings,
        ),
    )  # fmt: skip


def _rule(pairs: int | None) -> PairedRule:
    if pairs is None:
        return RULE
    more = 3 * pairs
    return replace(RULE, screen_pairs=pairs, confirm_pairs=more, extend_pairs=more)


def _when(inconclusive: OnInconclusive) -> Inconclusive:
    return "pass" if inconclusive == "pass" else "fail"


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
