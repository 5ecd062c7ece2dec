import json

import pytest
from example_ceilings import ceilings, check, rate

from llmbench.codec import from_plain, to_plain
from llmbench.machine.ceilings import Ceilings, ceiling_findings, coldness

H100 = "NVIDIA H100 80GB HBM3"
BUSY = "other programs keep 2.0 of 2 cores busy"


def test_a_cold_copy_at_the_speed_of_the_memory_is_verified() -> None:
    verdict, why = coldness(ceilings())
    assert verdict == "verified"
    assert why == "20.2 GB/s flushed, 18.2 GB/s rotated, 80.0 GB/s warm; memory 22.4 GB/s (best copy or read)"


def test_a_small_copy_may_pass_a_large_one_and_not_a_large_read() -> None:
    assert coldness(ceilings(cache=check(flushed=22e9))).verdict == "verified"
    assert coldness(ceilings(cache=check(flushed=24e9))).verdict == "not cold"


@pytest.mark.parametrize("way", ["flushed", "rotated"])
def test_a_cold_copy_faster_than_the_memory_is_not_cold(way: str) -> None:
    assert coldness(ceilings(cache=check(**{way: 60e9}))).verdict == "not cold"


def test_on_a_busy_machine_nobody_is_blamed() -> None:
    verdict, why = coldness(ceilings(cache=check(flushed=60e9), busy=BUSY))
    assert verdict == "cannot be told"
    assert why.endswith(f"not to be trusted, since {BUSY}")


def test_where_warm_is_hardly_faster_nothing_is_told() -> None:
    verdict, why = coldness(ceilings(cache=check(warm=21e9)))
    assert verdict == "cannot be told"
    assert why.endswith("a warm copy is hardly faster: others fill the cache, or calls are too short to tell")


def test_copies_that_were_interrupted_do_not_pass_for_cold_ones() -> None:
    hot = check(warm=80e9, flushed=20e9)
    scattered = type(hot)(hot.warm, rate(20e9, spread=3.0), hot.rotated, hot.streamed, hot.llc_bytes)
    assert scattered.flushed.value < 22e9 < scattered.flushed.high
    assert coldness(ceilings(cache=scattered)).verdict == "not cold"


@pytest.mark.parametrize(("gb_per_s", "verdict"), [(3300, "verified"), (3600, "not cold")])
def test_a_known_device_is_held_against_its_datasheet(gb_per_s: float, verdict: str) -> None:
    cache = check(warm=5e12, flushed=gb_per_s * 1e9, rotated=None)
    found = ceilings(device="cuda:0", device_name=H100, threads=None, cache=cache)
    assert coldness(found).verdict == verdict
    assert "memory 3350 GB/s (datasheet)" in coldness(found).why


def test_what_was_not_measured_says_so() -> None:
    assert coldness(ceilings(cache=None)) == ("cannot be told", "not measured")
    assert coldness(ceilings(cache=None, notes=("cold cache: no room",))).why == "cold cache: no room"


def test_ceilings_survive_being_written_and_an_older_reader_of_them_needs_no_cache_check() -> None:
    for found in (ceilings(), ceilings(cache=None, copy=None, read=None, threads=None)):
        assert from_plain(Ceilings, json.loads(json.dumps(to_plain(found)))) == found
    body = to_plain(ceilings())
    del body["cache"], body["busy"], body["notes"]
    assert from_plain(Ceilings, body).cache is None


def test_findings_tell_each_rate_with_its_spread_and_when() -> None:
    told = {f.what: f for f in ceiling_findings([ceilings(notes=("float64 matmul: too slow",))])}
    assert told["measured"].seen == "2026-11-24 09:25 UTC in 8 s, torch 2.13.0, 2 threads"
    assert told["float32 matmul"].seen == "90.0 GFLOP/s (89.1 to 90.9, 12 times 256 MiB)"
    assert told["copy, read + write"].seen == "15.0 GB/s (14.8 to 15.2, 12 times 256 MiB)"
    assert (told["cold cache"].state, told["left out"].seen) == ("ok", "float64 matmul: too slow")
    assert all(bool(f.advice) == (f.state != "ok") for f in told.values())


def test_findings_tell_the_share_of_the_datasheet() -> None:
    found = ceilings(
        device="cuda:0", device_name=H100, flop_per_s={"bfloat16": rate(700e12), "tf32": rate(400e12)}, copy=rate(3e12)
    )
    told = {f.what: f.seen for f in ceiling_findings([found])}
    assert told["bfloat16 matmul"].endswith("TFLOP/s (693 to 707, 12 times 256 MiB), 71% of the datasheet's")
    assert told["tf32 matmul"].endswith("81% of the datasheet's")
    assert told["copy, read + write"].endswith("90% of the datasheet's")


def test_ceilings_of_a_busy_machine_are_warned_of() -> None:
    told = {f.what: f for f in ceiling_findings([ceilings(busy=BUSY)])}
    assert told["measured"].state == "warn" and BUSY in told["measured"].advice


def test_a_cache_that_is_not_cold_makes_a_machine_unfit() -> None:
    [told] = [f for f in ceiling_findings([ceilings(cache=check(flushed=60e9))]) if f.what == "cold cache"]
    assert (told.state, told.disturbs) == ("warn", True)


def test_without_ceilings_the_command_is_told() -> None:
    [told] = ceiling_findings([])
    assert (told.state, "llmbench doctor --ceilings" in told.advice) == ("info", True)
