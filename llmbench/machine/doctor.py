"""What this machine has, what it lacks and what would disturb a measurement, each with what to do about it.

Parent side: asks package metadata and NVML, imports neither torch nor an op.
"""

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Literal

import psutil

import llmbench
from llmbench.machine.host import ROOT, Host, read_host
from llmbench.machine.nvml import Nvml, open_all
from llmbench.machine.paths import cache_dir

State = Literal["ok", "warn", "missing", "info"]

PACKAGES = {
    "torch": 'every op needs it: pip install "llmbench[run]"',
    "triton": "Triton kernels and torch.compile on a GPU need it: pip install triton (Linux)",
    "flash-attn": "only the implementation flash_attn needs it: pip install flash-attn",
    "flash-attn-4": "only the implementation flash_attn4 needs it: pip install flash-attn-4",
    "nvidia-ml-py": "power, clocks and throttling of a GPU need it: pip install nvidia-ml-py",
}
"""Distribution -> what to do where it is missing."""

COMPILERS = ("g++", "clang++")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"

BUSY = 0.25
"""Share of the cores in other hands above which timing on the CPU is warned of: on two cores a half-busy one is."""

ROOM_BYTES = 2 * 1024**3
"""Free space below which a folder is warned of: a run with traces and compile caches of its own can fill that much."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` says what to do; only `ok` has none."""

    area: str
    what: str
    state: State
    seen: str
    advice: str = ""


def examine(
    *,
    results: Path = Path("results"),
    cache: Path | None = None,
    library: ModuleType | None = None,
    root: Path = ROOT,
) -> list[Finding]:
    """Everything worth knowing before a run, in the order in which it is shown. Takes well under a second."""
    host = read_host(root=root)
    return [
        *_software(),
        *_processor(host),
        *_memory(host),
        *_gpus(library),
        *_folders({"results": results, "cache": cache or cache_dir()}),
    ]


def _software() -> list[Finding]:
    found = [
        Finding("software", "python", "ok", platform.python_version()),
        Finding("software", "llmbench", "ok", llmbench.__version__),
    ]
    for package, advice in PACKAGES.items():
        try:
            found.append(Finding("software", package, "ok", importlib.metadata.version(package)))
        except PackageNotFoundError:
            found.append(Finding("software", package, "missing", "not installed", advice))
    asked = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    found.append(_program("C++ compiler", asked, "torch.compile on a CPU needs one: install g++ or set CXX"))
    found.append(
        _program("browser", (*BROWSERS, MAC_CHROME), "only pictures (PNG) of a report need one: install chromium")
    )
    return found


def _program(what: str, names: tuple[str, ...], advice: str) -> Finding:
    path = next((path for name in names if (path := shutil.which(name))), None)
    if path:
        return Finding("software", what, "ok", path)
    return Finding("software", what, "missing", f"looked for {', '.join(names)}", advice)


def _processor(host: Host) -> list[Finding]:
    facts = host.facts
    found = [Finding("cpu", "model", "ok", f"{host.name} ({host.arch})")]
    if facts["cgroup_cpus"] is not None:
        advice = "the quota stops the process in the middle of a sample; lift it, or pin to whole cores instead"
        found.append(Finding("cpu", "cgroup quota", "warn", f"{facts['cgroup_cpus']:g} cores", advice))
    load = psutil.getloadavg()[0]
    found.append(
        _judge("cpu", "load", load <= BUSY * host.cores, f"{load:.2f} on {host.cores} cores",
               "other programs run; wait until the load falls, or stop them")
    )  # fmt: skip
    if facts["governor"] is not None:
        advice = "the clock follows the load; set it with: cpupower frequency-set -g performance"
        found.append(_judge("cpu", "governor", facts["governor"] == "performance", str(facts["governor"]), advice))
    if facts["hypervisor"]:
        advice = "a virtual machine shares its cores with others; trust paired comparisons more than absolute times"
        found.append(Finding("cpu", "hypervisor", "info", "virtual machine", advice))
    if host.llc_bytes == 0:
        advice = "cold-cache timing assumes a size where the system tells none; prefer cache: warm here"
        found.append(Finding("cpu", "last-level cache", "warn", "unknown size", advice))
    return found


def _memory(host: Host) -> list[Finding]:
    facts, available = host.facts, psutil.virtual_memory().available
    if limit := facts["cgroup_memory_bytes"]:
        available = min(available, int(limit))
    seen = f"{available / 1024**3:.1f} GiB available of {host.memory_bytes / 1024**3:.1f}"
    found = [
        _judge("memory", "available", available >= 0.25 * host.memory_bytes, seen,
               "large cases will run out of memory; close other programs")
    ]  # fmt: skip
    if facts["cgroup_memory_bytes"] is not None:
        advice = "the kernel kills what goes above it, and the case is recorded as oom; raise it for larger cases"
        found.append(Finding("memory", "cgroup limit", "info", f"{host.memory_bytes / 1024**3:.1f} GiB", advice))
    if (thp := facts["transparent_hugepages"]) is not None:
        advice = "it changes times of large CPU tensors; compare only with runs of the same setting"
        state: State = "ok" if thp == "madvise" else "info"
        found.append(Finding("memory", "huge pages", state, str(thp), "" if state == "ok" else advice))
    return found


def _gpus(library: ModuleType | None) -> list[Finding]:
    opened = open_all(library=library)
    if isinstance(opened, str):
        advice = "only CPU cases run; with an NVIDIA GPU here, install its driver (nvidia-smi must work)"
        return [Finding("gpu", "NVML", "missing", opened, advice)]
    if not opened:
        return [Finding("gpu", "devices", "missing", "none", "the driver is there, but no GPU: see nvidia-smi")]
    found = []
    for index, nvml in enumerate(opened):
        found += _gpu(f"gpu {index}", nvml)
        nvml.close()
    return found


def _gpu(area: str, nvml: Nvml) -> list[Finding]:
    settings, total = nvml.settings(), nvml.memory_bytes()
    size = "" if total is None else f", {total / 1024**3:.0f} GiB"
    found = [
        Finding(area, "device", "ok", f"{nvml.name() or 'unnamed'}{size}"),
        Finding(
            area, "driver", "ok", f"{settings.driver or 'unknown'}, CUDA up to {settings.driver_cuda or 'unknown'}"
        ),
    ]
    others = nvml.other_processes()
    if others is None:
        advice = "look with nvidia-smi on the host whether somebody else computes on this GPU"
        found.append(Finding(area, "other processes", "info", "cannot be told from here", advice))
    else:
        advice = "they share the GPU's time, memory and power; wait for them, or use another device"
        found.append(_judge(area, "other processes", others == 0, str(others), advice))
    if settings.mig:
        advice = "a MIG slice has no datasheet peak, so no MFU; switch it off with nvidia-smi -mig 0 where you may"
        found.append(Finding(area, "MIG", "info", "on", advice))
    if settings.persistence is False:
        advice = "the first call pays for the driver's start; switch it on with: nvidia-smi -pm 1"
        found.append(Finding(area, "persistence mode", "warn", "off", advice))
    limit, default = settings.power_limit_w, settings.default_power_limit_w
    if limit is not None and default is not None and limit < default:
        advice = "the GPU throttles earlier than others of its kind; restore it with: nvidia-smi -pl"
        found.append(
            Finding(area, "power limit", "warn", f"{limit:.0f} W of {default:.0f} W", f"{advice} {default:.0f}")
        )
    if settings.power_source != "instant":
        seen = "none" if settings.power_source is None else "mean over a second on many GPUs"
        advice = "power of short cases is not to be trusted; a newer driver may offer the instant reading"
        found.append(Finding(area, "power reading", "info", seen, advice))
    return found


def _folders(folders: dict[str, Path]) -> list[Finding]:
    found = []
    for what, path in folders.items():
        there = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            advice = f"nothing can be kept there; choose another folder or change the rights of {there}"
            found.append(Finding("folders", what, "warn", f"{path} is not writable", advice))
            continue
        free = shutil.disk_usage(there).free
        seen = f"{path}, {free / 1024**3:.0f} GiB free"
        found.append(_judge("folders", what, free >= ROOM_BYTES, seen, "a run may fill the disk; make room"))
    return found


def _judge(area: str, what: str, good: bool, seen: str, advice: str) -> Finding:
    return Finding(area, what, "ok" if good else "warn", seen, "" if good else advice)
