"""What the machine did while a run was measured is said, and no time is blamed on code that it explains."""

from pathlib import Path
from typing import Any

import pytest
from example_runs import STEADY, stored_run

from llmbench.analyze.compare import Comparison, compare
from llmbench.analyze.conditions import Conditions, disturbance, moved_together
from llmbench.analyze.stored import Outcome, gate
from llmbench.store.origin import read_evidence
from llmbench.store.record import Check
from llmbench.store.runs import Code, Load

TIMES = {"naive": STEADY, "flash": STEADY, "flex": STEADY}
SLOW = tuple(1.3 * t for t in STEADY)
FAST = tuple(t / 1.3 for t in STEADY)
BUSY, QUIET = Load(2.0, 2), Load(0.2, 2)
ALL_HOT = dict.fromkeys(TIMES, 11)


def judged(folder: Path, base: dict[str, Any], run: dict[str, Any]) -> Outcome:
    """The gate on two stored runs of three implementations."""
    sides = [stored_run(folder / name, **{"times": TIMES, **given}) for name, given in (("base", base), ("run", run))]
    return gate(*map(read_evidence, sides))


def compared(folder: Path, a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    sides = [stored_run(folder / name, **{"times": TIMES, **given}) for name, given in (("a", a), ("b", b))]
    return compare(*map(read_evidence, sides))


def told(outcome: Outcome, impl: str = "flash") -> tuple[str, str]:
    """Word and reason of an implementation."""
    verdict = next(v for v in outcome.verdicts if v.label == f"{impl} fwd")
    return verdict.word, verdict.reason


def test_a_throttled_run_is_no_regression_of_the_code(tmp_path: Path) -> None:
    found = judged(tmp_path, {}, {"times": {**TIMES, "flash": SLOW}, "throttled": {"flash": 11}})
    word, reason = told(found)
    assert (found.exit_code, word) == (3, "ENV_ERROR")
    assert reason.startswith(
        "the device was throttled in 100% of the run's samples and 0% of the baseline's: the times compare its states, "
        "not code (REGRESSED: time ratio 1.3, "
    )
    assert told(found, "naive")[0] == "PASS"
    assert "run has 1 case sampled while the device was throttled" in found.warnings


@pytest.mark.parametrize(("times", "was"), [(STEADY, "PASS"), (FAST, "IMPROVED"), (STEADY[:1], "INCONCLUSIVE")])
def test_a_throttled_baseline_lets_nothing_pass(tmp_path: Path, times: tuple[float, ...], was: str) -> None:
    found = judged(tmp_path, {"throttled": ALL_HOT}, {"times": {**TIMES, "flash": times}})
    assert (found.exit_code, told(found)[0]) == (3, "ENV_ERROR") and f"({was}: time ratio" in told(found)[1]


def test_what_both_sides_ran_into_can_be_compared(tmp_path: Path) -> None:
    """A large product runs into its power limit always: 11 of 11 samples against 9."""
    slow = {"times": {**TIMES, "flash": SLOW}, "throttled": dict.fromkeys(TIMES, 9)}
    found = judged(tmp_path, {"throttled": ALL_HOT}, slow)
    assert (found.exit_code, told(found)[0], told(found, "naive")[0]) == (1, "REGRESSED", "PASS")
    assert "baseline has 3 cases sampled while the device was throttled" in found.warnings


def test_a_few_throttled_samples_move_no_median(tmp_path: Path) -> None:
    found = judged(tmp_path, {}, {"times": {**TIMES, "flash": SLOW}, "throttled": dict.fromkeys(TIMES, 5)})
    assert (found.exit_code, told(found)[0]) == (1, "REGRESSED")


def test_memory_is_judged_on_a_throttled_device_too(tmp_path: Path) -> None:
    found = judged(tmp_path, {}, {"throttled": ALL_HOT, "memory": {"flash": [2 << 20] * 3}})
    words = {f.metric: f.word for v in found.verdicts for f in v.findings if v.label == "flash fwd"}
    assert words == {"time": "ENV_ERROR", "peak_memory": "REGRESSED"}
    assert "peak_memory 2097152 B against" in told(found)[1]


@pytest.mark.parametrize(
    ("base", "run", "times", "word"),
    [
        (None, BUSY, SLOW, "ENV_ERROR"), (None, BUSY, STEADY, "PASS"), (None, BUSY, FAST, "IMPROVED"),
        (BUSY, None, SLOW, "REGRESSED"), (BUSY, None, STEADY, "ENV_ERROR"), (BUSY, QUIET, FAST, "ENV_ERROR"),
        (BUSY, BUSY, SLOW, "ENV_ERROR"), (BUSY, BUSY, STEADY, "ENV_ERROR"), (BUSY, BUSY, FAST, "ENV_ERROR"),
        (None, BUSY, STEADY[:1], "ENV_ERROR"), (BUSY, None, STEADY[:1], "ENV_ERROR"),
        (QUIET, QUIET, SLOW, "REGRESSED"), (QUIET, None, STEADY, "PASS"),
    ],
)  # fmt: skip
def test_load_only_slows(
    tmp_path: Path, base: Load | None, run: Load | None, times: tuple[float, ...], word: str
) -> None:
    found = judged(tmp_path, {"load": base}, {"load": run, "times": dict.fromkeys(TIMES, times)})
    assert {v.word for v in found.verdicts} == {word}
    assert found.exit_code == {"ENV_ERROR": 3, "REGRESSED": 1}.get(word, 0)


def test_a_busy_machine_is_said_with_how_busy_it_was(tmp_path: Path) -> None:
    found = judged(tmp_path, {"load": QUIET}, {"load": BUSY, "times": {**TIMES, "flash": SLOW}})
    text = "run shared its CPU with other programs, which kept 2.0 of 2 cores busy: its times are off"
    assert text in found.warnings
    assert told(found)[1].startswith(
        "other programs kept busy 2.0 cores during the run: it may be their doing (REGRESSED: time ratio 1.3, "
    )
    assert [v.word for v in found.verdicts].count("PASS") == 2
    assert not any("shared its CPU" in text for text in judged(tmp_path / "q", {"load": QUIET}, {}).warnings)


def test_the_reason_names_every_side_that_was_busy() -> None:
    quiet, one, two = (Conditions(0.0, busy) for busy in (0.0, 1.0, 2.0))
    both = disturbance(one, two, slower=True, not_slower=False)
    assert both == (
        "other programs kept busy 2.0 cores during the run and 1.0 cores during the baseline: it may be their doing"
    )
    assert disturbance(quiet, quiet, slower=True, not_slower=False) is None


def test_times_that_all_moved_alike_are_rather_the_machines(tmp_path: Path) -> None:
    times = {name: tuple(f * t for t in STEADY) for name, f in (("naive", 1.28), ("flash", 1.3), ("flex", 1.33))}
    text = (
        "all 3 times became longer by a similar factor, 1.28 to 1.33: rather the machine (clock, driver, load) or what "
        "all share than the code of an implementation"
    )
    assert text in judged(tmp_path / "gate", {}, {"times": times}).warnings
    assert text in compared(tmp_path / "compare", {}, {"times": times}).warnings
    one = compared(tmp_path / "one", {}, {"times": {**times, "flex": STEADY}}).warnings
    assert not any("similar factor" in text for text in one)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([1.3, 1.3, 1.3], "longer"), ([0.7, 0.72, 0.69], "shorter"), ([1.02, 1.021, 1.022], "longer"),
        ([1.005, 1.005, 1.005], ""),  # the drift between any two runs
        ([1.1, 1.3, 1.6], ""), ([1.3, 1.3, 0.77], ""), ([1.3, 1.3], ""),
    ],
)  # fmt: skip
def test_how_alike_is_alike(ratios: list[float], said: str) -> None:
    text = moved_together([(f"impl{i}", r) for i, r in enumerate(ratios)])
    assert (said in text if text else not said) and (text is None) == (not said)
    assert moved_together([("one", r) for r in ratios]) is None  # its code may have changed


def test_a_comparison_says_what_weakens_each_side(tmp_path: Path) -> None:
    dirty, checked = {"code": Code("aa3d2fa", True, "0")}, {"check": Check("oracle", True)}
    weak = {"quick": True, "complete": False, "throttled": {"flash": 1}, "load": BUSY, **dirty}
    assert compared(tmp_path / "weak", {"evidence": checked}, weak).warnings == (
        "B shared its CPU with other programs, which kept 2.0 of 2 cores busy: its times are off",
        "B is incomplete: it stopped before its last case",
        "B is a quick run: fit to see that it works, not to decide",
        "B had uncommitted changes: its commit does not name its code",
        "B has 1 case sampled while the device was throttled",
        "B has 3 cases not checked",
    )
    assert compared(tmp_path / "x", weak, {"evidence": checked}).warnings[1].startswith("A is incomplete")
    assert compared(tmp_path / "strong", {"evidence": checked}, {"evidence": checked}).warnings == ()


def test_a_pair_says_what_differs_in_how_it_was_measured(tmp_path: Path) -> None:
    a = {"evidence": {"order": "interleaved", "grad": "on"}, "timer": "event", "throttled": {"flash": 3}}
    b = {"evidence": {"order": "apart", "grad": "off"}, "timer": "cuda_graph"}
    notes = {p.facts["impl"]: p.notes for p in compared(tmp_path / "one", a, b).pairs}
    differing = (
        "timer event in A, cuda_graph in B", "order interleaved in A, apart in B", "grad on in A, off in B",
    )  # fmt: skip
    assert notes == {"flash": (*differing, "throttled in A"), "naive": differing, "flex": differing}
    both = compared(tmp_path / "both", a, {**a, "throttled": {"flash": 1}})
    assert {p.facts["impl"]: p.notes for p in both.pairs}["flash"] == ("throttled in A and B",)
    unknown = compared(tmp_path / "unknown", {**a, "throttled": {}}, {})  # order and grad are not known in B
    assert {p.notes for p in unknown.pairs} == {()}
