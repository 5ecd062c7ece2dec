"""Counts of kernels, graphs and registers: compared to the last one, gated where a suite names them."""

import io
from pathlib import Path
from typing import Any

import pytest
from example_runs import STEADY, make_suite, stored_run
from rich.console import Console

from llmbench.analyze.compare import Comparison, compare
from llmbench.analyze.stored import Outcome, gate
from llmbench.analyze.verdict import Verdict
from llmbench.report import compare_table
from llmbench.store.origin import read_evidence

Counts = dict[str, dict[str, list[int]]]

TIMES = {"naive": STEADY, "flash": STEADY}
COUNTED = make_suite(gate={"launches": 0, "counted_flop": 0, "graph_breaks": 0, "registers": 0.1})
COUNTS: Counts = {
    "launches": {"flash": [12] * 3}, "graph_breaks": {"flash": [0] * 3}, "registers": {"flash": [100] * 3},
    "counted_flop": {"flash": [1 << 40] * 3},
}  # fmt: skip


def compared(folder: Path, a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    """Two stored runs, compared."""
    return compare(read_evidence(stored_run(folder / "a", **a)), read_evidence(stored_run(folder / "b", **b)))


def gated(folder: Path, base: Counts, run: Counts, **changes: Any) -> Outcome:
    """A stored run with these counts against a baseline with those."""
    sides = [stored_run(folder / name, TIMES, counts=c, **changes) for name, c in (("base", base), ("run", run))]
    return gate(*map(read_evidence, sides))


def of(outcome: Outcome, impl: str) -> Verdict:
    return next(v for v in outcome.verdicts if v.label.startswith(f"{impl} "))


def test_counts_are_compared_exactly_where_both_sides_have_them(tmp_path: Path) -> None:
    a = {"launches": {"flash": [12] * 3, "naive": [9] * 3}, "spills": {"flash": [0] * 3}}
    b = {"launches": {"flash": [13] * 3}, "graph_breaks": {"flash": [0] * 3}, "spills": {"flash": [2] * 3}}
    times = {"flash": STEADY, "naive": STEADY}
    found = compared(tmp_path, {"times": times, "counts": a}, {"times": times, "counts": b})
    assert found.metrics == ("time", "peak_memory", "launches", "spills")
    flash, naive = found.pairs
    assert flash.kinds == {"time": "same", "peak_memory": "same", "launches": "worse", "spills": "worse"}
    assert naive.kinds == {"time": "same", "peak_memory": "same"} and naive.kind == "same"
    out = io.StringIO()
    compare_table.show(found, Console(file=out, width=100))
    rows = [line.split() for line in out.getvalue().splitlines() if line.startswith("flash fwd")]
    assert [r[-6:] for r in rows] == [
        ["12", "13", "1.083", "exact", "+1", "worse"], ["0", "2", "–", "exact", "+2", "worse"],
    ]  # fmt: skip


def test_a_gate_that_names_a_count_tells_that_only_one_side_has_it(tmp_path: Path) -> None:
    suite = make_suite(gate={"launches": 0})
    found = compared(
        tmp_path, {"times": {"flash": STEADY}, "counts": {"launches": {"flash": [12] * 3}}},
        {"times": {"flash": STEADY}, "suite": suite},
    )  # fmt: skip
    assert found.pairs[0].kinds["launches"] == found.pairs[0].kind == "only in A"


@pytest.mark.parametrize(
    ("counts", "rc", "word", "said"),
    [
        ({}, 0, "PASS", "launches 12, the same as in the baseline"),
        ({"launches": {"flash": [13] * 3}}, 1, "REGRESSED",
         "launches 13 against 12 in the baseline: +1 (+8.33 %), more than the limit of 0 %"),
        ({"launches": {"flash": [11] * 3}}, 0, "IMPROVED", "launches 11 against 12 in the baseline: -1 (-8.33 %)"),
        ({"launches": {"flash": [12, 12, 13]}}, 0, "PASS", "judged like a time, as processes of one side disagree"),
        ({"graph_breaks": {"flash": [1] * 3}}, 1, "REGRESSED", "graph_breaks 1 against 0 in the baseline: +1, more"),
        ({"registers": {"flash": [110] * 3}}, 0, "PASS", "registers 110 against 100 in the baseline"),
        ({"registers": {"flash": [111] * 3}}, 1, "REGRESSED", "more than the limit of 10 %"),
        ({"counted_flop": {"flash": [2 << 40] * 3}}, 1, "REGRESSED",
         "counted_flop 2199023255552 FLOP against 1099511627776 FLOP in the baseline: +1099511627776 FLOP (+100 %)"),
        ({"counted_flop": {"flash": [(1 << 40) - 1] * 3}}, 0, "IMPROVED", "in the baseline: -1 FLOP"),
        ({"launches": {}}, 4, "MISSING", "launches was measured in the baseline but not in the run"),
    ],
)  # fmt: skip
def test_counts_are_gated_to_the_last_one(tmp_path: Path, counts: Counts, rc: int, word: str, said: str) -> None:
    outcome = gated(tmp_path, COUNTS, {**COUNTS, **counts}, suite=COUNTED)
    verdict = of(outcome, "flash")
    assert (outcome.exit_code, verdict.word) == (rc, word)
    assert any(said in finding.reason for finding in verdict.findings)
    assert of(outcome, "naive").word == "PASS"  # has no counts on either side


def test_one_process_is_enough_for_a_count(tmp_path: Path) -> None:
    one = {"launches": {"flash": [12]}}
    sides = [stored_run(tmp_path / n, {"flash": STEADY[:1]}, counts=one, suite=COUNTED) for n in ("base", "run")]
    findings = {f.metric: f.word for f in of(gate(*map(read_evidence, sides)), "flash").findings}
    assert findings == {"time": "INCONCLUSIVE", "peak_memory": "PASS", "launches": "PASS"}


@pytest.mark.parametrize(("base", "run"), [(COUNTS, {}), ({}, COUNTS)])
def test_a_run_without_the_probe_does_not_fail_where_no_gate_names_it(
    tmp_path: Path, base: Counts, run: Counts
) -> None:
    outcome = gated(tmp_path, base, run)
    assert outcome.exit_code == 0 and {v.word for v in outcome.verdicts} == {"PASS"}


def test_counts_that_no_gate_names_fail_nothing(tmp_path: Path) -> None:
    outcome = gated(tmp_path, COUNTS, {"launches": {"flash": [13] * 3}})
    assert outcome.exit_code == 0 and {*outcome.limits} == {"time", "peak_memory"}
