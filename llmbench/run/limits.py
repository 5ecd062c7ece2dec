"""The memory that there is, and that a worker may use: `measure.memory_limit`."""

import resource
from contextlib import suppress
from pathlib import Path

import torch

LARGEST = 2**62  # bytes that a limit can say
_limited = False


def limit_memory(limit_bytes: int | None, device: torch.device) -> None:
    """Lets this process add `limit_bytes` to what it holds now; more fails as out of memory. Set once a process.

    On a GPU it is the share of the device that torch's allocator may take; on Linux the data segment, anonymous
    mappings included (RLIMIT_DATA), so that numpy and native libraries are held to it as well.
    """
    global _limited
    if limit_bytes is None or _limited:
        return
    _limited = True
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (min(_data_bytes() + limit_bytes, LARGEST), hard))


def _data_bytes() -> int:
    """VmData: what RLIMIT_DATA is held against."""
    try:
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmData"))
    except (OSError, StopIteration):
        return 0


def total_memory_bytes(device: torch.device) -> float:
    """Bytes that the device has: a GPU's, else the machine's or, where it is less, the limit of its cgroup."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    found = [float("inf")]
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemTotal"))]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(float(int(Path(limit).read_text())))
    return min(found)
