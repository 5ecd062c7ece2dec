"""Power, clocks, temperature and throttling of a GPU while it works: a sampling thread, and the join to sample windows.

Imported by the worker: standard library and, if it is there, pynvml.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from types import TracebackType

from llmbench.machine.nvml import Nvml, open_nvml

__all__ = ["PERIOD_S", "THROTTLING", "Joined", "PowerThread", "Row", "join", "names", "open_nvml", "read"]

Row = dict[str, float | int | str | None]
"""One reading, flat, as protocol.Telemetry carries it; `t_ns` is on the clock of time.perf_counter_ns."""

PERIOD_S = 0.02
"""Drivers renew the power reading every 10 to 100 ms (arXiv 2312.02741): reading faster gives the same number again and
takes the driver's lock more often, reading slower misses short cases."""

PROCESSES_EVERY = 50
"""Rows between two looks at the list of processes: once a second, for it is the slowest question."""

REACH_NS = 100_000_000
"""A reading may be as old as the slowest renewal of a driver: a window without a row of its own takes one that near."""

REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal",
    0x040: "hw_thermal",
    0x080: "hw_power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bit -> name. Source: NVML API reference, nvmlClocksEventReasons."""

THROTTLING = ~0x003
"""Bits that count as throttled: all but two. An idle GPU lowers its clock by design, and application or locked clocks
are what somebody asked for; every other reason, also one that is not known yet, takes away speed that the device would
have had. sw_power_cap counts too, although a large product may always run into it: the number is then the number of
this power limit, and the reader should know."""


def names(mask: int) -> str:
    """The reasons of a mask, joined by commas: `sw_power_cap,hw_thermal`; a bit without a name as 0x800."""
    bits = [1 << i for i in range(mask.bit_length()) if mask >> i & 1]
    return ",".join(REASONS.get(bit, hex(bit)) for bit in bits)


def read(nvml: Nvml) -> Row:
    """One row now; None where the device does not tell. The count of other processes is `PowerThread`'s to add."""
    t_ns = time.perf_counter_ns()
    reasons = nvml.throttle_reasons()
    clocks, (busy, memory_busy) = nvml.clocks(), nvml.utilisation()
    return {
        "t_ns": t_ns,
        "power_w": nvml.power_w(),
        "energy_j": nvml.energy_j(),
        "sm_clock_hz": clocks.sm_hz,
        "memory_clock_hz": clocks.memory_hz,
        "temperature_degc": nvml.temperature_degc(),
        "utilisation": busy,
        "memory_utilisation": memory_busy,
        "throttle_reasons": reasons,
        "throttle_names": None if reasons is None else names(reasons),
    }


class PowerThread:
    """Rows of one GPU every `period_s`, taken by a daemon thread. A context manager: starts on entry, stops on exit.

    It does not close `nvml`. If it dies, `why` says why, and the rows until then stay.
    """

    def __init__(self, nvml: Nvml, *, period_s: float = PERIOD_S) -> None:
        self.why: str | None = None
        self._nvml, self._period_s = nvml, period_s
        self._rows: list[Row] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmbench-power", daemon=True)

    def start(self) -> None:
        """Begin. Once only, as a thread."""
        self._thread.start()

    def drain(self) -> list[Row]:
        """The rows since the last drain, in order."""
        with self._lock:
            rows, self._rows = self._rows, []
        return rows

    def stop(self) -> None:
        """End, after a last row; what was not drained can still be drained."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> "PowerThread":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._sample()
        except Exception as e:  # a dead thread would print a traceback of its own and say nothing to the run
            self.why = f"the power thread ended: {type(e).__name__}: {e}"

    def _sample(self) -> None:
        taken, others = 0, None
        due = time.monotonic()
        while True:
            last = self._stop.is_set()
            if taken % PROCESSES_EVERY == 0:
                others = self._nvml.other_processes()
            row = {**read(self._nvml), "other_processes": others}
            with self._lock:
                self._rows.append(row)
            taken += 1
            if last:
                return
            # a slow driver skips rows: it must not make the thread catch up in a burst
            due = max(due + self._period_s, time.monotonic())
            self._stop.wait(due - time.monotonic())


@dataclass(frozen=True)
class Joined:
    """What the telemetry says of the windows of one case: medians, the highest temperature, and a flag a window.

    `rows` counts the readings it rests on; with none every number is None and no window is called throttled, but
    `known` is False for it.
    """

    rows: int
    power_w: float | None = None
    sm_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    temperature_degc: float | None = None
    other_processes: int | None = None  # the most that were seen
    throttled: list[bool] = field(default_factory=list)  # one a window
    known: list[bool] = field(default_factory=list)  # one a window: whether a throttle reason was read for it
    throttle_names: str = ""  # every reason that throttled


def join(rows: Sequence[Row], windows: Sequence[tuple[int, int]]) -> Joined:
    """The rows of each window of (start_ns, end_ns); a window shorter than the period takes the nearest row.

    A row that serves many windows counts once in the medians.
    """
    ordered = sorted(rows, key=_t_ns)
    times = [_t_ns(row) for row in ordered]
    chosen: set[int] = set()
    throttled, known, mask = [], [], 0
    for start_ns, end_ns in windows:
        mine = _within(times, start_ns, end_ns)
        chosen.update(mine)
        reasons = [r for i in mine if isinstance(r := ordered[i].get("throttle_reasons"), int)]
        limiting = [r & THROTTLING for r in reasons]
        known.append(bool(reasons))
        throttled.append(any(limiting))
        for bits in limiting:
            mask |= bits
    of_case = [ordered[i] for i in sorted(chosen)]
    others = _over(of_case, "other_processes", max)
    return Joined(
        rows=len(of_case),
        power_w=_over(of_case, "power_w", median),
        sm_clock_hz=_over(of_case, "sm_clock_hz", median),
        memory_clock_hz=_over(of_case, "memory_clock_hz", median),
        temperature_degc=_over(of_case, "temperature_degc", max),
        other_processes=None if others is None else int(others),
        throttled=throttled,
        known=known,
        throttle_names=names(mask),
    )


def _t_ns(row: Row) -> int:
    t_ns = row["t_ns"]
    if not isinstance(t_ns, int):
        raise ValueError(f"telemetry: t_ns is {t_ns!r}, wanted an int")
    return t_ns


def _within(times: list[int], start_ns: int, end_ns: int) -> range:
    first, after = bisect_left(times, start_ns), bisect_right(times, end_ns)
    if first < after:
        return range(first, after)
    near = [i for i in (first - 1, first) if 0 <= i < len(times)]
    away = {i: start_ns - times[i] if times[i] < start_ns else times[i] - end_ns for i in near}
    near = [i for i in near if away[i] <= REACH_NS]
    nearest = min(near, key=away.__getitem__, default=None)
    return range(0) if nearest is None else range(nearest, nearest + 1)


def _over(rows: Sequence[Row], name: str, reduce: Callable[[list[float]], float]) -> float | None:
    values = [float(v) for row in rows if isinstance(v := row.get(name), int | float)]
    return reduce(values) if values else None
