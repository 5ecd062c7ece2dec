"""The ledger: seconds by stage, without a gap."""

from time import perf_counter, sleep

from llmbench.run.ledger import Ledger


def test_the_stages_add_up_to_the_wall_time() -> None:
    before = perf_counter()
    ledger = Ledger()
    inside = perf_counter()
    for stage in ("build", "time", "build", "idle", "time"):
        ledger.enter(stage)
        sleep(0.002)
    still_inside = perf_counter()
    ledger.enter("idle")
    after = perf_counter()
    assert still_inside - inside <= sum(ledger.seconds.values()) <= after - before
    assert set(ledger.seconds) == {"idle", "build", "time"} and all(s > 0 for s in ledger.seconds.values())


def test_a_reset_forgets_and_what_is_read_is_a_copy() -> None:
    ledger = Ledger()
    ledger.enter("time")
    ledger.enter("idle")
    ledger.seconds["time"] = 99.0
    assert ledger.seconds["time"] < 99
    ledger.reset()
    assert ledger.seconds == {}
