"""Cores: where the two sides run on a CPU, and where the parent is meanwhile."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """Numbers of cores. Both sides have the same ones, as they take turns; empty: wherever the system likes."""

    workers: tuple[int, ...] = ()
    parent: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """`both sides on core 1, the parent on 0`."""
        if not self.workers:
            return "nobody is pinned to a core"
        where = f"both sides on core{'s' if len(self.workers) > 1 else ''} {', '.join(map(str, self.workers))}"
        return f"{where}, the parent on {', '.join(map(str, self.parent))}" if self.parent else where


def cores_for(device: str, *, threads: int) -> Cores:
    """The last cores for the workers, as many as they have threads, since the first ones serve interrupts."""
    if device != "cpu" or not hasattr(os, "sched_getaffinity"):
        return Cores()
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        return Cores()
    return Cores(tuple(allowed[-threads:]), tuple(allowed[:-threads]))


@contextmanager
def parent_on(cores: Cores) -> Iterator[None]:
    """This process keeps to its cores while the block runs; what it starts meanwhile would too."""
    if not cores.parent:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.parent)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
