"""`llmbench run`."""

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from llmbench.cli.options import RESULTS, AsJson, Device, Only, Quick, Results
from llmbench.cli.planning import order_of, print_plan
from llmbench.cli.progress import progress
from llmbench.errors import UsageError
from llmbench.run.describe import describe
from llmbench.run.journal import read_journal
from llmbench.run.session import Outcome, resume, start
from llmbench.store.runs import find_run
from llmbench.suite.load import canonical, read, resolve

FAILED, INTERRUPTED = 6, 130  # exit codes beside those of errors.py


def command(
    suite: Annotated[str | None, typer.Argument(metavar="SUITE", help="A file, or a bundled suite's name.")] = None,
    results: Results = RESULTS,
    device: Device = None,
    only: Only = [],  # noqa: B006  (typer reads it)
    quick: Quick = False,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Fresh processes, each measuring every case.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0.0, help="Stop cleanly after this time; --resume goes on.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    resume_run: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run: a folder, latest or latest:SUITE.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --resume: go on although suite, device, torch or code differ.")
    ] = False,
    ignore_prediction: Annotated[
        bool, typer.Option("--ignore-prediction", help="Run cases whose memory is predicted not to fit.")
    ] = False,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="ID", help="Stored with the run, to group runs of many devices.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a suite and store the evidence."""
    if (suite is None) == (resume_run is None):
        raise UsageError("give a SUITE to run, or --resume RUN to go on with one, and not both")
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup stays nohup
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        listener = progress()
        if resume_run is not None:
            if only or quick or processes or device or ignore_prediction:
                raise UsageError(
                    "--resume goes on with the run as it was, without --only, --quick, --processes, --device or "
                    "--ignore-prediction"
                )
            folder = find_run(resume_run, results, closed=False)
            outcome = resume(
                folder, listener, force=force, max_minutes=max_minutes, changed_suite=_suite_change(folder)
            )
        else:
            assert suite is not None
            order = order_of(suite, results=results, device=device, only=only, quick=quick, processes=processes)
            if dry_run:
                print_plan(order, as_json=as_json)
                return
            outcome = start(
                replace(order, campaign_id=campaign, ignore_prediction=ignore_prediction),
                listener,
                max_minutes=max_minutes,
            )
    except KeyboardInterrupt:  # before there is a run; what ends one is told by it
        print("llmbench: interrupted", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    _print(outcome, results, as_json=as_json)
    raise typer.Exit(INTERRUPTED if outcome.interrupted else FAILED if outcome.failed else 0)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _suite_change(folder: Path) -> str | None:
    """How the suite's file differs from what the run holds; None if it does not, or is not there any more."""
    header = read_journal(folder).header
    path = Path(header.suite_path)
    if not path.is_file():
        return None
    text = read(path)
    catalog = describe(device=header.suite.device, plugins=text.plugins, plugin_path=path.parent)
    now = resolve(text, catalog)
    before = header.suite
    if header.quick:
        now = replace(now, axes=before.axes, measure=before.measure)
    now = replace(now, measure=replace(now.measure, processes=before.measure.processes))
    a, b = canonical(before), canonical(now)
    changed = sorted(k for k in {*a, *b} if a.get(k) != b.get(k))
    return f"suite {path}: {', '.join(changed)} changed" if changed else None


def _print(outcome: Outcome, results: Path, *, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {
            "schema": "llmbench.run/1",
            "folder": str(outcome.folder),
            "complete": outcome.complete,
            "interrupted": outcome.interrupted,
            "cases": outcome.cases,
            "counts": outcome.counts,
        }
        print(json.dumps(document))
        return
    counts = ", ".join(f"{n} {status}" for status, n in outcome.counts.items())
    print(f"{outcome.folder}: {counts or 'nothing measured'}")
    if not outcome.complete:
        left = outcome.cases - sum(outcome.counts.values())
        how = "interrupted" if outcome.interrupted else "stopped by --max-minutes"
        more = f", {left} of {outcome.cases} cases left" if left else ""
        print(f"{how}{more}; go on with: llmbench run --resume {outcome.folder}", file=sys.stderr)
    elif sys.stderr.isatty():
        print(f"see it with: llmbench report {outcome.folder}", file=sys.stderr)
