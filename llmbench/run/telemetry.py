"""Telemetry of a worker: the power thread of its GPU, and what it says of the samples of a case."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from llmbench.measure.power import PowerThread, Row, join, open_nvml
from llmbench.measure.sampler import Samples
from llmbench.store.record import Measurement


class Telling(NamedTuple):
    """A flag for each sample (empty as a rule), and the metrics of power and clocks."""

    flags: list[str]
    measurements: list[Measurement]


class Telemetry:
    """Rows of the device while units are measured; nothing on a device without NVML, which `notes` say once.

    `nvml` is what the device is read with, or why there is nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self.notes: list[str] = []
        self._rows: list[Row] = []
        self._thread: PowerThread | None = None
        self._why: str | None = None
        self.nvml = "device cpu has no NVML" if device.type == "cpu" else open_nvml(_uuid_or_index(device))
        if isinstance(self.nvml, str):
            self.notes.append(f"power and clocks are not recorded: {self.nvml}")

    @contextmanager
    def sampling(self, wanted: bool) -> Iterator[None]:
        """The thread runs while the block does, if it is wanted and there is something to read."""
        if not wanted or isinstance(self.nvml, str):
            yield
            return
        with PowerThread(self.nvml) as self._thread:
            yield
        self._collect()
        self._thread = None

    def of(self, samples: Samples) -> Telling:
        """What the rows so far say of these samples."""
        self._collect()
        windows = [
            (start, start + int(time_s * calls * 1e9))
            for start, time_s, calls in zip(samples.t_ns, samples.time_s, samples.calls, strict=True)
        ]
        if not self._rows:
            return Telling([""] * len(windows), [])
        joined = join(self._rows, windows)
        found = {
            "power": joined.power_w,
            "sm_clock": joined.sm_clock_hz,
            "memory_clock": joined.memory_clock_hz,
            "temperature": joined.temperature_degc,
        }
        return Telling(
            ["throttled" if hot else "" for hot in joined.throttled],
            [Measurement(metric, value) for metric, value in found.items() if value is not None],
        )

    def drain(self) -> tuple[list[Row], str | None]:
        """The rows of the unit that ended, and why there will be no more, once."""
        rows, self._rows = self._rows, []
        why, self._why = self._why, None
        return rows, why

    def _collect(self) -> None:
        if self._thread is not None:
            self._rows += self._thread.drain()
            if self._thread.why:
                self._why = self.nvml = self._thread.why


def _uuid_or_index(device: torch.device) -> str | int:
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return str(uuid) if uuid is not None else (device.index or 0)
