"""The host around a device: its processor, memory, limits and settings, read from the operating system.

Standard library only. Whatever a system does not tell (macOS, a container without /sys) is None, never an error.
"""

import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Fact = str | int | float | bool | None

ROOT = Path("/")

ENV_THAT_MATTERS = re.compile(
    r"(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|NUMEXPR|DNNL|ONEDNN|ATEN|TORCHINDUCTOR|TRITON|MALLOC)_\w+"
    r"|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|LAUNCH_BLOCKING|DEVICE_MAX_CONNECTIONS|MODULE_LOADING|MPS_\w+)"
    r"|PYTORCH_(\w*ALLOC_CONF|NO_CUDA_MEMORY_CACHING)|TORCH_(COMPILE|ALLOW_TF32|BLAS)\w*"
    r"|NVIDIA_TF32_OVERRIDE|CUBLAS(LT)?_\w+|CUDNN_\w+|GLIBC_TUNABLES|LD_PRELOAD"
)
"""Settings that change what runs, where or how fast."""

ARM_CORES = {"0xd0c": "Neoverse-N1", "0xd40": "Neoverse-V1", "0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2"}
"""Part numbers of the MIDR register. Source: Arm technical reference manuals of these cores."""


@dataclass(frozen=True)
class Host:
    """The processor and memory that this process may use, and what is recorded about the machine around it."""

    model: str  # as the processor names itself
    arch: str  # x86_64, aarch64
    cores: int  # usable: the affinity, capped by a cgroup's CPU quota
    memory_bytes: int  # usable: the total, capped by a cgroup's limit; 0 if unknown
    llc_bytes: int  # last-level caches of the usable cores, summed; 0 if unknown
    facts: dict[str, Fact] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`AMD EPYC 7763, 8 cores`: readable, and another name for another number of cores."""
        return f"{_readable(self.model)}, {self.cores} core{'' if self.cores == 1 else 's'}"


def read_host(*, root: Path = ROOT, env: Mapping[str, str] | None = None) -> Host:
    """This host. `root` is where /proc and /sys are looked for."""
    cpuinfo = text_of(root / "proc/cpuinfo")
    affinity = _affinity()
    quota, cgroup_memory = _cpu_quota(root), _memory_limit(root)
    total = _total_memory()
    facts: dict[str, Fact] = {
        "host": platform.node() or None,
        "kernel": f"{platform.system()} {platform.release()}",
        "affinity": ranges(affinity),
        "cpus": os.cpu_count(),
        "cgroup_cpus": quota,
        "cgroup_memory_bytes": cgroup_memory,
        "ram_bytes": total,
        "governor": _governor(root, affinity),
        "turbo": _turbo(root),
        **_threads_of_cores(root, affinity),
        "hypervisor": bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.M)) if cpuinfo else None,
        "page_size_bytes": _sysconf("SC_PAGE_SIZE"),
        "transparent_hugepages": _chosen(text_of(root / "sys/kernel/mm/transparent_hugepage/enabled")),
    }
    facts |= {f"env_{k}": v for k, v in sorted((os.environ if env is None else env).items()) if _matters(k)}
    return Host(
        model=_model(cpuinfo),
        arch=platform.machine() or "unknown",
        cores=max(1, min(len(affinity), math.ceil(quota) if quota else len(affinity))),
        memory_bytes=min((n for n in (total, cgroup_memory) if n), default=0),
        llc_bytes=_last_level_cache(root, affinity),
        facts=facts,
    )


def ranges(numbers: Iterable[int]) -> str:
    """`0-3,8`, as Linux writes a set of processors."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _matters(name: str) -> bool:
    return ENV_THAT_MATTERS.fullmatch(name) is not None


def text_of(path: Path) -> str:
    """What a file holds; nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _sysconf(name: str) -> int | None:
    try:
        value = os.sysconf(name)
    except (AttributeError, OSError, ValueError):
        return None
    return value if value > 0 else None


def _sysctl(name: str) -> str:
    if sys.platform != "darwin":
        return ""
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _affinity() -> list[int]:
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return list(range(os.cpu_count() or 1))


def _total_memory() -> int | None:
    pages, size = _sysconf("SC_PHYS_PAGES"), _sysconf("SC_PAGE_SIZE")
    return pages * size if pages and size else None


def _model(cpuinfo: str) -> str:
    if named := re.search(r"^(?:model name|Processor|cpu model)\s*:\s*(\S.*)$", cpuinfo, re.M):
        return named[1].strip()
    if part := re.search(r"^CPU part\s*:\s*(\w+)", cpuinfo, re.M):
        return f"Arm {ARM_CORES.get(part[1], f'part {part[1]}')}"
    return _sysctl("machdep.cpu.brand_string") or platform.processor() or platform.machine() or "unknown CPU"


def _readable(model: str) -> str:
    """Without trade marks, clock and the count of cores of the full chip."""
    model = re.sub(r"\((R|TM|C)\)", "", model, flags=re.I)
    model = re.sub(r"\s*@.*$|\b\d+-Core\b|\bProcessor\b|\bCPU\b", "", model)
    return re.sub(r"\s+", " ", model).strip() or "unknown CPU"


def _last_level_cache(root: Path, affinity: list[int]) -> int:
    """Bytes of the outermost data caches that the usable cores share, each instance counted once."""
    first = root / f"sys/devices/system/cpu/cpu{affinity[0]}/cache"
    levels = {
        int(level): index.name
        for index in first.glob("index*")
        if (level := text_of(index / "level").strip()).isdigit() and text_of(index / "type").strip() != "Instruction"
    }
    if not levels:
        size = _sysctl("hw.l3cachesize") or _sysctl("hw.l2cachesize")
        return int(size) if size.isdigit() else 0
    sizes: dict[str, int] = {}
    for cpu in affinity:
        index = root / f"sys/devices/system/cpu/cpu{cpu}/cache" / levels[max(levels)]
        sizes[text_of(index / "shared_cpu_list").strip() or str(cpu)] = _bytes(text_of(index / "size"))
    return sum(sizes.values())


def _bytes(size: str) -> int:
    """Linux writes the size of a cache as `32768K`."""
    match = re.fullmatch(r"(\d+)([KMG]?)", size.strip())
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]] if match else 0


def _cgroup_files(root: Path, controller: str, name: str) -> list[str]:
    """What `name` holds in this process's cgroup and in all above it; version 2 where `controller` is empty."""
    found = []
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        inside = [part for part in Path(path.lstrip("/")).parts if part != ".."]
        mount = root / "sys/fs/cgroup" / controller
        found += [text_of(mount.joinpath(*inside[:depth], name)) for depth in range(len(inside), -1, -1)]
    return [text.strip() for text in found if text.strip()]


def _cpu_quota(root: Path) -> float | None:
    """Processors that the tightest cgroup allows, e.g. 1.5; None without a limit."""
    limits = [text.split() for text in _cgroup_files(root, "", "cpu.max")]
    quotas, periods = (_cgroup_files(root, "cpu", f"cpu.cfs_{n}_us") for n in ("quota", "period"))
    limits += [[q, p] for q, p in zip(quotas, periods, strict=False)]
    cpus = [int(q) / int(p) for q, p in (x for x in limits if len(x) == 2) if q.isdigit() and int(p) > 0]
    return min(cpus, default=None)


def _memory_limit(root: Path) -> int | None:
    """Bytes that the tightest cgroup allows; None without a limit."""
    texts = _cgroup_files(root, "", "memory.max") + _cgroup_files(root, "memory", "memory.limit_in_bytes")
    # version 1 writes "no limit" as the largest multiple of the page size
    return min((int(t) for t in texts if t.isdigit() and int(t) < 1 << 60), default=None)


def _governor(root: Path, affinity: list[int]) -> str | None:
    cpus = root / "sys/devices/system/cpu"
    seen = {text_of(cpus / f"cpu{cpu}/cpufreq/scaling_governor").strip() for cpu in affinity} - {""}
    return ",".join(sorted(seen)) or None


def _threads_of_cores(root: Path, affinity: list[int]) -> dict[str, Fact]:
    """`physical_cores` among the usable processors, and whether any core has a second hardware thread (`smt`)."""
    cpus = root / "sys/devices/system/cpu"
    siblings = {text_of(cpus / f"cpu{cpu}/topology/thread_siblings_list").strip() for cpu in affinity}
    if "" in siblings:
        return {"physical_cores": None, "smt": None}
    return {"physical_cores": len(siblings), "smt": any(not s.isdigit() for s in siblings)}


def _turbo(root: Path) -> bool | None:
    cpus = root / "sys/devices/system/cpu"
    if no_turbo := text_of(cpus / "intel_pstate/no_turbo").strip():
        return no_turbo == "0"
    if boost := text_of(cpus / "cpufreq/boost").strip():
        return boost == "1"
    return None


def _chosen(text: str) -> str | None:
    """`madvise` of `always [madvise] never`."""
    match = re.search(r"\[(\w+)\]", text)
    return match[1] if match else None
