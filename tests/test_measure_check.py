"""Right or wrong: what passes the oracle, and what never does."""

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from llmbench.measure.check import changed, judge, remembered
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
    assert verdict.why == "out is off by 0.5 in [2], allowed 0.5 (relative 0.167)"


def test_nothing_allowed_wants_equality() -> None:
    assert judge([got(1.0, 2.0, 2.0)], [Expected("out", REF, 0.0)]) == (0.0, 0.0, 0.0, None)
    assert judge([got(1.0, 2.0, 2.0000002)], [Expected("out", REF, 0.0)]).why is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("allowed", [1.0, math.inf])
def test_nan_and_infinity_never_pass(bad: float, allowed: float) -> None:
    verdict = judge([got(1.0, bad, 2.0)], [Expected("out", REF, allowed)])
    assert verdict.why == "out has NaN or infinite values in [1] where the oracle has none"


def test_an_overflow_of_half_precision_is_seen() -> None:
    ref = torch.tensor([1e5], dtype=torch.float32)
    assert "NaN or infinite" in str(judge([ref.half()], [Expected("out", ref, 1e9)]).why)


def test_a_wrong_shape_is_told_with_both() -> None:
    for wrong in (torch.zeros(2), torch.zeros(3, 1), torch.zeros(())):
        why = judge([wrong], [Expected("dk", REF, 1.0)]).why
        assert why == f"dk has shape {tuple(wrong.shape)}, wanted (3,)"


def test_a_wrong_number_of_outputs_is_told() -> None:
    assert judge([], [Expected("out", REF, 1.0)]).why == "gave 0 outputs, wanted 1: out"
    assert judge([REF, REF], [Expected("out", REF, 1.0)]).why == "gave 2 outputs, wanted 1: out"
    named = [Expected(name, REF, 1.0) for name in ("losses", "dq", "dk", "dv")]
    assert judge([REF], named).why == "gave 1 output, wanted 4: losses, dq, dk, …"


def test_every_output_is_judged_and_the_one_nearest_to_its_limit_gives_the_allowance() -> None:
    wanted = [Expected("out", REF, 10.0), Expected("dq", REF, 0.5)]
    verdict = judge([got(1.0, 2.0, 3.0), got(1.0, 2.0, 2.25)], wanted)
    assert verdict.why is None and (verdict.max_error, verdict.allowed) == (1.0, 0.5)
    assert str(judge([REF, got(2.0, 2.0, 2.0)], wanted).why).startswith("dq is off by 1")


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


def off_in(*places: tuple[slice | int, ...]) -> str:
    """What is said of an output that is off by one there, and right elsewhere."""
    ref = torch.full((2, 4, 8, 3), 2.0, dtype=torch.float64)
    output = ref.clone()
    for place in places:
        output[place] += 1
    return str(judge([output], [Expected("out", ref, 0.5)]).why)


def test_what_is_wrong_is_told_with_its_place() -> None:
    everything = slice(None)
    assert off_in((everything,)).startswith("out is off by 1, allowed 0.5")
    assert off_in((0,)).startswith("out is off by 1 in [0], allowed")
    assert off_in((everything, everything, slice(6, 8))).startswith("out is off by 1 in [:, :, 6:8], allowed")
    assert off_in((1, 2, 3, 2)).startswith("out is off by 1 in [1, 2, 3, 2], allowed")
    assert off_in((0, 1, 7), (1, 2, 5)).startswith("out is off by 1 in [:, 1:3, 5:8], allowed")


def test_zeros_are_told_as_such() -> None:
    ref = torch.full((4, 6), 2.0, dtype=torch.float64)
    output = ref.clone()
    output[:, 5] = 0
    wanted = [Expected("dk", ref, 0.5)]
    assert judge([output], wanted).why == "dk is zero in [:, 5]"
    assert judge([torch.zeros_like(ref)], wanted).why == "dk is zero everywhere"


def test_what_is_as_it_was_for_other_inputs_is_told_as_such() -> None:
    ref, before = torch.full((4, 6), 2.0, dtype=torch.float64), torch.full((4, 6), 3.0, dtype=torch.float64)
    wanted, output = [Expected("out", ref, 0.5)], ref.clone()
    output[3] = before[3]
    assert judge([output], wanted, before=[before]).why == "out keeps its old values for new inputs in [3]"
    assert judge([before.clone()], wanted, before=[before]).why == "out keeps its old values for new inputs"
    assert judge([ref.clone()], wanted, before=[ref]).why is None, "what may stay the same may stay the same"
    assert remembered([before], [before.clone()]) == "keeps its old outputs for new inputs"
    assert remembered([before, output], [before, ref]) is None


@pytest.mark.parametrize(("made", "wanted"), [("float32", "bfloat16"), ("float16", "float32"), ("int32", "int64")])
def test_a_wrong_dtype_is_told_with_both(made: str, wanted: str) -> None:
    output = torch.tensor([1, 2, 2], dtype=getattr(torch, made))
    expected = Expected("out", REF, 1.0, dtype=getattr(torch, wanted))
    assert judge([output], [expected]).why == f"out has dtype {made}, wanted {wanted}"
    assert judge([output.to(getattr(torch, wanted))], [expected]).why is None
    assert judge([output], [expected._replace(dtype=None)]).why is None


def small_tail(rows: int) -> tuple[Tensor, Expected]:
    """A gradient of eight keys, the last of which is a thousandth of the others, and may be off by half of itself."""
    ref = torch.randn(rows, 8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ref[:, 7] /= 1000
    limit = torch.full((8,), math.inf, dtype=torch.float64)
    limit[7] = 0.5 * torch.linalg.vector_norm(ref[:, 7])
    anything = [torch.full((n,), math.inf, dtype=torch.float64) for n in ref.shape]
    return ref, Expected("dk", ref, 0.1, 0.01, (anything[0], limit, anything[2]))


def test_an_index_of_small_values_is_judged_alone() -> None:
    ref, wanted = small_tail(rows=16)
    output = ref.clone()
    output[:, 7] *= 1.4
    assert judge([output], [wanted]).why is None
    output[:, 7] *= 2
    told = str(judge([output], [wanted]).why)
    assert told.startswith("dk is off by 0.0") and " in [:, 7] taken alone, allowed 0.0" in told
    assert judge([output], [wanted._replace(by_index=())]).why is None, "nothing else finds it"
    output[:, 7] = 0
    assert judge([output], [wanted]).why == "dk is zero in [:, 7]"


def test_an_index_of_few_rows_is_wrong_only_if_it_was_not_computed() -> None:
    ref, wanted = small_tail(rows=1)
    output, before = ref.clone(), torch.randn_like(ref) / 1000
    output[:, 7] *= 3
    assert judge([output], [wanted]).why is None
    output[:, 7] = before[:, 7]
    assert judge([output], [wanted], before=[before]).why == "dk keeps its old values for new inputs in [:, 7]"
    output[:, 7] = 0
    assert judge([output], [wanted], before=[before]).why == "dk is zero in [:, 7]"


def test_poison_takes_the_place_of_an_output_that_was_freed() -> None:
    """In a process of its own: where an allocator puts a block depends on all that was allocated before."""
    body = """
import torch
from llmbench.measure.check import poison
from llmbench.ops.op import Expected

for _ in range(3):  # the allocator knows the size
    kept = torch.full((300, 1000), 7.0)
    del kept
poison([Expected("out", torch.zeros(300, 1000), 1.0)], like=[torch.ones(1)])
assert not (torch.empty(300, 1000) == 7.0).any()
"""
    assert subprocess.run([sys.executable, "-c", body], check=False, timeout=120).returncode == 0
