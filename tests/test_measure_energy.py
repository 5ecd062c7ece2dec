"""Energy of a call: the counter of a made-up device on a clock that does not wait."""

import math
from collections.abc import Callable

import pynvml
import pytest
from fake_nvml import H100, UUID, fake_nvml
from integrated_power import integrated_j

from llmbench.machine.nvml import Nvml, open_nvml
from llmbench.measure.energy import RESOLUTION, WINDOW_S, Energy, energy_per_call
from llmbench.measure.power import Row

S = 1_000_000_000
POWER_W = 500.0


class Device:
    """Draws `power_w` all the time; its counter is renewed every `renewal_s`. Calls are queued, and done by `wait`."""

    def __init__(self, call_s: float, *, renewal_s: float = 0.02, power_w: float = POWER_W) -> None:
        self.call_s, self.renewal_s, self.power_w = call_s, renewal_s, power_w
        self.now_s, self.queued, self.done = 0.013, 0, 0

    def call(self) -> None:
        self.queued += 1

    def wait(self) -> None:
        self.now_s += self.queued * self.call_s + 2e-6
        self.done, self.queued = self.done + self.queued, 0

    def now_ns(self) -> int:
        return int(self.now_s * S)

    def millijoules(self) -> int:
        assert not self.queued, "read while the device was at work"
        self.now_s += 2e-4  # what the driver takes for an answer
        return int(math.floor(self.now_s / self.renewal_s) * self.renewal_s * self.power_w * 1000)


def opened(counter: Callable[[], int] | None) -> Nvml:
    name = "nvmlDeviceGetTotalEnergyConsumption"
    gpu = {k: v for k, v in H100.items() if k != name} | ({} if counter is None else {name: counter})
    nvml = open_nvml(UUID, library=fake_nvml(gpu))
    assert isinstance(nvml, Nvml)
    return nvml


def measured(device: Device, **options: float) -> Energy | str:
    nvml = opened(device.millijoules)
    return energy_per_call(device.call, nvml, wait=device.wait, now_ns=device.now_ns, **options)


@pytest.mark.parametrize("renewal_s", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("call_s", [5e-6, 3e-4, 4e-3, 0.03, 0.15, 0.7, 3.0])
def test_energy_is_power_times_time_within_the_resolution(call_s: float, renewal_s: float) -> None:
    device = Device(call_s, renewal_s=renewal_s)
    found = measured(device)
    assert isinstance(found, Energy), found
    wanted = RESOLUTION if call_s > 0.01 else 0.02
    assert found.energy_j == pytest.approx(POWER_W * call_s, rel=wanted)
    assert (found.end_ns - found.start_ns) / S >= WINDOW_S
    assert found.calls * call_s == pytest.approx((found.end_ns - found.start_ns) / S, rel=0.02)


def test_the_window_is_no_longer_than_it_must_be() -> None:
    for call_s, longest_s in ((3e-4, 1.6), (0.3, 3.5)):
        device = Device(call_s)
        assert isinstance(measured(device), Energy) and device.now_s < longest_s


def test_the_device_has_worked_before_the_window_begins() -> None:
    found = measured(Device(1e-3))
    assert isinstance(found, Energy) and found.start_ns / S > 0.25


def test_a_longer_window_can_be_asked_for() -> None:
    found = measured(Device(1e-3), window_s=2.5)
    assert isinstance(found, Energy) and (found.end_ns - found.start_ns) / S >= 2.5


def test_calls_are_queued_together_and_waited_for() -> None:
    device = Device(1e-4)
    waits = []
    nvml = opened(device.millijoules)

    def wait() -> None:
        waits.append(device.queued)
        device.wait()

    found = energy_per_call(device.call, nvml, wait=wait, now_ns=device.now_ns)
    assert isinstance(found, Energy)
    assert sum(waits) == device.done >= found.calls and max(waits) > 100


@pytest.mark.parametrize(
    ("device", "options", "why"),
    [
        (Device(1e-3, renewal_s=1e9), {}, "the counter of the device's energy did not move in 1 s of work"),
        (Device(1e-3), {"max_s": 0.3}, "no window of 1 s within 0.3 s"),
        (Device(0.2), {"max_s": 1.5}, "no window of 2 s within 1.5 s"),
        (Device(2.0), {"max_s": 3.0}, "no window of 2 s within 3 s"),
        (Device(1e-3, power_w=-POWER_W), {}, "the counter of the device's energy went backwards"),
    ],
)
def test_what_cannot_be_told_has_a_reason(device: Device, options: dict[str, float], why: str) -> None:
    assert measured(device, **options) == why
    assert device.now_s < 0.02 + options.get("max_s", 3.0)


def test_a_device_without_a_counter_says_so_before_any_call() -> None:
    device = Device(1e-3)
    found = energy_per_call(device.call, opened(None), wait=device.wait, now_ns=device.now_ns)
    assert found == "the device has no counter of its energy" and device.done == 0


def test_a_counter_that_falls_silent_is_a_reason() -> None:
    device = Device(1e-3)

    def silent() -> int:
        if device.now_s > 0.5:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return device.millijoules()

    found = energy_per_call(device.call, opened(silent), wait=device.wait, now_ns=device.now_ns)
    assert found == "the counter of the device's energy fell silent"


def row(t_s: float, power_w: float | None) -> Row:
    return {"t_ns": int(t_s * S), "power_w": power_w}


def test_power_is_integrated_by_trapezoids_up_to_the_ends_of_the_window() -> None:
    rows = [row(2, 300), row(0, 100), row(1, 200), row(1.5, None), row(3, 300)]
    assert integrated_j(rows, 0, 3 * S) == pytest.approx(150 + 250 + 300)
    assert integrated_j(rows, S // 2, S) == pytest.approx(0.5 * (150 + 200) / 2)
    assert integrated_j(rows, int(1.25 * S), int(1.75 * S)) == pytest.approx(0.5 * 250)


@pytest.mark.parametrize("window", [(-1, S), (0, 4 * S), (2 * S, S)])
def test_nothing_is_integrated_outside_of_the_rows(window: tuple[int, int]) -> None:
    assert integrated_j([row(0, 100), row(3, 100)], *window) is None
    assert integrated_j([], *window) is None


def test_the_counter_and_the_integral_of_the_power_agree() -> None:
    device = Device(1e-3)
    found = measured(device, window_s=2.0)
    assert isinstance(found, Energy)
    rows = [row(i * 0.02, POWER_W) for i in range(200)]
    drawn = integrated_j(rows, found.start_ns, found.end_ns)
    assert drawn is not None and found.energy_j * found.calls == pytest.approx(drawn, rel=0.05)
