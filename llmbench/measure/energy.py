"""Energy of a call: what the device's own counter adds up to over a second or more of calls, one after the other.

All that the device draws is in it: idle power, and whatever other processes run on it. Nothing is subtracted.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from llmbench.machine.nvml import Nvml

WINDOW_S = 1.0  # at least: drivers renew the counter every 10 to 100 ms (arXiv 2312.02741)
RENEWAL_S = 0.1
RESOLUTION = 0.05  # of the window at most: how old the counter may be at an end of it
WARM_S = 0.25  # of work before the window: an idle GPU has to raise its clock first
SHORT_S = 0.01  # of work between two looks, when the next renewal of the counter is awaited
LONG_S = 0.05  # of work between two looks at the clock within the window
STILL_S = 1.0  # a counter that does not move in so much work is none


class Energy(NamedTuple):
    """Joules a call, from so many calls between two moments on the clock of `time.perf_counter_ns`."""

    energy_j: float
    calls: int
    start_ns: int
    end_ns: int


class Tick(NamedTuple):
    """A moment at which the counter had just moved: ns, joules, and the calls so far."""

    t_ns: int
    energy_j: float
    calls: int


def energy_per_call(
    call: Callable[[], object], nvml: Nvml, *, wait: Callable[[], object], window_s: float = WINDOW_S,
    max_s: float = 60.0, now_ns: Callable[[], int] = time.perf_counter_ns,
) -> Energy | str:  # fmt: skip
    """J per call, or why it cannot be told. `wait` returns when the device has done all calls; `max_s` bounds it all.

    The window begins and ends where the counter moves, two different renewals; calls that outlast a renewal get a
    window so long that the renewal is no more than `RESOLUTION` of it. Calls are warm and inputs not put back.
    """
    if nvml.energy_j() is None:
        return "the device has no counter of its energy"
    work = _Work(call, nvml, wait, now_ns, max_s)
    call_s = work.run(1)
    short, long = (max(1, int(size_s / max(call_s, 1e-9))) for size_s in (SHORT_S, LONG_S))
    window_s = max(window_s, min(call_s, RENEWAL_S) / RESOLUTION if call_s > SHORT_S else 0.0)
    try:
        while work.spent_s < WARM_S:
            work.run(long)
        first = work.next_tick(short)
        while now_ns() - first.t_ns < window_s * 1e9:
            work.run(long)
        last = work.next_tick(short)
    except _UntoldError as e:
        return str(e) or f"no window of {window_s:g} s within {max_s:g} s"
    if last.energy_j <= first.energy_j:
        return "the counter of the device's energy went backwards"
    calls = last.calls - first.calls
    return Energy((last.energy_j - first.energy_j) / calls, calls, first.t_ns, last.t_ns)


class _UntoldError(Exception):
    """Why there is no energy; empty when the time is up."""


class _Work:
    """Calls, counted, on a clock."""

    def __init__(
        self, call: Callable[[], object], nvml: Nvml, wait: Callable[[], object], now_ns: Callable[[], int],
        max_s: float,
    ) -> None:  # fmt: skip
        self._call, self._nvml, self._wait, self._now_ns = call, nvml, wait, now_ns
        self._end_ns = now_ns() + max_s * 1e9
        self._calls, self._last_ns = 0, 0
        self.spent_s = 0.0

    def run(self, calls: int) -> float:
        """Seconds that so many calls took, queued together. Raises: _UntoldError when as much again would be late."""
        start_ns = self._now_ns()
        if start_ns + self._last_ns >= self._end_ns:
            raise _UntoldError
        for _ in range(calls):
            self._call()
        self._wait()
        self._calls += calls
        self._last_ns = self._now_ns() - start_ns
        self.spent_s += self._last_ns / 1e9
        return self._last_ns / 1e9

    def next_tick(self, calls: int) -> Tick:
        """The next move of the counter, looked for after every so many calls. Raises: _UntoldError if there is none."""
        before, spent_s = self._nvml.energy_j(), 0.0
        while spent_s < STILL_S:
            spent_s += self.run(calls)
            energy_j = self._nvml.energy_j()
            if energy_j is None or before is None:
                raise _UntoldError("the counter of the device's energy fell silent")
            if energy_j != before:
                return Tick(self._now_ns(), energy_j, self._calls)
        raise _UntoldError(f"the counter of the device's energy did not move in {spent_s:.2g} s of work")
