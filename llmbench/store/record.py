"""Records: what a worker found out about one case in one process.

Standard library only: a worker on a bare machine imports this.
"""

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "wrong", "error", "oom", "timeout", "crashed", "skipped", "unavailable", "inferred"]
SideName = Literal["base", "head"]  # of a paired gate
CheckKind = Literal["oracle", "equals_baseline", "invariant", "none"]

WORST_FIRST: tuple[Status, ...] = (
    "wrong", "crashed", "error", "timeout", "oom", "inferred", "unavailable", "skipped", "ok",
)  # fmt: skip
"""A case with several processes has the first of these statuses that any of them has."""

FAILED: frozenset[Status] = frozenset({"wrong", "error", "timeout", "crashed"})
"""Statuses that make `run` exit 6."""


@dataclass(frozen=True)
class Measurement:
    """A metric of a case, or of a `part` of it. `value` is the median of `samples`, `low` and `high` its 95 % CI.

    The lists are parallel and in measured order: start on the monotonic clock (ns), block, calls in the sample, and
    flags (`throttled`, `host_bound`, joined by commas, empty as a rule).
    """

    metric: str
    value: float
    part: str | None = None
    low: float | None = None
    high: float | None = None
    samples: list[float] = field(default_factory=list)
    sample_t_ns: list[int] = field(default_factory=list)
    sample_block: list[int] = field(default_factory=list)
    sample_calls: list[int] = field(default_factory=list)
    sample_flags: list[str] = field(default_factory=list)
    stop_reason: str | None = None
    timer: str | None = None


@dataclass(frozen=True)
class Check:
    """How the outputs were checked on the very shape that is timed. `why` says why there is none."""

    kind: CheckKind
    passed: bool
    why: str | None = None
    allowed: float | None = None  # the allowance of the output nearest to its limit


@dataclass(frozen=True)
class Record:
    """Everything known about one case in one process. A failure is a status with a reason, never a missing record."""

    case_id: str
    process: int
    status: Status
    why: str | None = None
    measurements: list[Measurement] = field(default_factory=list)
    check: Check | None = None
    grad: Literal["on", "off"] | None = None  # whether the inputs asked for gradients
    order: Literal["interleaved", "apart"] | None = None
    cold_by: Literal["flush", "rotation"] | None = None  # how its inputs were made cold for each sample
    config: str | None = None  # what autotuning or the implementation chose for this case, e.g. block sizes
    impl_hash: str | None = None  # of the implementation's source: evidence, not identity
    flop: float | None = None
    bytes: float | None = None
    tokens: float | None = None
