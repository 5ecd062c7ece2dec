"""Every llmbench command of the workflows to copy is one that this llmbench takes, with those very options."""

from typing import Any

import pytest
import typer
from ci_workflows import workflows

from llmbench.cli.app import build

COMMANDS = [(name, words) for name, workflow in workflows().items() for words in workflow.commands]


def take(words: list[str]) -> dict[str, Any]:
    """The parameters that the command line makes of these words; nothing is run. Raises what it would tell the user."""
    command: Any = typer.main.get_command(build(words))
    left = [*words]
    while hasattr(command, "commands"):
        name = left.pop(0)
        assert name in command.commands, f"there is no llmbench {' '.join(words[: len(words) - len(left)])}"
        command = command.commands[name]
    params: dict[str, Any] = command.make_context(name, left).params
    return params


@pytest.mark.parametrize(("ci", "words"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_of_a_workflow_is_taken(ci: str, words: list[str]) -> None:
    taken = take(words)
    assert taken["device"] == "cuda" and taken["max_minutes"] == 20


def test_a_command_that_is_not_there_is_found_out() -> None:
    assert take(["gate", "stored", "latest", "--baseline", "x", "--github"])["for_github"] is True
    with pytest.raises(Exception, match=r"No such option.*--gitlab"):
        take(["gate", "stored", "latest", "--baseline", "x", "--gitlab"])
    with pytest.raises(AssertionError, match="there is no llmbench gate paird"):
        take(["gate", "paird", "x"])
