"""What a device is: the facts that must be equal for two runs to be compared, and those that are only recorded.

Torch-free: `probe` asks torch and passes what it heard.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field

from llmbench.machine.host import Fact, Host
from llmbench.machine.nvml import Settings


@dataclass(frozen=True)
class Machine:
    """A device and the host around it. `key` decides (see `device_key`), `facts` are recorded beside it."""

    device: str  # as torch names it: cpu, cuda:0
    device_name: str
    arch: str  # cpu, sm90
    memory_bytes: int
    llc_bytes: int  # last-level cache: L3 of a CPU, L2 of a GPU; 0 if unknown
    key: dict[str, Fact] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)

    @property
    def device_key(self) -> str:
        """Twelve hexadecimal digits over `key`: equal for runs that may be compared."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def slug(self) -> str:
        """The device's name as a folder name."""
        return slug(self.device, self.device_name)


def slug(device: str, device_name: str) -> str:
    """A device's name as a folder name: `nvidia-h100-80gb-hbm3`, `cpu-amd-epyc-2-cores`."""
    name = re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")
    if not name:
        return device.replace(":", "-")
    return f"cpu-{name}" if device == "cpu" else name


@dataclass(frozen=True)
class Gpu:
    """What torch tells of a CUDA device."""

    name: str
    capability: tuple[int, int]
    sm_count: int
    memory_bytes: int
    l2_bytes: int
    cuda: str | None  # the version that torch was built with
    uuid: str | None

    @property
    def arch(self) -> str:
        """`sm90`"""
        return f"sm{self.capability[0]}{self.capability[1]}"


def cpu_machine(host: Host, *, threads: int) -> Machine:
    """The CPU as a device. torch's number of threads is in the key: it changes time and scratch memory."""
    key: dict[str, Fact] = {"model": host.model, "cores": host.cores, "threads": threads, "arch": host.arch}
    return Machine("cpu", host.name, "cpu", host.memory_bytes, host.llc_bytes, key, dict(host.facts))


def gpu_machine(device: str, gpu: Gpu, settings: Settings | str, host: Host) -> Machine:
    """A CUDA device. `settings` is what NVML tells of it, or the reason why NVML is silent.

    A setting that nobody can read is None in the key: unknown never equals known.
    """
    known = Settings() if isinstance(settings, str) else settings
    key: dict[str, Fact] = {
        "name": gpu.name,
        "capability": f"{gpu.capability[0]}.{gpu.capability[1]}",
        "sm_count": gpu.sm_count,
        "memory_bytes": gpu.memory_bytes,
        "ecc": known.ecc,
        "mig": known.mig,
        "power_limit_w": known.power_limit_w,
        "clock_policy": known.clock_policy,
        "driver": known.driver,
        "cuda": gpu.cuda,
    }
    facts: dict[str, Fact] = {
        **host.facts,
        "cpu": host.name,
        "uuid": gpu.uuid,
        "nvml": settings if isinstance(settings, str) else "available",
        **{name: value for name, value in asdict(known).items() if name not in key},
    }
    return Machine(device, gpu.name, gpu.arch, gpu.memory_bytes, gpu.l2_bytes, key, facts)
