"""The stage ledger: where a worker's seconds go, without a gap."""

from time import perf_counter


class Ledger:
    """Adds the time since the last `enter` to the stage that was on; the sums add up to the wall time."""

    def __init__(self) -> None:
        self._totals: dict[str, float] = {}
        self._stage, self._since = "idle", perf_counter()

    def enter(self, stage: str) -> None:
        """From now on time counts for `stage`."""
        now = perf_counter()
        self._totals[self._stage] = self._totals.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def of(self, stage: str) -> float:
        """Seconds of that stage up to the last `enter`."""
        return self._totals.get(stage, 0.0)

    def move(self, source: str, to: str, seconds: float) -> None:
        """Counts seconds of the stage `source`, over by now or still on, for another."""
        self._totals[source] = self._totals.get(source, 0.0) - seconds
        self._totals[to] = self._totals.get(to, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Seconds by stage up to the last `enter`, which are then forgotten; the clock goes on."""
        totals, self._totals = self._totals, {}
        return totals
