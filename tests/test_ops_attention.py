"""The attention op: its cost, its oracle, and every implementation that runs on a CPU."""

from dataclasses import replace

import pytest
import torch
import torch._functorch.config
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch_bugs import flex_reads_beyond

from llmbench.kernels.attention import naive_attention
from llmbench.ops import OPS, attention
from llmbench.ops.attention import AttentionParams, attention_cost, packed
from llmbench.ops.attention import oracle as attention_oracle
from llmbench.ops.op import Expected, Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.work import build, make_douts, output_like, work

SMALL = AttentionParams(batch=2, seq_len=72, num_heads=4, num_kv_heads=2, head_dim=16, mask="causal")
PACKED_ONLY = {"varlen_loop", "padded"}
ON_CPU = [
    n for n, i in attention.impls.items() if i.why_unavailable(None, device_type="cpu") is None and n not in PACKED_ONLY
]


def problem(p: AttentionParams, phase: str) -> tuple[list[Tensor], tuple[Tensor, ...], list[Expected]]:
    g = torch.Generator().manual_seed(7)
    inputs = list(attention.inputs(p, g))
    douts = make_douts(output_like(attention, p, inputs), g)
    return inputs, douts, expected(attention, p, phase, inputs, douts)


def wrong(outputs, wanted: list[Expected]) -> list[str]:
    """Names of the outputs that are further off than allowed."""
    return [
        e.name
        for o, e in zip(outputs, wanted, strict=True)
        if o.shape != e.ref.shape or not (o.to(e.ref.dtype) - e.ref).abs().max().item() <= e.allowed
    ]


def outcome(fn, p: AttentionParams, phase: str) -> list[str]:
    """What the oracle finds wrong with a function."""
    inputs, douts, wanted = problem(p, phase)
    job = work(attention, attention.impls["naive"], fn, inputs, phase, device_type="cpu", douts=douts)
    return wrong(job.call(), wanted)


def with_(p: AttentionParams, **changes) -> AttentionParams:
    return replace(p, **changes)


def test_cost_of_one_call_in_golden_numbers() -> None:
    p = AttentionParams(
        batch=2, seq_len=4, num_heads=6, num_kv_heads=3, head_dim=8, mask="causal", dtype="bfloat16"
    )  # 10 pairs; q has 384 elements, k 192
    assert attention_cost(p, "fwd") == (4 * 2 * 6 * 10 * 8, 2 * (2 * 384 + 2 * 192), 8)
    assert attention_cost(p, "infer") == attention_cost(p, "fwd")
    assert attention_cost(p, "bwd") == (2.5 * 3840, 2 * (4 * 384 + 4 * 192), 8)
    assert attention_cost(p, "fwd_bwd") == (3.5 * 3840, 2 * (6 * 384 + 6 * 192), 8)
    assert attention_cost(with_(p, mask="full", dtype="float32"), "fwd") == (4 * 2 * 6 * 16 * 8, 4 * 1152, 8)


def test_inputs_follow_the_generator_and_the_parameters() -> None:
    p = with_(SMALL, dtype="bfloat16")
    q, k, v = attention.inputs(p, torch.Generator().manual_seed(1))
    again = attention.inputs(p, torch.Generator().manual_seed(1))
    assert (q.shape, k.shape, v.shape) == ((2, 4, 72, 16), (2, 2, 72, 16), (2, 2, 72, 16))
    assert {t.dtype for t in (q, k, v)} == {torch.bfloat16}
    assert all(torch.equal(a, b) for a, b in zip((q, k, v), again, strict=True))
    assert not torch.equal(k, v)


def test_the_op_is_registered_with_every_implementation() -> None:
    assert OPS["attention"] is attention
    assert list(attention.impls) == [
        "naive", "naive_compiled", "tiled", "sdpa_math", "sdpa_flash", "sdpa_efficient", "sdpa_cudnn", "flash_attn",
        "flash_attn4", "triton_flash", "flex", "varlen_loop", "padded", "varlen_flash_attn", "varlen_torch", "auto",
    ]  # fmt: skip
    for impl in attention.spec("cpu").impls:
        assert "Source: " in impl.doc, impl.name
    unavailable = {i.name for i in attention.spec("cpu").impls if i.why_unavailable}
    assert {"sdpa_efficient", "sdpa_cudnn", "flash_attn", "flash_attn4"} <= unavailable


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("mask", ["full", "causal"])
@pytest.mark.parametrize("name", [n for n in ON_CPU if not attention.impls[n].compiled])
def test_every_eager_implementation_passes_in_every_phase(name: str, mask: str, dtype: str) -> None:
    impl = attention.impls[name]
    for heads in (4, 2, 1):
        p = with_(SMALL, mask=mask, dtype=dtype, num_kv_heads=heads)
        for phase in impl.phases:
            inputs, douts, wanted = problem(p, phase)
            fn = build(impl, p, device="cpu")
            job = work(attention, impl, fn, inputs, phase, device_type="cpu", douts=douts)
            assert wrong(job.call(), wanted) == [], (heads, phase)
            assert wrong(job.whole(), wanted) == [], (heads, phase)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [n for n in ON_CPU if attention.impls[n].compiled])
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's import
@torch._functorch.config.patch(donated_buffer=False)  # a retained graph, as in phase bwd
def test_every_compiled_implementation_passes_in_every_phase(name: str, dtype: str) -> None:
    impl, p = attention.impls[name], with_(SMALL, dtype=dtype)
    if name == "flex" and flex_reads_beyond(keys=p.keys, head_dim=p.head_dim):
        p = with_(p, seq_len=p.seq_len + 3)
    if name == "flex" and not packed._is_made_for_this_cpu():
        pytest.skip("torch compiles no FlexAttention for this CPU")
    fn = build(impl, p, device="cpu")
    for phase in impl.phases:
        if impl.why_unavailable(phase, device_type="cpu"):
            continue
        inputs, douts, wanted = problem(p, phase)
        job = work(attention, impl, fn, inputs, phase, device_type="cpu", douts=douts)
        assert wrong(job.call(), wanted) == [], phase
        assert wrong(job.call(), wanted) == [], phase


def test_flex_says_on_which_cpu_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    flex_cpu = pytest.importorskip("torch._inductor.kernel.flex.flex_cpu")
    monkeypatch.setattr(flex_cpu, "check_cpu_supported", lambda: False)
    with pytest.raises(Unavailable, match="not for this CPU"):
        build(attention.impls["flex"], SMALL, device="cpu")


def test_flex_has_no_backward_on_a_cpu() -> None:
    assert attention.impls["flex"].why_unavailable("bwd", device_type="cpu") == "has no backward on cpu"
    p = with_(SMALL, mask="full")
    inputs, _, _ = problem(p, "fwd")
    job = work(attention, attention.impls["flex"], naive_attention, inputs, "fwd", device_type="cpu")
    assert job.grad == "off"
    assert not job.call()[0].requires_grad


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_each_pin_runs_its_own_kernel_on_a_cpu(mask: str, heads: int, dtype: str) -> None:
    flash = "_scaled_dot_product_flash_attention_for_cpu"
    kernels = {"sdpa_flash": {flash, f"{flash}_backward"}, "sdpa_math": {"_scaled_dot_product_attention_math"}}
    p = with_(SMALL, mask=mask, num_kv_heads=heads, dtype=dtype)
    for name, wanted in kernels.items():
        inputs, douts, _ = problem(p, "fwd_bwd")
        impl = attention.impls[name]
        job = work(attention, impl, build(impl, p, device="cpu"), inputs, "fwd_bwd", device_type="cpu", douts=douts)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            job.call()
        ran = {e.name.removeprefix("aten::") for e in seen.events()}
        assert {n for n in ran if flash in n or n.endswith("attention_math")} == wanted
        assert "repeat_interleave" not in " ".join(ran) or name == "sdpa_math"


def test_a_pin_that_no_kernel_serves_says_so_and_leaves_the_others_on() -> None:
    q, k, v = attention.inputs(SMALL, torch.Generator())
    with pytest.raises(Unavailable, match=r"no EFFICIENT_ATTENTION kernel for torch\.float32, head_dim 16, on cpu"):
        attention.impls["sdpa_efficient"].setup(SMALL)(q, k, v)
    on = torch.backends.cuda
    assert on.flash_sdp_enabled()
    assert on.math_sdp_enabled()
    assert on.mem_efficient_sdp_enabled()
    assert on.cudnn_sdp_enabled()


@pytest.mark.parametrize("name", ["flash_attn", "flash_attn4"])
def test_flash_attn_refuses_float32_with_the_reason(name: str) -> None:
    with pytest.raises(Unavailable, match="takes float16 and bfloat16, not float32"):
        attention.impls[name].setup(SMALL)


@pytest.mark.parametrize("phase", ["infer", "fwd", "bwd", "fwd_bwd"])
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_the_oracle_by_blocks_equals_the_whole(mask: str, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = with_(SMALL, mask=mask)
    whole = problem(p, phase)[2]
    monkeypatch.setattr(attention_oracle, "SCORE_BYTES", 8 * 2 * 72 * 11)  # eleven queries a block: 72 is no multiple
    blocks = problem(p, phase)[2]
    grads = ["dq", "dk", "dv"]
    assert [e.name for e in blocks] == {"bwd": grads, "fwd_bwd": ["out", *grads]}.get(phase, ["out"])
    for a, b in zip(whole, blocks, strict=True):
        assert b.ref.dtype == torch.float64
        torch.testing.assert_close(a.ref, b.ref, rtol=0, atol=1e-12)
        assert b.allowed == pytest.approx(a.allowed, rel=0.7)


@pytest.mark.parametrize(
    ("dtype", "exact_flop", "wide"),
    [("float32", 0, torch.float64), ("bfloat16", 0, torch.float32), ("bfloat16", 2**32, torch.float64)],
)
def test_the_reference_is_float64_where_small_and_one_precision_above_the_inputs_elsewhere(
    dtype: str, exact_flop: int, wide: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_oracle, "EXACT_FLOP", exact_flop)
    for e in problem(with_(SMALL, dtype=dtype), "fwd_bwd")[2]:
        assert e.ref.dtype == wide
        assert 0 < e.allowed < {"float32": 1e-4, "bfloat16": 0.2}[dtype]


def test_the_oracle_equals_the_naive_kernel_in_fp64() -> None:
    inputs, douts, wanted = problem(SMALL, "fwd_bwd")
    leaves = [t.double().requires_grad_() for t in inputs]
    out = naive_attention(*leaves, causal=True)
    got = (out, *torch.autograd.grad(out, leaves, douts[0].double()))
    for e, t in zip(wanted, got, strict=True):
        torch.testing.assert_close(e.ref, t.detach(), rtol=0, atol=1e-12)


def _top_left(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Sees one key too many, as a mask aligned to another diagonal does."""
    hidden = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(2)
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    return (q @ k.mT / 4).masked_fill(hidden, -torch.inf).softmax(-1) @ v


def _tiled_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Query head h reads kv head h % G."""
    return naive_attention(q, k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1), causal=True)


def _without_tail(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Forgets the ragged last block of queries."""
    whole = naive_attention(q, k, v, causal=True)
    return torch.cat([whole[:, :, :64], torch.zeros_like(whole[:, :, 64:])], dim=2)


MISTAKES = {
    "another diagonal": _top_left,
    "no mask": lambda q, k, v: naive_attention(q, k, v),
    "repeat for repeat_interleave": _tiled_heads,
    "zeros": lambda q, k, v: torch.zeros_like(q) * (q.sum() + k.sum() + v.sum()),
    "no scale": lambda q, k, v: naive_attention(q, k, v, causal=True, scale=1.0),
    "no tail block": _without_tail,
    "NaN": lambda q, k, v: naive_attention(q, k, v, causal=True) * torch.nan,
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_oracle_catches(mistake: str, dtype: str) -> None:
    p = with_(SMALL, dtype=dtype)
    assert outcome(lambda q, k, v: naive_attention(q, k, v, causal=True), p, "fwd_bwd") == []
    assert outcome(MISTAKES[mistake], p, "fwd") == ["out"]
    assert outcome(MISTAKES[mistake], p, "bwd") == ["dq", "dk", "dv"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_oracle_catches_gradients_that_are_not_summed_over_the_group(dtype: str) -> None:
    class OneHead(torch.autograd.Function):
        """Gives dk and dv of the first head of the group alone."""

        @staticmethod
        def forward(ctx, k):
            return k.repeat_interleave(2, 1)

        @staticmethod
        def backward(ctx, dk):
            return dk[:, ::2]

    def fn(q, k, v):
        return naive_attention(q, OneHead.apply(k), OneHead.apply(v), causal=True)

    assert outcome(fn, with_(SMALL, dtype=dtype), "fwd_bwd") == ["dk", "dv"]
