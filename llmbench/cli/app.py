"""The list of commands. Each has a file of its own, imported only when it is asked for: `--help` is quick."""

import importlib
import sys
import traceback
from collections.abc import Sequence

import typer

from llmbench import __version__
from llmbench.errors import LlmbenchError, MachineError

UNFORESEEN = MachineError.exit_code

COMMANDS = {
    "run": "Measure a suite and store the evidence.",
    "report": "Show what runs found: a table here, and plots on a page.",
    "compare": "Show what changed from one run to another.",
    "gate": "Turn a run and its baseline into an exit code.",
    "baseline": "Keep the runs that a gate judges by.",
    "init": "Write a commented suite to start from.",
    "list": "List ops, implementations, suites or metrics.",
    "plan": "Show the cases of a suite and how long they will take.",
    "schema": "Print the JSON Schema of suites, dashboards or gates.",
    "doctor": "Tell what is on this machine, what is missing and why.",
    "audit": "Judge llmbench itself, beside the tools that people use.",
    "worker": "Describe or measure in this very process, without a parent.",
}
"""Command -> its line in `--help`: the first line of the docstring of `command` in `llmbench.cli.<name>`.

A command with subcommands has an `app` beside it, of which it is the callback.
"""


def build(argv: Sequence[str]) -> typer.Typer:
    """The application: the command that `argv` asks for is imported, the others are only listed."""
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback(invoke_without_command=True)(llmbench)
    asked = next((a for a in argv if not a.startswith("-")), None)
    for name, text in COMMANDS.items():
        if name == asked:
            module = importlib.import_module(f"llmbench.cli.{name}")
            if hasattr(module, "app"):
                app.add_typer(module.app, name=name)
            else:
                app.command(name)(module.command)
        else:
            app.command(name, help=text)(_listed)
    return app


def run_app(argv: Sequence[str]) -> None:
    """Runs the command line; every error that llmbench raises on purpose is one message and its exit code.

    Any other is `UNFORESEEN`, and never 1, which says that code is slower or broken: with its file where the system
    refuses something, as a full disk does, else with its traceback.
    """
    try:
        build(argv)()
    except LlmbenchError as e:
        print(f"llmbench: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    except OSError as e:
        where = next((f"{name}: " for name in (e.filename, e.filename2) if name), "")
        print(f"llmbench: {where}{e.strerror or e or type(e).__name__}", file=sys.stderr)
        sys.exit(UNFORESEEN)
    except KeyboardInterrupt:  # while a command is imported; later ones are the command's
        print("llmbench: interrupted, nothing was done", file=sys.stderr)
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        print("llmbench: an error that was not foreseen, so nothing is judged", file=sys.stderr)
        sys.exit(UNFORESEEN)


def llmbench(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Benchmark and profile the kernels and training steps of large language models."""
    if version:
        print(f"llmbench {__version__}")
        raise typer.Exit


def _listed() -> None:
    """Stands in for a command in the list of commands; `build` puts the real one there when it is asked for."""
