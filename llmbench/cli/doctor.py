"""`llmbench doctor`."""

import json
import sys
from dataclasses import asdict
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmbench.cli.options import RESULTS, AsJson, Device, Results
from llmbench.codec import to_plain
from llmbench.errors import MachineError, UsageError
from llmbench.machine.ceilings import ceiling_findings, coldness
from llmbench.machine.doctor import examine
from llmbench.machine.finding import Finding, unfit
from llmbench.run.ceilings import ceilings_here, measure_ceilings

_COLOUR = {"ok": "green", "warn": "yellow", "missing": "red", "info": "dim"}


def command(
    results: Results = RESULTS,
    device: Device = None,
    ceilings: Annotated[
        bool,
        typer.Option("--ceilings", help="Measure what the device reaches at best, and whether a cold cache is cold."),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Of torch, for --ceilings on a CPU: as a suite's measure.threads has it."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 3 where there is a warning about something that disturbs times.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what is on this machine, what is missing and why."""
    if threads and not ceilings:
        raise UsageError("--threads says how many --ceilings measures with; give both")
    if threads and device not in (None, "cpu"):
        raise UsageError(f"--threads are those of a CPU, not of {device}")
    findings = examine(results=results, device=device)  # before ceilings, which load the machine themselves
    if ceilings:
        print("llmbench: measuring ceilings, some ten seconds on a CPU, half a minute on a GPU", file=sys.stderr)
    known = ceilings_here(
        device, new=measure_ceilings("cpu" if threads else device, threads=threads) if ceilings else None
    )
    findings += ceiling_findings(known)
    disturbed = unfit(findings)
    if as_json:
        document: dict[str, Any] = {
            "schema": "llmbench.doctor/1", "fit": not disturbed, "findings": [asdict(f) for f in findings],
            "ceilings": [{**to_plain(c), "cold": coldness(c)._asdict()} for c in known],
        }  # fmt: skip
        print(json.dumps(document))
    else:
        _print(findings)
    if strict and disturbed:
        raise MachineError(f"unfit for measuring: {', '.join(f.name for f in disturbed)}")


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False)
    for area, group in groupby(findings, key=lambda f: f.area):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=area, title_justify="left")
        for finding in group:
            seen = Text(finding.seen)
            if finding.advice:
                seen.append(f"\n{finding.advice}", style="dim")
            table.add_row(Text(finding.state, style=_COLOUR[finding.state]), Text(finding.what), seen)
        console.print(table)
        console.print()
