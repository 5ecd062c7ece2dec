"""Right or wrong: what passes the oracle, and what never does."""

import math

import pytest
import torch
from torch import Tensor

from llmbench.measure.check import changed, judge, poison, stale
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


def test_a_changed_input_is_named() -> None:
    before = [torch.zeros(3), torch.ones(3)]
    now = [t.clone() for t in before]
    names = ["q", "k"].__getitem__
    assert changed(now, before, names) is None
    now[1][2] = math.nextafter(1.0, 2) + 1e-6
    assert changed(now, before, names) == "changed its input 'k'"
    now[0][0] = math.nan
    assert changed(now, before, names) == "changed its input 'q'"


@pytest.mark.parametrize("allowed", [math.nan, math.inf])
def test_an_oracle_without_a_finite_allowance_passes_nobody(allowed: float) -> None:
    verdict = judge([torch.zeros(2)], [Expected("out", torch.ones(2, dtype=torch.float64), allowed)])
    assert verdict.why == f"out cannot be judged: the oracle allows {allowed}"


def test_many_small_errors_are_found_as_a_whole() -> None:
    ref = torch.cat([torch.tensor([100.0]), torch.full((99,), 0.5)]).double()
    got = ref.clone()
    got[50:] = 0.0  # half of it missing, and no element is off by more than the large one may be
    assert judge([got], [Expected("dk", ref, 1.0)]).why is None
    told = judge([got], [Expected("dk", ref, 1.0, 0.01)]).why
    assert told == "dk is off by 0.0353 as a whole, allowed 0.01"


def test_poison_takes_the_place_of_an_output_that_was_freed() -> None:
    def output() -> torch.Tensor:
        return torch.full((300, 1000), 7.0)

    for _ in range(3):  # the allocator knows the size
        kept = output()
        del kept
    poison([Expected("out", torch.zeros(300, 1000), 1.0)], like=[torch.ones(1)])
    assert not (torch.empty(300, 1000) == 7.0).any()


def test_an_output_that_is_remembered_is_stale() -> None:
    x, y = torch.randn(4, 4), torch.randn(4)
    kept = (x @ y,)
    assert not stale(lambda: (x @ y,), [x, y], kept)
    assert not stale(lambda: (y * 2,), [x, y], (y * 2,))  # follows one of its inputs
    assert stale(lambda: kept, [x, y], kept)
    assert torch.equal(x @ y, kept[0])
