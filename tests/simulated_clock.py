"""A clock for the tests of sampling: time passes as the callables say, not as the machine likes."""

from llmbench.measure.clock import Call, Reading


class SimulatedClock:
    """A clock on which a call takes as long as the number that it returns."""

    timer = "simulated"

    def __init__(self) -> None:
        self.now_ns = 0

    def block(self, call: Call, *, before: Call, n: int) -> list[Reading]:
        readings = []
        for _ in range(n):
            before()
            time_s = float(call())  # type: ignore[arg-type]
            readings.append(Reading(time_s, self.now_ns))
            self.now_ns += int(time_s * 1e9)
        return readings
