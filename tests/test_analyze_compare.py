"""Comparisons: golden ratios and intervals, matching by identity, kinds, and how they are shown."""

import io
import json
import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import H100, OP, STEADY, make_row, make_suite, stored_run, time_row
from rich.cells import cell_len
from rich.console import Console
from scipy import stats

from llmbench.analyze.change import Change, change
from llmbench.analyze.compare import Comparison, compare, forest, kind_of
from llmbench.metrics import DETERMINISTIC, METRICS
from llmbench.report import compare_table
from llmbench.store.origin import read_evidence
from llmbench.store.query import Row
from llmbench.suite.catalog import ImplSpec

Command = Callable[..., "subprocess.CompletedProcess[str]"]
HOSTILE = "<script>alert(1)</script>\"'&|\n\x1b[31m" + "x" * 10_000


def processes(medians: Sequence[float], metric: str = "time") -> list[Row]:
    """A row a process."""
    return [make_row(metric=metric, value=v, process=i, n=1) for i, v in enumerate(medians)]


def ratio(a: Sequence[float], b: Sequence[float], metric: str = "time") -> Change:
    found = change(metric, processes(a, metric), processes(b, metric))
    assert found is not None
    return found


def compared(folder: Path, a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    """Two stored runs, compared."""
    return compare(read_evidence(stored_run(folder / "a", **a)), read_evidence(stored_run(folder / "b", **b)))


def printed(comparison: Comparison, width: int, *, everything: bool = False) -> str:
    out = io.StringIO()
    compare_table.show(comparison, Console(file=out, width=width), everything=everything)
    return out.getvalue()


def test_golden_ratio_of_three_processes_a_side() -> None:
    found = ratio([1.00, 1.02, 0.98], [1.30, 1.33, 1.27])
    assert (found.ratio, found.low, found.high) == pytest.approx((1.2999425, 1.2373442, 1.3657078), abs=1e-7)
    assert (found.basis, found.processes_a, found.processes_b) == ("processes", 3, 3)
    assert found.freedom == pytest.approx(3.9207, abs=1e-4)
    assert found.effect == pytest.approx(0.2999425, abs=1e-7)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3), (3, 8), (10, 4)])
def test_the_interval_is_welchs_on_the_log_scale(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    a, b = np.exp(rng.normal(0, 0.02, n)), np.exp(rng.normal(0.1, 0.05, m))
    wanted = stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(0.95)
    found = ratio(a.tolist(), b.tolist())
    assert (found.low, found.high) == pytest.approx((math.exp(wanted.low), math.exp(wanted.high)), rel=1e-9)
    assert found.ratio == pytest.approx(stats.gmean(b) / stats.gmean(a))


def test_its_interval_covers_what_it_should() -> None:
    """Unchanged code, three processes a side: 96.5 % of the intervals hold 1. A bootstrap's do in 80 %."""
    rng = np.random.default_rng(0)
    runs = np.exp(rng.normal(0, 0.01, (1000, 6)))
    covered = sum(not ratio(r[:3].tolist(), r[3:].tolist()).excludes_one for r in runs)
    assert 947 <= covered <= 983  # 965, and three standard deviations


def test_swapping_the_sides_turns_the_ratio_over() -> None:
    one, other = ratio([1.0, 1.1, 0.95], [2.0, 2.3]), ratio([2.0, 2.3], [1.0, 1.1, 0.95])
    assert one.ratio and one.low and one.high and other.ratio and other.low and other.high
    assert (one.ratio, one.low, one.high) == pytest.approx((1 / other.ratio, 1 / other.high, 1 / other.low))


def test_the_unit_of_time_does_not_matter() -> None:
    small, large = (ratio([s * 1.0, s * 1.1], [s * 2.0, s * 2.1]) for s in (1e-9, 1e3))
    assert (small.ratio, small.low, small.high) == pytest.approx((large.ratio, large.low, large.high))


def test_with_one_process_on_a_side_the_samples_are_all_there_is() -> None:
    a, b = [time_row(samples=[m * (1 + k / 100) for k in range(-5, 6)]) for m in (1.0, 1.2)]
    found = change("time", [a], [b])
    assert found is not None and a.low and a.high and b.low and b.high
    assert found.basis == "within one process" and found.detectable(0.03) is None
    down = math.hypot(math.log(1.2 / b.low), math.log(a.high))
    assert found.low == pytest.approx(1.2 * math.exp(-down)) and found.ratio == pytest.approx(1.2)
    assert found.low is not None and b.low / a.high < found.low < 1.2  # narrower than from end to end
    assert kind_of(found, 0.03) == "unclear"  # never worse, however narrow


def test_too_few_samples_leave_no_interval() -> None:
    found = change("time", [time_row(samples=[1.0, 1.1])], [time_row(samples=[1.0] * 9)])
    assert found is not None and (found.basis, found.low, found.high) == ("none", None, None)


def test_processes_that_agree_to_the_bit_need_no_tolerance() -> None:
    assert kind_of(ratio([1.0] * 3, [1.0] * 3), 0.03) == "same"
    found = ratio([0.1] * 3, [0.11] * 3)
    assert found.low == found.high == pytest.approx(1.1) and kind_of(found, 0.03) == "worse"
    assert found.detectable(0.03) == pytest.approx(0.03)


@pytest.mark.parametrize(("a", "b"), [([0.0], [1.0]), ([0.0, 1.0], [1.0, 1.0]), ([1e-300] * 2, [1e300, 1e-300])])
def test_extreme_values_give_no_infinity(a: list[float], b: list[float]) -> None:
    found = ratio(a, b)
    assert all(v is None or math.isfinite(v) for v in (found.ratio, found.low, found.high, found.detectable(0.03)))


def test_values_that_are_not_finite_are_no_values() -> None:
    assert ratio([1.0, math.nan, math.inf], [1.0]).processes_a == 1
    assert change("time", processes([math.nan]), []) is None


def test_what_is_detectable_is_found_in_four_of_five_runs() -> None:
    rng = np.random.default_rng(1)
    effect = ratio([0.99, 1.0, 1.01], [0.99, 1.0, 1.01]).detectable(0.03)
    assert effect == pytest.approx(0.0379, abs=1e-4)
    runs = np.exp(rng.normal(0, 0.01, (1500, 6)) + np.log1p([0, 0, 0, *[effect] * 3]))
    found = [ratio(r[:3].tolist(), r[3:].tolist()) for r in runs]
    power = sum(f.excludes_one and (f.ratio or 0) >= 1.03 for f in found) / len(found)
    assert 0.68 < power < 0.85  # the error of the run itself is an estimate of three


def test_memory_is_compared_to_the_byte() -> None:
    found = ratio([1 << 30] * 2, [(1 << 30) + 1] * 2, "peak_memory")
    assert (found.basis, found.a, found.b) == ("exact", 1 << 30, (1 << 30) + 1)
    assert kind_of(found, 0.03) == "worse"
    assert kind_of(ratio([512], [256], "peak_memory"), 0.03) == "better"
    assert ratio([0], [512], "peak_memory").ratio is None
    assert ratio([512, 1024], [512, 512], "peak_memory").basis == "processes"


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        ([1, 1.01, 0.99], [1.3, 1.31, 1.29], "worse"),
        ([1.3, 1.31, 1.29], [1, 1.01, 0.99], "better"),
        ([1, 1.01, 0.99], [1.01, 1.02, 1.0], "same"),
        ([1, 1.2, 0.9], [1.1, 1.3, 1.0], "unclear"),
        ([1, 1.0001, 0.9999], [1.003, 1.0031, 1.0029], "same"),  # three thousandths, however sure
        ([1], [1.3], "unclear"),
    ],
)
def test_kinds_of_change(a: list[float], b: list[float], kind: str) -> None:
    assert kind_of(ratio(a, b), 0.03) == kind


def test_less_is_better_for_every_metric_that_can_be_compared() -> None:
    assert {m.better for m in METRICS.values()} == {"lower", "none"}
    assert set(METRICS) >= DETERMINISTIC


def test_cases_are_matched_by_identity_not_by_name(tmp_path: Path) -> None:
    renamed = make_suite(name="other", axes=tuple(reversed(make_suite().axes)))
    longer = make_suite(fixed={"batch": 2})
    same = compared(tmp_path / "x", {"times": {"flash": STEADY}}, {"times": {"flash": STEADY}, "suite": renamed})
    assert [(p.kind, p.label) for p in same.pairs] == [("same", "flash fwd")]
    assert "different suites: A attention, B other" in same.warnings
    apart = compared(tmp_path / "y", {"times": {"flash": STEADY}}, {"times": {"flash": STEADY}, "suite": longer})
    assert sorted(p.kind for p in apart.pairs) == ["only in A", "only in B"]
    assert "no case is in both runs" in apart.warnings


def test_cases_come_worst_first_and_the_others_are_a_count(tmp_path: Path) -> None:
    names = ("broken", "slow", "slower", "gone", "same", "fast", "new", "dead", "fixed")
    suite = make_suite(op=replace(OP, impls=tuple(map(ImplSpec, names))), impls=names)
    faster, slow, slower = ([f * t for t in STEADY] for f in (0.7, 1.3, 1.5))
    a = dict.fromkeys(("broken", "slow", "slower", "gone", "same", "fast"), STEADY)
    b = {"slow": slow, "slower": slower, "same": STEADY, "fast": faster, "new": STEADY, "fixed": STEADY}
    found = compared(
        tmp_path,
        {"times": a, "suite": suite, "failed": {"dead": ("error", "x"), "fixed": ("oom", "80 GiB")}},
        {"times": b, "suite": suite, "failed": {"dead": ("error", "x"), "broken": ("wrong", "off by 2")}},
    )
    order = ["broken", "slower", "slow", "gone", "new", "fixed", "fast", "dead", "same"]
    assert [p.label.split()[0] for p in found.pairs] == order
    text = printed(found, 100)
    assert "2 worse, 1 better, 1 same; geometric mean of B/A 1.081" in text
    assert "ok → wrong (off by 2)" in text and "ok → absent" in text and "oom (80 GiB) → ok" in text
    assert [ln.split()[0] for ln in text.splitlines() if "[" in ln] == ["slower", "slow", "fast"]
    assert "same fwd" in printed(found, 100, everything=True)
    rows = forest(found)
    assert [(r.label, r.kind) for r in rows][0::3] == [("slower fwd", "worse"), ("same fwd", "same")]


def test_other_devices_and_versions_are_warned_of_loudly(tmp_path: Path) -> None:
    found = compared(
        tmp_path, {"times": {"flash": STEADY}}, {"times": {"flash": STEADY}, "key": "two", "versions": {"torch": "9"}}
    )
    assert found.warnings[0].startswith(f"different devices: A on {H100} (") and "not code" in found.warnings[0]
    assert "different torch: A 2.13.0, B 9; a change may be its doing" in found.warnings
    assert "warning: different devices" in printed(found, 200)


def test_a_suites_gate_names_further_metrics(tmp_path: Path) -> None:
    suite = make_suite(gate={"peak_reserved": 0.1})
    found = compared(tmp_path, {"times": {"flash": STEADY}, "suite": suite}, {"times": {"flash": STEADY}})
    assert found.metrics == ("time", "peak_memory")  # that nobody measured is left out
    assert set(found.pairs[0].kinds) == {"time", "peak_memory"}


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_table_fits_the_terminal(tmp_path: Path, width: int) -> None:
    slow = [1.3 * t for t in STEADY]
    failed = {"flex": ("error", "a long reason " * 20)}
    found = compared(tmp_path, {"times": dict.fromkeys(("naive", "flash", "flex"), STEADY)},
                     {"times": {"naive": slow, "flash": STEADY}, "failed": failed})  # fmt: skip
    lines = printed(found, width, everything=True).splitlines()
    assert max(map(cell_len, lines)) <= width
    row = next(line for line in lines if line.startswith("naive fwd") and "[" in line)
    assert "1.300" in row and "[1.271, 1.330]" in row and "+30.0%" in row and row.rstrip().endswith("worse")
    assert ("1.000 ms" in row) == (width >= 100)


def test_hostile_names_are_text_everywhere(llmbench: Command, tmp_path: Path) -> None:
    suite = make_suite(op=replace(OP, impls=(ImplSpec(HOSTILE), ImplSpec("b"))), impls=(HOSTILE, "b"))
    stored_run(tmp_path / "a", {HOSTILE: STEADY, "b": STEADY}, suite=suite)
    stored_run(tmp_path / "b", {HOSTILE: [2 * t for t in STEADY]}, failed={"b": ("error", HOSTILE)}, suite=suite)
    text = llmbench("compare", "a", "b", COLUMNS="80").stdout
    assert "\x1b" not in text and max(map(cell_len, text.splitlines())) <= 80 and "<script>alert(1)</script>" in text
    markdown = llmbench("compare", "a", "b", "--markdown").stdout
    assert "<script>" not in markdown and "\x1b" not in markdown and len(markdown) < 5000
    document = json.loads(llmbench("compare", "a", "b", "--json").stdout)
    assert {c["facts"]["impl"] for c in document["cases"]} == {HOSTILE, "b"}


def test_the_document_has_numbers_in_si_units_and_the_rows_of_a_forest_plot(llmbench: Command, tmp_path: Path) -> None:
    stored_run(tmp_path / "a", {"flash": STEADY, "naive": STEADY})
    stored_run(tmp_path / "b", {"flash": [1.3 * t for t in STEADY]})
    document = json.loads(llmbench("compare", "a", "b", "--json").stdout)
    assert document["schema"] == "llmbench.compare/1" and document["a"]["run_id"] == "a"
    worse, gone = document["cases"]
    assert (gone["kind"], gone["a"]["status"], gone["b"]) == ("only in A", "ok", None)
    time = worse["changes"][0]
    assert (time["metric"], time["kind"], time["basis"], time["unit"]) == ("time", "worse", "processes", "s")
    assert (time["ratio"], time["effect"], time["b"]) == pytest.approx((1.3, 0.3, 1.29996e-3), rel=1e-4)
    assert document["forest"] == [
        {"case_id": worse["case_id"], "label": "flash fwd", "metric": "time", "kind": "worse", "basis": "processes",
         **{k: time[k] for k in ("ratio", "low", "high")}}
    ]  # fmt: skip


def test_bad_usage_says_what_is_wanted(llmbench: Command, tmp_path: Path) -> None:
    stored_run(tmp_path / "a", {"flash": STEADY})
    assert "llmbench: nowhere: no such run" in llmbench("compare", "a", "nowhere", rc=2).stderr
    assert "choose one" in llmbench("compare", "a", "a", "--json", "--markdown", rc=2).stderr


@pytest.mark.parametrize(("gate", "kind"), [({}, "unclear"), ({"time": 0.5}, "same")])
def test_how_much_counts_is_what_the_suite_of_b_gates(tmp_path: Path, gate: dict[str, float], kind: str) -> None:
    b = {"times": {"flash": [1.3e-3]}, "suite": make_suite(gate=gate)}
    found = compared(tmp_path, {"times": {"flash": [1e-3]}}, b)
    assert found.pairs[0].kinds["time"] == kind
    assert any("one process on a side" in text for text in found.warnings)
    assert "~[1.2" in printed(found, 100, everything=True)
