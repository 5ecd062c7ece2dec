"""The median's confidence interval: equal to scipy's, with the ranks of the tables."""

import math
import random

import pytest
from scipy.stats import quantile_test

from llmbench.orderstat import median_interval, relative_half_width

GOLDEN = {6: 1, 8: 1, 9: 2, 11: 2, 12: 3, 15: 4, 20: 6, 25: 8, 30: 10, 50: 18, 100: 40}
"""n -> k: the k-th smallest and k-th largest bound the 95 % CI. Source: the sign test's tables (Conover, table A3)."""


@pytest.mark.parametrize("n", [*range(6, 201), 1000, 1001, 4096, 10_007])
def test_equals_scipy(n: int) -> None:
    dice = random.Random(n)
    values = [dice.lognormvariate(0, 1) for _ in range(n)]
    wanted = quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    got = median_interval(values)
    assert (got.low, got.high) == (wanted.low, wanted.high)


@pytest.mark.parametrize(("n", "k"), GOLDEN.items())
def test_has_the_ranks_of_the_tables(n: int, k: int) -> None:
    values = list(range(1, n + 1))
    random.Random(0).shuffle(values)
    assert median_interval(values) == ((n + 1) / 2, k, n + 1 - k)


def test_is_symmetric_and_does_not_overflow_for_very_many_values() -> None:
    n = 1_000_001
    low, high = median_interval(range(n))[1:]
    assert low is not None and high is not None and low + high == n - 1
    assert low == pytest.approx(n / 2 - 1.96 * math.sqrt(n) / 2, abs=2)


@pytest.mark.parametrize("n", range(1, 6))
def test_fewer_than_six_values_have_a_median_and_no_interval(n: int) -> None:
    assert median_interval([float(i) for i in range(n)]) == ((n - 1) / 2, None, None)
    assert relative_half_width([1.0] * n) == math.inf


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


def test_the_half_width_is_a_share_of_the_median() -> None:
    assert relative_half_width([8.0, 9.0, 10.0, 10.0, 11.0, 12.0]) == pytest.approx(0.2)
    assert relative_half_width([0.0] * 10) == math.inf
