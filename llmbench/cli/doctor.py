"""`llmbench doctor`."""

import json
from dataclasses import asdict
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmbench.cli.options import RESULTS, AsJson, Results
from llmbench.machine.doctor import examine

_COLOUR = {"ok": "green", "warn": "yellow", "missing": "red", "info": "dim"}


def command(results: Results = RESULTS, as_json: AsJson = False) -> None:
    """Tell what is on this machine, what is missing and why."""
    findings = examine(results=results)
    if as_json:
        print(json.dumps({"schema": "llmbench.doctor/1", "findings": [asdict(f) for f in findings]}))
        return
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
