import os
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pynvml
import pytest
from fake_nvml import H100, fake_nvml

from llmbench.errors import UsageError
from llmbench.machine.doctor import examine
from llmbench.machine.finding import Finding, unfit

CPUS = "sys/devices/system/cpu"


def find(what: str, *, library: ModuleType | None = None, **given: Path | str) -> Finding | None:
    library = library or fake_nvml(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    found = [f for f in examine(library=library, **given) if f.what == what]  # type: ignore[arg-type]
    assert len(found) <= 1
    return found[0] if found else None


def gpu(**answers: object) -> ModuleType:
    return fake_nvml({**H100, **answers})


def test_whatever_is_not_ok_says_what_to_do_and_whatever_is_ok_says_nothing() -> None:
    for library in (fake_nvml(), gpu(), fake_nvml({})):
        for finding in examine(library=library):
            assert bool(finding.advice) == (finding.state != "ok"), finding
            assert finding.seen


def test_an_examination_is_quick() -> None:
    start = time.perf_counter()
    examine()
    assert time.perf_counter() - start < 1.0


def test_a_machine_without_nvml_says_why() -> None:
    finding = find("NVML")
    assert finding is not None
    assert (finding.state, finding.seen) == ("missing", "NVML is not available: NVML Shared Library Not Found")


def test_a_driver_without_a_gpu_is_told_apart() -> None:
    assert (finding := find("devices", library=fake_nvml())) is not None
    assert finding.state == "missing"


def test_a_healthy_gpu_raises_no_warning() -> None:
    library = gpu()
    findings = [f for f in examine(library=library) if f.area == "gpu 0"]
    assert {f.what for f in findings if f.state != "ok"} == {"clocks"}  # whether they are locked cannot be asked
    assert not unfit(findings)
    assert findings[0].seen == "NVIDIA H100 80GB HBM3, 80 GiB"
    assert findings[1].seen == "570.86.15, CUDA up to 12.8"
    assert library.users == 0


@pytest.mark.parametrize(
    ("answer", "value", "what", "state", "seen"),
    [
        ("nvmlDeviceGetPersistenceMode", 0, "persistence mode", "warn", "off"),
        ("nvmlDeviceGetEnforcedPowerLimit", 500000, "power limit", "warn", "500 W of 700 W"),
        ("nvmlDeviceGetMigMode", [1, 1], "MIG", "info", "on"),
        ("nvmlDeviceGetEccMode", [0, 0], "ECC", "info", "off"),
        ("nvmlDeviceGetMaxClockInfo", lambda clock: 1755, "clocks", "info", "not set, up to 1755 MHz SM"),
        (
            "nvmlDeviceGetApplicationsClock", lambda clock: {1: 1410, 2: 2619}[clock], "clocks", "info",
            "application clocks 1410 MHz SM, 2619 MHz memory; 1980 MHz SM at most",
        ),
        ("nvmlDeviceGetComputeRunningProcesses", [SimpleNamespace(pid=1)], "other processes", "warn", "1"),
    ],
)  # fmt: skip
def test_what_disturbs_a_gpu_is_found(answer: str, value: object, what: str, state: str, seen: str) -> None:
    finding = find(what, library=gpu(**{answer: value}))
    assert finding is not None
    assert (finding.state, finding.seen) == (state, seen)


def test_a_folder_that_is_yet_to_be_made_is_judged_by_the_one_above(tmp_path: Path) -> None:
    finding = find("results", results=tmp_path / "deep" / "results")
    assert finding is not None
    assert finding.state == "ok"
    assert not (tmp_path / "deep").exists()


def test_a_folder_in_a_files_place_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = find("cache", cache=tmp_path / "file" / "cache")
    assert finding is not None
    assert (finding.state, finding.seen) == ("warn", f"{tmp_path / 'file' / 'cache'} is not writable")


def test_without_a_compiler_torch_compile_is_said_to_lack_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    finding = find("C++ compiler")
    assert finding is not None
    assert (finding.state, finding.seen) == ("missing", "looked for g++, clang++")


def test_a_cpu_quota_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n")
    finding = find("cgroup quota", root=tmp_path)
    assert finding is not None
    assert (finding.state, finding.seen) == ("warn", "0.5 cores")


@pytest.fixture
def on_cpus_0_to_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/loadavg": "0.10 0.20 0.30 1/200 4242\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def siblings(*lists: str) -> dict[str, str]:
    return {f"{CPUS}/cpu{i}/topology/thread_siblings_list": f"{text}\n" for i, text in enumerate(lists)}


BUSY = {"proc/loadavg": "3.50 1.00 1.00 4/200 4242\n"}
VIRTUAL = "flags\t\t: fpu hypervisor avx2\n"


@pytest.mark.usefixtures("on_cpus_0_to_3")
@pytest.mark.parametrize(
    ("files", "env", "what", "state", "seen"),
    [
        (BUSY, {}, "load", "warn", "3.50 on 4 cores"),
        ({}, {}, "load", "ok", "0.10 on 4 cores"),
        ({f"{CPUS}/cpu0/cpufreq/scaling_governor": "powersave\n"}, {}, "governor", "warn", "powersave"),
        ({f"{CPUS}/cpu0/cpufreq/scaling_governor": "performance\n"}, {}, "governor", "ok", "performance"),
        ({f"{CPUS}/intel_pstate/no_turbo": "0\n"}, {}, "turbo", "warn", "on"),
        ({f"{CPUS}/cpufreq/boost": "0\n"}, {}, "turbo", "ok", "off"),
        ({"proc/cpuinfo": VIRTUAL}, {}, "hypervisor", "info", "virtual machine"),
        (
            {"proc/cpuinfo": VIRTUAL, "proc/stat": "cpu  500 0 300 100 0 0 0 100 400 0\ncpu0 1 1\n"}, {}, "hypervisor",
            "warn", "virtual machine, 10.0% of the time since boot stolen",
        ),
        (siblings("0", "1", "2", "3"), {}, "hardware threads", "ok", "one a core"),
        (siblings("0,4", "1,5", "2,6", "3,7"), {}, "hardware threads", "info",
         "4 of ours on 4 cores, each core with another that is not ours"),
        (siblings("0-1", "0-1", "2-3", "2-3"), {}, "hardware threads", "info", "4 on 2 cores"),
        (siblings("0-1", "0-1", "2-3", "2-3"), {"OMP_NUM_THREADS": "4"}, "hardware threads", "warn", "4 on 2 cores"),
        ({}, {}, "threads", "ok", "not set: torch takes one a core"),
        ({}, {"OMP_NUM_THREADS": "4,2"}, "threads", "ok", "OMP_NUM_THREADS=4 on 4 cores"),
        ({}, {"OMP_NUM_THREADS": "1"}, "threads", "info", "OMP_NUM_THREADS=1 on 4 cores"),
        ({}, {"MKL_NUM_THREADS": "8"}, "threads", "warn", "MKL_NUM_THREADS=8 on 4 cores"),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, {}, "threads", "warn",
            "not set: torch starts as many as the affinity has processors, the quota gives 2 cores",
        ),
        (BUSY, {}, "OMP_WAIT_POLICY", "warn", "not set"),
        (BUSY, {"OMP_WAIT_POLICY": "PASSIVE"}, "OMP_WAIT_POLICY", "ok", "PASSIVE"),
        ({}, {"OMP_WAIT_POLICY": "active"}, "OMP_WAIT_POLICY", "ok", "active"),
        ({"proc/meminfo": "SwapTotal: 0 kB\nSwapFree: 0 kB\n"}, {}, "swap", "ok", "none"),
        ({"proc/meminfo": "SwapTotal: 2097152 kB\nSwapFree: 2097152 kB\n"}, {}, "swap", "ok", "2.0 GiB, unused"),
    ],
)  # fmt: skip
def test_what_disturbs_a_cpu_is_found(
    files: dict[str, str], env: dict[str, str], what: str, state: str, seen: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    root = write(tmp_path, files)
    finding = find(what, root=root)
    assert finding is not None
    assert (finding.state, finding.seen) == (state, seen)
    assert (finding in unfit([finding])) == (state == "warn")


@pytest.mark.usefixtures("on_cpus_0_to_3")
@pytest.mark.parametrize(("available", "state"), [(0.1, "warn"), (0.9, "info")])
def test_swap_in_use_disturbs_where_memory_is_short(
    available: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available * total))
    root = write(tmp_path, {"proc/meminfo": "SwapTotal: 2097152 kB\nSwapFree: 1048576 kB\n"})
    finding = find("swap", root=root)
    assert finding is not None
    assert (finding.state, finding.seen) == (state, "1.0 GiB in use")


def test_a_system_without_these_files_is_examined_without_an_error(tmp_path: Path) -> None:
    findings = examine(root=tmp_path, library=fake_nvml())
    assert not {"governor", "turbo", "hypervisor", "hardware threads", "swap"} & {f.what for f in findings}


def test_a_full_disk_makes_no_machine_unfit_for_measuring() -> None:
    full = Finding("folders", "results", "warn", "0 GiB free", "make room")
    load = Finding("cpu", "load", "warn", "3.5", "wait", disturbs=True)
    assert unfit([full, load, Finding("cpu", "turbo", "info", "on", "off", disturbs=True)]) == [load]
    assert load.name == "cpu load"


def test_only_the_gpu_that_is_asked_for_is_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    library = fake_nvml(H100, {**H100, "nvmlDeviceGetName": "NVIDIA L4", "nvmlDeviceGetPersistenceMode": 0})
    areas = {device: {f.area for f in examine(device=device, library=library)} for device in (None, "cpu", "cuda:1")}
    rest = areas["cpu"]
    assert not [a for a in rest if a.startswith("gpu")]
    assert (areas[None] - rest, areas["cuda:1"] - rest) == ({"gpu 0", "gpu 1"}, {"gpu 1"})
    assert find("device", device="cuda:1", library=library).seen.startswith("NVIDIA L4")  # type: ignore[union-attr]
    assert library.users == 0
    with pytest.raises(UsageError, match="did you mean 'cuda'"):
        examine(device="cuad")
