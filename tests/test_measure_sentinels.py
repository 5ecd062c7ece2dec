"""Sentinels on this CPU: kernels of a fixed size, which leave nothing behind."""

import pytest
import torch

from llmbench.errors import UsageError
from llmbench.machine.simulated import SLOWED_BY, SimulatedDevice, simulated_machine, slowed_by
from llmbench.measure.clock import clock_for
from llmbench.measure.sentinels import EDGES, SAMPLES, VERSION, kernels, timed

CPU = torch.device("cpu")


def test_each_sentinel_of_a_cpu_takes_time_and_says_what_it_does() -> None:
    made = {name: make() for name, make in kernels(CPU, "cpu", seed="0")}
    edge = next(edge for below, edge in EDGES if torch.get_num_threads() < below)
    assert {(k.name, k.version, k.work) for k in made.values()} == {
        ("gemm", VERSION, f"{edge} x {edge} float32"), ("copy", VERSION, "32 MiB"), ("launch", VERSION, "one element"),
    }  # fmt: skip
    took = {name: timed(kernel, clock_for("cpu")) for name, kernel in made.items()}
    assert all(len(samples) == SAMPLES and min(samples) > 0 for samples in took.values())
    assert min(took["gemm"]) * 2e12 * torch.get_num_threads() > 2 * edge**3, "faster than any core multiplies"
    assert min(took["copy"]) > 2**25 / 1e12 and max(took["launch"]) < min(took["copy"])


def test_they_leave_random_numbers_and_precision_as_they_were() -> None:
    torch.manual_seed(3)
    wanted = torch.randn(4)
    torch.manual_seed(3)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        for _, make in kernels(CPU, "cpu", seed="0"):
            timed(make(), clock_for("cpu"))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(torch.randn(4), wanted) and torch.is_grad_enabled()


def test_those_of_the_simulated_device_are_slowed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(factor: float, seed: str = "0 1") -> dict[str, list[float]]:
        monkeypatch.setattr("llmbench.machine.simulated.DEVICE.slowed_by", factor)
        return {name: timed(make(), clock_for("simulated")) for name, make in kernels(CPU, "simulated", seed=seed)}

    usual, slow, other = seen(1.0), seen(1.06), seen(1.0, seed="0 2")
    assert set(usual) == {"gemm", "copy", "launch"}
    for name in usual:
        assert slow[name] == pytest.approx([1.06 * s for s in usual[name]], rel=1e-9) and usual[name] != other[name]
        assert max(usual[name]) / min(usual[name]) < 1.02


def test_the_environment_slows_the_simulated_device_and_its_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = simulated_machine()
    monkeypatch.setenv(SLOWED_BY, "1.06")
    device = SimulatedDevice()
    device.advance(1.0)
    assert device.uptime_s == pytest.approx(1.06)
    slow = simulated_machine()
    assert (slow.facts, slow.device_key) == ({"slowed_by": 1.06}, usual.device_key) and usual.facts == {}


@pytest.mark.parametrize("text", ["fast", "0", "-1", "nan", "inf"])
def test_what_is_no_factor_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(SLOWED_BY, text)
    with pytest.raises(UsageError) as caught:
        slowed_by()
    assert str(caught.value) == f"{SLOWED_BY} is {text!r}; wanted: a factor above 0, such as 1.06"
