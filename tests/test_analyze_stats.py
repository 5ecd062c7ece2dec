"""Estimates and ratios: golden values, coverage, and what an interval may claim."""

import numpy as np
import pytest
from example_runs import make_row, time_row

from llmbench.analyze.stats import Estimate, Ratio, block_medians, bootstrap_medians, estimate, paired_ratio

TEN = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]


def test_one_process_keeps_the_interval_of_its_samples():
    assert estimate([time_row(samples=TEN)]) == Estimate(5.5, 2.0, 9.0, "samples")


def test_few_processes_give_a_range_and_say_so():
    rows = [
        make_row(metric="time", process=i, value=v, low=v - 1, high=v + 2) for i, v in enumerate([10.0, 14.0, 11.0])
    ]
    assert estimate(rows) == Estimate(11.0, 9.0, 16.0, "range")


def test_six_processes_give_an_interval_over_their_medians_alone():
    rows = [make_row(metric="time", process=i, value=v, low=0.0, high=99.0) for i, v in enumerate(TEN[:6])]
    assert estimate(rows) == Estimate(3.5, 1.0, 6.0, "processes")


def test_a_process_without_an_interval_takes_that_of_the_others():
    rows = [time_row(samples=TEN), time_row(samples=[5.0, 6.0], process=1)]
    assert estimate(rows) == Estimate(5.5, None, None, "none")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_no_finite_value_is_no_estimate(value):
    assert estimate([make_row(metric="time", value=value)]) is None


def test_block_medians_are_by_block():
    assert block_medians(time_row(samples=[1.0, 3.0, 2.0, 9.0, 9.0, 8.0], block=3)) == {0: 2.0, 1: 9.0}


def test_the_paired_ratio_of_a_known_factor_is_exact():
    base, other = time_row(samples=[2.0 * v for v in TEN]), time_row(samples=TEN)
    ratio = paired_ratio([base], [other])
    assert ratio is not None
    assert ratio[:3] == pytest.approx((2.0, 2.0, 2.0))
    assert ratio[3:] == (10, True)


def test_the_paired_ratio_has_the_order_statistics_of_its_pairs():
    ratio = paired_ratio([time_row(samples=TEN)], [time_row(samples=[1.0] * 10)])
    assert ratio is not None
    assert ratio[:3] == pytest.approx((30**0.5, 2.0, 9.0))  # 5 and 6 in the middle, on a log scale


def test_swapping_the_sides_inverts_the_ratio():
    a, b = time_row(samples=TEN), time_row(samples=TEN[::-1])
    there, back = paired_ratio([a], [b]), paired_ratio([b], [a])
    assert there is not None
    assert back is not None
    assert (there.value, there.low, there.high) == pytest.approx((1 / back.value, 1 / back.high, 1 / back.low))


def test_fewer_than_six_pairs_have_no_interval():
    ratio = paired_ratio([time_row(samples=[2.0] * 5)], [time_row(samples=[1.0] * 5)])
    assert ratio == Ratio(pytest.approx(2.0), None, None, 5, True)


def test_only_blocks_of_both_sides_pair():
    ratio = paired_ratio([time_row(samples=[2.0] * 10)], [time_row(samples=[1.0] * 7)])
    assert ratio is not None
    assert ratio.pairs == 7


def test_drift_cancels_between_pairs_and_not_between_medians():
    drift = np.linspace(1.0, 2.0, 40)
    base, other = time_row(samples=list(1.5 * drift)), time_row(samples=list(drift))
    paired = paired_ratio([base], [other])
    apart = paired_ratio([base], [time_row(samples=list(drift), order="apart")])
    assert paired is not None
    assert apart is not None
    assert (paired.low, paired.high) == pytest.approx((1.5, 1.5))
    assert not apart.paired
    assert apart.low is not None
    assert apart.low < 1.3
    assert apart.high is not None
    assert apart.high > 1.7


def test_apart_takes_the_far_ends_of_both_intervals():
    base = make_row(metric="time", value=10.0, low=9.0, high=12.0, order="apart")
    other = make_row(metric="time", value=5.0, low=4.0, high=6.0, order="apart")
    assert paired_ratio([base], [other]) == Ratio(2.0, 1.5, 3.0, 0, False)


@pytest.mark.parametrize("rows", [[], [make_row(metric="time", value=0.0)]])
def test_no_positive_time_is_no_ratio(rows):
    assert paired_ratio(rows, [time_row(samples=TEN)]) is None


def test_processes_weigh_alike_and_their_interval_spans_them():
    base = [time_row(samples=[v] * 10, process=i) for i, v in enumerate([2.0, 2.2])]
    other = [time_row(samples=[1.0] * 10, process=i) for i in range(2)]
    ratio = paired_ratio(base, other)
    assert ratio is not None
    assert ratio[:3] == pytest.approx((4.4**0.5, 2.0, 2.2), rel=0.03)
    assert ratio == paired_ratio(base, other), "seeded"


def test_the_interval_of_a_paired_ratio_covers_the_truth():
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(400):
        drift = np.exp(np.cumsum(rng.normal(0, 0.02, 20)))
        base, other = (1.1 * drift * np.exp(rng.normal(0, 0.01, 20)), drift * np.exp(rng.normal(0, 0.01, 20)))
        ratio = paired_ratio([time_row(samples=list(base))], [time_row(samples=list(other))])
        assert ratio is not None
        hits += ratio.low <= 1.1 <= ratio.high
    assert 0.93 <= hits / 400 <= 0.985  # order statistics of 20 pairs: 95.9 %


def test_the_bootstrap_over_processes_covers_the_truth_where_processes_agree():
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(150):
        sides = [np.exp(rng.normal(shift, 0.01, (3, 12))) for shift in (np.log(1.1), 0.0)]
        base, other = ([time_row(samples=list(v), process=i) for i, v in enumerate(side)] for side in sides)
        ratio = paired_ratio(base, other)
        assert ratio is not None
        hits += ratio.low <= 1.1 <= ratio.high
    assert hits / 150 >= 0.92


@pytest.mark.parametrize("n", [1, 2, 7, 10])
def test_drawn_bootstrap_medians_are_those_of_real_resamples(n):
    rng = np.random.default_rng(3)
    values = np.exp(rng.normal(0, 1, n))
    drawn = bootstrap_medians(values, rng, 40_000)
    real = np.median(values[rng.integers(0, n, (40_000, n))], axis=1)
    grid = np.quantile(values, [0.1, 0.3, 0.5, 0.7, 0.9])
    assert [(drawn <= g).mean() for g in grid] == pytest.approx([(real <= g).mean() for g in grid], abs=0.01)
    assert drawn.mean() == pytest.approx(real.mean(), rel=0.01)
