"""Clocks: how long a call takes, on the host or on the device. `timer` in the evidence names the one that was used."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Literal, NamedTuple, Protocol

import torch

from llmbench.machine.simulated import DEVICE, NAME

Call = Callable[[], object]
Flag = Literal["", "host_bound", "throttled"]

MOST_OVERHEAD = 0.005  # of a sample: what the clock itself may add, and how coarse it may be
MOST_CALLS = 1024  # in a sample
EVENT_RESOLUTION_S = 0.5e-6  # of CUDA events, by the documentation of cudaEventElapsedTime
HOLD_CYCLES = 200_000  # some 0.1 ms: what the device waits for, so that the host is ahead of it
AS_LONG = 0.9  # of the device's time: a host that takes that long to queue may have kept it waiting


class Reading(NamedTuple):
    """One sample: seconds a call, start on the host's monotonic clock (ns), calls, and what is known of it.

    `before_s` is what went by on the host between the samples: the flush, freeing the output.
    """

    time_s: float
    t_ns: int
    calls: int = 1
    flag: Flag = ""
    before_s: float = 0.0


class Clock(Protocol):
    """Times calls. `resolution_s` is the least time that it tells apart, its own cost included.

    `warm_up_s` is what a warm-up lasts at least: clocks rise and caches fill by time, not by calls.
    """

    timer: str
    resolution_s: float
    warm_up_s: float

    def now(self) -> float:
        """Seconds on the clock by which budgets are spent."""
        ...

    def block(self, samples: Sequence[Sequence[Call]], *, before: Call | None) -> list[Reading]:
        """A reading for each sample, a sequence of calls that are timed as one, preceded by `before`, which is not."""
        ...


def calls_for(clock: Clock, time_s: float) -> int:
    """How many calls of that length a sample needs, so that the clock is less than 0.5 % of it."""
    wanted = clock.resolution_s / (MOST_OVERHEAD * time_s) if time_s > 0 else MOST_CALLS
    return max(1, min(MOST_CALLS, ceil(wanted)))


class WallClock:
    """`time.perf_counter_ns` around each sample: for work that is done when the call returns."""

    timer = "perf_counter"
    warm_up_s = 0.005

    def __init__(self) -> None:
        ticks = [perf_counter_ns() for _ in range(1001)]
        self.resolution_s = median(b - a for a, b in pairwise(ticks)) / 1e9

    now = staticmethod(perf_counter)

    def block(self, samples: Sequence[Sequence[Call]], *, before: Call | None) -> list[Reading]:
        """Readings of host time. The output of a sample's last call is freed outside of its time."""
        readings = []
        out: object = None
        ended = perf_counter_ns()
        for calls in samples:
            if before is not None:
                before()
            if len(calls) == 1:
                call = calls[0]
                start = perf_counter_ns()
                out = call()
                end = perf_counter_ns()
            else:
                start = perf_counter_ns()
                for call in calls:
                    out = call()
                end = perf_counter_ns()
            del out
            readings.append(Reading((end - start) / 1e9 / len(calls), start, len(calls), "", (start - ended) / 1e9))
            ended = end
        return readings


class EventClock:
    """CUDA events around each sample on the current stream; the block is queued at once and read after one wait."""

    timer = "cuda_event"
    resolution_s = EVENT_RESOLUTION_S
    warm_up_s = 0.025

    now = staticmethod(perf_counter)

    def block(self, samples: Sequence[Sequence[Call]], *, before: Call | None) -> list[Reading]:
        """Readings of device time; the flush is ordered before the first event, so it never leaks into the time.

        Starts are device times, placed on the host's clock by an event at a moment when the stream was empty. A flush
        keeps the device busy while the host queues the calls; without one it is held by a kernel that spins. Where it
        began nevertheless before all was queued, and the host took as long as it, the sample is `host_bound`: its time
        holds gaps.
        """
        pairs = [(_event(), _event()) for _ in samples]
        queued: list[tuple[float, bool]] = []
        hold = getattr(torch.cuda, "_sleep", None) if before is None else None
        torch.cuda.synchronize()
        anchor = _event()
        anchor.record()
        anchor_ns = perf_counter_ns()
        for (first, last), calls in zip(pairs, samples, strict=True):
            if before is not None:
                before()
            elif hold is not None:
                hold(HOLD_CYCLES)
            start = perf_counter_ns()
            first.record()
            for call in calls:
                out = call()
            last.record()
            queued.append(((perf_counter_ns() - start) / 1e9, _is_past(first)))
            del out
        torch.cuda.synchronize()
        readings = []
        for (first, last), calls, (queued_s, had_begun) in zip(pairs, samples, queued, strict=True):
            took_s = first.elapsed_time(last) / 1e3
            t_ns = anchor_ns + int(anchor.elapsed_time(first) * 1e6)
            flag: Flag = "host_bound" if had_begun and queued_s >= AS_LONG * took_s else ""
            readings.append(Reading(took_s / len(calls), t_ns, len(calls), flag))
        return readings


class SimulatedClock:
    """The clock of the simulated device. What runs before a call takes no time on it."""

    timer = "simulated"
    resolution_s = warm_up_s = 0.0

    def now(self) -> float:
        """Seconds on the device, which nobody waits for."""
        return DEVICE.now_s

    def block(self, samples: Sequence[Sequence[Call]], *, before: Call | None) -> list[Reading]:
        """Readings of the device's time, those of a throttled device marked."""
        readings = []
        for calls in samples:
            start_s = DEVICE.now_s
            for call in calls:
                call()
            flag: Flag = "throttled" if DEVICE.throttled else ""
            readings.append(Reading((DEVICE.now_s - start_s) / len(calls), int(start_s * 1e9), len(calls), flag))
        return readings


def _is_past(event: torch.cuda.Event) -> bool:
    return bool(event.query())  # type: ignore[no-untyped-call]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def clock_for(device_type: str) -> Clock:
    """The clock of a device type."""
    if device_type == NAME:
        return SimulatedClock()
    return EventClock() if device_type == "cuda" else WallClock()
