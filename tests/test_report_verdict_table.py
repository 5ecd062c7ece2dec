"""What a gate tells in short: cases without a result by reason, and how much the passes could have missed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from example_runs import OP, STEADY, make_suite, stored_run
from gate_outcomes import outcome

from llmbench.analyze.stored import Outcome
from llmbench.analyze.verdict import Verdict
from llmbench.report.verdict_table import Group, groups, summary
from llmbench.suite.catalog import ImplSpec

Command = Callable[..., "CompletedProcess[str]"]

ALL = dict.fromkeys(("naive", "flash", "flex"), STEADY)
CUDA = ("unavailable", "needs a CUDA device, this one is cpu")


def failed_at(folder: Path) -> Path:
    """A run of two implementations that pass, and five others without a result, for two reasons."""
    names = ("naive", "flash", "a", "b", "c", "big", "bigger")
    suite = make_suite(op=replace(OP, impls=tuple(map(ImplSpec, names))), impls=names)
    oom = {name: ("oom", f"tried {i}.5 GiB") for i, name in enumerate(("big", "bigger"))}
    return stored_run(
        folder, {"naive": STEADY, "flash": STEADY}, failed={**dict.fromkeys("abc", CUDA), **oom}, suite=suite
    )


def test_cases_without_a_result_are_told_by_reason_and_one_by_one_when_asked(llmbench: Command, tmp_path: Path) -> None:
    run, base = failed_at(tmp_path / "run"), failed_at(tmp_path / "base")
    lines = llmbench("gate", "stored", run, "--baseline", base, COLUMNS="200").stdout.splitlines()
    told = [i for i, line in enumerate(lines) if line.startswith("NO_RESULT")]
    assert [lines[i] for i in told] == ["NO_RESULT  3 cases: a, b, c", "NO_RESULT  2 cases: big, bigger"]
    assert lines[told[0] + 1].startswith("    unavailable: needs a CUDA device, this one is cpu; in the baseline")
    assert lines[told[1] + 1].startswith("    oom: tried 0.5 GiB; in the baseline oom too")
    table = llmbench("gate", "stored", run, "--baseline", base, "--markdown").stdout.splitlines()
    assert [row.split("|")[2] for row in table if row.startswith("| NO")] == [
        " 3 cases: a, b, c ",
        " 2 cases: big, bigger ",
    ]
    for form in ((), ("--markdown",)):
        every = llmbench("gate", "stored", run, "--baseline", base, "--all", *form).stdout
        rows = [line for line in every.splitlines() if line.strip("| ").startswith("NO_RESULT")]
        assert len(rows) == 5 and every.count("needs a CUDA device") == 3 and "tried 1.5 GiB" in every


def test_cases_of_a_group_are_named_in_the_fewest_words() -> None:
    def verdict(impl: str, phase: str, length: int, reason: str) -> Verdict:
        facts = {"impl": impl, "phase": phase, "seq_len": length}
        return Verdict("x", f"{impl} {phase}", "NO_RESULT" if reason else "PASS", reason, (), facts)

    found = [
        verdict(impl, phase, length, "no backward" if phase == "bwd" else "too long" if length > 512 else "")
        for impl in ("flex", "naive") for phase in ("fwd", "bwd") for length in (512, 1024)
    ]  # fmt: skip
    found += [verdict("flash", "fwd", 1024, "too long"), verdict("flash", "fwd", 512, "")]
    outcome = Outcome(0, "fail", None, None, {}, tuple(found), ())  # type: ignore[arg-type]
    assert groups(outcome) == [
        Group(4, "flex, naive (bwd)", "no backward"),
        Group(3, "flex, naive (fwd seq_len=1024), flash (seq_len=1024)", "too long"),
    ]


def test_what_the_gate_could_see_is_one_line_so_that_a_weak_pass_is_seen(llmbench: Command, tmp_path: Path) -> None:
    stored_run(tmp_path / "base", ALL)
    run = stored_run(tmp_path / "run", {**ALL, "flex": (0.6e-3, 1.0e-3, 1.6e-3)})
    weak = "time in 3 cases; minimum detectable effect 3.79 % (median), at worst 356 % (flex fwd)"
    assert f"passed    {weak}" in llmbench("gate", "stored", run, "--baseline", "base").stdout.splitlines()
    assert f"- **passed**: {weak}" in llmbench("gate", "stored", run, "--baseline", "base", "--markdown").stdout
    document = json.loads(llmbench("gate", "stored", run, "--baseline", "base", "--json").stdout)
    seen = document["detectable"]
    flex = next(v for v in document["verdicts"] if v["facts"]["impl"] == "flex")
    assert (seen["cases"], seen["median"], seen["worst_case_id"]) == (
        3,
        pytest.approx(0.0379, abs=1e-4),
        flex["case_id"],
    )
    assert seen["worst"] == next(f["detectable"] for f in flex["findings"] if f["metric"] == "time")
    stored_run(tmp_path / "slow", {name: [1.3 * t for t in STEADY] for name in ALL})
    args = ("gate", "stored", "slow", "--baseline", "base")
    assert json.loads(llmbench(*args, "--json", rc=1).stdout)["detectable"] is None
    assert "detectable effect" not in llmbench(*args, rc=1).stdout


def test_a_gate_that_timed_nothing_does_not_say_that_it_counts_as_a_pass() -> None:
    nothing = replace(outcome(["INCONCLUSIVE"]), exit_code=5, inconclusive="pass")
    assert summary(nothing) == "1 INCONCLUSIVE: exit 5, nothing was timed"
    assert summary(replace(nothing, inconclusive="fail")) == "1 INCONCLUSIVE: exit 5, inconclusive"
