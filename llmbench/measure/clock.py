"""Clocks: how long a call takes, on the host or on the device. `timer` in the evidence names the one that was used."""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Literal, NamedTuple, Protocol

import torch

Call = Callable[[], object]


class Reading(NamedTuple):
    """One sample: seconds a call, start on the host's monotonic clock (ns), calls, and what is known of it."""

    time_s: float
    t_ns: int
    calls: int = 1
    flag: Literal["", "host_bound"] = ""


class Clock(Protocol):
    """Measures `n` calls, each preceded by `before`, which is not part of the time."""

    timer: str

    def block(self, call: Call, *, before: Call, n: int) -> list[Reading]:
        """`n` readings in measured order."""
        ...


class WallClock:
    """`time.perf_counter_ns` around each call: for work that is done when the call returns."""

    timer = "perf_counter"

    def block(self, call: Call, *, before: Call, n: int) -> list[Reading]:
        """`n` readings; the outputs of a call are freed outside of its time."""
        readings = []
        for _ in range(n):
            before()
            start = perf_counter_ns()
            out = call()
            end = perf_counter_ns()
            del out
            readings.append(Reading((end - start) / 1e9, start))
        return readings


class EventClock:
    """CUDA events around each call on the current stream; the block is queued at once and read after one wait."""

    timer = "cuda_event"

    def block(self, call: Call, *, before: Call, n: int) -> list[Reading]:
        """`n` readings of device time; the flush is ordered before the first event, so it never leaks into the time.

        Starts are device times, placed on the host's clock by an event at a moment when the stream was empty. A call
        that took the host longer to queue than the device to run is `host_bound`: its time holds gaps.
        """
        pairs = [(_event(), _event()) for _ in range(n)]
        queued_s = []
        torch.cuda.synchronize()
        anchor = _event()
        anchor.record()
        anchor_ns = perf_counter_ns()
        for first, last in pairs:
            before()
            start = perf_counter_ns()
            first.record()
            out = call()
            last.record()
            queued_s.append((perf_counter_ns() - start) / 1e9)
            del out
        torch.cuda.synchronize()
        return [_reading(anchor, anchor_ns, first, last, q) for (first, last), q in zip(pairs, queued_s, strict=True)]


def _reading(
    anchor: torch.cuda.Event, anchor_ns: int, first: torch.cuda.Event, last: torch.cuda.Event, queued_s: float
) -> Reading:
    time_s = first.elapsed_time(last) / 1e3
    t_ns = anchor_ns + int(anchor.elapsed_time(first) * 1e6)
    return Reading(time_s, t_ns, flag="host_bound" if queued_s > time_s else "")


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def clock_for(device_type: str) -> Clock:
    """The clock of a device type."""
    return EventClock() if device_type == "cuda" else WallClock()
