"""The paired gate over thousands of simulated suites: how often it cries wolf, and what it finds.

Time of an iteration on the log scale: case + effect + R(run) + Q(case, run) + P(case, side, process) + noise that is
correlated and has outliers. R and Q are shared by the sides of a pair and cancel in D, so D is drawn directly: P of
both sides, and the 25 % quantile of 4 x 20 iterations of both as a normal whose sd is derived. The first tests hold
that against iterations. The gate itself is `judge_pairs`, the very function that real pairs go through.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from llmbench.analyze.pair_noise import BLOCK, QUADS, Noise, SimulatedPairs, of_iterations
from llmbench.analyze.paired import PairedRule, judge_pairs
from llmbench.analyze.step_pairs import pool
from llmbench.store.step_times import read_step_times

Floats = NDArray[np.float64]

STEP_TIMES = Path(__file__).parent / "data" / "step_times.parquet"
CASES = 500
KEYS = tuple(f"case{i}" for i in range(CASES))
SUITES = 1200
LIMIT = 0.03
SMALL_LIMIT = 0.01  # where power is asked for: REGRESSED reaches 1 + limit, so a limit below the effect
PLANTED = 10  # cases of a suite for each effect: few, so that the suite as a whole is no question
POWER_SUITES = 120
EFFECTS = (0.02, 0.03, 0.05)
LEAST_POWER = {
    "normal": (0.95, 0.99, 0.999),
    "heavy tails": (0.95, 0.99, 0.999),
    "bimodal processes": (0.95, 0.99, 0.999),
    "a variance of its own for each case": (0.85, 0.97, 0.999),  # sigmas of 0.3 to 3.3 %
    "real step times": (0.85, 0.9, 0.93),  # some of which vary by tens of percent
}

QUIET = Noise()
assert 0.0095 <= QUIET.sigma_pair <= 0.01

NOISES = {
    "normal": QUIET,
    "heavy tails": replace(QUIET, shape="heavy"),
    "bimodal processes": replace(QUIET, shape="bimodal"),
    "a variance of its own for each case": replace(QUIET, unequal=0.6),
}


@cache
def recorded() -> Floats:
    """D[series, draw] of real step times."""
    return pool(read_step_times(STEP_TIMES), np.random.default_rng(11), 1500)


def source_of(kind: str) -> Noise | Floats:
    return recorded() if kind == "real step times" else NOISES[kind]


def iterations(noise: Noise, pairs: int, seed: int) -> Floats:
    """D of one unchanged case from single iterations, R and Q included."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, np.hypot(noise.run, noise.case_run), (pairs, 1, 1))
    sides = [
        shared + noise.of_processes(rng, (pairs, 1, 1)) + noise.of_iterations(rng, (pairs, QUADS, BLOCK))
        for _ in range(2)
    ]
    return of_iterations(sides[0], sides[1])


@pytest.mark.parametrize("kind", NOISES)
def test_d_that_is_drawn_directly_is_d_of_iterations(kind: str) -> None:
    noise = replace(NOISES[kind], unequal=0.0)
    by_iterations = iterations(noise, 12_000, 1)
    direct = noise.pairs(np.random.default_rng(2), np.ones(1), 400_000)[0]
    if kind != "heavy tails":  # whose fourth moment, which the error of an sd needs, is infinite
        assert by_iterations.std() == pytest.approx(direct.std(), rel=0.03)
        assert direct.std() == pytest.approx(noise.sigma_pair, rel=0.01)
    levels = [0.01, 0.05, 0.25, 0.75, 0.95, 0.99]
    assert np.allclose(np.quantile(by_iterations, levels), np.quantile(direct, levels), rtol=0.07, atol=2e-4)
    assert stats.ks_2samp(by_iterations, direct).pvalue > 1e-3


def test_the_quantile_alone_has_the_sd_that_is_derived() -> None:
    for noise in (QUIET, replace(QUIET, correlation=0.6, outliers=0.1)):
        d = iterations(replace(noise, process=0.0), 12_000, 3)
        assert d.std() == pytest.approx(np.sqrt(2) * noise.quantile_sd, rel=0.04)
        assert abs(stats.skew(d)) < 0.1 and abs(stats.kurtosis(d)) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*NOISES, "real step times"])
def test_of_1200_unchanged_suites_hardly_any_is_red(kind: str) -> None:
    rng = np.random.default_rng(20)
    limits = dict.fromkeys(KEYS, LIMIT)
    red = sum(judge_pairs(limits, SimulatedPairs(KEYS, source_of(kind), rng)).red for _ in range(SUITES))
    print(f"{kind}: {red} of {SUITES} unchanged suites of {CASES} cases red")
    assert red <= (6 if kind == "normal" else SUITES // 100)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*NOISES, "real step times"])
def test_slowed_cases_are_found(kind: str) -> None:
    rng = np.random.default_rng(30)
    limits = dict.fromkeys(KEYS, SMALL_LIMIT)
    effects = np.zeros(CASES)
    for i, effect in enumerate(EFFECTS):
        effects[i * PLANTED : (i + 1) * PLANTED] = np.log1p(effect)
    found, other = np.zeros(len(EFFECTS)), 0
    for _ in range(POWER_SUITES):
        words = np.array(judge_pairs(limits, SimulatedPairs(KEYS, source_of(kind), rng, effects=effects)).words)
        slower = words == "REGRESSED"
        found += [slower[i * PLANTED : (i + 1) * PLANTED].sum() for i in range(len(EFFECTS))]
        other += int(slower[len(EFFECTS) * PLANTED :].any())
    power = found / POWER_SUITES / PLANTED
    said = f"{kind}: finds " + ", ".join(f"{e:.0%} in {p:.2%}" for e, p in zip(EFFECTS, power, strict=True))
    print(f"{said} of {POWER_SUITES * PLANTED} cases each; unchanged cases red in {other} suites")
    assert other <= POWER_SUITES // 100 + 1, said
    assert (power >= LEAST_POWER[kind]).all(), said


def test_the_simulation_sees_a_rule_that_cries_wolf() -> None:
    rng = np.random.default_rng(50)
    naive = PairedRule(margin=0.0, level=0.5)
    limits = dict.fromkeys(KEYS, 0.0)
    red = sum(judge_pairs(limits, SimulatedPairs(KEYS, QUIET, rng), rule=naive).red for _ in range(20))
    assert red >= 5, "a margin of 0, no limit and a level of 50 % ought to show"


@pytest.mark.slow
def test_a_small_limit_does_not_make_the_gate_cry_wolf() -> None:
    rng = np.random.default_rng(40)
    limits = dict.fromkeys(KEYS, SMALL_LIMIT)
    red = sum(judge_pairs(limits, SimulatedPairs(KEYS, QUIET, rng)).red for _ in range(300))
    assert red <= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "sigma", "others"),
    [(30, 0.05, 0.01), (12, 0.04, 0.01), (3, 0.04, 0.02), (12, 0.05, 0.05), (1, 0.05, 0.0)],
)
def test_a_case_that_is_slower_by_its_limit_passes_as_rarely_as_is_claimed_however_quiet_the_others_are(
    cases: int, sigma: float, others: float
) -> None:
    rng, suites, claimed = np.random.default_rng(70), 1500, PairedRule().pass_level
    keys = KEYS[:cases]
    noise = np.array([sigma, *[others] * (cases - 1)])
    effects = np.array([np.log1p(LIMIT), *[0.0] * (cases - 1)])

    def take(asked: Sequence[str], pairs: int) -> Floats:
        places = [keys.index(key) for key in asked]
        return effects[places, None] + noise[places, None] * rng.standard_normal((len(places), pairs))

    passed = sum(judge_pairs(dict.fromkeys(keys, LIMIT), take).words[0] == "PASS" for _ in range(suites)) / suites
    print(f"one of {cases} cases at its limit, sigma {sigma:.0%}, others {others:.0%}: PASS in {passed:.1%}")
    assert passed <= claimed + 2.5 * np.sqrt(claimed * (1 - claimed) / suites)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.02, 0.024, 0.03, 0.05])
def test_where_pairs_last_hardly_an_unchanged_suite_is_left_open_or_red(sigma: float) -> None:
    rng, suites, keys = np.random.default_rng(80), 150, KEYS[:12]
    found = [
        judge_pairs(dict.fromkeys(keys, LIMIT), lambda asked, n: rng.normal(0.0, sigma, (len(asked), n)))
        for _ in range(suites)
    ]
    left, red = sum("INCONCLUSIVE" in one.words for one in found), sum(one.red for one in found)
    print(f"12 unchanged cases, sigma {sigma:.1%}: {left} of {suites} suites with a case left open, {red} red")
    assert left <= 0.12 * suites and red <= suites // 100


def test_pairs_of_recorded_steps_favour_no_side_and_do_not_alias_with_their_period() -> None:
    steps = np.tile([1.0, 1.0, 1.3, 1.3], 50)
    fixed = np.log(steps[2::4].mean() / steps[0::4].mean())
    d = pool([steps, np.exp(np.random.default_rng(60).normal(0, 0.02, 200))], np.random.default_rng(61), 2000)
    assert d.shape == (2, 2000) and np.abs(d.mean(axis=1)).max() < 1e-12
    assert fixed > 0.26 and np.mean(np.abs(d[0]) > 0.13) < 0.1
    assert d[1].std() == pytest.approx(np.sqrt(2) * 0.02 * 1.36 / np.sqrt(20), rel=0.15)
