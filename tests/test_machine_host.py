import os
from pathlib import Path

import pytest

from llmbench.machine.host import ranges, read_host


@pytest.fixture
def on_cpus_0_to_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def cache(cpu: int, index: int, level: int, kind: str, size: str, shared: str) -> dict[str, str]:
    at = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
    return {f"{at}/level": f"{level}\n", f"{at}/type": kind, f"{at}/size": size, f"{at}/shared_cpu_list": shared}


@pytest.mark.usefixtures("on_cpus_0_to_3")
def test_a_system_that_tells_nothing_is_described_without_an_error(tmp_path: Path) -> None:
    host = read_host(root=tmp_path, env={})
    assert (host.cores, host.llc_bytes) == (4, 0)
    assert host.facts["governor"] is None
    assert host.facts["hypervisor"] is None
    assert host.name.endswith(", 4 cores")


def test_without_affinity_every_processor_is_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert read_host(root=tmp_path).facts["affinity"] == "0-5"


@pytest.mark.usefixtures("on_cpus_0_to_3")
@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("model name\t: Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz\n", "Intel Xeon Platinum 8370C, 4 cores"),
        ("model name\t: AMD EPYC 7763 64-Core Processor\n", "AMD EPYC 7763, 4 cores"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n", "Arm Neoverse-V2, 4 cores"),
    ],
)
def test_a_processor_has_a_readable_name(cpuinfo: str, name: str, tmp_path: Path) -> None:
    assert read_host(root=write(tmp_path, {"proc/cpuinfo": cpuinfo})).name == name


@pytest.mark.usefixtures("on_cpus_0_to_3")
def test_every_instance_of_the_last_level_cache_counts_once(tmp_path: Path) -> None:
    files: dict[str, str] = {}
    for cpu in range(4):
        files |= cache(cpu, 0, 1, "Data", "32K", str(cpu))
        files |= cache(cpu, 1, 1, "Instruction", "64K", str(cpu))
        files |= cache(cpu, 2, 3, "Unified", "16384K", "0-1" if cpu < 2 else "2-3")
    assert read_host(root=write(tmp_path, files)).llc_bytes == 2 * 16 * 1024**2


@pytest.mark.usefixtures("on_cpus_0_to_3")
def test_a_cache_of_instructions_is_no_last_level_cache(tmp_path: Path) -> None:
    files: dict[str, str] = {}
    for cpu in range(4):
        files |= cache(cpu, 0, 1, "Data", "32K", str(cpu)) | cache(cpu, 1, 2, "Instruction", "64K", str(cpu))
    assert read_host(root=write(tmp_path, files)).llc_bytes == 4 * 32 * 1024


@pytest.mark.usefixtures("on_cpus_0_to_3")
def test_the_tightest_cgroup_above_the_process_limits_it(tmp_path: Path) -> None:
    at = "sys/fs/cgroup"
    files = {
        "proc/self/cgroup": "0::/box/job\n",
        f"{at}/box/job/cpu.max": "350000 100000\n",
        f"{at}/cpu.max": "max 100000\n",
        f"{at}/box/cpu.max": "150000 100000\n",
        f"{at}/box/job/memory.max": "max\n",
        f"{at}/box/memory.max": "1073741824\n",
    }
    host = read_host(root=write(tmp_path, files))
    assert (host.facts["cgroup_cpus"], host.cores) == (1.5, 2)
    assert host.memory_bytes == host.facts["cgroup_memory_bytes"] == 1024**3


@pytest.mark.usefixtures("on_cpus_0_to_3")
def test_version_1_cgroups_are_read_and_their_no_limit_is_none(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/\n1:cpu,cpuacct:/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    host = read_host(root=write(tmp_path, files))
    assert (host.facts["cgroup_cpus"], host.cores, host.facts["cgroup_memory_bytes"]) == (3.0, 3, None)


@pytest.mark.usefixtures("on_cpus_0_to_3")
def test_clock_settings_and_huge_pages_are_facts(tmp_path: Path) -> None:
    cpus = "sys/devices/system/cpu"
    files = {
        f"{cpus}/cpu0/cpufreq/scaling_governor": "powersave\n",
        f"{cpus}/cpu1/cpufreq/scaling_governor": "performance\n",
        f"{cpus}/intel_pstate/no_turbo": "1\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "proc/cpuinfo": "flags\t\t: fpu hypervisor avx2\n",
    }
    facts = read_host(root=write(tmp_path, files)).facts
    assert facts["governor"] == "performance,powersave"
    assert facts["turbo"] is False
    assert facts["transparent_hugepages"] == "madvise"
    assert facts["hypervisor"] is True


def test_only_settings_that_matter_are_recorded(tmp_path: Path) -> None:
    env = {
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "0",
        "PYTORCH_CUDA_ALLOC_CONF": "x",
        "PYTORCH_ALLOC_CONF": "y",
    }
    env |= {"HOME": "/root", "MY_OMP_NUM_THREADS": "3", "HF_TOKEN": "secret", "CUDA_HOME": "/usr"}
    facts = read_host(root=tmp_path, env=env).facts
    assert {k.removeprefix("env_") for k in facts if k.startswith("env_")} == {
        "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "PYTORCH_CUDA_ALLOC_CONF",
        "PYTORCH_ALLOC_CONF",
    }


def test_ranges_are_written_as_linux_does() -> None:
    assert ranges([8, 0, 1, 2, 3]) == "0-3,8"
    assert ranges([]) == ""
