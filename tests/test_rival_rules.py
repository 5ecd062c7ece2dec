"""The rules of other tools: each decides as its source says, on data made for one decision."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from llmbench.analyze import rival_rules
from llmbench.analyze.rival_rules import RULES, Runs

Floats = NDArray[np.float64]
SAMPLES = 100


def times(*levels: float, spread: float = 0.001, processes: int = 2, seed: int = 0) -> Floats:
    """A case for each level: times around it, [case, process, iteration]."""
    rng = np.random.default_rng(seed)
    return np.array(levels)[:, None, None] * (1 + spread * rng.standard_normal((len(levels), processes, SAMPLES)))


def runs(*levels: float, spread: float = 0.001, history: Floats | None = None, after: float = 1.0) -> Runs:
    """A base at 1 and a head at each level."""
    base = times(*[1.0] * len(levels), spread=spread)
    return Runs(base, times(*levels, spread=spread, seed=1), history, np.full(len(levels), after))


@pytest.mark.parametrize(
    ("judge", "limit"), [(rival_rules.pytest_benchmark_mean, 1.05), (rival_rules.pytest_benchmark_min, 1.05)]
)
def test_pytest_benchmark_takes_a_share_of_the_saved_value(judge: rival_rules.Judge, limit: float) -> None:
    assert judge(runs(limit * 0.99, limit * 1.01, 0.5)).tolist() == [False, True, False]


def test_pytest_benchmark_min_is_blind_to_all_but_the_least() -> None:
    slow = runs(1.0)
    slow.head[0, 0, 1:] *= 2
    assert not rival_rules.pytest_benchmark_min(slow)[0] and rival_rules.pytest_benchmark_mean(slow)[0]


def test_asv_wants_the_factor_and_the_test() -> None:
    assert rival_rules.asv(runs(1.09, 1.11, 0.8)).tolist() == [False, True, False]
    wide = runs(1.11, spread=1.0)
    assert not rival_rules.asv(Runs(np.abs(wide.base), np.abs(wide.head)))[0]


def test_asv_compares_medians_of_two_rounds() -> None:
    slow = runs(1.0)
    slow.head[0, 1] *= 2
    assert not rival_rules.asv(slow)[0], "half of the samples are slower: the median lies between"
    slow.head[0, 0] *= 2
    assert rival_rules.asv(slow)[0]


def test_criterion_wants_the_interval_above_its_noise_threshold() -> None:
    assert rival_rules.criterion(runs(1.005, 1.02, 0.9)).tolist() == [False, True, False]
    assert not rival_rules.criterion(runs(1.02, spread=0.1))[0]


def test_criterion_without_its_bootstrap_decides_as_with_it() -> None:
    rng = np.random.default_rng(2)
    base = 1 + 0.02 * rng.standard_exponential((40, 1, SAMPLES))
    head = np.linspace(1.0, 1.03, 40)[:, None, None] * (1 + 0.02 * rng.standard_exponential((40, 1, SAMPLES)))
    seen = rival_rules.criterion(Runs(base, head))
    wanted = [_criterion_by_bootstrap(h[0], b[0], rng) for h, b in zip(head, base, strict=True)]
    assert 5 < sum(wanted) < 35 and np.count_nonzero(seen != np.array(wanted)) <= 2


def _criterion_by_bootstrap(head: Floats, base: Floats, rng: np.random.Generator, resamples: int = 4000) -> bool:
    """As src/analysis/compare.rs does it: t under resampling of both together, the ratio of means resampled apart."""

    def t(a: Floats, b: Floats) -> Floats:
        return np.asarray(
            (a.mean(-1) - b.mean(-1)) / np.sqrt(a.var(-1, ddof=1) / a.shape[-1] + b.var(-1, ddof=1) / b.shape[-1])
        )

    both = rng.choice(np.concatenate([head, base]), (resamples, len(head) + len(base)))
    null = t(both[:, : len(head)], both[:, len(head) :])
    hits = np.count_nonzero(null < t(head, base))
    p = 2 * min(hits, resamples - hits) / resamples
    ratios = rng.choice(head, (resamples, len(head))).mean(1) / rng.choice(base, (resamples, len(base))).mean(1) - 1
    return bool(p < 0.05 and np.quantile(ratios, 0.025) > 0.01)


def test_google_benchmark_ranks_nine_repetitions() -> None:
    seen = rival_rules.google_benchmark(runs(1.0, 1.01, 0.99))
    assert seen[1:].tolist() == [True, False]
    base, head = (x[1:2, :1, :99].reshape(1, 9, 11).mean(2) for x in (runs(1.0, 1.01).base, runs(1.0, 1.01).head))
    assert stats.mannwhitneyu(head[0], base[0]).pvalue < 0.05


def test_nvbench_takes_one_sd_or_intervals_that_are_apart() -> None:
    assert rival_rules.nvbench_legacy(runs(1.005, 1.02, 0.9, spread=0.01)).tolist() == [False, True, False]
    assert rival_rules.nvbench_robust(runs(1.01, 1.06, 0.9, spread=0.01)).tolist() == [False, True, False]


def test_bencher_takes_the_quantile_of_a_new_value() -> None:
    history = 1 + 0.01 * np.random.default_rng(3).standard_normal((1, 64))
    limit = stats.t.ppf(0.99, 63, history.mean(), history.std(ddof=1) * np.sqrt(1 + 1 / 64))
    assert not rival_rules.bencher(runs(limit - 0.001, history=history))[0]
    assert rival_rules.bencher(runs(limit + 0.001, history=history))[0]
    many = runs(*[1.0] * 4000, history=1 + 0.01 * np.random.default_rng(4).standard_normal((4000, 64)))
    fresh = many._replace(head=many.head * (1 + 0.01 * np.random.default_rng(5).standard_normal((4000, 1, 1))))
    assert rival_rules.bencher(fresh).mean() == pytest.approx(0.01, abs=0.006)


def test_rustc_perf_wants_a_change_that_is_rare_and_large() -> None:
    steady = np.where(np.arange(30) % 2, 1.0, 1.001)[None]  # every change is 0.1 %: threshold 0.1 %
    assert rival_rules.rustc_perf(runs(1.0005, history=steady, spread=0))[0] == np.False_
    assert rival_rules.rustc_perf(runs(1.004, history=steady, spread=0))[0] == np.True_, (
        "medium over it, very small in size"
    )
    assert rival_rules.rustc_perf(runs(1.0011, history=steady, spread=0))[0] == np.False_, "very small in both"
    noisy = np.where(np.arange(30) % 2, 1.0, 1.05)[None]
    assert rival_rules.rustc_perf(runs(1.04, history=noisy, spread=0))[0] == np.False_


def test_pytorch_hud_wants_two_runs_on_end() -> None:
    history = np.ones((1, 30))
    assert rival_rules.pytorch_hud(runs(1.4, history=history, after=1.4))[0]
    assert not rival_rules.pytorch_hud(runs(1.4, history=history, after=1.3))[0]
    assert not rival_rules.pytorch_hud(runs(1.34, history=history, after=1.4))[0]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_rule_finds_a_doubled_time_and_cites_its_source(rule: rival_rules.Rule) -> None:
    history = 1 + 0.002 * np.random.default_rng(6).standard_normal((2, 64))
    slowed = runs(1.0, 1.0, history=history).slowed(1.0)
    assert rule.judge(slowed).tolist() == [True, True]
    assert "Source: " in (rule.judge.__doc__ or "") and rule.source and rule.history <= 64
