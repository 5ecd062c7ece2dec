"""What a gate tells in short: cases without a result by reason, and how much the passes could have missed."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from example_runs import OP, STEADY, make_suite, stored_run
from gate_outcomes import outcome
from rich.console import Console

from llmbench.analyze.change import Change
from llmbench.analyze.stored import Outcome
from llmbench.analyze.verdict import Finding, Verdict, Word, verdict_of
from llmbench.report.verdict_cells import cells_of
from llmbench.report.verdict_table import FEW, Group, groups, render, show, shown, summary
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


def test_within_a_word_the_furthest_beyond_its_limit_comes_first_then_by_label() -> None:
    def case(label: str, *, ratio: float | None, limit: float = 0.03, word: Word = "INCONCLUSIVE") -> Verdict:
        change = Change("time", "s", 1.0 if ratio else None, ratio, 3, 3, ratio)
        return Verdict(label, label, word, "", (Finding("time", word, "", limit, None, change),))

    whole = Verdict(None, "suite", "INCONCLUSIVE", "")
    given = [
        case("a 1024", ratio=1.1), case("b", ratio=None), case("c", ratio=1.296), case("a 512", ratio=1.1),
        case("d", ratio=1.3, limit=0.3), case("f", ratio=0.9, word="IMPROVED"), case("e", ratio=0.5, word="IMPROVED"),
        whole, case("g", ratio=1.05, word="REGRESSED"),
    ]  # fmt: skip
    told = [v.label for v in sorted(given, key=lambda v: v.pressing)]
    assert told == ["g", "suite", "c", "a 512", "a 1024", "d", "b", "e", "f"]


def test_the_finding_that_decides_comes_first_in_the_reason() -> None:
    def finding(metric: str, word: Word, a: float, b: float) -> Finding:
        ratio = b / a if a else None
        return Finding(metric, word, metric, 0.0, None, Change(metric, "1", a, b, 2, 2, ratio, basis="exact"))

    few, many_, breaks = (
        finding("launches", "REGRESSED", 4, 5), finding("peak_memory", "REGRESSED", 1, 9),
        finding("graph_breaks", "REGRESSED", 0, 1),
    )  # fmt: skip
    unclear, slower = finding("time", "INCONCLUSIVE", 1, 2), finding("time", "REGRESSED", 1, 1.1)
    found = verdict_of("x", "x", [unclear, few, many_, breaks], {}, {})
    assert found.reason == "graph_breaks; peak_memory; launches; time" and found.deciding is breaks
    found = verdict_of("x", "x", [few, many_, slower], {}, {})
    assert found.reason == "time; peak_memory; launches" and found.deciding is slower
    assert Verdict("x", "x", "BROKEN", "", (slower,)).deciding is None


def test_columns_say_what_is_exact_and_what_is_within_one_process() -> None:
    def cells(change: Change) -> tuple[str, ...]:
        word: Word = "REGRESSED"
        return cells_of(Verdict("x", "x", word, "", (Finding(change.metric, word, "", 0.0, None, change),)))[2:]

    exact = Change("peak_memory", "B", 2.0**30, 2.0**30 + 512, 2, 2, 1 + 2.0**-21, basis="exact")
    assert cells(exact) == ("peak_memory", "1+4.8e-07", "exact", "1")
    within = Change("time", "s", 1.0, 1.1, 1, 1, 1.1, 1.05, 1.15, "within one process")
    assert cells(within) == ("time", "1.100", "~[1.050, 1.150]", "1")
    assert cells(Change("graph_breaks", "1", 0.0, 1.0, 2, 2, basis="exact")) == ("graph_breaks", "–", "exact", "1")
    assert cells_of(Verdict("x", "x", "BROKEN", ""))[2:] == ("", "", "", "")


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_its_terminal_and_a_name_that_is_cut_stands_whole_below(width: int) -> None:
    long = "flash fwd " + " ".join(f"parameter_{i}={i}" for i in range(12))
    found = outcome(["REGRESSED", "INCONCLUSIVE", "PASS"])
    found = replace(found, verdicts=(replace(found.verdicts[0], label=long), *found.verdicts[1:]))
    console = Console(width=width, file=StringIO(), color_system=None)
    show(found, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    cut = next(i for i, line in enumerate(lines) if line.startswith("REGRESSED"))
    assert lines[cut].endswith("time    1.300  [1.287, 1.313]   1.03") and "…" in lines[cut]
    assert long in " ".join(line.strip() for line in lines[cut + 1 : cut + 5])


def test_cases_that_passed_have_a_line_each_where_they_are_few_and_none_where_they_are_many() -> None:
    few, crowd = (outcome(["PASS"] * n) for n in (FEW, FEW + 1))
    assert len([*shown(few, everything=False)]) == FEW and not [*shown(crowd, everything=False)]
    assert render(few).count("| PASS | ") == FEW and "| PASS | " not in render(crowd)
    assert "| time ratio" not in render(few) and render(crowd, everything=True).count("| time ratio") == FEW + 1


def test_limits_that_are_not_known_are_no_empty_line() -> None:
    assert "limits" not in render(replace(outcome(["BROKEN"]), limits={}))
    assert "- **limits**: time +3 %" in render(outcome(["BROKEN"]))


def test_a_gate_that_timed_nothing_does_not_say_that_it_counts_as_a_pass() -> None:
    left_open = replace(outcome(["INCONCLUSIVE"]), exit_code=5, inconclusive="pass")
    assert summary(left_open) == "1 INCONCLUSIVE: exit 5, slower by more than the limit, over too few pairs"
    nothing = replace(left_open, verdicts=(Verdict("x", "x", "INCONCLUSIVE", "no pair"),))
    assert summary(nothing) == "1 INCONCLUSIVE: exit 5, nothing was timed"
    assert summary(replace(nothing, inconclusive="fail")) == "1 INCONCLUSIVE: exit 5, inconclusive"
