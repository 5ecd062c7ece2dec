"""Limits: which one holds for which case, and what a report calls noisy by them."""

import pytest
from example_runs import cases_of, make_row, make_run, make_suite, time_row

from llmbench.analyze.limits import Limits, limits_of, named_facts, noise_limit, noise_limits
from llmbench.analyze.summary import summarise
from llmbench.errors import UsageError
from llmbench.suite.case import facts_of
from llmbench.suite.suite import GateCase

NAIVE = {"impl": "naive", "phase": "fwd", "seq_len": 512, "heads": "mha"}
FLASH = {**NAIVE, "impl": "flash"}
SHORT = GateCase({"impl": ("naive",), "seq_len": (256, 512)}, {"time": 0.1, "launches": 0.0}, "launches decide")


def test_a_case_that_matches_has_limits_of_its_own_and_the_others_keep_those_of_all() -> None:
    limits = Limits({"time": 0.03, "peak_memory": 0.0}, (SHORT,))
    found = limits.of(NAIVE)
    assert found.shares == {"time": 0.1, "peak_memory": 0.0, "launches": 0.0}
    assert found.own == {"time": "launches decide", "launches": "launches decide"} and not found.not_gated
    assert limits.of(FLASH).shares == {"time": 0.03, "peak_memory": 0.0} and not limits.of(FLASH).own
    assert limits.metrics == ("time", "peak_memory", "launches")


def test_later_entries_win_metric_by_metric() -> None:
    wide = GateCase({"heads": ("mha",)}, {"time": 0.5})
    assert Limits({"time": 0.03}, (SHORT, wide)).of(NAIVE).shares == {"time": 0.5, "launches": 0.0}
    assert Limits({"time": 0.03}, (wide, SHORT)).of(NAIVE).shares == {"time": 0.1, "launches": 0.0}
    assert Limits({"time": 0.03}, (SHORT, wide)).of(NAIVE).own["time"] == "heads=mha", "no why: what it matches"


def test_a_metric_that_is_left_out_is_no_limit_until_a_later_entry_sets_one() -> None:
    none = GateCase({"impl": ("naive",)}, {"time": None})
    found = Limits({"time": 0.03, "peak_memory": 0.0}, (SHORT, none)).of(NAIVE)
    assert found.shares == {"peak_memory": 0.0, "launches": 0.0} and found.not_gated == {"time": "impl=naive"}
    assert "time" not in found.own
    again = Limits({"time": 0.03}, (none, SHORT)).of(NAIVE)
    assert again.shares["time"] == 0.1 and not again.not_gated


def test_a_metric_that_is_only_left_out_is_not_among_those_that_are_gated() -> None:
    assert Limits({"time": 0.03}, (GateCase({"impl": ("naive",)}, {"energy": None}),)).metrics == ("time",)


def test_what_a_suite_leaves_out_has_no_limit_except_in_cases_of_their_own() -> None:
    suite = make_suite(gate={"time": None, "launches": None}, gate_cases=(SHORT,))
    limits = limits_of(suite)
    assert limits.shares == {"peak_memory": 0.0} and limits.metrics == ("peak_memory", "time", "launches")
    everywhere = "in every case of the suite"
    assert limits.of(FLASH).not_gated == {"time": everywhere, "launches": everywhere}
    assert limits.of(FLASH).shares == {"peak_memory": 0.0}
    assert limits.of(NAIVE).shares == {"peak_memory": 0.0, "time": 0.1, "launches": 0.0}
    assert not limits.of(NAIVE).not_gated
    assert noise_limit(suite, FLASH) == 0.03, "a report still says which times are noisy"


def test_a_row_says_of_its_case_what_the_case_does() -> None:
    case = cases_of(make_suite())[0]
    assert named_facts(make_row(case)) == facts_of(case)


@pytest.mark.parametrize("limit", [-1.0, 5.0, float("nan"), float("inf")])
def test_a_limit_of_some_cases_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(UsageError, match=r"^gate: time is (-1|5|nan|inf); wanted: 0 to 1 \(0\.05 is 5 %\)$"):
        limits_of(make_suite(gate_cases=(GateCase({"impl": ("naive",)}, {"time": limit}),)))


def test_a_time_is_noisy_by_the_limit_of_its_own_case() -> None:
    suite = make_suite(gate={"time": 0.03}, gate_cases=(SHORT, GateCase({"impl": ("flex",)}, {"time": None})))
    assert [noise_limit(suite, {**NAIVE, "impl": impl}) for impl in ("naive", "flash", "flex")] == [0.1, 0.03, 0.03]
    assert noise_limits(suite) == (0.03, 0.1) and noise_limits(make_suite()) == (0.03, 0.03)
    samples = [1e-3 * (1 + 0.05 * (-1) ** i) for i in range(12)]  # half an interval is 5 % of the median
    rows = [time_row(case, samples=samples) for case in cases_of(suite)]
    found = summarise(make_run(rows, suite))
    noisy = {line.impl for line in found.lines if any(f.name == "noisy" for f in line.flags)}
    assert noisy == {"flash", "flex"}
    assert any("an interval wider than ±3% to ±10% of the median" in text for text in found.facts.warnings)
