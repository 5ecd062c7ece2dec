"""What tests of the stored gate ask of it through the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

Command = Callable[..., "CompletedProcess[str]"]


def judged(llmbench: Command, run: Path, base: Path | str, *args: str, rc: int) -> dict[str, Any]:
    """The document of a gate; it and the process agree on the exit code."""
    document = json.loads(llmbench("gate", "stored", run, "--baseline", base, "--json", *args, rc=rc).stdout)
    assert document["schema"] == "llmbench.gate/1" and document["exit_code"] == rc
    return document  # type: ignore[no-any-return]


def of(document: dict[str, Any], impl: str) -> dict[str, Any]:
    """The verdict on an implementation, or on the whole run."""
    found = [v for v in document["verdicts"] if v["label"].startswith(f"{impl} ") or (not impl and not v["case_id"])]
    assert len(found) == 1
    return found[0]  # type: ignore[no-any-return]
