"""`llmbench doctor`."""

import json
from dataclasses import asdict
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmbench.cli.options import RESULTS, AsJson, Device, Results
from llmbench.errors import MachineError
from llmbench.machine.doctor import examine
from llmbench.machine.finding import Finding, unfit

_COLOUR = {"ok": "green", "warn": "yellow", "missing": "red", "info": "dim"}


def command(
    results: Results = RESULTS,
    device: Device = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 3 where there is a warning about something that disturbs times.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what is on this machine, what is missing and why."""
    findings = examine(results=results, device=device)
    disturbed = unfit(findings)
    if as_json:
        document: dict[str, Any] = {
            "schema": "llmbench.doctor/1", "fit": not disturbed, "findings": [asdict(f) for f in findings],
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
