"""The errors that llmbench raises on purpose, each with the exit code of its command.

LlmbenchError
├── UsageError            2   the user asked for something that cannot be
│   ├── SuiteError            a suite: path:line:column, what was seen, what is wanted, the nearest name
│   └── RunError              a folder that is no run, an unknown name of a run
├── MachineError          3   this machine cannot do it: no device, device in use, no torch, another device
├── ProtocolError         3   a worker spoke another version of the protocol, or no JSON
└── Interrupted         130   Ctrl-C or a signal, at a moment when there is no outcome to show
"""

from collections.abc import Iterable
from difflib import get_close_matches


class LlmbenchError(Exception):
    """Something the user is told in one message, without a traceback."""

    exit_code = 1


class UsageError(LlmbenchError):
    """Bad input; the message says where, what was seen and what is wanted."""

    exit_code = 2


class SuiteError(UsageError):
    """A suite that cannot be used. `str()` reads `path:line:column: message`."""

    def __init__(self, message: str, *, path: str = "suite", line: int = 1, column: int = 1) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}")
        self.message, self.path, self.line, self.column = message, path, line, column


class RunError(UsageError):
    """A folder that is no run, or a name that stands for none."""


class MachineError(LlmbenchError):
    """This machine, as it is, cannot do what was asked."""

    exit_code = 3


class ProtocolError(MachineError):
    """A worker that speaks another protocol."""


class Interrupted(LlmbenchError):  # noqa: N818  (nobody made an error)
    """The user ended it; the message says what is kept."""

    exit_code = 130


def nearest(seen: str, known: Iterable[str]) -> str:
    """ "; did you mean 'seq_len'?" for the nearest known name, or the list of the known where none is near."""
    names = list(known)
    close = get_close_matches(seen, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
