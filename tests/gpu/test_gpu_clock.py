"""Clocks on a GPU: spin kernels of known cycles, graphs against events, hosts that are slower than the device."""

from collections.abc import Callable
from statistics import median

import pytest
import torch

from llmbench.machine.nvml import open_nvml
from llmbench.measure.clock import EventClock
from llmbench.measure.graph import captured
from llmbench.measure.power import PowerThread, join
from llmbench.measure.sampler import Target
from llmbench.run.targets import host_bound, in_graph

CYCLES_OF_50_MS = 90_000_000  # at some 1.8 GHz


def spin(cycles: int) -> Callable[[], object]:
    return lambda: torch.cuda._sleep(cycles)


def seconds(call: Callable[[], object], n: int = 30) -> float:
    return median(r.time_s for r in EventClock().block([[call]] * n, before=None))


@pytest.mark.parametrize("share", [1 / 2500, 1 / 500, 1 / 100, 1 / 10])  # of 50 ms: from 20 us to 5 ms
def test_a_spin_kernel_takes_as_long_as_its_cycles(share: float) -> None:
    seconds(spin(CYCLES_OF_50_MS), 5)  # clocks up
    whole_s = seconds(spin(CYCLES_OF_50_MS), 5)
    assert seconds(spin(round(CYCLES_OF_50_MS * share))) == pytest.approx(whole_s * share, rel=0.02)


def test_a_graph_takes_as_long_as_events_say_where_the_host_is_fast_enough() -> None:
    call = spin(CYCLES_OF_50_MS // 500)  # 0.1 ms
    graph = captured([call] * 8)
    assert not isinstance(graph, str), graph
    assert seconds(graph) / 8 == pytest.approx(seconds(call), rel=0.02)


def test_many_tiny_kernels_are_host_bound_and_a_graph_of_them_is_not() -> None:
    x = torch.zeros(16, device="cuda")

    def call() -> torch.Tensor:
        for _ in range(200):
            x.add_(1)
        return x.clone()

    target, clock = Target("tiny", [call], repeats=True), EventClock()
    assert host_bound(target, clock)
    graphed = in_graph(target)
    assert isinstance(graphed, Target), graphed
    assert not host_bound(graphed, clock)


def test_what_cannot_be_captured_says_why_and_leaves_the_stream_as_it_was() -> None:
    before = torch.cuda.current_stream()
    x = torch.ones(4, device="cuda")
    why = captured([lambda: x.sum().item()])  # a wait for the device, which a capture forbids
    assert isinstance(why, str) and why
    assert torch.cuda.current_stream() == before
    assert float((x + 1).sum()) == 8.0


def test_telemetry_covers_the_windows_of_samples() -> None:
    nvml = open_nvml(str(torch.cuda.get_device_properties(0).uuid))
    if isinstance(nvml, str):
        pytest.skip(nvml)
    call = spin(CYCLES_OF_50_MS)
    with PowerThread(nvml) as thread:
        readings = EventClock().block([[call]] * 20, before=None)
    windows = [(r.t_ns, r.t_ns + int(r.time_s * 1e9)) for r in readings]
    joined = join(thread.drain(), windows)
    assert all(joined.known) and joined.power_w and joined.sm_clock_hz
