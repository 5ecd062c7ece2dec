"""Physics: times that no device can reach are told, those that it can are not."""

import pytest

from llmbench.machine.fingerprint import Machine
from llmbench.machine.physics import impossible

H100 = Machine("cuda:0", "NVIDIA H100 80GB HBM3", "sm90", 80 * 2**30, 50 * 2**20)
BF16: dict[str, str] = {"dtype": "bfloat16"}


def why(time_s: float, *, machine: Machine = H100, cold: bool = True, **work: float) -> str | None:
    return impossible(
        time_s, flop=work.get("flop"), traffic_bytes=work.get("traffic_bytes"), cold=cold, params=BF16, machine=machine
    )


def test_more_arithmetic_than_the_tensor_cores_have_is_impossible() -> None:
    assert why(1e-3, flop=1.1e12) == "1100 TFLOP/s is more than the device can do (989)"
    assert why(1e-3, flop=1.0e12) is None  # within the 2 % that clocks may be off


def test_the_highest_clock_counts() -> None:
    fast = Machine(
        "cuda:0", H100.device_name, "sm90", H100.memory_bytes, H100.llc_bytes, {}, {"max_sm_clock_hz": 1.98e9}
    )
    assert why(1e-3, flop=1.07e12, machine=fast) is None and why(1e-3, flop=1.07e12) is not None


def test_more_traffic_than_the_memory_has_is_impossible_where_no_cache_can_have_held_it() -> None:
    size = 200e6
    assert why(5e-5, traffic_bytes=size) == "4000 GB/s is more than the device's memory can do (3350)"
    assert why(6e-5, traffic_bytes=size) is None
    assert why(5e-5, traffic_bytes=size, cold=False) is None
    assert why(1e-5, traffic_bytes=90e6) is None  # less than two caches


@pytest.mark.parametrize("name", ["AMD EPYC", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"])
def test_a_device_without_a_datasheet_has_no_limit(name: str) -> None:
    unknown = Machine("cuda:0", name, "sm90", 1, 50 * 2**20)
    assert why(1e-9, flop=1e15, traffic_bytes=1e12, machine=unknown) is None
