"""`llmbench plan`."""

import sys
from typing import Annotated

import typer

from llmbench.cli.options import RESULTS, AsJson, Device, Only, Quick, Results
from llmbench.cli.planning import order_of, print_plan


def command(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A file, or the name of a bundled suite.")],
    results: Results = RESULTS,
    device: Device = None,
    only: Only = [],  # noqa: B006  (typer reads it)
    quick: Quick = False,
    processes: Annotated[int | None, typer.Option("--processes", min=1, help="Fresh processes.")] = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Peak memory and FLOP of each case, without running it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the cases of a suite and how long they will take."""
    order = order_of(
        suite, results=results, device=device, only=only, quick=quick, processes=processes, elsewhere=True
    )  # fmt: skip
    for note in order.catalog.notes:
        print(f"llmbench: {note}", file=sys.stderr)
    print_plan(order, as_json=as_json, predict=predict)
