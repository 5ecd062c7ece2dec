import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from fake_nvml import C_SOURCE, H100, UUID, fake_nvml, field_value

from llmbench.machine.nvml import Nvml, open_all, open_nvml
from llmbench.measure.power import Joined, PowerThread, Row, join, names, read
from llmbench.run.protocol import Telemetry, decode, encode

MS = 1_000_000


def opened(**answers: object) -> Nvml:
    nvml = open_nvml(UUID, library=fake_nvml({**H100, **answers}))
    assert isinstance(nvml, Nvml)
    return nvml


def row(t_ms: float, *, power_w: float = 500.0, reasons: int | None = 0, degc: float = 60.0) -> Row:
    return {"t_ns": int(t_ms * MS), "power_w": power_w, "throttle_reasons": reasons, "temperature_degc": degc}


def test_a_row_is_in_si_units() -> None:
    seen = read(opened())
    assert isinstance(seen.pop("t_ns"), int)
    assert seen == {
        "power_w": 512.345,
        "energy_j": 1.5,
        "sm_clock_hz": 1755e6,
        "memory_clock_hz": 2619e6,
        "temperature_degc": 61.0,
        "utilisation": 0.97,
        "memory_utilisation": 0.41,
        "throttle_reasons": 4,
        "throttle_names": "sw_power_cap",
    }


def test_a_device_that_supports_nothing_gives_none_and_no_error() -> None:
    nvml = open_nvml(0, library=fake_nvml({}))
    assert isinstance(nvml, Nvml)
    seen = read(nvml)
    assert {name for name, value in seen.items() if value is not None} == {"t_ns"}
    assert nvml.power_source is None
    assert nvml.other_processes() is None


def test_without_the_instant_field_power_is_the_usage_and_says_so() -> None:
    refused = field_value(0)
    refused.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED  # type: ignore[attr-defined]
    nvml = opened(nvmlDeviceGetFieldValues=lambda ids: [refused])
    assert (nvml.power_source, nvml.power_w()) == ("usage", 300.0)
    assert opened().power_source == "instant"


def test_an_old_driver_is_asked_for_its_throttle_reasons_by_the_old_name() -> None:
    gpu = {k: v for k, v in H100.items() if k != "nvmlDeviceGetCurrentClocksEventReasons"}
    nvml = open_nvml(0, library=fake_nvml({**gpu, "nvmlDeviceGetCurrentClocksThrottleReasons": 0x40}))
    assert isinstance(nvml, Nvml)
    assert nvml.throttle_reasons() == 0x40


def test_a_missing_library_is_a_reason_and_not_an_exception() -> None:
    reason = open_nvml(0, library=fake_nvml(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert reason == "NVML is not available: NVML Shared Library Not Found"


def test_an_unknown_device_is_a_reason_and_gives_the_library_back() -> None:
    library = fake_nvml(H100)
    reason = open_nvml("00000000-no", library=library)
    assert isinstance(reason, str)
    assert "no device 00000000-no" in reason
    assert library.users == 0


def test_every_opened_device_is_given_back() -> None:
    library = fake_nvml(H100, H100)
    devices = open_all(library=library)
    assert not isinstance(devices, str)
    assert library.users == 2
    for nvml in devices:
        nvml.close()
    assert library.users == 0


@pytest.mark.parametrize(
    ("visible", "index", "wanted"),
    [
        (None, 1, "GPU-b1"),
        ("1", 0, "GPU-b1"),
        ("2,0", 1, "GPU-a0"),
        ("GPU-c", 0, "GPU-c2"),  # CUDA takes the start of a UUID
    ],
)
def test_torchs_index_counts_within_the_visible_devices(
    visible: str | None, index: int, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = open_nvml(index, library=fake_nvml(*({"nvmlDeviceGetUUID": u} for u in ("GPU-a0", "GPU-b1", "GPU-c2"))))
    assert isinstance(nvml, Nvml)
    assert nvml.uuid() == wanted


def test_torchs_uuid_also_finds_a_mig_slice() -> None:
    nvml = open_nvml(UUID, library=fake_nvml({"nvmlDeviceGetUUID": f"MIG-{UUID}"}))
    assert isinstance(nvml, Nvml)
    assert nvml.uuid() == f"MIG-{UUID}"


def test_this_process_is_not_counted_among_the_others() -> None:
    both = [SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=1)]
    assert opened(nvmlDeviceGetComputeRunningProcesses=both).other_processes() == 1
    assert opened(nvmlDeviceGetComputeRunningProcesses=both[:1]).other_processes() == 0


def test_processes_of_another_pid_namespace_cannot_be_told() -> None:
    elsewhere = [SimpleNamespace(pid=2**30)]
    assert opened(nvmlDeviceGetComputeRunningProcesses=elsewhere).other_processes() is None


def test_clocks_that_somebody_set_are_a_policy() -> None:
    assert opened().settings().clock_policy == "default"
    slower = opened(nvmlDeviceGetApplicationsClock=lambda clock: {1: 1410, 2: 2619}[clock])
    assert slower.settings().clock_policy == "application clocks 1410 MHz SM, 2619 MHz memory"


def test_reasons_have_names_and_an_unknown_bit_keeps_its_number() -> None:
    assert names(0) == ""
    assert names(0x1 | 0x40 | 0x800) == "gpu_idle,hw_thermal,0x800"


def test_the_thread_drains_in_order_and_ends_with_a_last_row() -> None:
    with PowerThread(opened(), period_s=0.001) as thread:
        time.sleep(0.05)
        first = thread.drain()
    stopped_ns = time.perf_counter_ns()
    rest = thread.drain()
    times = [int(r["t_ns"] or 0) for r in first + rest]
    assert len(first) >= 5
    assert rest
    assert times == sorted(times)
    assert times[-1] < stopped_ns
    assert thread.drain() == []
    assert thread.why is None
    assert all(r["other_processes"] == 0 for r in first)


def test_rows_travel_as_telemetry() -> None:
    message = Telemetry([{**read(opened()), "other_processes": None}])
    assert decode(encode(message)) == message


def test_a_thread_that_dies_says_why_and_keeps_its_rows() -> None:
    asked = iter([0, 0])
    nvml = opened(nvmlDeviceGetCurrentClocksEventReasons=lambda: next(asked))
    with PowerThread(nvml, period_s=0.001) as thread:
        time.sleep(0.05)
    assert thread.why is not None
    assert thread.why.startswith("the power thread ended: StopIteration")
    assert len(thread.drain()) == 2


def test_a_thread_that_never_started_can_be_stopped() -> None:
    thread = PowerThread(opened())
    thread.stop()
    assert thread.why is None and thread.drain() == []


def test_join_takes_medians_and_the_highest_temperature_of_the_rows_inside() -> None:
    rows = [row(0, power_w=1, degc=99), row(20, power_w=400, degc=60), row(40, power_w=500, degc=63)]
    rows += [row(60, power_w=900, degc=61), row(80, power_w=2, degc=99)]
    got = join(rows, [(15 * MS, 45 * MS), (55 * MS, 65 * MS)])
    assert (got.rows, got.power_w, got.temperature_degc) == (3, 500.0, 63.0)
    assert got.throttled == [False, False]
    assert got.sm_clock_hz is None


def test_a_window_shorter_than_the_period_takes_the_nearest_row() -> None:
    rows = [row(0, power_w=100), row(20, power_w=200)]
    assert join(rows, [(8 * MS, 9 * MS)]).power_w == 100
    assert join(rows, [(12 * MS, 13 * MS)]).power_w == 200
    assert join(rows, [(12 * MS, 13 * MS), (14 * MS, 15 * MS)]).rows == 1


def test_rows_may_come_in_any_order() -> None:
    rows = [row(40, power_w=3), row(0, power_w=1), row(20, power_w=2)]
    assert join(rows, [(15 * MS, 45 * MS)]).power_w == 2.5


def test_a_window_far_from_every_row_is_unknown() -> None:
    got = join([row(0, reasons=4)], [(500 * MS, 501 * MS)])
    assert got == Joined(rows=0, throttled=[False], known=[False])
    assert join([], [(0, 1)]) == Joined(rows=0, throttled=[False], known=[False])


@pytest.mark.parametrize(
    ("reasons", "throttled"),
    [(bits, False) for bits in (0x0, 0x1, 0x2, 0x3)]
    + [(bits, True) for bits in (0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1 | 0x40)],
)
def test_only_idle_and_asked_for_clocks_are_not_throttling(reasons: int, throttled: bool) -> None:
    assert join([row(5, reasons=reasons)], [(0, 10 * MS)]).throttled == [throttled]


def test_the_flag_belongs_to_the_window_of_its_row() -> None:
    got = join(
        [row(5, reasons=0), row(25, reasons=0x44), row(45, reasons=None)],
        [(i * MS, (i + 10) * MS) for i in (0, 20, 40)],
    )
    assert got.throttled == [False, True, False]
    assert got.known == [True, True, False]
    assert got.throttle_names == "sw_power_cap,hw_thermal"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="builds a small libnvidia-ml.so.1 with gcc")
def test_the_real_bindings_read_a_real_shared_library(tmp_path: Path) -> None:
    (tmp_path / "nvml.c").write_text(C_SOURCE)
    build = ["gcc", "-shared", "-fPIC", "-o", str(tmp_path / "libnvidia-ml.so.1"), str(tmp_path / "nvml.c")]
    subprocess.run(build, check=True)
    code = f"""
import json, time
from llmbench.machine.nvml import open_nvml
from llmbench.measure.power import PowerThread
nvml = open_nvml({UUID!r})
with PowerThread(nvml, period_s=0.002) as thread:
    time.sleep(0.05)
print(json.dumps([nvml.power_source, nvml.settings().ecc, nvml.settings().driver, thread.why, thread.drain()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    source, ecc, driver, why, rows = json.loads(done.stdout)
    assert (source, ecc, driver, why) == ("instant", None, "570.86.15", None)
    assert len(rows) > 3
    first = {k: v for k, v in rows[0].items() if k not in ("t_ns", "energy_j")}
    assert first == {
        "power_w": 512.345,
        "sm_clock_hz": 1755e6,
        "memory_clock_hz": 2619e6,
        "temperature_degc": 61.0,
        "utilisation": 0.97,
        "memory_utilisation": 0.41,
        "throttle_reasons": 0x44,
        "throttle_names": "sw_power_cap,hw_thermal",
        "other_processes": 1,
    }
    assert rows[-1]["energy_j"] > rows[0]["energy_j"]
