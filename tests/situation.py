"""Situations of the gate: what differs between base and head, in one of four ways, and what the gate makes of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmbench.analyze.verdict import Word
from llmbench.store.record import Status
from llmbench.suite.suite import Suite

PAIRED = "gate paired suite.yaml --base main"


@dataclass(frozen=True)
class Kernel:
    """One implementation among others, by the expressions that make it of `p`; None where a side has none of it."""

    base: str | None
    head: str | None

    @property
    def text(self) -> str:
        """What differs, for people."""
        if self.base == self.head:
            return f"both: `{self.base}`"
        base, head = (f"`{made}`" if made else "none" for made in (self.base, self.head))
        return f"base: {base}; head: {head}"


@dataclass(frozen=True)
class Beside:
    """Kernels of other rows, by their names, in one suite."""

    text: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Commits:
    """Base (`main`) and head (the working tree, unless `args` name a commit) of a repository by the files that a side
    has otherwise; None where it has not got one. `what` says it to people."""

    what: str
    base: Mapping[str, str | None] = field(default_factory=dict)
    head: Mapping[str, str | None] = field(default_factory=dict)
    args: str = PAIRED
    is_repository: bool = True
    device_taken: bool = False  # by another gate

    @property
    def text(self) -> str:
        """What differs, for people."""
        return "; ".join(part for part in (self.what, "" if self.args == PAIRED else f"`{self.args}`") if part)


@dataclass(frozen=True)
class Run:
    """A stored run by what it differs in from the runs of its baseline.

    `time`: factor of an implementation's, or one a process, None where it was not run; `more_bytes` of each process;
    `throttled` samples of eleven; `whole`: of the run as a whole, as `stored_run` takes it.
    """

    by: str
    time: Mapping[str, float | Sequence[float] | None] = field(default_factory=dict)
    more_bytes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    failed: Mapping[str, tuple[Status, str]] = field(default_factory=dict)
    throttled: Mapping[str, int] = field(default_factory=dict)
    processes: int = 3
    whole: Mapping[str, Any] = field(default_factory=dict)
    args: str = ""

    @property
    def text(self) -> str:
        """What differs, for people."""
        return f"judged by {self.by}: {'; '.join(self._parts()) or 'no difference'}"

    def _parts(self) -> Iterator[str]:
        for impl, factor in self.time.items():
            yield f"{impl}: not run" if factor is None else f"{impl}: time x {_numbers(factor)}"
        for impl, more in self.more_bytes.items():
            yield f"{impl}: {', '.join(f'{n:+} B' for n in dict.fromkeys(more))}"
        yield from (f"{impl}: {status}, {why}" for impl, (status, why) in self.failed.items())
        yield from (f"{impl}: {n} of 11 samples throttled" for impl, n in self.throttled.items())
        yield from ["1 process"] if self.processes == 1 else []
        yield from (_whole(name, value) for name, value in self.whole.items())
        yield from [f"`{self.args}`"] if self.args else []


class Situation(NamedTuple):
    """A row. `word` is None where nothing is judged, and `says` is told on stderr; else `says` is in the reason of the
    verdict on `about`, the worst unless given, or in a warning."""

    tells: str
    differs: Kernel | Beside | Commits | Run
    word: Word | None
    code: int
    says: str
    about: str | None = None


def _numbers(factor: float | Sequence[float]) -> str:
    return ", ".join(f"{f:.4g}" for f in factor) if isinstance(factor, Sequence) else f"{factor:.4g}"


def _whole(name: str, value: object) -> str:
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return f"suite {value.name}, op version {value.op.version}" if isinstance(value, Suite) else f"{name} {value}"
