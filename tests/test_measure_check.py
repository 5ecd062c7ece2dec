"""Right or wrong: what passes the oracle, and what never does."""

import math

import pytest
import torch
from torch import Tensor

from llmbench.measure.check import changed, judge
from llmbench.ops.op import Expected

REF = torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64)


def got(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_errors_are_absolute_and_relative() -> None:
    verdict = judge([got(1.0, 2.0, 2.75)], [Expected("out", REF, 1.0)])
    assert verdict == (0.75, 0.25, 1.0, None)


def test_the_limit_itself_passes_and_the_next_number_does_not() -> None:
    outputs = [got(1.0, 2.0, 2.5)]
    assert judge(outputs, [Expected("out", REF, 0.5)]).why is None
    verdict = judge(outputs, [Expected("out", REF, math.nextafter(0.5, 0))])
    assert verdict.why == "out is off by 0.5, allowed 0.5 (relative 0.167)"


def test_nothing_allowed_wants_equality() -> None:
    assert judge([got(1.0, 2.0, 2.0)], [Expected("out", REF, 0.0)]) == (0.0, 0.0, 0.0, None)
    assert judge([got(1.0, 2.0, 2.0000002)], [Expected("out", REF, 0.0)]).why is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("allowed", [1.0, math.inf])
def test_nan_and_infinity_never_pass(bad: float, allowed: float) -> None:
    verdict = judge([got(1.0, bad, 2.0)], [Expected("out", REF, allowed)])
    assert verdict.why == "out has NaN or infinite values where the oracle has none"


def test_an_overflow_of_half_precision_is_seen() -> None:
    ref = torch.tensor([1e5], dtype=torch.float32)
    assert "NaN or infinite" in str(judge([ref.half()], [Expected("out", ref, 1e9)]).why)


def test_a_wrong_shape_is_told_with_both() -> None:
    for wrong in (torch.zeros(2), torch.zeros(3, 1), torch.zeros(())):
        why = judge([wrong], [Expected("dk", REF, 1.0)]).why
        assert why == f"dk has shape {tuple(wrong.shape)}, wanted (3,)"


def test_a_wrong_number_of_outputs_is_told() -> None:
    assert judge([], [Expected("out", REF, 1.0)]).why == "gave 0 outputs, wanted 1"
    assert judge([REF, REF], [Expected("out", REF, 1.0)]).why == "gave 2 outputs, wanted 1"


def test_every_output_is_judged_and_the_one_nearest_to_its_limit_gives_the_allowance() -> None:
    wanted = [Expected("out", REF, 10.0), Expected("dq", REF, 0.5)]
    verdict = judge([got(1.0, 2.0, 3.0), got(1.0, 2.0, 2.25)], wanted)
    assert verdict.why is None and (verdict.max_error, verdict.allowed) == (1.0, 0.5)
    assert str(judge([REF, got(0.0, 2.0, 2.0)], wanted).why).startswith("dq is off by 1")


def test_outputs_of_integers_and_of_nothing_are_judged_too() -> None:
    whole = torch.tensor([1, 2, 3])
    assert judge([whole.clone()], [Expected("out", whole, 0.0)]).why is None
    assert "off by 1" in str(judge([whole + 1], [Expected("out", whole, 0.0)]).why)
    empty = torch.zeros(0, 3)
    assert judge([empty.clone()], [Expected("out", empty, 0.0)]) == (0.0, 0.0, 0.0, None)


def test_an_oracle_of_zeros_does_not_divide_by_zero() -> None:
    zeros = torch.zeros(3, dtype=torch.float64)
    assert judge([got(0.0, 0.5, 0.0)], [Expected("out", zeros, 1.0)]) == (0.5, 0.5, 1.0, None)


def test_judging_leaves_outputs_as_they_are() -> None:
    output = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)  # as precise as the oracle: nothing to convert
    judge([output], [Expected("out", torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64), 5.0)])
    assert output.tolist() == [1.0, 2.0, 3.0]


def test_a_changed_input_is_named_unless_it_may_change() -> None:
    before = [torch.zeros(3), torch.ones(3)]
    now = [t.clone() for t in before]
    assert changed(now, before, ("q", "k"), ()) is None
    now[1][2] = math.nextafter(1.0, 2) + 1e-6
    assert changed(now, before, ("q", "k"), ()) == "changed its input 'k'"
    assert changed(now, before, ("q", "k"), ("k",)) is None
    assert changed(now, before, ("q",), ()) == "changed its input 'input 1'"
    now[0][0] = math.nan
    assert changed(now, before, ("q", "k"), ()) == "changed its input 'q'"
