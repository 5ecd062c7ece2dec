"""What is timed in each phase, and the oracle of an op that has only a reference."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from llmbench.errors import UsageError
from llmbench.ops.op import Expected, Impl, Op
from llmbench.ops.oracle import expect, expected, wider
from llmbench.ops.work import build, make_douts, make_inputs, other_values, output_like, work


@dataclass(frozen=True)
class Size:
    n: int = 5


toy: Op[Size] = Op(
    name="toy",
    version=1,
    params=Size,
    inputs=lambda p, g: [torch.randn(p.n, generator=g), torch.randn(p.n, generator=g), torch.arange(p.n)],
    reference=lambda p: lambda a, b, i: (a * b, (a[i] ** 2).sum()),
    input_names=("a", "b"),
)


@toy.impl("same")
def same(p: Size):
    """Source: here."""
    return lambda a, b, i: (a * b, a.square().sum())


def prepare(phase: str) -> tuple[list[Tensor], tuple[Tensor, ...], list[Expected]]:
    g = torch.Generator().manual_seed(3)
    inputs = list(toy.inputs(Size(), g))
    douts = make_douts(output_like(toy, Size(), inputs), g)
    return inputs, douts, expected(toy, Size(), phase, inputs, douts)


def job(phase: str, impl: Impl | None = None, fn=None):
    inputs, douts, _ = prepare(phase)
    impl = impl or toy.impls["same"]
    return inputs, work(toy, impl, fn or impl.setup(Size()), inputs, phase, device_type="cpu", douts=douts)


@pytest.mark.parametrize("phase", ["infer", "fwd", "bwd", "fwd_bwd"])
def test_a_toy_op_with_a_reference_is_checked_in_every_phase(phase: str) -> None:
    wanted = prepare(phase)[2]
    outs, grads = ["out0", "out1"], ["da", "db"]
    names = {"bwd": grads, "fwd_bwd": outs + grads}.get(phase, outs)
    assert [e.name for e in wanted] == names
    got = job(phase)[1].call()
    assert len(got) == len(wanted)
    for value, e in zip(got, wanted, strict=True):
        assert e.ref.dtype == torch.float64
        assert (value - e.ref).abs().max().item() <= e.allowed <= 1e-5


def test_gradients_are_those_of_the_chain_rule() -> None:
    inputs, douts, wanted = prepare("bwd")
    a, b, _ = (t.double() for t in inputs)
    torch.testing.assert_close(wanted[0].ref, douts[0].double() * b + 2 * a)
    torch.testing.assert_close(wanted[1].ref, douts[0].double() * a)


def test_infer_runs_in_inference_mode() -> None:
    _, w = job("infer")
    assert w.grad == "off"
    assert all(t.is_inference() for t in w.call())


def test_fwd_builds_a_graph_on_the_storage_of_the_inputs() -> None:
    seen = []

    def fn(a, b, i):
        seen.extend((a, b, i))
        return a * b

    inputs, w = job("fwd", fn=fn)
    assert w.grad == "on"
    assert w.call()[0].requires_grad
    assert [t.data_ptr() for t in seen] == [t.data_ptr() for t in inputs]
    assert not any(t.requires_grad for t in inputs)


def test_fwd_without_a_backward_on_the_device_runs_without_gradients() -> None:
    impl = Impl("forward only", same, ("fwd",), backward_on=("cuda",))
    _, w = job("fwd", impl)
    assert w.grad == "off"
    assert not any(t.requires_grad for t in w.call())


def test_bwd_runs_the_forward_once_and_never_in_the_timed_call() -> None:
    calls = []

    def fn(a, b, i):
        calls.append(a)
        return a * b, (a[i] ** 2).sum()

    _, w = job("bwd", fn=fn)
    assert len(calls) == 1
    first, second = w.call(), w.call()
    assert len(calls) == 1
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(first, w.whole(), strict=True))
    assert len(calls) == 2


@pytest.mark.parametrize("phase", ["bwd", "fwd_bwd"])
def test_gradients_are_returned_and_not_accumulated(phase: str) -> None:
    leaves = []

    def fn(a, b, i):
        leaves.extend((a, b))
        return a * b, (a[i] ** 2).sum()

    _, w = job(phase, fn=fn)
    w.call()
    again = w.call()
    assert all(t.grad is None for t in leaves)
    want = prepare(phase)[2]
    assert all((x - e.ref).abs().max().item() <= e.allowed for x, e in zip(again, want, strict=True))


def test_an_input_without_a_gradient_path_gets_zeros_and_is_found_wrong() -> None:
    _, w = job("bwd", fn=lambda a, b, i: (a * b.detach(), (a[i] ** 2).sum()))
    _, db = w.call()
    assert not db.any()
    want = prepare("bwd")[2][1]
    assert (db - want.ref).abs().max().item() > want.allowed


def test_step_calls_the_function_as_it_is() -> None:
    inputs, w = job("step", fn=lambda a, b, i: a.add_(1.0))
    before = inputs[0].clone()
    (after,) = w.call()
    assert after is inputs[0]
    assert torch.equal(after, before + 1.0)


def test_an_op_without_reference_and_oracle_expects_nothing() -> None:
    op: Op[Size] = Op("bare", 1, Size, inputs=lambda p, g: [])
    assert expected(op, Size(), "fwd", []) == []
    assert output_like(op, Size(), []) == ()


def test_outputs_are_known_without_computing_them() -> None:
    huge: Op[Size] = Op("huge", 1, Size, inputs=lambda p, g: [], reference=lambda p: lambda a: a[:, None] * a)
    (out,) = output_like(huge, Size(), [torch.ones(1_000_000, dtype=torch.bfloat16)])
    assert (out.shape, out.dtype, out.device.type) == ((1_000_000, 1_000_000), torch.bfloat16, "meta")


def test_douts_are_for_floating_outputs_and_one_for_a_loss() -> None:
    outputs = [torch.empty(3, 4, dtype=torch.bfloat16), torch.empty(2, dtype=torch.int64), torch.empty(())]
    rows, loss = make_douts(outputs, torch.Generator().manual_seed(0))
    assert (rows.shape, rows.dtype) == ((3, 4), torch.bfloat16)
    assert rows.float().std() > 0.3
    assert loss.item() == 1.0


def test_what_an_output_may_be_off_by_is_flash_attentions_rule() -> None:
    ref = torch.tensor([1.0, -2.0])
    low = torch.tensor([1.0, -2.0625]).bfloat16()
    rounded = ref.bfloat16()
    noise = (rounded + 0.3 - 0.3 - rounded).abs().max().item()
    assert noise > 0
    eps = 2.0**-23
    for factor in (2.0, 3.0):
        one = expect("out", ref, low, factor=factor)
        steps = 2 * 2.0**-7 * 2.0 / 2  # of bf16, of the largest value, shared by two rows
        assert one.allowed == pytest.approx(factor * 0.0625 + 2 * noise + 8 * eps * 2.0 + steps, rel=1e-9)
        assert one.rel_allowed == pytest.approx((factor * 0.0625 + steps * 2**0.5) / 5**0.5 + 8 * eps, rel=1e-6)
        assert one.dtype == torch.bfloat16
    assert expect("out", torch.tensor([1, 2]), torch.tensor([1, 2]), factor=2.0).allowed == 0.0


def test_an_overflow_of_the_plain_computation_allows_nothing() -> None:
    ref = torch.tensor([1.0, 2.0])
    one = expect("out", ref, torch.tensor([1.0, torch.inf]).half(), factor=2.0)
    assert one.allowed < 0.01


def test_what_may_cancel_is_rounded_at_the_size_of_its_terms() -> None:
    nothing = torch.zeros(4, 16)
    assert expect("dq", nothing, nothing.half(), factor=3.0).allowed == 0.0
    assert expect("dq", nothing, nothing.half(), factor=3.0, scale=2.0).allowed > 8 * 2.0**-23 * 2.0


def test_an_index_may_be_off_by_half_where_a_plain_computation_is_right() -> None:
    ref = torch.randn(6, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ref[5] /= 1000
    low = ref.float()
    low[4] *= 1.05  # a plain computation is off by a twentieth: it says nothing
    rows, columns = expect("dk", ref, low, factor=3.0).by_index
    sizes = torch.linalg.vector_norm(ref, dim=1)
    assert rows.shape == (6,) and columns.shape == (64,)
    torch.testing.assert_close(rows[[0, 1, 2, 3, 5]], sizes[[0, 1, 2, 3, 5]] / 2, rtol=0.01, atol=0)
    assert torch.isinf(rows[4])
    assert expect("dk", ref, ref.clone(), factor=3.0).by_index == (), "a plain computation as precise as the reference"


def test_an_index_that_cancels_may_be_anything() -> None:
    ref = torch.randn(6, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ref[0] = 0
    assert torch.isinf(expect("dq", ref, ref.float(), factor=3.0).by_index[0][0])
    ref[0] = 1e-17 * torch.randn(64, dtype=torch.float64)  # roundings of the reference itself
    low = ref.float()
    low[0] = 0
    assert torch.isinf(expect("dq", ref, low, factor=3.0).by_index[0][0])


def constant_op(value: Tensor, **more: tuple[str, ...]) -> Op[Size]:
    return Op("op", 1, Size, inputs=lambda p, g: [torch.randn(3, generator=g), value], input_names=("x", "w"), **more)


@pytest.mark.parametrize("value", [torch.zeros(2, 3), torch.ones(2), torch.full((4,), 0.5).half()])
def test_a_constant_input_is_refused_unless_the_op_says_so(value: Tensor) -> None:
    g = torch.Generator().manual_seed(0)
    with pytest.raises(UsageError) as told:
        make_inputs(constant_op(value), Size(), g)
    assert str(told.value) == (
        f"op 'op': input 'w' is {value.flatten()[0].item():g} everywhere, and may run faster than data would; "
        "make it random, or name it in Op(constant=...)"
    )
    assert len(make_inputs(constant_op(value, constant=("w",)), Size(), g)) == 2


@pytest.mark.parametrize("value", [torch.zeros(()), torch.zeros(1), torch.zeros(0), torch.zeros(5, dtype=torch.int64)])
def test_one_number_and_integers_may_be_constant(value: Tensor) -> None:
    assert make_inputs(constant_op(value), Size(), torch.Generator().manual_seed(0))[1] is value


def test_other_values_are_of_the_same_kind_and_all_different() -> None:
    g = torch.Generator().manual_seed(0)
    given = [torch.rand(3, 8, generator=g).to(t) for t in (torch.float32, torch.bfloat16)] + [torch.arange(4)]
    others = other_values([*given, torch.tensor(2.0)])
    for a, b in zip(given[:2], others[:2], strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and not (a == b).any() and (b >= 0).all()
    assert torch.equal(others[2], given[2]) and others[3].item() == 1.5
    q, k = given[0], given[0].clone()
    moved_q, moved_k = other_values([q, k])
    assert not torch.allclose(q @ k.mT * 0.75**2, moved_q @ moved_k.mT), "a common move is none for a dot product"


def test_wider_leaves_integers_and_fp64() -> None:
    dtypes = {
        torch.bfloat16: torch.float32, torch.float16: torch.float32, torch.float32: torch.float64,
        torch.float64: torch.float64, torch.int32: torch.int32, torch.bool: torch.bool,
    }  # fmt: skip
    assert {d: wider(torch.ones(1).to(d)).dtype for d in dtypes} == dtypes


def test_set_up_makes_its_tensors_on_the_device() -> None:
    made = []
    impl = Impl("buffer", lambda p: made.append(torch.zeros(p.n)) or (lambda a: a), ("fwd",))
    build(impl, Size(), device="meta")
    assert made[0].device.type == "meta"
    assert torch.zeros(1).device.type == "cpu"


frozen: Op[Size] = Op(
    name="frozen",
    version=1,
    params=Size,
    inputs=toy.inputs,
    reference=lambda p: lambda a, b, i: (a * b).sum(),
    input_names=("a", "b", "i"),
    frozen=("b",),
)


def test_a_frozen_input_gets_no_gradient() -> None:
    inputs = list(frozen.inputs(Size(), torch.Generator().manual_seed(3)))
    one = torch.ones(())
    impl = Impl("x", lambda p: lambda a, b, i: (a * b).sum(), frozen.phases)
    outputs = work(frozen, impl, impl.setup(Size()), inputs, "fwd_bwd", device_type="cpu", douts=[one]).call()
    wanted = expected(frozen, Size(), "fwd_bwd", inputs, [one])
    assert [w.name for w in wanted] == ["out", "da"] and len(outputs) == 2
    torch.testing.assert_close(outputs[1], inputs[1])
