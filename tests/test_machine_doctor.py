import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pynvml
import pytest
from fake_nvml import H100, fake_nvml

from llmbench.machine.doctor import Finding, examine


def find(what: str, *, library: ModuleType | None = None, area: str | None = None, **places: Path) -> Finding | None:
    library = library or fake_nvml(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    found = [f for f in examine(library=library, **places) if f.what == what and area in (None, f.area)]
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
    assert {f.state for f in findings} == {"ok"}
    assert findings[0].seen == "NVIDIA H100 80GB HBM3, 80 GiB"
    assert findings[1].seen == "570.86.15, CUDA up to 12.8"
    assert library.users == 0


@pytest.mark.parametrize(
    ("answer", "value", "what", "state", "seen"),
    [
        ("nvmlDeviceGetPersistenceMode", 0, "persistence mode", "warn", "off"),
        ("nvmlDeviceGetEnforcedPowerLimit", 500000, "power limit", "warn", "500 W of 700 W"),
        ("nvmlDeviceGetMigMode", [1, 1], "MIG", "info", "on"),
        ("nvmlDeviceGetComputeRunningProcesses", [SimpleNamespace(pid=1)], "other processes", "warn", "1"),
    ],
)
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
