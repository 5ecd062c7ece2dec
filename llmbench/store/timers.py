"""An audit of timers: the same functions by several tools, again and again. Every trial is kept, nothing is derived."""

import json
from dataclasses import dataclass
from pathlib import Path

from llmbench.codec import from_plain, to_plain
from llmbench.errors import RunError
from llmbench.files import write_whole
from llmbench.machine.fingerprint import Machine
from llmbench.store.runs import Code

SCHEMA = "llmbench.audit.timers.trials/1"
FOLDER = Path("audit", "timers")  # below the folder of results


@dataclass(frozen=True)
class Function:
    """A function that is timed. `truth_s` is how long it takes by its making; None where nobody knows."""

    name: str
    label: str
    truth_s: float | None = None


@dataclass(frozen=True)
class Tool:
    """A timer, how it is asked, and why it cannot be asked here, or None."""

    name: str
    how: str
    version: str | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a tool said of a function; `why` instead where it said nothing.

    `seconds` is the wall time from asking to the answer. `loop_error` is by what share of the truth a busy loop missed
    it by its own account, after the tool was done.
    """

    value_s: float | None = None
    seconds: float | None = None
    samples: int | None = None
    detail: str = ""
    loop_error: float | None = None
    why: str | None = None


@dataclass(frozen=True, kw_only=True)
class Trial(Answer):
    """An answer, from a process of its own."""

    repetition: int
    function: str
    tool: str


@dataclass(frozen=True)
class TimerAudit:
    """The trials in measured order, with all that they depend on."""

    started: str  # UTC, ISO 8601
    machine: Machine
    versions: dict[str, str]
    code: Code
    budget_s: float
    repetitions: int
    threads: int
    seed: int  # of the order within each repetition
    cycles_per_s: float | None  # of the busy loop on a GPU
    functions: tuple[Function, ...]
    tools: tuple[Tool, ...]
    trials: tuple[Trial, ...] = ()
    complete: bool = False
    notes: tuple[str, ...] = ()


def path_of(audit: TimerAudit, results: Path) -> Path:
    """`results/audit/timers/<device>/<utc>.json`"""
    stamp = audit.started.replace("-", "").replace(":", "").partition(".")[0].partition("+")[0]
    return results / FOLDER / audit.machine.slug / f"{stamp}Z.json"


def write_audit(path: Path, audit: TimerAudit) -> None:
    """Writes the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"schema": SCHEMA, **to_plain(audit)}, indent=1) + "\n", sync=True)


def read_audit(path: Path) -> TimerAudit:
    """An audit that was stored. Raises: RunError saying what the file is instead."""
    try:
        body = json.loads(path.read_text())
        if body.get("schema") != SCHEMA:
            raise RunError(f"{path}: schema {body.get('schema')!r}, wanted {SCHEMA!r}, as audit timers writes it")
        return from_plain(TimerAudit, body)
    except OSError as e:
        raise RunError(f"{path}: {e.strerror}") from None
    except (ValueError, AttributeError) as e:
        raise RunError(f"{path}: no audit of timers: {e}") from e
