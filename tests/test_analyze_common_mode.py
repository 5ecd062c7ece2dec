"""The common mode: a machine that is slower is no regression, and a history that wobbles with it is not blind."""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest

from llmbench.analyze.history import MIN_RUNS, Standing, standings
from llmbench.analyze.pace import Pace, moves_between, moves_of, pace_of, told
from llmbench.analyze.tripwire import judge_standing
from llmbench.store.past import Levels
from llmbench.store.sentinels import SentinelLevel

SUITES, CASES = 60, 60
LIMIT = 0.03
SLOWER = (0.05, 0.1)
NAMES = ("gemm", "copy", "launch")


class World(NamedTuple):
    """Standard deviations of logs between runs: of each case alone, of the machine, of sentinels beside it."""

    own: float = 0.01
    common: float = 0.0  # moves cases and sentinels
    sentinels: float = 0.0  # moves all sentinels, and no case
    watching: float = 0.002  # each sentinel alone
    share: float = 1.0  # of the cases, that the machine moves
    head: float | None = None  # how far the machine was in the run that is judged


class Rates(NamedTuple):
    """Suites of unchanged code that are red, the share of cases that follow a sentinel, power at 5 % and 10 %."""

    red: int
    follow: float
    power: tuple[float, ...]


def levels(log_RC: np.ndarray) -> list[Levels]:
    """Runs of one process each."""
    return [{(f"case{i}", "time"): (math.exp(v),) for i, v in enumerate(row)} for row in log_RC]


def drawn(world: World, rng: np.random.Generator, *, runs: int, cases: int = CASES) -> tuple[np.ndarray, np.ndarray]:
    """Logs of what cases (R x C) and sentinels (R x K) take, of unchanged code."""
    machine_R1 = world.common * rng.standard_normal((runs, 1))
    if world.head is not None:
        machine_R1[-1] = world.head
    moved_C = np.arange(cases) < world.share * cases
    log_RC = rng.uniform(-14, 0, cases) + machine_R1 * moved_C + world.own * rng.standard_normal((runs, cases))
    alone_R1 = world.sentinels * rng.standard_normal((runs, 1))
    return log_RC, machine_R1 + alone_R1 + world.watching * rng.standard_normal((runs, len(NAMES)))


def judged(log_RC: np.ndarray, log_RK: np.ndarray | None) -> dict[str, Standing]:
    """The last run by those before, with its sentinels or without."""
    *past, head = levels(log_RC)
    pace = None if log_RK is None else Pace(NAMES, log_RK[:-1], log_RK[-1])
    return {case: s for (case, _), s in standings(past, head, ["time"], pace).items()}


def words(found: dict[str, Standing]) -> list[str]:
    return [judge_standing("time", s, LIMIT, "store")[0] for s in found.values()]


def rates(
    world: World, *, runs: int = MIN_RUNS, suites: int = SUITES, cases: int = CASES, watched: bool = True
) -> Rates:
    rng = np.random.default_rng(1)
    red, follow, hits = 0, 0.0, Counter[float]()
    for _ in range(suites):
        log_RC, log_RK = drawn(world, rng, runs=runs + 1, cases=cases)
        sentinels = log_RK if watched else None
        found = judged(log_RC, sentinels)
        red += "REGRESSED" in words(found)
        follow += sum(s.follows is not None for s in found.values()) / len(found)
        log_RC[-1, :2] += np.log1p(SLOWER)
        for share, word in zip(SLOWER, words(judged(log_RC, sentinels)), strict=False):
            hits[share] += word == "REGRESSED"
    return Rates(red, follow / suites, tuple(hits[share] / suites for share in SLOWER))


def test_where_nothing_moves_all_cases_nothing_is_corrected_and_nothing_lost() -> None:
    world = World()
    without, found = rates(world, watched=False), rates(world)
    assert found.red <= 1 and found.follow <= 0.005, found
    assert found.power[0] >= without.power[0] - 0.05 and found.power[1] >= 0.95, (without, found)


def test_where_the_machine_moves_all_cases_unchanged_code_stays_green_and_regressions_are_seen() -> None:
    world = World(own=0.005, common=0.02, watching=0.003)
    without, found = rates(world, watched=False), rates(world)
    assert found.red <= 1 and found.follow >= 0.9, found
    assert without.power[0] <= 0.1 and without.power[1] <= 0.3, without
    assert found.power[0] >= 0.8 and found.power[1] >= 0.95, found


def test_where_sentinels_alone_move_nothing_is_corrected() -> None:
    world = World(sentinels=0.02)
    without, found = rates(world, watched=False), rates(world)
    assert found.red <= 1 and found.follow == 0 and found.power == without.power, (without, found)


def test_a_machine_further_off_than_ever_is_no_regression() -> None:
    """6 %, three standard deviations: limits widen with the distance from the history. What is red has a history that
    happens to have wobbled by less than 1 %, so that nobody could see who follows; it is red without sentinels, too."""
    world = World(own=0.005, common=0.02, watching=0.003, head=0.06)
    without, found = rates(world, watched=False), rates(world)
    assert found.red <= without.red <= 3 and found.follow >= 0.85 and found.power[1] >= 0.9, (without, found)


def test_cases_that_the_machine_does_not_move_are_judged_without_it() -> None:
    found = rates(World(own=0.005, common=0.02, share=0.5), suites=30)
    assert found.red <= 1 and 0.4 <= found.follow <= 0.55, found
    rng = np.random.default_rng(2)
    own = judged(*drawn(World(own=0.005, common=0.02, share=0.5), rng, runs=21))
    assert all((s.follows is not None) == (int(case[4:]) < CASES // 2) for case, s in own.items())
    assert max(s.detectable(0.0) or 1 for s in own.values()) < 0.06


@pytest.mark.parametrize("world", [World(), World(own=0.005, common=0.02)], ids=["own", "common"])
def test_few_cases_are_no_worse(world: World) -> None:
    found = rates(world, suites=200, cases=3, runs=12)
    assert found.red <= 4, found


def test_the_choice_is_blind_to_the_run_that_is_judged() -> None:
    log_RC, log_RK = drawn(World(own=0.004, common=0.01), np.random.default_rng(3), runs=13, cases=12)
    before = {case: s.follows for case, s in judged(log_RC, log_RK).items()}
    log_RC[-1] += np.linspace(-1, 1, 12)
    log_RK[-1] += (0.3, -0.2, 0.1)
    assert {case: s.follows for case, s in judged(log_RC, log_RK).items()} == before and any(before.values())


def test_each_case_follows_the_sentinel_that_is_like_it() -> None:
    rng = np.random.default_rng(4)
    log_RK = 0.02 * rng.standard_normal((15, 3))
    log_RC = np.repeat(log_RK, 4, axis=1) + 0.002 * rng.standard_normal((15, 12))
    found = judged(log_RC, log_RK)
    assert [s.follows for s in found.values()] == [name for name in NAMES for _ in range(4)]
    moved = log_RK[-1] - log_RK[:-1].mean(axis=0)
    for i, s in enumerate(found.values()):
        assert s.moved == pytest.approx(math.exp(moved[i // 4])) and abs(math.log(s.ratio)) < 0.01
        assert s.seen == pytest.approx(math.exp(log_RC[-1, i])) and s.usual * s.moved * s.ratio == pytest.approx(s.seen)


def test_a_corrected_prediction_limit_is_that_of_a_line_of_slope_one() -> None:
    """One case, ten runs: mean + t(0.9975; 9) s sqrt(1 + 1/10 + d^2 / sum of d^2), s of what a sentinel leaves."""
    rng = np.random.default_rng(5)
    log_RK = 0.02 * rng.standard_normal((11, 1))
    log_RK[-1] = 0.06
    log_RC = log_RK + 0.003 * np.resize([1.0, -1.0], (11, 1))
    *past, head = levels(log_RC)
    (found,) = standings(past, head, ["time"], Pace(("gemm",), log_RK[:-1], log_RK[-1])).values()
    left = (log_RC - log_RK)[:-1, 0]
    away = log_RK[:-1, 0] - log_RK[:-1, 0].mean()
    far = log_RK[-1, 0] - log_RK[:-1, 0].mean()
    assert found.follows == "gemm" and found.freedom == 9
    assert found.error == pytest.approx(np.std(left, ddof=1) * math.sqrt(1.1 + far**2 / np.sum(away**2)))
    assert math.log(found.ratio) == pytest.approx(log_RC[-1, 0] - far - log_RC[:-1, 0].mean())


def test_runs_from_before_there_were_sentinels_count_for_creep_alone() -> None:
    rng = np.random.default_rng(6)
    log_RC, log_RK = drawn(World(own=0.002, common=0.02), rng, runs=31, cases=12)
    log_RK[:12] = np.nan
    found = judged(log_RC, log_RK)
    assert {(s.follows is not None, s.runs) for s in found.values()} == {(True, 18)}
    log_RC[12:] += math.log(1.3)  # where they begin, the code is slower: no drift of the machine, which did not move
    crept = judged(log_RC, log_RK)
    assert all((s.crept or 0) > 1.2 and abs(math.log(s.ratio)) < 0.02 for s in crept.values())
    log_RK[:22] = np.nan
    assert {(s.follows, s.runs) for s in judged(log_RC, log_RK).values()} == {(None, 30)}, "nine runs are too few"


def test_what_is_no_time_follows_nothing() -> None:
    log_RC, log_RK = drawn(World(own=0.001, common=0.02), np.random.default_rng(7), runs=13, cases=4)
    *past, head = [{(case, "energy"): v for (case, _), v in run.items()} for run in levels(log_RC)]
    found = standings(past, head, ["energy"], Pace(NAMES, log_RK[:-1], log_RK[-1]))
    assert {s.follows for s in found.values()} == {None}


def test_values_that_never_differ_follow_nothing() -> None:
    _, log_RK = drawn(World(common=0.02), np.random.default_rng(8), runs=13)
    found = judged(np.full((13, 3), math.log(0.1)), log_RK)
    assert all(s.follows is None and s.ratio == pytest.approx(1.0) for s in found.values())
    still = judged(*[drawn(World(), np.random.default_rng(8), runs=13)[0], np.zeros((13, 3))])
    assert {s.follows for s in still.values()} == {None}, "sentinels that never differ"


def level(name: str, seconds: float, **changes: object) -> SentinelLevel:
    return SentinelLevel(**{"name": name, "version": 1, "work": "w", "level_s": seconds, "samples": 8, **changes})  # type: ignore[arg-type]


def test_another_version_or_other_work_is_another_sentinel() -> None:
    past = [[level("gemm", 1.0), level("copy", 2.0), level("launch", 3.0)]] * 12
    head = [level("gemm", 1.1), level("copy", 2.2, version=2), level("launch", 3.3, work="other")]
    pace = pace_of(past, head, least=MIN_RUNS)
    assert pace.names == ("gemm",) and pace.moved == pytest.approx([math.log(1.1)])
    assert pace_of(past[:9], head, least=MIN_RUNS).names == () and pace_of([], [], least=MIN_RUNS).names == ()


def test_a_machine_beyond_its_limits_is_told_in_plain_words() -> None:
    wobble = [0.99, 1.01] * 7
    past = [[level("gemm", w), level("copy", 2 * w), level("launch", w)] for w in wobble]
    head = [level("gemm", 1.062), level("copy", 1.8), level("launch", 1.01)]
    moves = moves_of(pace_of(past, head, least=MIN_RUNS))
    assert [(m.name, m.runs) for m in moves] == [("gemm", 14), ("copy", 14)]
    s = 0.01 * math.sqrt(14 / 13) * math.sqrt(15 / 14)  # and t(1 - .01 / 3; 13) = 3.22293
    assert moves[0].limit == pytest.approx(math.exp(3.22293 * s), rel=1e-4)
    assert told(moves[:1], than="in the last 14 runs") == (
        "this machine was 6.21 % slower than in the last 14 runs by the sentinel gemm (limit 3.52 %)"
    )
    assert told(moves, than="in the last 14 runs").endswith(
        "by the sentinel gemm (limit 3.52 %) and 10 % faster by the sentinel copy (limit 3.4 %)"
    )


def test_an_unmoved_machine_is_told_in_at_most_one_of_fifty_runs() -> None:
    rng = np.random.default_rng(9)
    seen = 0
    for _ in range(2000):
        log_RK = 0.01 * rng.standard_normal((13, 3))
        seen += bool(moves_of(Pace(NAMES, log_RK[:-1], log_RK[-1])))
    assert 10 <= seen <= 60, seen


def test_against_one_run_a_move_is_told_from_a_share_on() -> None:
    base, head = [level("gemm", 1.0), level("copy", 1.0)], [level("gemm", 1.03), level("copy", 1.01)]
    (move,) = moves_between(base, head, least=0.015)
    assert told([move], than="in the baseline") == (
        "this machine was 3 % slower than in the baseline by the sentinel gemm"
    )
    assert moves_between(base, [level("gemm", 1.5, version=2)], least=0.01) == []
