"""The interval of the median covers what it promises when samples come through the sampler and its stopping rule."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm
from simulated_clock import SimulatedClock

from llmbench.measure.sampler import Target, sample
from llmbench.orderstat import median_interval

RUNS = 2000  # the standard error of a coverage of 94 % is then 0.5 %
MOST = 1300  # samples of a run, its warm-up included
BUDGETS_S = {10: "blocks of one", 80: "blocks of eight", 159: "blocks of fifteen", 1000: "blocks of sixteen"}
"""A call takes a second, so that the budget sets the size of the blocks and how many are looked at."""


def normal(sigma: float) -> tuple[npt.NDArray[np.float64], float]:
    """Independent streams, and their true median."""
    return 1 + sigma * np.random.default_rng(1).standard_normal((RUNS, MOST)), 1.0


def with_outliers(sigma: float) -> tuple[npt.NDArray[np.float64], float]:
    """One sample in twenty is 3 to 20 sigma too slow, which moves the true median as well."""
    dice = np.random.default_rng(2)
    slow = dice.random((RUNS, MOST)) < 0.05
    streams = np.where(slow, dice.uniform(3, 20, (RUNS, MOST)), dice.standard_normal((RUNS, MOST)))
    return 1 + sigma * streams, 1 + sigma * float(norm.ppf(0.5 / 0.95))


@pytest.mark.parametrize("sigma", [0.01, 0.045, 0.07])
@pytest.mark.parametrize("max_s", BUDGETS_S)
@pytest.mark.parametrize("kind", [normal, with_outliers])
def test_the_interval_covers_the_median_whenever_sampling_stops(kind, max_s, sigma):
    streams, truth = kind(sigma)
    covered, reasons, sizes = 0, set(), set()
    for times in np.maximum(streams, 0.01):
        samples = sample(
            [Target("a", [iter(times.tolist()).__next__])], clock=SimulatedClock(), target_ci=0.01, max_s=max_s,
            min_samples=6,
        )["a"]  # fmt: skip
        _, low, high = median_interval(samples.time_s)
        covered += low <= truth <= high
        reasons.add(samples.stop_reason)
        sizes.add(len(samples.time_s))
    assert reasons <= {"target_ci", "max_s"}
    assert max_s != 1000 or sigma != 0.07 or len(sizes) > 10, "the rule never had a choice when to stop"
    assert 0.92 <= covered / RUNS < 1
