"""Probes on a GPU: kernels by name and number, registers of Triton kernels, joules that agree with the power."""

from collections.abc import Callable

import pytest
import torch
from integrated_power import integrated_j
from torch import Tensor

from llmbench.measure.energy import Energy, energy_per_call
from llmbench.measure.kernels import Launches, launches
from llmbench.measure.power import PowerThread, open_nvml
from llmbench.measure.registers import triton_resources
from llmbench.run.worker import forget_compiled

CUDA = torch.device("cuda")


def ran(call: Callable[[], object]) -> Launches:
    found = launches(call, CUDA, ready=lambda: None)
    assert not isinstance(found, str), found
    return found


def test_a_known_number_of_kernels_copies_and_fills_is_found() -> None:
    x, y = torch.ones(2**20, device=CUDA), torch.empty(2**20, device=CUDA)

    def call() -> None:
        for _ in range(3):
            x.cos_()
        y.copy_(x)
        torch.zeros(2**10, device=CUDA)

    found = ran(call)
    assert sum(n for name, n in found.items() if "cos" in name) == 3
    assert found["Memcpy DtoD (Device -> Device)"] == 1
    assert sum(found.values()) == 5
    assert [ran(call) for _ in range(5)] == [found] * 5


def test_a_graph_that_is_replayed_shows_its_kernels() -> None:
    x, graph = torch.ones(2**20, device=CUDA), torch.cuda.CUDAGraph()
    x.cos_()
    with torch.cuda.graph(graph):
        for _ in range(4):
            x.cos_()
    assert sum(ran(graph.replay).values()) == 4


def test_compiled_code_is_its_triton_kernels_with_their_registers() -> None:
    forget_compiled()

    def softmax(x: Tensor) -> Tensor:
        return (x * 2).softmax(-1)

    call, x = torch.compile(softmax, dynamic=False), torch.randn(512, 1024, device=CUDA)
    call(x)
    with triton_resources() as resources:
        found = ran(lambda: call(x))
    assert found and all(name.startswith("triton_") for name in found)
    assert set(resources) == set(found)
    for kernel in resources.values():
        assert kernel.registers and kernel.spills == 0 and kernel.shared_memory_bytes is not None


def test_a_triton_kernel_of_ones_own_is_read() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from example_kernel import double

    x = torch.ones(256, device=CUDA)
    with triton_resources() as resources:
        found = ran(lambda: double[(1,)](x, 256, BLOCK=256))
    assert found == {"double": 1} and resources["double"].registers


def test_energy_is_the_integral_of_the_power_within_five_percent() -> None:
    nvml = open_nvml(torch.cuda.current_device())
    if isinstance(nvml, str) or nvml.energy_j() is None or nvml.power_w() is None:
        pytest.skip(f"no counter of energy: {nvml}")
    a = torch.randn(4096, 4096, device=CUDA, dtype=torch.bfloat16)
    with PowerThread(nvml) as thread:
        found = energy_per_call(lambda: a @ a, nvml, wait=torch.cuda.synchronize, window_s=2.5)
    assert isinstance(found, Energy), found
    drawn = integrated_j(thread.drain(), found.start_ns, found.end_ns)
    assert drawn is not None and (found.end_ns - found.start_ns) / 1e9 >= 2.0
    assert abs(found.energy_j * found.calls / drawn - 1) <= 0.05, (found, drawn)
