"""A device that exists in numbers only: its clock goes on by what simulated kernels take, and nobody waits.

One a process. Kernels of the op `simulated` move it, the simulated clock reads it. Standard library only.
"""

from dataclasses import dataclass, field
from random import Random

from llmbench.machine.fingerprint import Machine

NAME = "simulated"
START_S = 1.0  # no time is 0


@dataclass
class SimulatedDevice:
    """The time on the device in seconds, whether it is throttled now, and where its random numbers come from."""

    now_s: float = START_S
    throttled: bool = False
    random: Random = field(default_factory=lambda: Random(0))

    def restart(self, seed: str) -> None:
        """At the start again, with random numbers from `seed`."""
        self.now_s, self.throttled, self.random = START_S, False, Random(seed)

    def advance(self, seconds: float) -> None:
        """Some work is done."""
        self.now_s += seconds

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return self.now_s - START_S


DEVICE = SimulatedDevice()


def simulated_machine() -> Machine:
    """The same on every host: its figures may be compared across hosts."""
    return Machine(NAME, "simulated device", NAME, 0, 4096, {"model": NAME}, {})
