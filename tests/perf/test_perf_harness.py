"""Benchmarks of llmbench itself: `make perf`. Figures, not assertions."""

import sys
from pathlib import Path
from time import perf_counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from llmbench.analyze.shape import shape_of
from llmbench.codec import from_plain, to_plain
from llmbench.measure.clock import WallClock
from llmbench.measure.sampler import Target, sample
from llmbench.orderstat import median_interval
from llmbench.store.record import Measurement, Record

sys.path.append(str(Path(__file__).parents[1]))
from suite_catalog import CPU

from llmbench.suite.case import expand
from llmbench.suite.load import load


def nothing() -> None:
    """An empty callable."""


def test_a_sample_of_an_empty_callable(benchmark: BenchmarkFixture) -> None:
    readings = benchmark(WallClock().block, [[nothing]] * 1000, before=None)
    assert len(readings) == 1000


@pytest.mark.parametrize("repeats", [False, True], ids=["one call", "several calls"])
def test_what_the_sampler_adds_to_a_sample(benchmark: BenchmarkFixture, repeats: bool) -> None:
    """`us_a_sample`: wall time outside of the samples themselves, the warm-up included; wanted: 5 us at most."""
    target = Target("nothing", [nothing], repeats=repeats)

    def run() -> float:
        start = perf_counter()
        found = sample([target], clock=WallClock(), target_ci=-1.0, max_s=0.3, min_samples=6)["nothing"]
        timed_s = sum(t * n for t, n in zip(found.time_s, found.calls, strict=True))
        return (perf_counter() - start - timed_s) / len(found.time_s) * 1e6

    benchmark.extra_info["us_a_sample"] = benchmark.pedantic(run, rounds=1)


def test_the_interval_of_a_thousand_samples(benchmark: BenchmarkFixture) -> None:
    values = [1 + (i * 7919 % 1000) / 1e5 for i in range(1000)]
    assert benchmark(median_interval, values).low is not None


def test_the_shape_of_fifty_samples(benchmark: BenchmarkFixture) -> None:
    values, blocks = [1 + i * 37 % 50 / 1e3 for i in range(50)], [i // 5 for i in range(50)]
    assert benchmark(shape_of, values, blocks) == (None, None, None)


def test_loading_and_expanding_the_attention_suite(benchmark: BenchmarkFixture) -> None:
    points = benchmark(lambda: expand(load("attention", CPU)))
    assert sum(len(p.cases) for p in points) == 264


def test_a_record_through_the_codec(benchmark: BenchmarkFixture) -> None:
    samples = [i / 1e6 for i in range(200)]
    time = Measurement("time", 1e-4, samples=samples, sample_t_ns=list(range(200)), sample_block=[0] * 200)
    record = Record("0" * 16, 0, "ok", measurements=[time])
    assert benchmark(lambda: from_plain(Record, to_plain(record))) == record
