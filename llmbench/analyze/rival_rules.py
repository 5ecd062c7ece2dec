"""How other tools call a regression, each rule as a function over the same runs: which cases would be red.

What a rule needs of a tool's defaults (samples a process, processes, runs of history) is beside it in `RULES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit
from scipy.stats import mannwhitneyu

try:
    from asv_runner.statistics import compute_stats as asv_stats
except ImportError:
    asv_stats = None
ASV_BY = "its documented rule" if asv_stats is None else "asv_runner.statistics"

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Runs(NamedTuple):
    """Times of a suite in any unit. `base` and `head` are one run each, [case, process, iteration].

    `history`: means of earlier runs of the base, [case, run], oldest first; `after`: of a further run of the head.
    """

    base: Floats
    head: Floats
    history: Floats | None = None
    after: Floats | None = None

    def slowed(self, effect: float) -> "Runs":
        """The same with a head that takes longer by the share `effect`."""
        after = None if self.after is None else self.after * (1 + effect)
        return self._replace(head=self.head * (1 + effect), after=after)


@dataclass(frozen=True)
class Rule:
    """A rule with what it costs: samples a process, processes a side, and runs of history that it needs."""

    name: str
    told: str
    judge: Callable[[Runs], Bools]
    source: str
    processes: int = 1
    history: int = 0
    runs: int = 1  # of the head


def pytest_benchmark_mean(runs: Runs) -> Bools:
    """--benchmark-compare-fail=mean:5%: the mean of one run is 5 % above that of the saved one.

    Source: pytest-benchmark, docs/comparing.rst and PercentageRegressionCheck in src/pytest_benchmark/utils.py."""
    return np.asarray(_one(runs.head).mean(axis=1) / _one(runs.base).mean(axis=1) * 100 - 100 > 5)


def pytest_benchmark_min(runs: Runs) -> Bools:
    """--benchmark-compare-fail=min:5%: the same of the least time.

    Source: as pytest_benchmark_mean."""
    return np.asarray(_one(runs.head).min(axis=1) / _one(runs.base).min(axis=1) * 100 - 100 > 5)


ASV_FACTOR, ASV_P = 1.1, 0.002
ASV_SAMPLES = 5  # a round: repeat is (1, 5, 10.0) with two rounds


def asv(runs: Runs) -> Bools:
    """asv continuous: medians of the samples of two rounds differ by more than the factor 1.1, and a two-sided exact U
    test of the samples has p < 0.002. A sample is the mean of as many calls as last 10 ms: here a fifth of a process's
    (where there is one process, a fifth of each half of it).

    Source: asv, _is_result_better in asv/commands/compare.py, is_different in asv/_stats.py, --factor in
    asv/commands/common_args.py; the medians by asv_runner.statistics.compute_stats where it is installed."""
    base, head = (_means_of(x, 2 * ASV_SAMPLES // x.shape[1]).reshape(len(x), -1) for x in (runs.base, runs.head))
    red = mannwhitneyu(head, base, alternative="two-sided", method="exact", axis=1).pvalue < ASV_P
    places = np.flatnonzero(red)
    red[places] = [
        _asv_median(b) < _asv_median(h) / ASV_FACTOR for b, h in zip(base[places], head[places], strict=True)
    ]
    return np.asarray(red)


CRITERION_P, CRITERION_NOISE = 0.05, 0.01


def criterion(runs: Runs) -> Bools:
    """criterion.rs: a t test of the samples of two runs has p < 0.05, and the 95 % CI of the relative change of the
    mean lies above the noise threshold of 1 %. Its bootstrap (100,000 resamples) is replaced by what it tends to:
    Welch's t for the test, the normal interval of the ratio for the CI.

    Source: criterion.rs, src/report.rs (compare_to_threshold), src/analysis/compare.rs, defaults in src/lib.rs."""
    base, head = _one(runs.base), _one(runs.head)
    ratio = head.mean(axis=1) / base.mean(axis=1)
    vb, vh = base.var(axis=1, ddof=1) / base.shape[1], head.var(axis=1, ddof=1) / head.shape[1]
    df = (vb + vh) ** 2 / (vb**2 / (base.shape[1] - 1) + vh**2 / (head.shape[1] - 1))
    p = 2 * stdtr(df, -np.abs(head.mean(axis=1) - base.mean(axis=1)) / np.sqrt(vb + vh))
    spread = ratio * np.sqrt(vb / base.mean(axis=1) ** 2 + vh / head.mean(axis=1) ** 2)
    return np.asarray((p < CRITERION_P) & (ratio - 1 - 1.96 * spread > CRITERION_NOISE))


GBENCH_REPETITIONS, GBENCH_ALPHA = 9, 0.05


def google_benchmark(runs: Runs) -> Bools:
    """compare.py of google-benchmark: the U test of nine repetitions has p < 0.05, and the median is larger. The tool
    prints and leaves the decision to who reads; nine is what it calls the least that is meaningful.

    Source: google-benchmark, tools/gbench/report.py (calc_utest, UTEST_OPTIMAL_REPETITIONS), docs/tools.md."""
    base, head = (_means_of(x[:, :1], GBENCH_REPETITIONS)[:, 0] for x in (runs.base, runs.head))
    p = mannwhitneyu(head, base, alternative="two-sided", axis=1).pvalue
    return np.asarray((p < GBENCH_ALPHA) & (np.median(head, axis=1) > np.median(base, axis=1)))


def nvbench_legacy(runs: Runs) -> Bools:
    """nvbench-compare-legacy: the mean grew by more than the lesser of both relative standard deviations (SLOW).

    Source: nvbench, python/scripts/nvbench_compare.py."""
    base, head = _one(runs.base), _one(runs.head)
    noise = np.minimum(*(x.std(axis=1, ddof=1) / x.mean(axis=1) for x in (base, head)))
    return np.asarray(head.mean(axis=1) / base.mean(axis=1) - 1 > noise)


NVBENCH_GAP = 0.005


def nvbench_robust(runs: Runs) -> Bools:
    """nvbench-compare-robust: the intervals [min, third quartile] of both runs are apart by 0.5 % or more (SLOW). The
    check in cycles says the same where the clock does not change, as here.

    Source: nvbench, docs/nvbench_compare_robust.md (clear_gap.relative)."""
    upper = np.quantile(_one(runs.base), 0.75, axis=1)
    return np.asarray((_one(runs.head).min(axis=1) - upper) / upper >= NVBENCH_GAP)


BENCHER_RUNS, BENCHER_BOUNDARY = 64, 0.99


def bencher(runs: Runs) -> Bools:
    """bencher's t_test threshold: a run's value above the 0.99 quantile of Student's t for a new value, given up to 64
    earlier ones.

    Source: bencher, lib/bencher_boundary/src/limits/mod.rs (NormalTestKind::T), --threshold-max-sample-size 64 and
    --threshold-upper-boundary 0.99 of its documentation."""
    past = _past(runs, BENCHER_RUNS)
    n = past.shape[1]
    limit = past.mean(axis=1) + float(stdtrit(n - 1, BENCHER_BOUNDARY)) * past.std(axis=1, ddof=1) * np.sqrt(1 + 1 / n)
    return np.asarray(_value(runs.head) > limit)


RUSTC_RUNS = 30
RUSTC_OVER = (1.5, 3.0, 6.0, 12.0)  # times the threshold, from very small to very large
RUSTC_CHANGE = (0.002, 0.01, 0.02, 0.05)  # relative changes likewise, doubled for all that is not an instruction count


def rustc_perf(runs: Runs) -> Bools:
    """rustc-perf: a change of at least Q3 + 3 IQR of the changes between 30 earlier commits, whose magnitude (the mean
    of that of the change, for a noisy metric, and of how far it is over the threshold) is at least small.

    Source: rustc-perf, site/src/comparison.rs (HistoricalData, magnitude, is_relevant), docs/comparison-analysis.md."""
    past = _past(runs, RUSTC_RUNS)
    changes = np.sort(np.abs(np.diff(past, axis=1)) / past[:, :-1], axis=1)
    half = changes.shape[1] // 2
    q1, q3 = np.median(changes[:, :half], axis=1), np.median(changes[:, half + 1 :], axis=1)
    threshold = q3 + 3 * (q3 - q1)
    change = _value(runs.head) / _value(runs.base) - 1
    over = 1 + (change[:, None] >= threshold[:, None] * np.array(RUSTC_OVER)).sum(axis=1)
    size = 1 + (change[:, None] / 2 >= np.array(RUSTC_CHANGE)).sum(axis=1)
    return np.asarray((change >= threshold) & ((over + size) // 2 >= 2))


HUD_FACTOR, HUD_RUNS = 1.35, 3


def pytorch_hud(runs: Runs) -> Bools:
    """PyTorch's operator microbenchmarks: latency above 1.35 x the median of the three days before, in two runs on end.

    Source: pytorch/test-infra, aws/lambda/benchmark_regression_summary_report/common/config.py and regression_utils.py
    (classify_flags)."""
    assert runs.after is not None
    limit = HUD_FACTOR * np.median(_past(runs, HUD_RUNS), axis=1)
    return np.asarray((_value(runs.head) > limit) & (runs.after > limit))


RULES = (
    Rule("pytest-benchmark mean:5%", "mean 5 % above the saved run's", pytest_benchmark_mean, "docs/comparing.rst"),
    Rule("pytest-benchmark min:5%", "least time 5 % above", pytest_benchmark_min, "docs/comparing.rst"),
    Rule("asv continuous", "factor 1.1 and U test p < .002", asv, "asv/_stats.py", processes=2),
    Rule("criterion", "t test p < .05, CI above 1 %", criterion, "src/report.rs"),
    Rule("google-benchmark", "U test of 9 repetitions p < .05", google_benchmark, "tools/gbench/report.py"),
    Rule("nvbench legacy", "mean grew by more than one sd", nvbench_legacy, "nvbench_compare.py"),
    Rule("nvbench robust", "[min, Q3] apart by 0.5 %", nvbench_robust, "docs/nvbench_compare_robust.md"),
    Rule("bencher", "t test .99, 64 earlier runs", bencher, "bencher_boundary", history=BENCHER_RUNS),
    Rule("rustc-perf", "Q3 + 3 IQR of 30 earlier changes", rustc_perf, "site/src/comparison.rs", history=RUSTC_RUNS),
    Rule("PyTorch HUD", "1.35 x the median, twice", pytorch_hud, "pytorch/test-infra", history=HUD_RUNS, runs=2),
)
HISTORY = max(rule.history for rule in RULES)


def _one(times_CPI: Floats) -> Floats:
    """The first process, which is all that the tool starts."""
    return times_CPI[:, 0]


def _value(times_CPI: Floats) -> Floats:
    return np.asarray(times_CPI[:, 0].mean(axis=1))


def _past(runs: Runs, wanted: int) -> Floats:
    assert runs.history is not None
    return runs.history[:, -wanted:]


def _means_of(times_CPI: Floats, parts: int) -> Floats:
    """[case, process, part]: the means of that many equal stretches; what is left over is not used."""
    each = times_CPI.shape[2] // parts
    return np.asarray(times_CPI[..., : each * parts].reshape(*times_CPI.shape[:2], parts, each).mean(axis=3))


def _asv_median(samples: Floats) -> float:
    return float(np.median(samples)) if asv_stats is None else float(asv_stats(samples.tolist(), 1)[0])
