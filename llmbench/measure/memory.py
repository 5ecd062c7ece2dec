"""Peak memory of a call, in a pass of its own: exact bytes from the allocator, above what was held before."""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from llmbench.measure.collector import collector_off


def peak_memory(
    call: Callable[[], object], device: torch.device, *, ready: Callable[[], object] = lambda: None
) -> dict[str, int]:
    """Metric -> bytes. CUDA: `peak_memory` and `peak_reserved`; CPU: `peak_memory` and, on Linux, `peak_rss`.

    The call must have run once before, so that what is cached for good is not counted. `ready` goes before each call.
    """
    with collector_off():
        ready()
        return _peak_cuda(call, device) if device.type == "cuda" else _peak_cpu(call, ready)


def _peak_cuda(call: Callable[[], object], device: torch.device) -> dict[str, int]:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    out = call()
    torch.cuda.synchronize(device)
    del out
    return {
        "peak_memory": torch.cuda.max_memory_allocated(device) - allocated,
        "peak_reserved": torch.cuda.max_memory_reserved(device) - reserved,
    }


def _peak_cpu(call: Callable[[], object], ready: Callable[[], object]) -> dict[str, int]:
    """The running sum of the allocator's events at its highest, from torch's profiler; RSS in a second call.

    Misses memory outside of torch's allocator and that of other Python threads; sees the scratch inside C++ operators,
    which a tracker of tensors does not. Bit-identical over repeats.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as p:
        out = call()
    del out
    held = peak = 0
    assert p.profiler is not None
    for event in p.profiler.kineto_results.events():
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU:
            held += event.nbytes()
            peak = max(peak, held)
    ready()
    rss = _peak_rss(call)
    return {"peak_memory": peak} | ({} if rss is None else {"peak_rss": rss})


def _peak_rss(call: Callable[[], object]) -> int | None:
    """Bytes that the resident set grew by during a call, from the kernel's high-water mark; None where it has none."""
    try:
        _give_back()
        Path("/proc/self/clear_refs").write_text("5")
        base = _status_bytes("VmRSS")
        out = call()
        peak = _status_bytes("VmHWM")
    except OSError:
        return None
    del out
    return max(0, peak - base)


def _give_back() -> None:
    """Gives the system back what the C library's allocator holds and nobody uses: a call would take it unseen."""
    with suppress(OSError, AttributeError):  # glibc's
        ctypes.CDLL(None).malloc_trim(0)


def free_memory_bytes(device: torch.device) -> float:
    """Bytes that can still be allocated on the device, torch's own free blocks included; infinity where unknown."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + cached)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field}")
