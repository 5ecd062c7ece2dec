"""Our FlashAttention in Triton's interpreter: outputs and gradients by the rule, on every kind of shape."""

import itertools
import random
import subprocess
import sys

import pytest
import torch
from flash_cases import HEADS, MASKS, attend, results, wrong_with
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.kernels.attention import BlockConfig, flash_attention, flash_attention_varlen, naive_attention
from llmbench.kernels.attention.launch import using
from llmbench.kernels.attention.naive import hidden
from llmbench.kernels.attention.span import Span, span_of
from llmbench.kernels.device import interprets
from llmbench.ops.attention import AttentionParams
from llmbench.ops.attention.params import inputs

if not interprets():
    pytest.skip("a GPU is here: tests/gpu runs the kernels on it", allow_module_level=True)

LENGTHS = (
    (113, 203), (128, 217), (113, 211), (108, 256), (256, 256), (128, 128), (1, 239), (3, 199), (127, 253), (64, 64),
    (17, 17), (65, 1), (200, 96),
)  # fmt: skip
HEAD_DIMS = (16, 32, 40, 59, 64, 80, 96, 111, 128, 160, 256)
DENSE, PACKED = 200, 48


def dense_cases() -> list[AttentionParams]:
    """Every pair of lengths both ways round, with masks, heads, head dims and dtypes drawn so that all meet."""
    drawn, found = random.Random(5), []
    for i in range(DENSE):
        queries, keys = LENGTHS[i % len(LENGTHS)][:: 1 if i % 2 else -1]
        heads, kv_heads = HEADS[i % len(HEADS)]
        found.append(
            AttentionParams(
                batch=1 + i % 2, seq_len=queries, kv_len=keys, num_heads=heads, num_kv_heads=kv_heads,
                head_dim=drawn.choice(HEAD_DIMS), dtype=("float32", "float16")[i // 2 % 2], **MASKS[i % len(MASKS)],
            )
        )  # fmt: skip
    return found


def packed_cases() -> list[AttentionParams]:
    drawn, found = random.Random(6), []
    for i in range(PACKED):
        heads, kv_heads = HEADS[i % len(HEADS)]
        found.append(
            AttentionParams(
                batch=drawn.randint(1, 5), seq_len=drawn.choice((1, 40, 97, 128)), num_heads=heads,
                kv_len=drawn.choice((0, 0, 61, 130)), num_kv_heads=kv_heads, head_dim=drawn.choice((16, 40, 64)),
                layout="varlen", lengths=("equal", "uniform", "one_long", "with_empty")[i % 4],
                dtype=("float32", "float16")[i // 4 % 2], **MASKS[i % len(MASKS)],
            )
        )  # fmt: skip
    return found


def name(p: AttentionParams) -> str:
    packed = f"{p.lengths}-" if p.varlen else ""
    return f"{packed}{p.mask}-{p.seq_len}x{p.keys}-{p.num_heads}of{p.num_kv_heads}-d{p.head_dim}-{p.dtype}"


@pytest.mark.parametrize("p", dense_cases(), ids=name)
def test_output_and_gradients_are_right(p: AttentionParams) -> None:
    assert wrong_with(p) is None


@pytest.mark.parametrize("p", packed_cases(), ids=name)
def test_packed_sequences_are_right(p: AttentionParams) -> None:
    assert wrong_with(p) is None


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    seq_len=st.integers(1, 140), kv_len=st.integers(1, 140), heads=st.sampled_from(HEADS), head_dim=st.integers(1, 72),
    mask=st.sampled_from(MASKS), layout=st.sampled_from(("dense", "varlen")),
    lengths=st.sampled_from(("uniform", "one_long", "with_empty")), batch=st.integers(1, 4),
)  # fmt: skip
def test_shapes_that_nobody_thought_of_are_right(
    seq_len: int, kv_len: int, heads: tuple[int, int], head_dim: int, mask: dict[str, object], layout: str,
    lengths: str, batch: int,
) -> None:  # fmt: skip
    p = AttentionParams(
        batch=batch, seq_len=seq_len, kv_len=kv_len, num_heads=heads[0], num_kv_heads=heads[1], head_dim=head_dim,
        layout=layout, lengths=lengths, **mask,
    )  # fmt: skip
    assert wrong_with(p) is None


def tensors(*, seq_len: int = 100, kv_len: int = 77, head_dim: int = 24, dtype: torch.dtype = torch.float32):
    g = torch.Generator().manual_seed(3)
    shapes = [(2, 4, seq_len, head_dim), (2, 2, kv_len, head_dim), (2, 2, kv_len, head_dim)]
    return [torch.randn(s, generator=g, dtype=dtype) for s in shapes]


def with_gradients(q, k, v, **options) -> list[torch.Tensor]:
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    out = flash_attention(*leaves, **options)
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(4), dtype=out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, dout)]


@pytest.mark.parametrize("blocks", [(16, 16), (32, 64), (64, 16), (128, 32)])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": (13, 7)}])
def test_the_size_of_blocks_does_not_matter(blocks: tuple[int, int], options: dict[str, object]) -> None:
    usual = with_gradients(*tensors(), **options)
    with using(**dict.fromkeys(("forward", "dkdv", "dq"), BlockConfig(*blocks, 4, 1))):
        other = with_gradients(*tensors(), **options)
    torch.testing.assert_close(other, usual, rtol=1e-5, atol=2e-6)


def test_the_order_of_keys_does_not_matter_where_all_are_seen() -> None:
    q, k, v = tensors()
    order = torch.randperm(k.shape[2], generator=torch.Generator().manual_seed(1))
    out, dq, dk, dv = with_gradients(q, k, v)
    shuffled = with_gradients(q, k[:, :, order], v[:, :, order])
    wanted = [out, dq, dk[:, :, order], dv[:, :, order]]
    torch.testing.assert_close(shuffled, wanted, rtol=1e-5, atol=2e-6)


def test_a_common_shift_of_all_keys_moves_the_lse_alone() -> None:
    q, k, v = tensors()
    shift = torch.randn(k.shape[-1], generator=torch.Generator().manual_seed(2))
    out, lse = flash_attention(q, k, v, causal=True, return_lse=True)
    moved, moved_lse = flash_attention(q, k + shift, v, causal=True, return_lse=True)
    torch.testing.assert_close(moved, out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved_lse, lse + q @ shift * q.shape[-1] ** -0.5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("left", [77, 1000, -1])
def test_a_window_as_long_as_the_keys_is_causal(left: int) -> None:
    causal = with_gradients(*tensors(), causal=True)
    window = with_gradients(*tensors(), window=(left, 0))
    torch.testing.assert_close(window, causal, rtol=1e-6, atol=1e-6)


def test_results_are_the_same_bits_each_time() -> None:
    first, second = (with_gradients(*tensors(dtype=torch.float16), causal=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_gradients_of_a_sequence_never_touch_another() -> None:
    p = AttentionParams(batch=3, seq_len=50, num_heads=4, num_kv_heads=2, head_dim=16, layout="varlen", mask="causal")
    given = inputs(p, torch.Generator().manual_seed(0))
    dout = torch.randn(given[0].shape, generator=torch.Generator().manual_seed(1))
    before = results(p, given, dout)
    given[0][:50], given[1][:50], given[2][:50], dout[:50] = 7.0, -3.0, 1e4, 1e4
    after = results(p, given, dout)
    assert all(torch.equal(a[50:], b[50:]) for a, b in zip(before, after, strict=True))
    assert not torch.equal(before[0][:50], after[0][:50])


@pytest.mark.parametrize("options", [{"causal": True}, {"window": (5, 9)}, {}])
def test_the_lse_and_its_gradient_are_those_of_a_log_sum_exp(options: dict[str, object]) -> None:
    q, k, v = (t.requires_grad_() for t in tensors())
    out, lse = flash_attention(q, k, v, **options, return_lse=True)
    span = span_of(**options)
    scores = q.double() @ k.double().repeat_interleave(2, 1).mT * q.shape[-1] ** -0.5
    hides = hidden(span, *scores.shape[-2:], q.device)
    wanted = scores.masked_fill(hides, -torch.inf).logsumexp(-1)
    torch.testing.assert_close(lse.double(), wanted, rtol=1e-6, atol=1e-5)
    seen = ~hides.all(-1)
    weights = torch.randn(lse.shape, generator=torch.Generator().manual_seed(5))[:, :, seen]
    ours = torch.autograd.grad((lse[:, :, seen] * weights).sum() + out.sum(), (q, k))
    reference = naive_attention(q.double(), k.double(), v.double(), **options)
    theirs = torch.autograd.grad((wanted[:, :, seen] * weights).sum() + reference.sum(), (q, k))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_query_that_sees_no_key_gives_zero_and_no_gradient() -> None:
    q, k, v = tensors(seq_len=90, kv_len=40)
    out, lse = flash_attention(q, k, v, causal=True, return_lse=True)
    assert not out[:, :, :50].any() and torch.isneginf(lse[:, :, :50]).all() and lse[:, :, 50:].isfinite().all()
    _, dq, dk, dv = with_gradients(q, k, v, causal=True)
    assert not dq[:, :, :50].any() and all(t.isfinite().all() for t in (dq, dk, dv))


def test_no_keys_at_all_give_zero() -> None:
    q, k, v = tensors(kv_len=0)
    out, lse = flash_attention(q, k, v, return_lse=True)
    assert not out.any() and torch.isneginf(lse).all()
    assert [t.shape for t in with_gradients(q, k, v)] == [q.shape, q.shape, k.shape, v.shape]


def test_logits_far_beyond_the_range_of_float16_are_right() -> None:
    q, k, v = tensors(dtype=torch.float16)
    out = flash_attention(q * 300, k * 300, v, causal=True)
    wanted = naive_attention((q * 300).double(), (k * 300).double(), v.double(), causal=True)
    assert out.isfinite().all()
    torch.testing.assert_close(out.double(), wanted, rtol=0, atol=4e-3)


@pytest.mark.parametrize("scale", [0.5, -0.3])
def test_any_scale_but_zero_is_taken(scale: float) -> None:
    ours = with_gradients(*tensors(), causal=True, scale=scale)
    q, k, v = (t.double().requires_grad_() for t in tensors())
    out = naive_attention(q, k, v, causal=True, scale=scale)
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(4)).double()
    torch.testing.assert_close(
        [t.double() for t in ours], [out, *torch.autograd.grad(out, (q, k, v), dout)], rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ValueError, match="scale is 0"):
        flash_attention(*tensors(), scale=0.0)


def test_inputs_may_lie_in_memory_as_they_like() -> None:
    q, k, v = tensors()
    usual = with_gradients(q, k, v, causal=True)
    turned = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
    strided = [torch.stack([t, t], -1)[..., 0] for t in (q, k, v)]
    for laid in (turned, strided, [q, k[:, :1].expand_as(k), v]):
        wanted = usual if laid[1].stride(1) else with_gradients(q, k[:, :1].repeat(1, 2, 1, 1), v, causal=True)
        torch.testing.assert_close(with_gradients(*laid, causal=True), wanted, rtol=0, atol=0)
    assert flash_attention(*turned).stride() == turned[0].stride()
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    flash_attention(*leaves, causal=True).sum().backward()  # a gradient of stride 0
    assert all(t.grad.isfinite().all() for t in leaves)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q": torch.zeros(2, 3, 5, 24)}, "3 query heads are no multiple of 2 kv heads"),
        ({"k": torch.zeros(2, 2, 5, 16)}, "they differ"),
        ({"q": torch.zeros(2, 4, 5, 24, dtype=torch.float64)}, "wanted float16, bfloat16 or float32"),
        ({"q": torch.zeros(4, 5, 24)}, "wanted 4 axes"),
        ({"q": torch.zeros(1, 4, 5, 24)}, "batch and head dim must be the same"),
        ({n: torch.zeros(2, 2, 5, 300) for n in "qkv"}, "head dim 300 is not within 1 to 256"),
        ({"k": torch.zeros(2, 2, 77, 24, dtype=torch.float16)}, "the same for q, k and v"),
    ],
)  # fmt: skip
def test_what_it_does_not_take_is_told(change: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        flash_attention(**{f"{n}_{'BHSD' if n == 'q' else 'BGKD'}": t for n, t in _named(change).items()})


def _named(change: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(zip("qkv", tensors(), strict=True)) | change


CUTS = torch.tensor([0, 4, 10], dtype=torch.int32)


@pytest.mark.parametrize(
    ("cut", "longest", "words"),
    [
        (CUTS.long(), 6, "cu_seqlens_q is int64"),
        ([0, 4, 10], 6, "cu_seqlens_q is list, wanted a tensor int32"),
        (CUTS[:2], 6, "cu_seqlens_q has 2 entries, cu_seqlens_k 3"),
        (CUTS + 1, 6, "wanted 0 to at most 10, rising"),
        (CUTS[[0, 2, 1]], 10, "wanted 0 to at most 10, rising"),
        (CUTS * 2, 12, "wanted 0 to at most 10"),
        (CUTS, 5, "no sequence longer than max_seqlen"),
    ],
)
def test_the_cuts_of_packed_sequences_are_checked(cut: torch.Tensor, longest: int, words: str) -> None:
    q = torch.zeros(10, 2, 16)
    with pytest.raises(ValueError, match=words):
        flash_attention_varlen(q, q, q, cut, CUTS, longest, 6)


def test_cuts_may_lie_in_memory_as_they_like_and_need_not_reach_the_end() -> None:
    q = torch.randn(12, 2, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wanted = flash_attention_varlen(q[:10], q[:10], q[:10], CUTS, CUTS, 6, 6, causal=True)
    strided = torch.stack([CUTS, CUTS + 99], 1)[:, 0]
    out, lse = flash_attention_varlen(q, q, q, strided, strided, 6, 6, causal=True, return_lse=True)
    assert torch.equal(out[:10], wanted) and not out[10:].any() and torch.isneginf(lse[:, 10:]).all()
    (gradient,) = torch.autograd.grad(out.sum(), q)
    assert gradient[:10].any() and not gradient[10:].any()


@pytest.mark.parametrize("side", [2**31 - 1, 2**63 - 1, 10**6])
def test_a_side_of_a_window_may_be_as_large_as_one_likes(side: int) -> None:
    q, k, v = tensors()
    wanted = flash_attention(q, k, v, window=(3, -1)), flash_attention(q, k, v, causal=True)
    assert torch.equal(flash_attention(q, k, v, window=(3, side)), wanted[0])
    torch.testing.assert_close(flash_attention(q, k, v, window=(side, 0)), wanted[1], rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"window is 7, wanted \(left, right\)"):
        flash_attention(q, k, v, window=7)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("pass", "ieee"),
        ("torch.set_float32_matmul_precision('high')", "tf32"),
        ("torch.backends.cuda.matmul.allow_tf32 = True", "tf32"),
        ("torch.backends.cuda.matmul.fp32_precision = 'tf32'", "tf32"),  # the old getter raises from then on
    ],
)
def test_float32_is_multiplied_as_torch_is_told_to(setting: str, wanted: str) -> None:
    code = (
        f"import torch\n{setting}\nfrom llmbench.kernels.attention.launch import precision_of\n"
        "print(precision_of(torch.zeros(1)), precision_of(torch.zeros(1).half()))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [wanted, "ieee"]


def test_bfloat16_is_refused_by_the_interpreter() -> None:
    with pytest.raises(RuntimeError, match="interpreter multiplies bfloat16 wrongly"):
        flash_attention(*tensors(dtype=torch.bfloat16))


def test_spans_equal_a_count_by_hand() -> None:
    for queries, keys, left, right in itertools.product(range(8), range(8), range(-1, 9), range(-1, 9)):
        shift = keys - queries
        seen = [
            [(left < 0 or j >= i + shift - left) and (right < 0 or j <= i + shift + right) for j in range(keys)]
            for i in range(queries)
        ]
        span = Span(left, right)
        assert span.pairs(queries, keys) == sum(map(sum, seen)), (span, queries, keys)
        assert (~hidden(span, queries, keys, torch.device("cpu"))).tolist() == seen, (span, queries, keys)


def test_arguments_become_the_span_that_flash_attention_gives_them() -> None:
    assert span_of() == Span(-1, -1) and span_of(causal=True) == Span(-1, 0)
    assert span_of(window=(5, 9)) == Span(5, 9) and span_of(causal=True, window=(5, 9)) == Span(5, 0)
    assert span_of(window=(-7, 3)) == Span(-1, 3) and span_of(window=(4, -2)) == Span(4, -1)
    assert Span(5, 9).within(7) == Span(5, 7) and Span(-1, 2**63).within(7) == Span(-1, 7)
    assert [s.mask for s in (Span(), Span(right=0), Span(5, 0), Span(-1, 3))] == ["full", "causal", "window", "window"]


def test_the_whole_case_is_what_the_functions_say() -> None:
    p = AttentionParams(seq_len=20, num_heads=2, num_kv_heads=1, head_dim=8, mask="window", window_left=4)
    given = inputs(p, torch.Generator().manual_seed(0))
    torch.testing.assert_close(attend(p, *given), naive_attention(*given, window=(4, 0)), rtol=1e-5, atol=1e-5)
