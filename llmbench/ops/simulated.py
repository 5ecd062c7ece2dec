"""The op `simulated`: kernels whose times are drawn from a described distribution, on the device `simulated`.

For trying suites, reports and gates without a GPU and without waiting, and for testing them against a known truth.
"""

import ctypes
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from llmbench.machine.simulated import DEVICE
from llmbench.ops.op import Op
from llmbench.ops.params import AtLeast
from llmbench.ops.registry import register

NUMEL = 64
HANG_S = 1e6

Failure = Literal["none", "error", "oom", "crash", "hang", "wrong"]


@dataclass(frozen=True)
class SimulatedParams:
    """How long a call takes on the simulated device, and how it fails. Shares are of the level: 0.01 is 1 %."""

    level: float = 1e-3  # seconds a call
    ratio: float = 1.0  # candidate / base
    sigma: float = 0.01  # of the log of a call's time
    process_sigma: float = 0.0  # of the log of a process's level
    autocorrelation: float = 0.0  # of one call's noise with the next
    outliers: float = 0.0  # share of calls that take longer
    outlier_size: float = 0.2  # by up to this share
    drift_per_s: float = 0.0  # by which every level rises each second
    mode_distance: float = 0.0  # of a second mode above the first
    mode_share: float = 0.3  # of calls in the second mode
    throttled_after: float = 0.0  # seconds from which on the device is throttled; 0 never
    throttle: float = 0.2  # by which calls are longer then
    scratch: Annotated[int, AtLeast(0)] = 0  # bytes that a call allocates beside its output
    more_scratch: Annotated[int, AtLeast(0)] = 0  # that the candidate allocates beside these
    failure: Failure = "none"  # what the candidate does
    fails_after: Annotated[int, AtLeast(0)] = 0  # calls that go well before


def _inputs(p: SimulatedParams, generator: Generator) -> Sequence[Tensor]:
    return [torch.randn(NUMEL, generator=generator)]


def _copy(p: SimulatedParams) -> Callable[[Tensor], Tensor]:
    """What a simulated kernel computes: its input."""
    return torch.clone


simulated = register(
    Op(
        name="simulated",
        version=1,
        params=SimulatedParams,
        inputs=_inputs,
        reference=_copy,
        phases=("infer",),
        input_names=("x",),
        doc="calls of described length on a device that exists in numbers only",
    )
)


@simulated.impl("base", needs=["simulated"])
def base(p: SimulatedParams) -> Callable[[Tensor], Tensor]:
    """A kernel at `level`."""
    return SimulatedKernel(p)


@simulated.impl("candidate", needs=["simulated"])
def candidate(p: SimulatedParams) -> Callable[[Tensor], Tensor]:
    """A kernel at `level` times `ratio`, which allocates `more_scratch` and fails as `failure` says."""
    return _Failing(SimulatedKernel(p, times=p.ratio, more_bytes=p.more_scratch), p.failure, p.fails_after)


class SimulatedKernel:
    """Copies its input, and lets the device's clock go on by what it draws: `times` the level of `p`.

    `more_bytes` are allocated beside its scratch. For implementations of one's own on the simulated device.
    """

    def __init__(self, p: SimulatedParams, *, times: float = 1.0, more_bytes: int = 0) -> None:
        self.p, self.scratch_bytes = p, p.scratch + more_bytes
        self.level_s = times * p.level * math.exp(p.process_sigma * DEVICE.random.gauss(0, 1))
        self.noise = DEVICE.random.gauss(0, 1)

    def __call__(self, x: Tensor) -> Tensor:
        DEVICE.advance(self._draw_s())
        if self.scratch_bytes:
            torch.empty(self.scratch_bytes, dtype=torch.uint8)
        return x.clone()

    def _draw_s(self) -> float:
        p, dice = self.p, DEVICE.random
        fresh = math.sqrt(1 - p.autocorrelation**2) * dice.gauss(0, 1)
        self.noise = p.autocorrelation * self.noise + fresh
        time_s = self.level_s * math.exp(p.sigma * self.noise) * (1 + p.drift_per_s * DEVICE.uptime_s)
        if p.mode_distance and dice.random() < p.mode_share:
            time_s *= 1 + p.mode_distance
        if p.outliers and dice.random() < p.outliers:
            time_s *= 1 + p.outlier_size * dice.random()
        DEVICE.throttled = 0 < p.throttled_after <= DEVICE.uptime_s
        return time_s * (1 + p.throttle) if DEVICE.throttled else time_s


class _Failing:
    """A kernel that fails after some calls."""

    def __init__(self, kernel: SimulatedKernel, failure: Failure, after: int) -> None:
        self.kernel, self.failure, self.left = kernel, failure, after

    def __call__(self, x: Tensor) -> Tensor:
        out = self.kernel(x)
        if self.failure == "none" or self.left > 0:
            self.left -= 1
            return out
        if self.failure == "error":
            raise RuntimeError("a simulated error")
        if self.failure == "oom":
            raise torch.OutOfMemoryError("simulated: out of memory")
        if self.failure == "crash":
            ctypes.string_at(0)  # a segmentation fault, as native code has it
        if self.failure == "hang":
            time.sleep(HANG_S)
        return out + 1
