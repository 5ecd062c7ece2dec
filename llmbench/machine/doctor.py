"""What this machine has, what it lacks and what would disturb a measurement, each with what to do about it.

Parent side: asks package metadata and NVML, imports neither torch nor an op.
"""

import importlib.metadata
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import llmbench
from llmbench.machine.finding import Finding, judged
from llmbench.machine.graphics import gpus
from llmbench.machine.host import ROOT, read_host
from llmbench.machine.paths import cache_dir
from llmbench.machine.processor import memory, processor

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

ROOM_BYTES = 2 * 1024**3
"""Free space below which a folder is warned of: a run with traces and compile caches of its own can fill that much."""


def examine(
    *,
    results: Path = Path("results"),
    cache: Path | None = None,
    device: str | None = None,
    library: ModuleType | None = None,
    root: Path = ROOT,
) -> list[Finding]:
    """Everything worth knowing before a run, in the order in which it is shown. Takes well under a second.

    `device` leaves out the GPUs that are not it. Raises: UsageError for a name that is none.
    """
    host = read_host(root=root)
    return [
        *_software(),
        *processor(host, root=root),
        *memory(host, root=root),
        *gpus(device, library=library),
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
        found.append(judged("folders", what, free >= ROOM_BYTES, seen, "a run may fill the disk; make room"))
    return found
