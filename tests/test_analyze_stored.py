"""The stored gate where wolf is not to be cried, and where silence is not to pass."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from example_runs import STEADY, make_row, make_suite, stored_run

from llmbench.analyze.change import change
from llmbench.analyze.compare import compare, kind_of
from llmbench.analyze.stored import Outcome, gate, refuse_itself, without_baseline
from llmbench.analyze.verdict import judge_change
from llmbench.errors import UsageError
from llmbench.report import verdict_table
from llmbench.store.origin import read_evidence
from llmbench.store.query import Row
from llmbench.suite.suite import GateCase

TIMES = {"naive": STEADY, "flash": STEADY}
MIB = 1 << 20


def judged(folder: Path, base: dict[str, Any], run: dict[str, Any]) -> Outcome:
    """The gate on two stored runs of two implementations."""
    sides = [stored_run(folder / name, **{"times": TIMES, **given}) for name, given in (("base", base), ("run", run))]
    return gate(*map(read_evidence, sides))


def rows(values: list[float], metric: str = "time") -> list[Row]:
    return [make_row(metric=metric, value=v, process=i, n=1) for i, v in enumerate(values)]


def said(a: list[float], b: list[float], limit: float, metric: str = "time") -> tuple[str, str]:
    found = change(metric, rows(a, metric), rows(b, metric))
    assert found is not None
    finding = judge_change(found, limit)
    return finding.word, finding.reason


@pytest.mark.parametrize(
    ("base", "run"),
    [
        ({"times": {}, "failed": dict.fromkeys(TIMES, ("oom", "80 GiB"))},
         {"times": {}, "failed": dict.fromkeys(TIMES, ("wrong", "off by 2"))}),
        ({"times": {}, "failed": dict.fromkeys(TIMES, ("error", "boom"))}, {}),  # all FIXED
        ({"times": {}, "failed": dict.fromkeys(TIMES, ("skipped", "too large"))}, {}),  # all NEW
        ({"times": {}}, {}),
        ({"times": {"naive": STEADY}, "more": {"max_error": [float("nan")] * 3}}, {"times": {"flash": STEADY}}),
    ],
)  # fmt: skip
def test_where_nothing_was_judged_nothing_passes(tmp_path: Path, base: dict[str, Any], run: dict[str, Any]) -> None:
    found = judged(tmp_path, base, run)
    assert found.exit_code == 4 and not found.judged
    assert "no case has a result on both sides: nothing was judged, so nothing passes" in found.warnings
    if not any(v.word == "MISSING" for v in found.verdicts):
        assert verdict_table.summary(found).endswith(": exit 4, nothing to judge by")


def test_a_metric_of_the_run_alone_is_nothing_to_judge_by(tmp_path: Path) -> None:
    nothing = {"times": dict.fromkeys(TIMES, (float("nan"),) * 3), "memory": dict.fromkeys(TIMES, (float("nan"),) * 3)}
    found = judged(tmp_path, nothing, {})
    assert {f.word for v in found.verdicts for f in v.findings} == {"NEW"} and found.exit_code == 4


def test_what_broke_is_still_broken_where_nothing_else_was_judged(tmp_path: Path) -> None:
    found = judged(tmp_path, {"times": {"flash": STEADY}}, {"times": {}, "failed": {"flash": ("wrong", "off by 2")}})
    assert (found.exit_code, found.verdicts[0].word) == (1, "BROKEN")


@pytest.mark.parametrize("medians", [[1.0, 1.0, 1.0], [1.0, 1.01, 0.99], [0.0, 0.0, 0.0]])
def test_a_limit_of_zero_lets_a_run_pass_against_itself(medians: list[float]) -> None:
    assert said(medians, medians, 0.0)[0] == "PASS"
    found = change("time", rows(medians), rows(medians))
    assert found is not None and kind_of(found, 0.0) == "same"
    if medians[0]:
        assert said(medians, [1.001 * m for m in medians], 0.0)[0] == (
            "REGRESSED" if len({*medians}) == 1 else "INCONCLUSIVE"
        )


def test_a_change_within_the_limit_is_no_improvement_however_sure() -> None:
    sure = [0.98, 0.9801, 0.9799]
    assert said([1.0, 1.0001, 0.9999], sure, 0.03)[0] == "PASS"
    assert said([1.0, 1.0001, 0.9999], sure, 0.01)[0] == "IMPROVED"


def test_memory_more_than_its_limit_by_a_byte_regressed_and_within_it_did_not() -> None:
    within, above, twice = ([1000.0], [1010.0]), ([1000.0], [1011.0]), ([1000.0], [1019.0])
    words = [said(*sides, 0.01, "peak_memory")[0] for sides in (within, above, twice)]
    assert words == ["PASS", "REGRESSED", "REGRESSED"]
    assert said([1011.0], [1000.0], 0.01, "peak_memory")[0] == "IMPROVED"
    assert said([1010.0], [1000.0], 0.01, "peak_memory")[0] == "PASS"


def test_memory_that_varies_does_not_escape_an_exact_baseline(tmp_path: Path) -> None:
    found = judged(tmp_path, {}, {"memory": {"flash": [MIB + 512, MIB + 1024, MIB + 512]}})
    verdict = found.verdicts[0]
    assert (found.exit_code, verdict.label, verdict.word) == (1, "flash fwd", "REGRESSED")
    assert verdict.reason == (
        "peak_memory 1049088 to 1049600 B, in every process more than the 1048576 B of the baseline by more than the "
        "limit of 0 %"
    )
    pair = compare(read_evidence(tmp_path / "base"), read_evidence(tmp_path / "run")).pairs[0]
    assert (pair.label, pair.kinds["peak_memory"]) == ("flash fwd", "worse")


@pytest.mark.parametrize(
    ("base", "run", "limit", "word"),
    [
        ([MIB] * 3, [MIB, MIB + 512, MIB + 512], 0.0, "PASS"),  # one process as before
        ([MIB] * 3, [MIB + 512, MIB + 1024, MIB + 512], 0.01, "PASS"),
        ([MIB] * 3, [2 * MIB, 3 * MIB, 2 * MIB], 0.01, "REGRESSED"),
        ([MIB, MIB + 512, MIB], [MIB + 1024] * 3, 0.0, "PASS"),  # the baseline varies itself
        ([MIB], [MIB + 512, MIB + 1024], 0.0, "REGRESSED"),
    ],
)
def test_memory_is_judged_like_a_time_where_it_varies(
    tmp_path: Path, base: list[int], run: list[int], limit: float, word: str
) -> None:
    suite = make_suite(gate={"peak_memory": limit})
    sides = [{"times": {"flash": STEADY[: len(m)]}, "memory": {"flash": m}, "suite": suite} for m in (base, run)]
    found = judged(tmp_path, *sides)
    assert next(f.word for f in found.verdicts[0].findings if f.metric == "peak_memory") == word
    text = "peak_memory differs between processes of one side in 1 case: judged like a time there, not exactly"
    assert text in found.warnings


def test_a_count_that_varies_above_an_exact_one_has_no_unit() -> None:
    assert said([4.0] * 3, [5.0, 6.0, 5.0], 0.0, "launches") == (
        "REGRESSED",
        "launches 5 to 6, in every process more than the 4 of the baseline by more than the limit of 0 %",
    )


def test_exact_memory_is_not_said_to_vary(tmp_path: Path) -> None:
    found = judged(tmp_path, {}, {"memory": {"flash": [2 * MIB] * 3}})
    assert found.exit_code == 1 and not any("differs between processes" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("a", "b"), [([512.0], [-5.0]), ([-5.0], [512.0]), ([-5.0], [-5.0]), ([5.0, 5.0], [5.0, -5.0])]
)
def test_negative_memory_is_no_measurement(a: list[float], b: list[float]) -> None:
    word, reason = said(a, b, 0.0, "peak_memory")
    assert (word, reason) == ("INCONCLUSIVE", "peak_memory is -5 B, which nothing can be")
    found = change("peak_memory", rows(a, "peak_memory"), rows(b, "peak_memory"))
    assert found is not None and found.ratio is None and kind_of(found, 0.03) == "unclear"


def test_nothing_has_a_ratio_to_zero() -> None:
    for a, b in (([512.0], [0.0]), ([0.0], [512.0])):
        found = change("peak_memory", rows(a, "peak_memory"), rows(b, "peak_memory"))
        assert found is not None and found.ratio is None
    assert said([512.0], [0.0], 0.0, "peak_memory")[0] == "IMPROVED"
    assert said([0.0], [512.0], 0.0, "peak_memory")[0] == "REGRESSED"


def test_each_metric_is_unclear_by_its_own_limit(tmp_path: Path) -> None:
    suite = make_suite(gate={"time": 0.5, "peak_reserved": 0.01, "max_error": 0.5})
    metrics = [{"peak_reserved": [v], "max_error": [v]} for v in (1000.0, 1020.0)]
    sides = [
        {"times": {"flash": [1e-3 * f]}, "more": m, "suite": suite} for f, m in zip((1, 1.3), metrics, strict=True)
    ]
    base, run = (stored_run(tmp_path / name, **side) for name, side in zip("ab", sides, strict=True))
    kinds = compare(read_evidence(base), read_evidence(run)).pairs[0].kinds
    assert kinds == {"time": "same", "peak_memory": "same", "peak_reserved": "unclear", "max_error": "same"}


def test_a_gated_metric_that_nobody_measured_is_said(tmp_path: Path) -> None:
    suite = make_suite(gate={"peak_reserved": 0.1, "graph_breaks": 0})
    found = judged(tmp_path, {"suite": suite}, {"suite": suite})
    assert found.exit_code == 0
    assert "gate names peak_reserved, graph_breaks, which neither run has" in found.warnings
    one = judged(tmp_path / "one", {"suite": suite, "more": {"peak_reserved": [1.0] * 3}}, {"suite": suite})
    assert "gate names graph_breaks, which neither run has" in one.warnings and one.exit_code == 4


def test_memory_that_no_suite_gates_and_nobody_measured_is_no_limit(tmp_path: Path) -> None:
    nothing = {"memory": dict.fromkeys(TIMES, (float("nan"),) * 3)}
    assert judged(tmp_path / "nan", nothing, nothing).limits == {"time": 0.03}
    assert judged(tmp_path / "one", {}, nothing).limits == {"time": 0.03, "peak_memory": 0.0}, "missing in the run"
    for name in ("base", "run"):
        path = stored_run(tmp_path / name, TIMES) / "records.parquet"
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.equal(table["metric"], "time")), path)
    found = gate(read_evidence(tmp_path / "base"), read_evidence(tmp_path / "run"))
    assert found.limits == {"time": 0.03} and found.exit_code == 0
    assert without_baseline(read_evidence(tmp_path / "run"), "gone").limits == {"time": 0.03}, "nor without a baseline"


def test_a_run_is_not_judged_by_itself_nor_by_a_copy(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run", TIMES)
    shutil.copytree(run, tmp_path / "copy")
    for other in (run, tmp_path / "copy"):
        with pytest.raises(UsageError, match=r"^--baseline latest: this is run run, the very run that is judged, so "):
            refuse_itself(read_evidence(other), read_evidence(run), name="latest")
    namesake = stored_run(tmp_path / "elsewhere" / "run", {"naive": STEADY})
    refuse_itself(read_evidence(namesake), read_evidence(run), name="run")


def test_what_a_suite_leaves_out_is_not_judged_unless_a_case_has_a_limit_of_its_own(tmp_path: Path) -> None:
    own = GateCase({"impl": ("flash",)}, {"launches": 0.0})
    suite = make_suite(gate={"launches": None, "peak_memory": None}, gate_cases=(own,))
    counts = [{"launches": dict.fromkeys(TIMES, [n] * 3)} for n in (30, 39)]
    more = {"memory": dict.fromkeys(TIMES, [2 * MIB] * 3)}
    found = judged(tmp_path, {"suite": suite, "counts": counts[0]}, {"suite": suite, "counts": counts[1], **more})
    assert {v.label: v.word for v in found.verdicts} == {"flash fwd": "REGRESSED", "naive fwd": "PASS"}
    assert found.limits == {"time": 0.03} and not any("launches" in text for text in found.warnings)
    assert found.verdicts[1].not_gated == dict.fromkeys(("launches", "peak_memory"), "in every case of the suite")
    assert verdict_table.limits_text(found) == (
        "time +3 %, launches (exact in 1 case, not gated in 1 case), peak_memory (not gated in 2 cases)"
    )


@pytest.mark.parametrize("limit", [-1.0, 5.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(tmp_path: Path, limit: float) -> None:
    with pytest.raises(UsageError, match=r"^gate: time is (-1|5|nan|inf); wanted: 0 to 1 \(0\.05 is 5 %\)$"):
        judged(tmp_path, {}, {"suite": make_suite(gate={"time": limit})})
