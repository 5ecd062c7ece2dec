"""The statistics of a history: what unchanged runs do is not called a change, what is more than that is."""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest

from llmbench.analyze.history import MIN_RUNS, Standing, holm, standings
from llmbench.analyze.tripwire import judge_standing
from llmbench.store.past import Levels

SUITES, CASES = 200, 100
LIMIT = 0.03
SLOWER = (0.05, 0.1)


class World(NamedTuple):
    """How runs of unchanged code differ, standard deviations of logs. `spread`: of the logs of the cases' own."""

    common: float = 0.0  # moves all cases of a run
    own: float = 0.01  # moves each case of a run alone
    spread: float = 0.0
    heavy: bool = False  # Student's t with 4 degrees of freedom instead of the normal


UNCHANGED = {  # and the power at 10 % that there must be
    "own noise alone": (World(), 0.95),
    "half of the variance is common": (World(common=0.00707, own=0.00707), 0.9),
    "nearly all is common": (World(common=0.0099, own=0.0014), 0.7),
    "cases differ in noise": (World(common=0.003, own=0.0095, spread=0.7), 0.6),
}


def levels(log_RC: np.ndarray) -> list[Levels]:
    """Runs of one process each."""
    return [{(f"case{i}", "time"): (math.exp(v),) for i, v in enumerate(row)} for row in log_RC]


def drawn(world: World, rng: np.random.Generator, runs: int, cases: int = CASES) -> np.ndarray:
    """Logs of levels of unchanged code, R x C, of cases that take 1 us to 1 s."""
    own_C = world.own * np.exp(world.spread * rng.standard_normal(cases))
    noise_RC = (
        rng.standard_t(4, (runs, cases)) / math.sqrt(2) if world.heavy else rng.standard_normal((runs, cases))
    )  # fmt: skip
    moved_R1 = world.common * rng.standard_normal((runs, 1))
    return rng.uniform(-14, 0, cases) + moved_R1 + own_C * noise_RC


def words(log_RC: np.ndarray) -> list[str]:
    """The word on each case of the last run, judged by those before."""
    *past, head = levels(log_RC)
    found = standings(past, head, ["time"])
    return [judge_standing("time", s, LIMIT, "store")[0] for s in found.values()]


def rates(world: World, *, runs: int = MIN_RUNS, suites: int = SUITES, seed: int = 1) -> tuple[int, int, list[float]]:
    """Suites that are red, suites that are not green, of unchanged code; and the power at 5 % and 10 %."""
    rng = np.random.default_rng(seed)
    red = unclear = 0
    hits: Counter[float] = Counter()
    for _ in range(suites):
        log_RC = drawn(world, rng, runs + 1)
        said = words(log_RC)
        red += "REGRESSED" in said
        unclear += bool({"REGRESSED", "INCONCLUSIVE"} & {*said})
        log_RC[-1, :2] += np.log1p(SLOWER)
        for share, word in zip(SLOWER, words(log_RC), strict=False):
            hits[share] += word == "REGRESSED"
    return red, unclear, [hits[share] / suites for share in SLOWER]


@pytest.mark.parametrize("name", UNCHANGED)
def test_of_200_unchanged_suites_of_100_cases_at_most_two_are_red(name: str) -> None:
    """With the youngest history that judges at all, of ten runs, and 1 % between runs."""
    world, least = UNCHANGED[name]
    red, unclear, power = rates(world)
    told = f"{name}: {red} red, {unclear} not green of {SUITES}; power at 5 % {power[0]:.1%}, at 10 % {power[1]:.1%}"
    assert red <= 0.01 * SUITES, told
    assert unclear <= 0.08 * SUITES, told
    assert power[1] >= least, told


def test_heavy_tails_seldom_make_a_suite_red() -> None:
    """Judged by a normal distribution alone, one in seven is."""
    red, unclear, power = rates(World(common=0.005, own=0.0087, heavy=True), runs=20, suites=100)
    assert red <= 3, f"{red} red, {unclear} not green of 100; power at 5 %, 10 %: {power}"


def test_a_longer_history_sees_more() -> None:
    young, old = (rates(World(), runs=runs, suites=60)[2][0] for runs in (MIN_RUNS, 40))
    assert old >= young and old > 0.65, f"power at 5 %: {young:.1%} of ten runs, {old:.1%} of forty"


def test_few_cases_are_judged_each_by_its_own_spread() -> None:
    rng = np.random.default_rng(2)
    red = sum("REGRESSED" in words(drawn(World(), rng, 13, cases=3)) for _ in range(400))
    assert red <= 8, f"{red} of 400 unchanged suites of three cases"
    quiet, noisy = (
        _only(standings(*_split(drawn(World(own=own), rng, 13, cases=1)), ["time"])) for own in (0.001, 0.05)
    )
    assert (quiet.detectable(0.0) or 1) < 0.02 < 0.1 < (noisy.detectable(0.0) or 0)


def _split(log_RC: np.ndarray) -> tuple[list[Levels], Levels]:
    *past, head = levels(log_RC)
    return past, head


def _only(found: dict[tuple[str, str], Standing]) -> Standing:
    (standing,) = found.values()
    return standing


def test_a_prediction_limit_is_that_of_the_textbook() -> None:
    """One case, ten runs: mean + t(0.9975; 9) s sqrt(1 + 1/10), as alpha .005 is split over jump and creep."""
    logs = [0.0, 0.01, -0.01, 0.02, 0.0, -0.02, 0.01, 0.0, -0.01, 0.0]
    past, head = _split(np.array([*logs, 0.03])[:, None])
    found = _only(standings(past, head, ["time"]))
    s = np.std(logs, ddof=1)
    assert found.error == pytest.approx(s * math.sqrt(1.1)) and found.freedom == 9
    assert found.limit is not None and math.log(found.limit) == pytest.approx(3.6897 * s * math.sqrt(1.1), rel=1e-4)
    assert found.ratio == pytest.approx(math.exp(0.03)) and found.runs == 10


def test_a_history_of_nine_runs_is_too_young_and_says_how_many_are_missing() -> None:
    found = _only(standings(*_split(np.zeros((MIN_RUNS, 1))), ["time"]))
    assert found.more is None and found.detectable(LIMIT) is None
    word, reason = judge_standing("time", found, LIMIT, "store")
    assert (word, reason) == (
        "INCONCLUSIVE", "time ratio 1 to the baseline's 9 runs; baseline too young: 9 of 10 runs, 1 missing",
    )  # fmt: skip


@pytest.mark.parametrize("limit", [0.0, 0.03])
def test_values_that_never_differ_pass_and_a_change_of_them_is_seen(limit: float) -> None:
    same = np.full((13, 1), math.log(0.1))
    assert judge_standing("time", _only(standings(*_split(same), ["time"])), limit, "s")[0] == "PASS"
    same[-1] += 0.05
    assert judge_standing("time", _only(standings(*_split(same), ["time"])), limit, "s")[0] == "REGRESSED"
    same[-1] -= 0.1
    assert judge_standing("time", _only(standings(*_split(same), ["time"])), limit, "s")[0] == "IMPROVED"


def test_creep_is_seen_where_no_run_is_much_slower_than_the_one_before() -> None:
    rng = np.random.default_rng(3)
    drift = np.linspace(0, math.log(1.08), 31)[:, None]
    crept = drawn(World(own=0.005), rng, 31, cases=1) + drift
    found = _only(standings(*_split(crept), ["time"]))
    word, reason = judge_standing("time", found, LIMIT, "s3://b")
    assert word == "REGRESSED" and reason.startswith("time has crept to 1.0")
    assert "of the first 5 runs since acceptance" in reason and "baseline accept RUN --store s3://b" in reason
    steady = _only(standings(*_split(crept - drift), ["time"]))
    assert judge_standing("time", steady, LIMIT, "s")[0] == "PASS" and abs(math.log(steady.crept or 0)) < 0.02


def test_a_run_of_fewer_processes_than_its_history_is_trusted_less_and_of_more_not_more() -> None:
    past = [{("a", "time"): (1.0 + 0.01 * (-1) ** i,) * 4} for i in range(12)]
    few, same, many = (
        _only(standings(past, {("a", "time"): (1.05,) * n}, ["time"])).error or 0.0 for n in (1, 4, 8)
    )  # fmt: skip
    assert same == many and few == pytest.approx(same * math.sqrt((4 + 1 / 12) / (1 + 1 / 12)))


def test_cases_that_came_later_or_lack_a_run_are_judged_by_the_runs_that_have_them() -> None:
    rng = np.random.default_rng(4)
    past, head = _split(drawn(World(), rng, 15, cases=12))
    for run in past[:6]:
        del run["case0", "time"]  # type: ignore[attr-defined]
    del past[9]["case1", "time"]  # type: ignore[attr-defined]
    del head["case2", "time"]  # type: ignore[attr-defined]
    found = standings(past, head, ["time"])
    assert ("case2", "time") not in found
    assert found["case0", "time"].runs == 8 and found["case0", "time"].more is None
    assert found["case1", "time"].runs == 13 and found["case1", "time"].more is not None


def test_what_is_not_positive_has_no_standing() -> None:
    past: list[Levels] = [{("a", "max_error"): (0.0,), ("b", "max_error"): (1.0,)}] * 12
    found = standings(past, {("a", "max_error"): (1.0,), ("b", "max_error"): (1.0,)}, ["max_error"])
    assert list(found) == [("b", "max_error")]


def test_holm_multiplies_by_the_tests_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []
