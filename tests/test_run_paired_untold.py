"""What a paired gate says of exact metrics: of differences that no limit names, and of what one side alone has."""

import pytest
from example_runs import cases_of, make_suite

from llmbench.analyze.limits import Limits
from llmbench.run.paired.outcome import EXACT, paired_limits, untold_differences
from llmbench.run.paired.tier import Tier
from llmbench.store.record import Measurement, Record, Status
from llmbench.suite.case import facts_of
from llmbench.suite.suite import GateCase

SUITE = make_suite()
CASE = next(case for case in cases_of(SUITE) if case.impl == "flash")


def tier(base: dict[str, float], head: dict[str, float], status: Status = "ok") -> Tier:
    """One process a side, with these metrics of the case; `status` of the head."""

    def record(values: dict[str, float], how: Status) -> list[Record]:
        return [Record(CASE.case_id, 0, how, measurements=[Measurement(m, v) for m, v in values.items()])]

    return Tier({("base", CASE.case_id): record(base, "ok"), ("head", CASE.case_id): record(head, status)})


def told(found: Tier, limits: Limits | None = None) -> list[str]:
    return list(untold_differences([CASE], found, limits or paired_limits(SUITE)))


def test_a_count_that_no_limit_names_is_told_where_it_differs() -> None:
    assert told(tier({"registers": 40.0}, {"registers": 48.0})) == [
        f"{CASE.label}: registers 48 against 40, which the suite's gate does not name"
    ]
    assert not told(tier({"registers": 40.0}, {"registers": 40.0}))


def test_an_exact_metric_of_one_side_alone_is_told_and_not_compared() -> None:
    found = tier({"launches": 3.0}, {"launches": 3.0, "counted_flop": 1e9})
    assert told(found) == [f"{CASE.label}: counted_flop in head alone, so it is not compared"]
    assert not told(tier({"launches": 3.0, "counted_flop": 1e9}, {}, "error")), "that it fails says enough"


@pytest.mark.parametrize("metric", ["launches", "registers"])
def test_a_metric_that_the_suite_leaves_out_is_named_by_it_and_no_warning(metric: str) -> None:
    case = GateCase({"impl": ("flash",)}, {metric: None})
    found = tier({metric: 30.0}, {metric: 39.0})
    for suite in (make_suite(gate_cases=(case,)), make_suite(gate={metric: None})):
        assert not told(found, paired_limits(suite)) and metric not in paired_limits(suite).of(facts_of(CASE)).shares
    another = make_suite(gate_cases=(GateCase({"impl": ("naive",)}, {metric: None}),))
    assert told(found, paired_limits(another)) == told(found)


def test_of_launches_that_the_suite_leaves_out_no_names_are_told_either() -> None:
    def side(name: str) -> list[Record]:
        parts = [Measurement("launches", 1.0), Measurement("launches", 1.0, part=name)]
        return [Record(CASE.case_id, 0, "ok", measurements=parts)]

    found = Tier({("base", CASE.case_id): side("gemm"), ("head", CASE.case_id): side("fused")})
    assert told(found) == [f"{CASE.label}: launches 1 fused against 0, 0 gemm against 1"]
    assert not told(found, paired_limits(make_suite(gate={"launches": None})))
    alone = tier({"launches": 3.0}, {})
    assert told(alone) and not told(alone, paired_limits(make_suite(gate={"launches": None})))


def test_time_that_the_suite_leaves_out_is_no_limit_of_a_paired_gate() -> None:
    assert list(paired_limits(make_suite(gate={"time": None})).shares) == list(EXACT)


def test_every_exact_metric_has_a_limit_without_being_named() -> None:
    shares = paired_limits(SUITE).shares
    assert list(shares) == ["time", *EXACT] and {shares[name] for name in EXACT} == {0.0}
    loose = paired_limits(make_suite(gate={"counted_flop": 0.5})).shares
    assert loose["counted_flop"] == 0.5 and loose["launches"] == 0.0
