"""From blocks to the value of a pair, and blocks on disk: what does not count is kept and left out."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmbench.analyze.paired import judge_pairs
from llmbench.errors import RunError
from llmbench.run.paired.guard import Faults, confirmed_alone, suspicious
from llmbench.run.paired.quantile import logs_of, ratio_of
from llmbench.run.paired.source import Replay
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
    found = judge_pairs({"a": 0.03}, lambda cases, pairs: np.full((1, pairs), 0.1)).decisions["a"]
    assert found.word == "REGRESSED" and found.questions == (2,)
    told = confirmed_alone(found, Faults(0.0, 3000.0), lambda key: replace(found, reason="alone"))
    assert told.questions == (-2,) and "again, alone in its processes: alone" in told.reason


def test_page_faults_are_suspicious_where_they_could_make_up_for_the_margin() -> None:
    even = [block("base", [1e-3, 1e-3], faults=6), block("head", [1e-3, 1e-3], faults=9)]
    assert suspicious("a", even, margin=0.005) is None
    many = [block("base", [1e-3, 1e-3], faults=6), block("head", [1e-3, 1e-3], faults=6000)]
    found = suspicious("a", many, margin=0.005)
    assert found is not None and (found.base, found.head) == (1.0, 1000.0)  # 3 samples of 2 calls
    assert found.text == "1 page faults a call in base, 1e+03 in head"
    assert suspicious("b", many, margin=0.005) is None
