"""What an audit of timers says, on trials made by hand."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from llmbench.analyze.timers import Findings, findings
from llmbench.machine.fingerprint import Machine
from llmbench.store.runs import Code
from llmbench.store.timers import Function, TimerAudit, Tool, Trial

LOOP, GEMM = Function("busy_1ms", "busy loop 1 ms", 1e-3), Function("gemm", "GEMM")
CPU = Machine("cpu", "a CPU", "cpu", 1, 1)


def audit_of(values_s: Mapping[str, Sequence[float | None]], *, seconds: float = 1.0, function: Function = LOOP,
             loop_error: float | None = None) -> TimerAudit:  # fmt: skip
    """An audit of one function; None is a trial that failed."""
    trials = [
        Trial(repetition=i, function=function.name, tool=tool, why="it broke") if value is None
        else Trial(value, seconds, 10, loop_error=loop_error, repetition=i, function=function.name, tool=tool)
        for tool, values in values_s.items() for i, value in enumerate(values)
    ]  # fmt: skip
    tools = tuple(Tool(name, "as it is") for name in values_s)
    repetitions = max(map(len, values_s.values()))
    return TimerAudit("2026-01-01T00:00:00+00:00", CPU, {}, Code(None, False, ""), 1.0, repetitions, 1, 0, None,
                      (function,), tools, tuple(trials), complete=True)  # fmt: skip


def found_in(audit: TimerAudit) -> Findings:
    (found,) = findings(audit)
    return found


def noisy(sd: float, n: int, seed: int = 0) -> list[float]:
    return list(1e-3 * np.exp(np.random.default_rng(seed).normal(0, sd, n)))


def test_a_line_holds_the_median_its_error_the_spread_of_the_logs_and_the_score() -> None:
    found = found_in(audit_of({"a": [1e-3, 1e-3 * math.e, 1e-3 * math.e**2]}, seconds=4.0))
    (line,) = found.lines
    assert line.value_s == pytest.approx(1e-3 * math.e) and line.error == pytest.approx(math.e - 1)
    assert line.spread == pytest.approx(1.0) and line.seconds == 4.0 and line.score == pytest.approx(2.0)
    assert (line.n, line.failed, line.low, line.high) == (3, 0, None, None), "three repetitions carry no interval"


def test_the_least_score_is_best_and_ours_is_told_against_the_best_other() -> None:
    found = found_in(audit_of({"llmbench": noisy(0.02, 10), "quiet": noisy(0.01, 10), "loud": noisy(0.1, 10, 1)}))
    assert found.best == "quiet" and found.standing is not None and found.standing.other == "quiet"
    assert found.standing.ratio == pytest.approx(2.0) and not found.standing.at_or_below
    assert found.standing.decided, "the same noise, twice as large: no resample can turn that round"


def test_a_ratio_whose_interval_holds_1_is_undecided() -> None:
    found = found_in(audit_of({"llmbench": noisy(0.01, 10, 3), "other": noisy(0.01, 10, 4)}))
    assert found.standing is not None and found.standing.low is not None and found.standing.high is not None
    assert found.standing.low < 1 < found.standing.high and not found.standing.decided


def test_time_counts_as_its_root() -> None:
    quick, slow = (found_in(audit_of({"a": noisy(0.01, 10)}, seconds=s)).lines[0] for s in (1.0, 9.0))
    assert quick.score and slow.score == pytest.approx(3 * quick.score)
    assert slow.low == pytest.approx(3 * (quick.low or 0)) and slow.high == pytest.approx(3 * (quick.high or 0))


def test_without_a_truth_errors_are_against_the_median_over_the_tools() -> None:
    found = found_in(audit_of({"a": [1.0, 1.0], "b": [2.0, 2.0], "c": [4.0, 4.0]}, function=GEMM))
    assert found.truth_s == 2.0 and not found.known
    assert [line.error for line in found.lines] == [-0.5, 0.0, 1.0]
    assert found.standing is None, "llmbench is not among them"


def test_what_failed_is_counted_and_told_and_the_rest_stands() -> None:
    values: dict[str, list[float | None]] = {"llmbench": [*noisy(0.01, 9), None], "broken": [None] * 10}
    found = found_in(audit_of(values))
    ours, broken = found.lines
    assert (ours.n, ours.failed, ours.why) == (9, 1, "it broke") and ours.low is not None
    assert (broken.n, broken.failed, broken.value_s, broken.score) == (0, 10, None, None)
    assert found.best == "llmbench" and found.standing is None


def test_an_audit_that_was_stopped_before_its_first_trial_has_no_values() -> None:
    found = found_in(audit_of({"llmbench": [None], "b": [None]}, function=GEMM))
    assert found.truth_s is None and found.best is None and {line.n for line in found.lines} == {0}


def test_a_spread_of_nothing_is_zero_without_an_interval() -> None:
    found = found_in(audit_of({"llmbench": [1e-3] * 10, "b": [1e-3] * 10}))
    assert [(line.score, line.low, line.high) for line in found.lines] == [(0.0, None, None)] * 2
    assert found.standing is None


def test_the_error_of_the_loop_itself_is_the_median_over_trials() -> None:
    assert found_in(audit_of({"a": [1e-3, 1e-3]}, loop_error=0.004)).loop_error == 0.004
    assert found_in(audit_of({"a": [1e-3, 1e-3]})).loop_error is None


def test_the_interval_of_a_score_covers_the_true_one() -> None:
    covered = 0
    for seed in range(200):
        (line,) = found_in(audit_of({"a": noisy(0.01, 10, seed)})).lines
        covered += line.low is not None and line.high is not None and line.low <= 0.01 <= line.high
    assert covered / 200 >= 0.9, "percentiles of the draws cover 77 %"
