"""What parent and worker say to each other: JSON lines, each `{"v": 1, "type": ..., ...}`, on descriptors of their own.

Parent to worker: `Unit`. Worker to parent: `Hello` once, then for each unit any number of `Stage` and `Found`,
`Telemetry` and `Watched` if there is any, and `UnitDone` last. The worker ends when its input closes. Standard library
only.

The paired gate asks instead, one answer a question after any number of `Stage` and `Telemetry`: `Offer` -> `Offered`,
`Prepare` -> `CaseReady`, `Block` -> `BlockDone`, `Release` -> `Found`, `Sources` -> `Loaded`. What fails is a record.
"""

import json
from dataclasses import dataclass, field
from typing import Literal

from llmbench.codec import from_plain, to_plain
from llmbench.errors import ProtocolError
from llmbench.machine.fingerprint import Machine
from llmbench.store.record import Record
from llmbench.store.sentinels import Visit
from llmbench.suite.case import Case
from llmbench.suite.catalog import Catalog
from llmbench.suite.suite import Measure

VERSION = 1

StageName = Literal[
    "import",
    "sentinels",
    "inputs",
    "oracle",
    "build",
    "check",
    "memory",
    "kernels",
    "energy",
    "warm-up",
    "time",
    "recheck",
]

REFERENCE = "inputs and oracle"  # how `why` begins where these failed, and not the implementation


@dataclass(frozen=True)
class Unit:
    """The smallest thing that a run repeats: the cases of one point for one process, or one case, where each has a
    worker of its own. `unit_id` is the point's, or the case's."""

    unit_id: str
    process: int
    cases: tuple[Case, ...]
    measure: Measure
    probes: tuple[str, ...]
    seed: int
    ignore_prediction: bool = False  # of memory: run what is predicted not to fit
    first_block: int = 0  # number of its first block of samples: another attempt never pairs with an earlier one
    closes: bool = False  # its worker ends with it

    @property
    def key(self) -> tuple[str, int]:
        """What a resumed run knows a unit by."""
        return self.unit_id, self.process


START_S = 120.0  # in which a worker says Hello: importing torch from a cold network disk takes a minute


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
class Watched:
    """What the sentinels took, looked at between two units at that time (UTC, seconds since 1970)."""

    visits: tuple[Visit, ...]
    unix_s: float


@dataclass(frozen=True)
class UnitDone:
    """Every case of the unit was found; seconds by stage since the unit before, waiting for this one included."""

    unit_id: str
    process: int
    wall_s: float
    ledger_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Offer:
    """What can this worker measure?"""


@dataclass(frozen=True)
class Offered:
    """The catalog of this worker's interpreter, with its plugins."""

    catalog: Catalog


@dataclass(frozen=True)
class Way:
    """How a case is timed, the same on both sides: in a CUDA graph or not, on so many clones, with a flush or not."""

    in_graph: bool = False
    clones: int = 0  # 0: the cache is warm
    flush: bool = False


@dataclass(frozen=True)
class Prepare:
    """Build, check and warm up a case, and keep it. Another `process` than before: all that was kept is forgotten."""

    case: Case
    process: str  # `base 3`: what the simulated device draws from
    number: int  # of that process
    measure: Measure
    probes: tuple[str, ...]
    seed: int
    cores: tuple[int, ...] = ()  # to run on, from now on; empty: where the system likes
    way: Way | None = None  # None: as this worker finds best


@dataclass(frozen=True)
class CaseReady:
    """A case is ready to be timed, or ended as its record says. Seconds of a warm call; `most_calls` fit in a sample.

    While it is kept `problem_bytes` stay, which cases of the same parameters and phase share, and `kept_bytes` of its
    own; `free_bytes` were left of the device's memory. `checksums`: mean and root mean square of each output, and how
    far they may be off by the rounding of its dtype.
    """

    record: Record
    call_s: float = 0.0
    before_s: float = 0.0  # of a sample: inputs put back, the cache flushed
    most_calls: int = 1
    timer: str = ""
    way: Way = field(default_factory=Way)
    problem_bytes: float = 0.0
    kept_bytes: float = 0.0
    free_bytes: float = 0.0
    checksums: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Block:
    """Time a case that is ready: so many samples, each of so many calls."""

    case_id: str
    samples: int
    calls: int


@dataclass(frozen=True)
class BlockDone:
    """The samples of a block in measured order, and what its process did meanwhile. `record`: how the case failed."""

    case_id: str
    time_s: list[float]  # of a call
    t_ns: list[int]
    flags: list[str]
    calls: int = 1  # in each sample
    faults: int = 0  # minor page faults
    switches: int = 0  # involuntary ones
    cpu_s: float = 0.0
    record: Record | None = None


@dataclass(frozen=True)
class Release:
    """Check a case once more, and forget it; answered by its record."""

    case_id: str


@dataclass(frozen=True)
class Sources:
    """Which files of the subject were loaded? Modules below `folders`, and packages of these top-level names.

    With `installed` also the packages of the plugins that the worker's environment has.
    """

    folders: tuple[str, ...]
    packages: tuple[str, ...]
    installed: bool = False


@dataclass(frozen=True)
class Source:
    """A module that was loaded: its file without links, and sixteen hexadecimal digits over what that holds."""

    module: str
    file: str
    digest: str


@dataclass(frozen=True)
class Loaded:
    """Modules in the order of their names."""

    sources: tuple[Source, ...]


Message = (
    Unit | Hello | Stage | Found | Telemetry | Watched | UnitDone
    | Offer | Offered | Prepare | CaseReady | Block | BlockDone | Release | Sources | Loaded
)  # fmt: skip
_TYPES: dict[str, type] = {
    c.__name__.lower(): c
    for c in (
        Unit, Hello, Stage, Found, Telemetry, Watched, UnitDone,
        Offer, Offered, Prepare, CaseReady, Block, BlockDone, Release, Sources, Loaded,
    )
}  # fmt: skip


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
