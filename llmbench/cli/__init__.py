"""The command line: parse, call one function, print, exit."""

import sys


def main() -> None:
    """The command `llmbench`. `worker` goes past the rest: a bare machine has no typer."""
    if sys.argv[1:2] == ["worker"]:
        from llmbench.cli.worker import worker

        sys.exit(worker(sys.argv[2:]))
    from llmbench.cli.app import run_app

    run_app(sys.argv[1:])
