"""Sentinels as they are kept: what kernels that never change took while a run was measured, and their level in it.

Standard library only: a worker on a bare machine imports this.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import exp, log
from statistics import median
from typing import NamedTuple


@dataclass(frozen=True)
class Visit:
    """What a sentinel took when it was looked at: seconds a call, in measured order.

    Another `version` or other `work` (`640 x 640 float32`) is another sentinel.
    """

    name: str
    version: int
    work: str
    samples_s: tuple[float, ...]


class Look(NamedTuple):
    """The visits to all sentinels at a time, by a process of a run."""

    process: int
    unix_s: float
    visits: tuple[Visit, ...]


@dataclass(frozen=True)
class Sentinel:
    """What a sentinel took in a process of a run: parallel tuples in measured order, times since the run began."""

    name: str
    version: int
    work: str
    process: int
    samples_s: tuple[float, ...]
    at_s: tuple[float, ...]


@dataclass(frozen=True)
class SentinelLevel:
    """What a sentinel took in a run: the geometric median of so many samples."""

    name: str
    version: int
    work: str
    level_s: float
    samples: int

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from any other sentinel."""
        return self.name, self.version, self.work


def sentinels_of(looks: Iterable[Look], *, started: str) -> tuple[Sentinel, ...]:
    """The sentinels of a run that began at `started` (UTC, ISO 8601), one a process, in the order of the looks."""
    began_s = datetime.fromisoformat(started).timestamp()
    found: dict[tuple[str, int, str, int], list[tuple[float, float]]] = {}
    for look in looks:
        for visit in look.visits:
            samples = found.setdefault((visit.name, visit.version, visit.work, look.process), [])
            samples += [(seconds, round(look.unix_s - began_s, 3)) for seconds in visit.samples_s]
    return tuple(
        Sentinel(*key, samples_s=tuple(s for s, _ in samples), at_s=tuple(at for _, at in samples))
        for key, samples in found.items()
    )


def sentinel_levels(sentinels: Sequence[Sentinel]) -> tuple[SentinelLevel, ...]:
    """The level of each sentinel of a run, over its processes. Times that are not positive have none."""
    found: dict[tuple[str, int, str], list[float]] = {}
    for s in sentinels:
        found.setdefault((s.name, s.version, s.work), []).extend(t for t in s.samples_s if t > 0)
    return tuple(SentinelLevel(*key, _middle(times), len(times)) for key, times in found.items() if times)


def _middle(times: Sequence[float]) -> float:
    """The median of the logs, as a time: of two in the middle the geometric mean."""
    return exp(median(map(log, times)))
