"""From blocks to the value of a pair, and blocks on disk: what does not count is kept and left out."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from llmbench.analyze.paired import Decision, Judged, PairedRule, judge_pairs
from llmbench.errors import RunError
from llmbench.run.paired.guard import Faults, confirmed_alone, suspicious
from llmbench.run.paired.quantile import logs_of, ratio_of
from llmbench.run.paired.source import Replay
from llmbench.run.paired.turns import SIDES
from llmbench.store.pairs import PAIRS, PairBlock, read_pairs, write_pairs
from llmbench.store.record import SideName


def block(
    side: SideName,
    times: list[float],
    *,
    case: str = "a",
    pair: int = 0,
    look: int = 1,
    process: int = 0,
    faults: int = 0,
) -> PairBlock:
    return PairBlock(
        look, pair, 0, 0, side, process, case, alone=False, counts=True, dropped=1, calls=2, faults=faults, switches=0,
        cpu_s=0.1, time_s=[9.0, *times], t_ns=[1] * (len(times) + 1), flags=[""] * (len(times) + 1),
    )  # fmt: skip


def test_the_value_of_a_pair_is_the_log_ratio_of_25_percent_quantiles_without_the_first_samples() -> None:
    logs = logs_of([block("base", [1.0, 2.0]), block("head", [2.0, 4.0, 6.0]), block("base", [3.0, 4.0, 5.0])])["a"]
    assert math.exp(logs["base"]) == pytest.approx(2.0) and math.exp(logs["head"]) == pytest.approx(3.0)
    assert ratio_of(logs) == pytest.approx(math.log(1.5))


def test_blocks_that_do_not_count_are_left_out() -> None:
    blocks = [block("base", [1.0]), block("head", [1.0]), replace(block("head", [5.0]), counts=False)]
    assert ratio_of(logs_of(blocks)["a"]) == 0.0


def test_processes_of_a_side_are_averaged_and_not_pooled() -> None:
    blocks = [block("base", [1.0] * 9, process=0), block("base", [4.0], process=1), block("head", [2.0], process=2)]
    assert ratio_of(logs_of(blocks)["a"]) == pytest.approx(0.0)


def test_a_side_without_a_value_makes_the_pair_nan() -> None:
    assert math.isnan(ratio_of(logs_of([block("base", [1.0])])["a"]))
    assert math.isnan(ratio_of(None))
    assert math.isnan(ratio_of(logs_of([block("base", [0.0]), block("head", [1.0])])["a"]))


def test_a_replay_gives_each_look_its_pairs_again() -> None:
    blocks = [
        block(side, [time], case=case, pair=pair, look=look)
        for look, pair, case, base, head in (
            (1, 0, "a", 1.0, 2.0), (1, 0, "b", 1.0, 1.0), (1, 1, "a", 1.0, 1.0), (1, 1, "b", 1.0, 4.0),
            (2, 2, "b", 2.0, 1.0),
        )
        for side, time in (("base", base), ("head", head))
    ]  # fmt: skip
    replay = Replay(blocks)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.exp(replay.take(["a", "b"], 8)), [[2, 1], [1, 4]])
    np.testing.assert_allclose(np.exp(replay.take(["b"], 8)), [[0.5]])
    assert replay.take(["b"], 8).shape == (1, 0)


def test_blocks_survive_the_disk(tmp_path: Path) -> None:
    blocks = [block("base", [1.0, 2.0], faults=7), replace(block("head", []), counts=False, flags=["throttled"])]
    write_pairs(tmp_path, blocks)
    assert read_pairs(tmp_path) == blocks
    assert pq.read_table(tmp_path / PAIRS).column("time_s").to_pylist()[0] == [9.0, 1.0, 2.0]


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / PAIRS)
    with pytest.raises(RunError, match=r"pairs\.parquet: schema '', wanted 'llmbench.pairs/1'"):
        read_pairs(tmp_path)
    (tmp_path / PAIRS).write_bytes(b"nothing")
    with pytest.raises(RunError, match="not readable as pairs"):
        read_pairs(tmp_path)


def test_what_was_measured_again_alone_is_told_by_those_pairs() -> None:
    judged = judge_pairs({"a": 0.03}, lambda cases, pairs: np.full((1, pairs), 0.1))
    found = judged.decisions["a"]
    assert found.word == "REGRESSED" and found.questions == (2,)
    told = confirmed_alone(found, Faults(0.0, 3000.0), lambda key: judged)
    assert told.questions == (-2,) and "again, alone in its processes: ratio 1.105" in told.reason


def test_a_replay_leaves_out_what_the_guard_measured_in_between() -> None:
    blocks = [block(side, [1.0], case="a", look=1) for side in SIDES]
    blocks += [block(side, [1.0], case="b", look=1) for side in SIDES]
    blocks += [block(side, [3.0], case="a", look=look, pair=1 - look) for look in (-1, -2) for side in SIDES]
    blocks += [block("base", [1.0], case="b", look=2, pair=9), block("head", [2.0], case="b", look=2, pair=9)]
    replay = Replay(blocks)
    replay.take(["a", "b"], 8)
    np.testing.assert_allclose(np.exp(replay.take(["b"], 8)), [[2]])


def noisy(limits: dict[str, float], budget: int) -> tuple[list[tuple[int, int]], dict[str, Decision], Judged]:
    """Looks (cases, pairs) and decisions of a suite with `slow`, twice as slow, and others too noisy to pass; the guard
    doubts `slow` and measures it alone, within a budget of so many pairs."""
    dice, asked, told, left = np.random.default_rng(1), [], {}, [budget]

    def take(cases: Sequence[str], pairs: int) -> NDArray[np.float64]:
        asked.append((len(cases), pairs))
        pairs = min(pairs, left[0])
        left[0] -= pairs
        shift = np.array([np.log(2) if c == "slow" else 0.0 for c in cases])
        sigma = np.array([0.01 if c == "slow" else 0.3 for c in cases])
        return shift[:, None] + sigma[:, None] * dice.standard_normal((len(cases), pairs))

    def alone(key: str) -> Judged:
        return judge_pairs({key: limits[key]}, take, rule=PairedRule(spare_pairs=0))

    def guard(judged: Judged) -> None:
        told["slow"] = confirmed_alone(judged.decisions["slow"], Faults(0.0, 3000.0), alone)

    judged = judge_pairs(limits, take, rule=PairedRule(screen_level=1e-4), before_spare=guard)
    return asked, told, judged


LIMITS = {"slow": 0.03, **{f"n{i}": 0.03 for i in range(9)}}


def test_the_guard_measures_before_the_left_over_budget_is_spent() -> None:
    asked, told, judged = noisy(LIMITS, 100)
    assert asked[:4] == [(10, 8), (1, 24), (1, 8), (1, 24)]
    assert asked[4][0] > 1 and judged.words[0] == "REGRESSED", "then the others have what is left"
    assert (
        told["slow"].word == "REGRESSED" and "so it was measured again, alone in its processes" in told["slow"].reason
    )


def test_without_pairs_left_for_the_guard_the_verdict_stands_and_says_so() -> None:
    _, told, _ = noisy(LIMITS, 34)
    assert told["slow"].word == "REGRESSED" and told["slow"].pairs.confirm == 24
    assert told["slow"].reason.endswith(
        "0 page faults a call in base, 3e+03 in head, but the budget was spent before it was measured again, "
        "alone: this may be its heap's doing"
    )


def test_page_faults_are_suspicious_where_they_could_make_up_for_the_margin() -> None:
    even = [block("base", [1e-3, 1e-3], faults=6), block("head", [1e-3, 1e-3], faults=9)]
    assert suspicious("a", even, margin=0.005) is None
    many = [block("base", [1e-3, 1e-3], faults=6), block("head", [1e-3, 1e-3], faults=6000)]
    found = suspicious("a", many, margin=0.005)
    assert found is not None and (found.base, found.head) == (1.0, 1000.0)  # 3 samples of 2 calls
    assert found.text == "1 page faults a call in base, 1e+03 in head"
    assert suspicious("b", many, margin=0.005) is None
