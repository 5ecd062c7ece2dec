"""The stage ledger: where a worker's seconds go, without a gap."""

from time import perf_counter


class Ledger:
    """Adds the time since the last `enter` to the stage that was on; the sums add up to the wall time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Starts anew, idle."""
        self._totals: dict[str, float] = {}
        self._stage, self._since = "idle", perf_counter()

    def enter(self, stage: str) -> None:
        """From now on time counts for `stage`."""
        now = perf_counter()
        self._totals[self._stage] = self._totals.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage up to the last `enter`."""
        return dict(self._totals)
