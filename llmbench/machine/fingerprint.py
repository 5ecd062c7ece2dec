"""What a device is: the facts that must be equal for two runs to be compared, and those that are only recorded."""

import hashlib
import json
import re
from dataclasses import dataclass, field

Fact = str | int | float | bool | None


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
        """The device's name as a folder name: `nvidia-h100-80gb-hbm3`."""
        return re.sub(r"[^a-z0-9]+", "-", self.device_name.lower()).strip("-") or self.device.replace(":", "-")
