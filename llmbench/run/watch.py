"""The watch of a worker: when it looks at the sentinels, so that they cost next to nothing."""

from collections.abc import Callable
from time import perf_counter, time

import torch

from llmbench.measure.clock import clock_for
from llmbench.measure.sentinels import Kernel, kernels, timed
from llmbench.run.protocol import Message, StageName, Telemetry, Unit, Watched
from llmbench.store.sentinels import Visit

EVERY_S = 20.0  # between two looks
MOST_SHARE = 0.01  # of the time between two looks that one may take: on a slow machine they are further apart


class Watch:
    """Looks at the sentinels when a worker begins its first unit, before a unit when that is long ago, and after the
    last one. `stage` hears when; `emit` takes what they took."""

    def __init__(
        self, device: torch.device, device_type: str, emit: Callable[[Message], None],
        stage: Callable[[StageName, str | None], None],
    ) -> None:  # fmt: skip
        self.device, self.device_type, self.emit, self.stage = device, device_type, emit, stage
        self.clock = clock_for(device_type)
        self.kernels: list[Kernel] | None = None  # made with the first unit that wants them
        self.next_s = 0.0  # when to look again

    def make(self, unit: Unit) -> None:
        """Makes the sentinels, if the unit wants them and they are not there; what fails is said, and left out."""
        if self.kernels is not None or not unit.measure.sentinels:
            return
        self.stage("sentinels", None)
        self.kernels = []
        for name, made in kernels(self.device, self.device_type, seed=f"{unit.seed} {unit.process}"):
            try:
                self.kernels.append(made())
            except RuntimeError as e:  # out of memory is one, too
                self._leave_out(name, e)

    def before(self, unit: Unit) -> None:
        """A unit begins."""
        self.make(unit)
        if unit.measure.sentinels and perf_counter() >= self.next_s:
            self._look()

    def after(self, unit: Unit) -> None:
        """A unit has ended."""
        if unit.measure.sentinels and unit.closes:
            self._look()

    def _look(self) -> None:
        self.stage("sentinels", None)
        start_s, now_s = perf_counter(), time()
        visits = []
        for kernel in list(self.kernels or ()):
            try:
                visits.append(Visit(*kernel[:3], samples_s=tuple(timed(kernel, self.clock))))
            except RuntimeError as e:
                self._leave_out(kernel.name, e)
        if visits:
            self.emit(Watched(tuple(visits), now_s))
        end_s = perf_counter()
        self.next_s = end_s + max(EVERY_S, (end_s - start_s) / MOST_SHARE)

    def _leave_out(self, name: str, why: RuntimeError) -> None:
        self.kernels = [k for k in self.kernels or () if k.name != name]
        self.emit(Telemetry([], f"sentinel {name} is left out: {str(why).partition(chr(10))[0][:200]}"))
