"""What parent and worker say to each other: JSON lines, each `{"v": 1, "type": ..., ...}`, on descriptors of their own.

Parent to worker: `Unit`. Worker to parent: `Hello` once, then for each unit any number of `Stage` and `Found`,
`Telemetry` if there is any, and `UnitDone` last. The worker ends when its input closes. Standard library only.
"""

import json
from dataclasses import dataclass, field
from typing import Literal

from llmbench.codec import from_plain, to_plain
from llmbench.errors import ProtocolError
from llmbench.machine.fingerprint import Machine
from llmbench.store.record import Record
from llmbench.suite.case import Case
from llmbench.suite.suite import Measure

VERSION = 1

StageName = Literal[
    "import", "inputs", "oracle", "build", "check", "memory", "kernels", "energy", "warm-up", "time", "recheck"
]


@dataclass(frozen=True)
class Unit:
    """The cases of one point for one process: the smallest thing that a run repeats."""

    point_id: str
    process: int
    cases: tuple[Case, ...]
    measure: Measure
    probes: tuple[str, ...]
    seed: int
    ignore_prediction: bool = False  # of memory: run what is predicted not to fit
    first_block: int = 0  # number of its first block of samples: another attempt never pairs with an earlier one

    @property
    def key(self) -> tuple[str, int]:
        """What a resumed run knows a unit by."""
        return self.point_id, self.process


@dataclass(frozen=True)
class Hello:
    """The worker is up, on this machine, with this software."""

    pid: int
    machine: Machine
    versions: dict[str, str]
    notes: tuple[str, ...] = ()  # what is missing and said once, e.g. NVML


@dataclass(frozen=True)
class Stage:
    """What the worker is about to do, so that a death or a hang has a name. `case_id` None: for the whole point."""

    stage: StageName
    case_id: str | None = None


@dataclass(frozen=True)
class Found:
    """A case is finished."""

    record: Record


@dataclass(frozen=True)
class Telemetry:
    """Rows that the power and clock thread took since the last ones, or what a reader of the run should know."""

    rows: list[dict[str, float | int | str | None]]
    note: str | None = None  # why there will be no more, or what a probe could not tell


@dataclass(frozen=True)
class UnitDone:
    """Every case of the unit was found; seconds by stage since the unit before, waiting for this one included."""

    point_id: str
    process: int
    wall_s: float
    ledger_s: dict[str, float] = field(default_factory=dict)


Message = Unit | Hello | Stage | Found | Telemetry | UnitDone
_TYPES: dict[str, type] = {c.__name__.lower(): c for c in (Unit, Hello, Stage, Found, Telemetry, UnitDone)}


def encode(message: Message) -> bytes:
    """One line, newline included."""
    body = {"v": VERSION, "type": type(message).__name__.lower(), **to_plain(message)}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes | str) -> Message:
    """The message of a line. Raises: ProtocolError when it is none of this version."""
    try:
        body = json.loads(line)
        version, kind = body.pop("v"), body.pop("type")
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise ProtocolError(f"worker protocol: not a message: {line[:200]!r}") from e
    if version != VERSION or not isinstance(kind, str) or kind not in _TYPES:
        raise ProtocolError(f"worker protocol: version {version}, type {kind!r}; this side speaks version {VERSION}")
    try:
        return from_plain(_TYPES[kind], body)
    except ValueError as e:
        raise ProtocolError(f"worker protocol: {kind}: {e}") from e
