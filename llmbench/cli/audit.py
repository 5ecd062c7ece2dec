"""`llmbench audit`."""

import signal
import sys
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from llmbench.analyze import gate_audit
from llmbench.cli.options import RESULTS, AsJson, Device, Results
from llmbench.cli.run import FAILED, INTERRUPTED
from llmbench.errors import UsageError
from llmbench.report import gate_audit_table, timers_table
from llmbench.run.timers.campaign import Order, Progress, run
from llmbench.store.step_times import read_step_times
from llmbench.store.timers import Trial, read_audit

LINE_EVERY_S = 10.0  # a plain line about progress, beside those about failures

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def command() -> None:
    """Judge llmbench itself, beside the tools that people use."""


@app.command("timers")
def timers(
    budget: Annotated[
        float, typer.Option("--budget", metavar="SECONDS", help="What each tool may spend on a measurement.")
    ] = 1.0,
    repetitions: Annotated[
        int, typer.Option("--repetitions", min=2, help="Fresh processes for each tool and function.")
    ] = 10,
    threads: Annotated[int, typer.Option("--threads", min=1, help="OMP_NUM_THREADS, the same for all tools.")] = 1,
    device: Device = None,
    only: Annotated[
        list[str],
        typer.Option("--only", metavar="KEY=NAME[,NAME]", help="Only these: tool=..., function=...; several times."),
    ] = [],  # noqa: B006  (typer reads it)
    results: Results = RESULTS,
    stored: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Show an audit that was stored; measure nothing.")
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A markdown table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Time the same functions with llmbench and with other tools: error, spread and seconds of each.

    Every trial is kept in results/audit/timers/<device>/<utc>.json. Exits 0 complete, 2 usage, 3 this machine cannot,
    6 a trial failed, 130 interrupted.
    """
    if as_markdown + as_json > 1:
        raise UsageError("--markdown and --json: choose one")
    if not budget > 0:
        raise UsageError(f"--budget {budget:g}: wanted a number of seconds above 0")
    if stored is not None and (only or device):
        raise UsageError("--from shows what was stored, without --only and --device")
    path, interrupted = stored, False
    if stored is not None:
        audit = read_audit(stored)
    else:
        signal.signal(signal.SIGTERM, _interrupt)
        order = Order(budget, repetitions, threads, results, device, tuple(only))
        audit, path, interrupted = run(order, _progress())
    if as_json:
        print(timers_table.document(audit, path=None if path is None else str(path)), end="")
    elif as_markdown:
        print(timers_table.render(audit), end="")
    else:
        timers_table.show(audit, Console(highlight=False))
    if path is not None:
        print(f"llmbench: every trial is in {path}", file=sys.stderr)
    failed = stored is None and any(t.why is not None for t in audit.trials)
    raise typer.Exit(INTERRUPTED if interrupted else FAILED if failed else 0)


@app.command("gate")
def gate(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", help="Recorded times instead: parquet, a list column step_s in seconds."
        ),
    ] = None,
    suites: Annotated[
        int, typer.Option("--suites", min=1, help="Unchanged suites, and as many with slowed cases.")
    ] = 400,
    cases: Annotated[int, typer.Option("--cases", min=3, help="Cases of a suite.")] = 500,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws.")] = 0,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A markdown table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge the same times by our gate and by those of other tools: false alarms, what each finds, what it costs.

    Nothing is measured: times are drawn from a model of run-to-run noise, or from a file of recorded ones.
    """
    if as_markdown + as_json > 1:
        raise UsageError("--markdown and --json: choose one")
    if data is None:
        audit = gate_audit.simulated(suites=suites, cases=cases, seed=seed)
    else:
        audit = gate_audit.recorded(read_step_times(data), suites=suites, cases=cases, seed=seed)
    if as_json:
        print(gate_audit_table.document(audit), end="")
    elif as_markdown:
        print(gate_audit_table.render(audit), end="")
    else:
        gate_audit_table.show(audit, Console(highlight=False))


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _progress() -> Progress:
    """Lines on stderr: failures at once, how far it is every ten seconds."""
    begun = said = monotonic()
    total = done = 0

    def begins(trials: int, estimate_s: float) -> None:
        nonlocal total
        total = trials
        _say(f"{trials} trials, about {estimate_s / 60:.0f} min")

    def found(trial: Trial) -> None:
        nonlocal done, said
        done += 1
        if trial.why is not None:
            _say(f"{trial.tool} on {trial.function}: {trial.why}")
        now = monotonic()
        if now - said >= LINE_EVERY_S:
            said = now
            left_s = (now - begun) / done * (total - done)
            _say(f"{done}/{total} trials, {left_s / 60:.1f} min left; now {trial.tool} on {trial.function}")

    return Progress(begins, found)


def _say(text: str) -> None:
    print(f"llmbench: {text}", file=sys.stderr, flush=True)
