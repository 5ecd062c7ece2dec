"""Sentinels: kernels that never change. What they take says how fast the machine is today, whatever the code does.

A matrix product (compute), a copy (memory) and a kernel of one element many times in a row (launches), each of a fixed
size for its class of device. Whoever changes what one does gives it another `VERSION`: what it took before then says
nothing any more.
"""

import math
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import torch

from llmbench.machine.simulated import DEVICE, NAME
from llmbench.measure.clock import Call, Clock
from llmbench.measure.collector import collector_off

VERSION = 1
SAMPLES = 4  # of a sentinel at a visit: some 17 ms of products, 27 ms of copies and 8 ms of launches, on one core
EDGES = ((4, 640), (16, 1024), (64, 2048), (math.inf, 3072))
"""Threads of a CPU, below which a product has that edge: it takes at least 1 ms, 3.4 ms on one core with AVX-512."""

EDGE_CUDA = 4096  # 0.17 ms at 800 TFLOP/s, so that eight in a row take more than 1 ms
CALLS_CUDA, CALLS_LAUNCH_CUDA, CALLS_LAUNCH = {"gemm": 8, "copy": 16}, 256, 500
COPY_BYTES = {"cpu": 32 * 2**20, "cuda": 128 * 2**20}
"""Of source and target each. Together they are beyond the L2 of any current GPU, and beyond the L3 of most desktops;
not of large servers, where a copy beyond it would take a tenth of a second."""

SIMULATED_S = {"gemm": 2e-3, "copy": 1e-3, "launch": 5e-6}
SIMULATED_SIGMA = 2e-3  # of the log of a sample
SEED = 0


class Kernel(NamedTuple):
    """A sentinel on a device: what tells it from others, its call, and how many calls make a sample."""

    name: str
    version: int
    work: str
    call: Call
    calls: int


def kernels(device: torch.device, device_type: str, *, seed: str) -> Iterator[tuple[str, Callable[[], Kernel]]]:
    """Names, and what makes each sentinel, which fails where there is no memory for it.

    `device_type`: cpu, cuda or simulated; `seed`: of what the simulated device draws.
    """
    if device_type == NAME:
        for name in SIMULATED_S:
            yield name, lambda name=name: _simulated(name, seed)  # type: ignore[misc]
        return
    yield "gemm", lambda: _gemm(device)
    yield "copy", lambda: _copy(device)
    yield "launch", lambda: _launch(device)


def timed(kernel: Kernel, clock: Clock) -> list[float]:
    """Seconds a call of each sample, in measured order, after a call that is not counted; longer on a GPU, whose clock
    must rise first."""
    sample = [kernel.call] * kernel.calls
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # whatever the cases have left
    try:
        with collector_off(), torch.inference_mode():
            start = clock.now()
            clock.block([sample], before=None)
            while clock.timer == "cuda_event" and clock.now() - start < clock.warm_up_s:
                clock.block([sample], before=None)
            return [reading.time_s for reading in clock.block([sample] * SAMPLES, before=None)]
    finally:
        torch.set_float32_matmul_precision(before)


def _gemm(device: torch.device) -> Kernel:
    on_gpu = device.type == "cuda"
    edge = EDGE_CUDA if on_gpu else next(edge for below, edge in EDGES if torch.get_num_threads() < below)
    dtype = torch.float32
    if on_gpu:
        dtype = torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    dice = torch.Generator(device).manual_seed(SEED)  # not the one that cases draw from
    a, b = (torch.randn(edge, edge, generator=dice, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    name = str(dtype).removeprefix("torch.")
    calls = CALLS_CUDA["gemm"] if on_gpu else 1
    return Kernel("gemm", VERSION, f"{edge} x {edge} {name}", lambda: torch.mm(a, b, out=out), calls)


def _copy(device: torch.device) -> Kernel:
    size_bytes = COPY_BYTES[device.type]
    source = torch.ones(size_bytes // 4, device=device)
    target = torch.zeros_like(source)
    calls = CALLS_CUDA["copy"] if device.type == "cuda" else 1
    return Kernel("copy", VERSION, f"{size_bytes // 2**20} MiB", lambda: target.copy_(source), calls)


def _launch(device: torch.device) -> Kernel:
    one = torch.zeros(1, device=device)
    calls = CALLS_LAUNCH_CUDA if device.type == "cuda" else CALLS_LAUNCH
    return Kernel("launch", VERSION, "one element", lambda: one.neg_(), calls)


def _simulated(name: str, seed: str) -> Kernel:
    dice = Random(f"{seed} sentinel {name}")
    level_s = SIMULATED_S[name]

    def call() -> None:
        DEVICE.advance(level_s * math.exp(SIMULATED_SIGMA * dice.gauss(0, 1)))

    return Kernel(name, VERSION, NAME, call, 1)
