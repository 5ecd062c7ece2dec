"""The sampler on a simulated clock: the order of blocks, who stops when and why, and whose error is whose."""

import gc
from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat

import pytest
from simulated_clock import SimulatedClock

from llmbench.measure.clock import WallClock
from llmbench.measure.collector import collector_off
from llmbench.measure.sampler import MAX_BLOCK, MIN_ROUNDS, WARM_UP_CALLS, Samples, Target, sample

FOREVER_S = 1e6  # no budget: blocks are as large as they get
NOTHING_S = 0.0  # no time at all: blocks of one call, stopped as soon as the rules allow


def takes(times_s: Iterator[float]) -> Callable[[], float]:
    return lambda: next(times_s)


def steady() -> Callable[[], float]:
    return takes(repeat(1.0))


def restless() -> Callable[[], float]:
    return takes(cycle([1.0, 2.0]))


def raises_at(call: int) -> Callable[[], float]:
    def fail() -> Iterator[float]:
        yield from repeat(1.0, call - 1)
        raise ValueError("enough")

    return takes(fail())


def run(
    targets: list[Target], *, max_s: float = NOTHING_S, target_ci: float = 0.01, min_samples: int = 6,
    resolution_s: float = 0.0,
) -> tuple[dict[str, Samples], list[str]]:  # fmt: skip
    """Samples by key, and whose block was when."""
    order: list[str] = []
    found = sample(
        targets, clock=SimulatedClock(resolution_s), target_ci=target_ci, max_s=max_s, min_samples=min_samples,
        on_block=lambda stage, key: order.append(key) if stage == "time" else None,
    )  # fmt: skip
    return found, order


def test_blocks_go_forth_and_back() -> None:
    _, order = run([Target(key, [steady()]) for key in "abc"])
    assert "".join(order) == "abccba" * (MIN_ROUNDS // 2)


def test_every_target_is_warmed_up_before_any_is_timed() -> None:
    stages: list[tuple[str, str]] = []
    sample(
        [Target(key, [steady()]) for key in "ab"], clock=SimulatedClock(), target_ci=0.01, max_s=0,
        min_samples=6, on_block=lambda stage, key: stages.append((stage, key)),
    )  # fmt: skip
    assert stages[:3] == [("warm-up", "a"), ("warm-up", "b"), ("time", "a")]
    assert not [s for s in stages[2:] if s[0] == "warm-up"]


def test_warming_up_lasts_until_the_time_is_flat_and_is_not_in_the_samples() -> None:
    cooling = chain([100.0, 50.0, 25.0, 12.0, 6.0, 3.0, 1.5], repeat(1.0))
    found, _ = run([Target("a", [takes(cooling)])], max_s=FOREVER_S)
    assert set(found["a"].time_s) == {1.0}


def test_lists_are_parallel_and_in_measured_order() -> None:
    found, _ = run([Target("a", [restless()]), Target("b", [steady()])], max_s=FOREVER_S, target_ci=0.5)
    for samples in found.values():
        n = len(samples.time_s)
        assert n == len(samples.t_ns) == len(samples.block) == len(samples.calls) == MIN_ROUNDS * MAX_BLOCK
        assert samples.t_ns == sorted(set(samples.t_ns)) and samples.block == sorted(samples.block)
        assert [samples.block.count(i) for i in range(MIN_ROUNDS)] == [MAX_BLOCK] * MIN_ROUNDS


def test_a_steady_target_stops_on_its_interval_and_a_restless_one_on_its_time() -> None:
    found, _ = run([Target("steady", [steady()]), Target("restless", [restless()])])
    assert (found["steady"].stop_reason, found["restless"].stop_reason) == ("target_ci", "max_s")


def test_nobody_stops_before_six_blocks_and_the_least_number_of_samples() -> None:
    found, _ = run([Target("a", [steady()]), Target("b", [restless()])], min_samples=1)
    assert {len(s.time_s) for s in found.values()} == {MIN_ROUNDS}
    found, _ = run([Target("a", [steady()]), Target("b", [restless()])], min_samples=50)
    assert {len(s.time_s) for s in found.values()} == {50}


def test_the_baseline_is_sampled_as_long_as_any_other() -> None:
    slow_to_settle = takes(chain(cycle_n([1.0, 2.0], 200), repeat(1.0)))
    targets = [Target("base", [steady()], is_baseline=True), Target("a", [steady()]), Target("b", [slow_to_settle])]
    found, order = run(targets, max_s=FOREVER_S)
    assert len(found["a"].time_s) == MIN_ROUNDS * MAX_BLOCK < len(found["b"].time_s)
    assert found["base"].block == found["b"].block
    assert {s.stop_reason for s in found.values()} == {"target_ci"}
    assert set(order[-2:]) == {"base", "b"}


def cycle_n(values: list[float], n: int) -> Iterator[float]:
    return (values[i % len(values)] for i in range(n))


def test_looks_are_taken_at_sizes_that_grow_by_a_tenth() -> None:
    def stops_at(restless_calls: int) -> int:
        call = takes(chain(cycle_n([1.0, 2.0], WARM_UP_CALLS + 1 + restless_calls), repeat(1.0)))
        return len(run([Target("a", [call])], max_s=FOREVER_S)[0]["a"].time_s)

    assert {stops_at(calls) // MAX_BLOCK for calls in range(40, 260, 4)} == {6, 7, 8, 9, 10, 11, 13, 15, 17, 19}


def test_the_baseline_does_not_go_on_alone() -> None:
    found, _ = run([Target("base", [steady()], is_baseline=True)], max_s=FOREVER_S)
    assert len(found["base"].time_s) == MIN_ROUNDS * MAX_BLOCK


@pytest.mark.parametrize("key", ["a", "base"])
def test_an_exception_ends_its_own_target_only(key: str) -> None:
    calls = {"a": steady(), "base": steady(), "b": steady()} | {key: raises_at(9)}
    found, order = run([Target(k, [c], is_baseline=k == "base") for k, c in calls.items()])
    failed = found.pop(key)
    assert isinstance(failed.error, ValueError) and failed.stop_reason == "error"
    assert 0 < len(failed.time_s) < MIN_ROUNDS
    assert {(s.stop_reason, len(s.time_s), s.error) for s in found.values()} == {("target_ci", MIN_ROUNDS, None)}
    assert order.count(key) == len(failed.time_s) + 1


def test_an_exception_in_the_warm_up_ends_a_target_before_it_is_timed() -> None:
    found, order = run([Target("a", [raises_at(2)]), Target("b", [steady()])])
    assert isinstance(found["a"].error, ValueError) and found["a"].stop_reason == "error" and not found["a"].time_s
    assert "a" not in order and found["b"].stop_reason == "target_ci"


def test_nothing_to_sample_is_fine() -> None:
    assert run([]) == ({}, [])


def test_what_runs_before_runs_before_each_call() -> None:
    log: list[str] = []

    def call() -> float:
        log.append("call")
        return 1.0

    run([Target("a", [call], before=lambda: log.append("before"))])
    assert log == ["before", "call"] * (len(log) // 2) and len(log) > 2 * MIN_ROUNDS
    log.clear()
    readings = WallClock().block([[call]] * 2 + [[call] * 3], before=lambda: log.append("before"))
    assert log == ["before", "call"] * 3 + ["call"] * 2 and [r.calls for r in readings] == [1, 1, 3]
    assert [r.t_ns for r in readings] == sorted(r.t_ns for r in readings) and all(r.time_s >= 0 for r in readings)


def test_the_collector_is_off_while_sampling_and_on_again_after_whatever_happens() -> None:
    seen: set[bool] = set()

    def call() -> float:
        seen.add(gc.isenabled())
        return 1.0

    assert gc.isenabled()
    run([Target("a", [call]), Target("b", [raises_at(9)])])
    assert seen == {False} and gc.isenabled()
    with pytest.raises(ZeroDivisionError), collector_off():
        1 / 0  # noqa: B018
    assert gc.isenabled()


def counted(log: list[int], i: int) -> Callable[[], float]:
    def call() -> float:
        log.append(i)
        return 1.0

    return call


def test_the_calls_of_a_ring_are_taken_in_turn_by_all_targets_together() -> None:
    log: list[int] = []
    rings = [[counted(log, i) for i in range(7)] for _ in "ab"]
    run([Target(key, ring) for key, ring in zip("ab", rings, strict=True)], max_s=FOREVER_S)
    assert log == [i % 7 for i in range(len(log))] and len(log) > 100


def test_short_calls_are_made_several_times_a_sample_until_the_clock_is_half_a_percent_of_it() -> None:
    found, _ = run([Target("a", [steady()], repeats=True)], resolution_s=0.1, max_s=FOREVER_S)
    assert set(found["a"].calls) == {20} and set(found["a"].time_s) == {1.0}
    found, _ = run([Target("a", [steady()], repeats=True)], resolution_s=0.005, max_s=FOREVER_S)
    assert set(found["a"].calls) == {1}


def test_a_sample_of_cold_calls_holds_each_clone_once_at_most() -> None:
    log: list[int] = []
    found, _ = run([Target("a", [counted(log, i) for i in range(3)])], resolution_s=0.1, max_s=FOREVER_S)
    assert set(found["a"].calls) == {3}
    found, _ = run([Target("a", [steady()])], resolution_s=0.1, max_s=FOREVER_S)
    assert set(found["a"].calls) == {1}


def test_a_call_that_does_the_work_of_several_counts_as_many() -> None:
    found, _ = run([Target("graph", [steady()], work=4)], max_s=FOREVER_S)
    assert set(found["graph"].time_s) == {0.25} and set(found["graph"].calls) == {4}


def test_the_wall_clock_knows_what_it_costs() -> None:
    assert 1e-9 < WallClock().resolution_s < 1e-5
