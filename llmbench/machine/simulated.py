"""A device that exists in numbers only: its clock goes on by what simulated kernels take, and nobody waits.

One a process. Kernels of the op `simulated` move it, the simulated clock reads it. Standard library only.
"""

import math
import os
from dataclasses import dataclass, field
from random import Random

from llmbench.errors import UsageError
from llmbench.machine.fingerprint import Machine
from llmbench.machine.host import Fact

NAME = "simulated"
SLOWED_BY = "LLMBENCH_SIMULATED_SLOWED_BY"  # 1.06: all that the device does takes 6 % longer, sentinels included
START_S = 1.0  # no time is 0


@dataclass
class SimulatedDevice:
    """The time on the device in seconds, whether it is throttled now, and where its random numbers come from.

    `slowed_by`: what moves all of its kernels together, from the environment when it first does something.
    """

    now_s: float = START_S
    throttled: bool = False
    random: Random = field(default_factory=lambda: Random(0))
    slowed_by: float | None = None

    def restart(self, seed: str) -> None:
        """At the start again, with random numbers from `seed`."""
        self.now_s, self.throttled, self.random = START_S, False, Random(seed)

    def advance(self, seconds: float) -> None:
        """Some work is done, which takes so long on a device that nothing slows."""
        if self.slowed_by is None:
            self.slowed_by = slowed_by()
        self.now_s += seconds * self.slowed_by

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return self.now_s - START_S


DEVICE = SimulatedDevice()


def slowed_by() -> float:
    """How much longer all kernels take than described: 1.0 unless the environment says more or less.

    Raises: UsageError for what is no factor.
    """
    text = os.environ.get(SLOWED_BY) or "1"
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise UsageError(f"{SLOWED_BY} is {text!r}; wanted: a factor above 0, such as 1.06")
    return factor


def simulated_machine() -> Machine:
    """The same on every host: its figures may be compared across hosts. Raises: as `slowed_by`."""
    factor = slowed_by()
    facts: dict[str, Fact] = {} if factor == 1 else {"slowed_by": factor}
    return Machine(NAME, "simulated device", NAME, 0, 4096, {"model": NAME}, facts)
