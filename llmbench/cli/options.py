"""Options that several commands share, and what they stand for."""

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[
    Path, typer.Option("--results", help="Folder of the runs.", envvar="LLMBENCH_RESULTS", show_default=True)
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda, cuda:N, or simulated: no waiting. Default: a GPU if there is one, else the CPU.",
    ),
]
Only = Annotated[
    list[str],
    typer.Option("--only", metavar="KEY=VALUE[,VALUE]", help="Only these cases; may be given several times."),
]
Quick = Annotated[bool, typer.Option("--quick", help="Few samples, at the ends of each axis: for trying a suite.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
RESULTS = Path("results")
