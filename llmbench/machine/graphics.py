"""What disturbs times on NVIDIA GPUs, each with what to do about it, asked of NVML."""

from collections.abc import Iterator
from types import ModuleType

from llmbench.machine.finding import Finding, judged
from llmbench.machine.naming import gpu_index
from llmbench.machine.nvml import Nvml, Settings, open_all, open_nvml


def gpus(device: str | None, *, library: ModuleType | None = None) -> list[Finding]:
    """Findings about the GPU of that name as torch writes it, about all of the machine where it is None."""
    index = None if device is None else gpu_index(device)
    if device is not None and index is None:
        return []
    opened = open_all(library=library) if index is None else open_nvml(index, library=library)
    if isinstance(opened, str):
        advice = "only CPU cases run; with an NVIDIA GPU here, install its driver (nvidia-smi must work)"
        return [Finding("gpu", "NVML", "missing", opened, advice)]
    if not opened:
        return [Finding("gpu", "devices", "missing", "none", "the driver is there, but no GPU: see nvidia-smi")]
    found = []
    for number, nvml in enumerate(opened if isinstance(opened, list) else [opened], index or 0):
        found += list(_gpu(f"gpu {number}", nvml))
        nvml.close()
    return found


def _gpu(area: str, nvml: Nvml) -> Iterator[Finding]:
    settings, total = nvml.settings(), nvml.memory_bytes()
    size = "" if total is None else f", {total / 1024**3:.0f} GiB"
    driver = f"{settings.driver or 'unknown'}, CUDA up to {settings.driver_cuda or 'unknown'}"
    yield Finding(area, "device", "ok", f"{nvml.name() or 'unnamed'}{size}")
    yield Finding(area, "driver", "ok", driver)
    yield _others(area, nvml.other_processes())
    if settings.mig:
        advice = "a MIG slice has no datasheet peak, so no MFU; switch it off with nvidia-smi -mig 0 where you may"
        yield Finding(area, "MIG", "info", "on", advice)
    if settings.ecc is False:
        advice = "flipped bits go unseen, and memory and bandwidth differ from others; switch on with: nvidia-smi -e 1"
        yield Finding(area, "ECC", "info", "off", advice)
    elif settings.ecc:
        yield Finding(area, "ECC", "ok", "on")
    if settings.persistence is not None:
        advice = "the first call pays for the driver's start; switch it on with: nvidia-smi -pm 1"
        on = settings.persistence
        yield judged(area, "persistence mode", on, "on" if on else "off", advice, disturbs=True)
    yield from _clocks(area, settings)
    yield from _power(area, settings)


def _others(area: str, others: int | None) -> Finding:
    if others is None:
        advice = "look with nvidia-smi on the host whether somebody else computes on this GPU"
        return Finding(area, "other processes", "info", "cannot be told from here", advice)
    advice = "they share the GPU's time, memory and power; wait for them, or use another device"
    return judged(area, "other processes", others == 0, str(others), advice, disturbs=True)


def _clocks(area: str, settings: Settings) -> Iterator[Finding]:
    """Clocks locked with `nvidia-smi -lgc` have no getter, so an unlocked clock is never more than an `info`."""
    most = settings.max_sm_clock_hz
    if most is None:
        return
    if settings.clock_policy not in (None, "default"):
        seen = f"{settings.clock_policy}; {most / 1e6:.0f} MHz SM at most"
        advice = "steady, but a share of the datasheet's peak is one of another clock; undo it with: nvidia-smi -rac"
        yield Finding(area, "clocks", "info", seen, advice)
        return
    advice = (
        "it follows power and temperature; where you may, lock it at one that it holds with nvidia-smi -lgc MHZ "
        "(-rgc unlocks; whether it is locked so cannot be asked, the clocks of a run's telemetry show it)"
    )
    yield Finding(area, "clocks", "info", f"not set, up to {most / 1e6:.0f} MHz SM", advice)


def _power(area: str, settings: Settings) -> Iterator[Finding]:
    limit, default = settings.power_limit_w, settings.default_power_limit_w
    if limit is not None and default is not None:
        advice = f"the GPU throttles earlier than others of its kind; restore it with: nvidia-smi -pl {default:.0f}"
        seen = f"{limit:.0f} W" if limit >= default else f"{limit:.0f} W of {default:.0f} W"
        yield judged(area, "power limit", limit >= default, seen, advice, disturbs=True)
    if settings.power_source != "instant":
        seen = "none" if settings.power_source is None else "mean over a second on many GPUs"
        advice = "power of short cases is not to be trusted; a newer driver may offer the instant reading"
        yield Finding(area, "power reading", "info", seen, advice)
