"""FLOP that a call really did: known numbers, and a reason wherever torch's counter would miss some."""

import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from llmbench.kernels.attention import flash_attention, naive_attention
from llmbench.kernels.attention.launch import Problem, run_forward
from llmbench.kernels.attention.span import Span
from llmbench.kernels.device import interprets
from llmbench.kernels.losses import linear_cross_entropy
from llmbench.measure.flop import COMPILED, counted_flop, may_multiply

B, H, S, D = 2, 3, 16, 8
PRODUCT = 2 * B * H * S * S * D  # q k^T, or p v


def flop(call: Callable[[], object]) -> int | str | None:
    return counted_flop(call, ready=lambda: None)


def qkv(*, grad: bool = True) -> list[Tensor]:
    return [torch.randn(B, H, S, D).requires_grad_(grad) for _ in range(3)]


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


PRODUCTS: dict[str, tuple[Callable[[Tensor, Tensor], object], int]] = {
    "matmul": (lambda a, b: a @ b, 2 * 5 * 7 * 11),
    "linear": (lambda a, b: torch.nn.functional.linear(a, b.T, torch.ones(11)), 2 * 5 * 7 * 11),
    "twice": (lambda a, b: (a @ b, a @ b), 4 * 5 * 7 * 11),
    "out": (lambda a, b: torch.mm(a, b, out=torch.empty(5, 11)), 2 * 5 * 7 * 11),
    "in place": (lambda a, b: torch.ones(5, 11).addmm_(a, b), 2 * 5 * 7 * 11),
    "batches in place": (lambda a, b: torch.ones(1, 5, 11).baddbmm_(a[None], b[None]), 2 * 5 * 7 * 11),
    "a vector": (lambda a, b: a @ b[:, 0], 2 * 5 * 7),
    "a vector added": (lambda a, b: torch.addmv(torch.ones(5), a, b[:, 0]), 2 * 5 * 7),
    "two vectors": (lambda a, b: a[0] @ b[:, 0], 2 * 7),
    "einsum": (lambda a, b: torch.einsum("mk,kn->mn", a, b).relu().sqrt().lgamma(), 2 * 5 * 7 * 11),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_two_flop_for_each_pair_that_it_multiplies(name: str) -> None:
    call, wanted = PRODUCTS[name]
    a, b = torch.randn(5, 7), torch.randn(7, 11)
    assert flop(lambda: call(a, b)) == wanted
    with torch.inference_mode():
        assert flop(lambda: call(a, b)) == wanted


def test_attention_is_two_products_forward_and_four_backward_whatever_is_masked() -> None:
    q, k, v = qkv()
    assert flop(lambda: naive_attention(q, k, v, causal=True)) == 2 * PRODUCT
    out = naive_attention(q, k, v, causal=True)
    backward = lambda: torch.autograd.grad(out, (q, k, v), torch.ones_like(out), retain_graph=True)  # noqa: E731
    backward()
    assert flop(backward) == 4 * PRODUCT


def test_the_fused_attention_of_a_cpu_computes_the_scores_again_in_backward() -> None:
    q, k, v = qkv()
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert type(out.grad_fn).__name__.startswith("ScaledDotProductFlashAttentionForCpu")
    assert flop(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)) == 2 * PRODUCT
    assert flop(lambda: torch.autograd.grad(out, (q, k, v), torch.ones_like(out), retain_graph=True)) == 5 * PRODUCT


def test_recomputation_is_counted() -> None:
    q, k, v = qkv()

    def step(attend: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(attend(q, k, v).sum(), (q, k, v))

    def again(*t: Tensor) -> Tensor:
        return checkpoint(lambda *t: naive_attention(*t, causal=True), *t, use_reentrant=False, early_stop=False)

    assert flop(step(lambda *t: naive_attention(*t, causal=True))) == 6 * PRODUCT
    assert flop(step(again)) == 8 * PRODUCT


def test_a_chunked_head_counts_what_it_adds_in_place() -> None:
    hidden, head = torch.randn(32, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    labels = torch.randint(50, (32,))
    step = lambda: linear_cross_entropy(hidden, head, labels).backward()  # noqa: E731
    step()
    assert flop(step) == 3 * 2 * 32 * 8 * 50


@pytest.mark.skipif(not interprets(), reason="a GPU is here: tests/gpu runs the kernels on it")
def test_our_registered_attention_counts_the_pairs_that_see_one_another() -> None:
    q, k, v = qkv(grad=False)
    wanted = 4 * B * H * D * Span(right=0).pairs(S, S)
    assert flop(lambda: flash_attention(q, k, v, causal=True)) == wanted, "and what it launches inside is that"


@pytest.mark.skipif(not interprets(), reason="a GPU is here: tests/gpu runs the kernels on it")
def test_a_triton_kernel_outside_of_an_operator_is_a_reason() -> None:
    q, k, v = qkv(grad=False)
    out, lse = torch.empty_like(q), torch.empty(B, H, S)
    problem = Problem(B, S, S, H, H, D, Span(), 1.0)
    assert flop(lambda: run_forward(problem, q, k, v, out, lse)) == "no formula for triton::forward_kernel"
    assert flop(lambda: (run_forward(problem, q, k, v, out, lse), q @ q.mT)) == "no formula for triton::forward_kernel"


def test_what_multiplies_nothing_has_no_number() -> None:
    x = torch.rand(9, 9, requires_grad=True)
    assert flop(lambda: torch.autograd.grad(x.softmax(-1).norm(), x)) is None
    assert flop(lambda: None) is None


def test_operators_without_a_formula_are_named_and_no_number_is_given() -> None:
    a = torch.randn(6, 6)
    assert flop(lambda: torch.fft.fft(a)) == "no formula for aten::_fft_r2c"
    assert flop(lambda: a @ torch.linalg.inv(a)) == "no formula for aten::linalg_inv_ex"
    with torch.library._scoped_library("llmbench_flop_test", "DEF") as library:
        for name in ("one", "two", "three", "four", "five"):
            library.define(f"{name}(Tensor x) -> Tensor")
            library.impl(name, lambda x: x @ x, "CPU")
        ops = torch.ops.llmbench_flop_test
        assert flop(lambda: [op(a) for op in (ops.one, ops.one)]) == "no formula for llmbench_flop_test::one"
        told = flop(lambda: [op(a) for op in (ops.one, ops.two, ops.three, ops.four, ops.five)])
    assert str(told).endswith("llmbench_flop_test::four and 1 more")


def test_every_product_of_torch_has_a_formula_or_is_suspected() -> None:
    suspected = (
        "_grouped_mm _weight_int4pack_mm addbmm vdot mv convolution linear lstm _cdist_forward linalg_solve _trilinear "
        "_fft_c2c cholesky_inverse _lu_with_info"
    )
    harmless = (
        "relu sqrt lgamma resolve_conj linalg_vector_norm upsample_bilinear2d clone silu _fused_adamw_ _foreach_norm "
        "_convert_weight_to_int4pack native_layer_norm"
    )
    for name in suspected.split():
        assert may_multiply(f"aten::{name}"), name
    for name in harmless.split():
        assert not may_multiply(f"aten::{name}"), name
    assert may_multiply("flash_attn::_flash_attn_forward") and not may_multiply("c10d::allreduce_")


def compiled_ranges(call: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], acc_events=False) as p:
        call()
    return sum(e.name.startswith("Torch-Compiled Region") for e in p.events())


def test_compiled_code_has_a_reason_and_stays_compiled() -> None:
    a = torch.randn(8, 8, requires_grad=True)
    call = torch.compile(lambda t: (t @ t).sin(), dynamic=False, backend="aot_eager")
    out = call(a)
    assert flop(lambda: call(a)) == COMPILED
    assert flop(lambda: torch.autograd.grad(out, a, torch.ones_like(out), retain_graph=True)) == COMPILED
    assert compiled_ranges(lambda: call(a)) == 1, "under a counter dynamo gives it up"


def test_a_counter_that_meets_a_compiled_function_unawares_leaves_it_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the profiler of another version names its ranges otherwise."""
    monkeypatch.setattr("llmbench.measure.flop._runs_compiled", lambda call, ready: False)
    a = torch.randn(8, 8)
    call = torch.compile(lambda t: (t @ t).sin(), dynamic=False, backend="aot_eager")
    call(a)
    assert flop(lambda: call(a)) == 2 * 8**3
    assert compiled_ranges(lambda: call(a)) == 1


def test_inputs_are_put_back_before_every_call_and_what_was_watched_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("triton.runtime.jit")
    kind = type("JITFunction", (), {"run": lambda self: None})
    module.JITFunction = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton.runtime.jit", module)
    run, said = kind.run, []  # type: ignore[attr-defined,var-annotated]
    assert counted_flop(lambda: said.append("call"), ready=lambda: said.append("ready")) is None
    assert said in (["ready", "call"], ["ready", "call"] * 2) and kind.run is run  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        flop(lambda: 1 / 0)
    assert kind.run is run and flop(lambda: kind().run()) == "no formula for triton::kernel"  # type: ignore[attr-defined]
