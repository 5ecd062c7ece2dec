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
    seconds = ledger.take()
    assert still_inside - inside <= sum(seconds.values()) <= after - before
    assert set(seconds) == {"idle", "build", "time"} and all(s > 0 for s in seconds.values())


def test_what_was_taken_is_forgotten_and_the_clock_goes_on() -> None:
    ledger = Ledger()
    ledger.enter("time")
    ledger.enter("idle")
    assert set(ledger.take()) == {"idle", "time"} and ledger.take() == {}
    sleep(0.002)
    ledger.enter("build")
    assert ledger.take()["idle"] >= 0.002


def test_what_is_moved_is_not_lost() -> None:
    ledger = Ledger()
    ledger.enter("time")
    sleep(0.002)
    ledger.enter("idle")
    ledger.move("time", "flush", 0.001)
    seconds = ledger.take()
    assert seconds["flush"] == 0.001 and seconds["time"] >= 0.001
