"""A clock for tests: nothing waits."""

from collections.abc import Sequence

from llmbench.measure.clock import Call, Reading


class SimulatedClock:
    """A clock on which a call takes as long as the number that it returns."""

    timer = "simulated"
    warm_up_s = 0.0

    def __init__(self, resolution_s: float = 0.0) -> None:
        self.resolution_s = resolution_s
        self.now_ns = 0

    def now(self) -> float:
        return self.now_ns / 1e9

    def block(self, samples: Sequence[Sequence[Call]], *, before: Call | None) -> list[Reading]:
        readings = []
        for calls in samples:
            if before is not None:
                before()
            took_s = sum(float(call()) for call in calls)  # type: ignore[arg-type]
            readings.append(Reading(took_s / len(calls), self.now_ns, len(calls)))
            self.now_ns += int(took_s * 1e9)
        return readings
