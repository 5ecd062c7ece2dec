"""Naive and tiled attention against a loop over queries in fp64."""

import pytest
import torch
from torch import Tensor

from llmbench.kernels.attention import naive_attention, tiled_attention

KERNELS = {"naive": naive_attention, "tiled": tiled_attention}
HEADS = {"mha": (4, 4), "gqa": (4, 2), "mqa": (4, 1)}
LENGTHS = [(1, 1), (64, 64), (113, 203), (203, 113), (1, 239), (239, 1), (128, 129), (129, 128)]


def make(S: int, K: int, *, heads: tuple[int, int] = (4, 2), D: int = 40, dtype: torch.dtype = torch.float64):
    """q, k, v, dout for a batch of two."""
    g = torch.Generator().manual_seed(S * 1000 + K)
    shapes = [(2, heads[0], S, D), (2, heads[1], K, D), (2, heads[1], K, D), (2, heads[0], S, D)]
    return [torch.randn(s, generator=g, dtype=torch.float64).to(dtype) for s in shapes]


def expected(q: Tensor, k: Tensor, v: Tensor, dout: Tensor, *, causal: bool, scale: float | None = None):
    """out, dq, dk, dv, lse, one query at a time: query i sees the keys up to i + K - S."""
    q, k, v = (t.double().requires_grad_() for t in (q, k, v))
    _, H, S, D = q.shape
    G, K = k.shape[1:3]
    head = torch.arange(H) // (H // G)  # which kv head a query head reads
    k_of, v_of = k[:, head], v[:, head]
    rows, lse = [], []
    for i in range(S):
        stop = max(0, min(K, i + K - S + 1)) if causal else K
        scores = (q[:, :, i, None] * k_of[:, :, :stop]).sum(-1) * (D**-0.5 if scale is None else scale)
        rows.append((scores.softmax(-1)[..., None] * v_of[:, :, :stop]).sum(-2))
        lse.append(scores.detach().logsumexp(-1))
    out = torch.stack(rows, dim=2)
    return (out.detach(), *torch.autograd.grad(out, (q, k, v), dout.double()), torch.stack(lse, dim=2))


def run(kernel, q: Tensor, k: Tensor, v: Tensor, dout: Tensor, **options):
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    out = kernel(*leaves, **options)
    return (out.detach(), *torch.autograd.grad(out, leaves, dout))


def assert_close(got, want, *, atol: float = 1e-11) -> None:
    for name, a, b in zip(("out", "dq", "dk", "dv"), got, want, strict=False):
        assert a.shape == b.shape
        error = (a.double() - b).abs().max().item()
        assert error <= atol, f"{name} is off by {error}"


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize(("S", "K"), LENGTHS)
def test_output_and_gradients_equal_a_loop_over_queries(causal: bool, S: int, K: int) -> None:
    case = make(S, K, D=16)
    want = expected(*case, causal=causal)
    for kernel in KERNELS.values():
        assert_close(run(kernel, *case, causal=causal), want)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("D", [16, 40, 59, 64])
def test_every_head_geometry_and_head_dim_is_exact(kernel: str, heads: tuple[int, int], D: int) -> None:
    case = make(37, 45, heads=heads, D=D)
    options = {"block_q": 16, "block_k": 16} if kernel == "tiled" else {}
    assert_close(run(KERNELS[kernel], *case, causal=True, **options), expected(*case, causal=True))


@pytest.mark.parametrize("kernel", KERNELS)
def test_scale_replaces_the_default(kernel: str) -> None:
    case = make(20, 20)
    assert_close(run(KERNELS[kernel], *case, scale=0.5), expected(*case, causal=False, scale=0.5))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)])
def test_low_precision_is_near_and_keeps_the_dtype(kernel: str, dtype: torch.dtype, atol: float) -> None:
    case = make(67, 67, dtype=dtype)
    got = run(KERNELS[kernel], *case, causal=True)
    assert [t.dtype for t in got] == [dtype] * 4
    assert_close(got, expected(*case, causal=True), atol=atol)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_query_that_sees_no_key_gives_zero_and_no_gradient(kernel: str, dtype: torch.dtype) -> None:
    case = make(150, 10, dtype=dtype)
    out, dq, dk, dv = run(KERNELS[kernel], *case, causal=True)
    assert not out[:, :, :140].any()
    assert not dq[:, :, :140].any()
    assert out[:, :, 140:].abs().amin(-1).gt(0).all()
    assert dk.isfinite().all()
    assert dv.isfinite().all()


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize(("S", "K"), [(130, 70), (70, 130)])
def test_lse_is_the_natural_log_of_the_sum(causal: bool, S: int, K: int) -> None:
    q, k, v, dout = make(S, K)
    _, lse = tiled_attention(q, k, v, causal=causal, block_q=32, block_k=32, return_lse=True)
    torch.testing.assert_close(lse, expected(q, k, v, dout, causal=causal)[4], rtol=0, atol=1e-12)
    _, lse32 = tiled_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), return_lse=True)
    assert lse32.dtype == torch.float32


@pytest.mark.parametrize(("block_q", "block_k"), [(1, 1), (16, 64), (64, 16), (33, 7), (1024, 1024)])
def test_the_size_of_the_blocks_does_not_matter(block_q: int, block_k: int) -> None:
    case = make(71, 65)
    whole = run(naive_attention, *case, causal=True)
    assert_close(run(tiled_attention, *case, causal=True, block_q=block_q, block_k=block_k), whole)


def test_large_scores_do_not_overflow() -> None:
    q, k, v, dout = make(40, 40, dtype=torch.float32)
    case = (q * 100, k * 100, v, dout)
    for kernel, options in ((naive_attention, {}), (tiled_attention, {"block_q": 8, "block_k": 8})):
        assert_close(run(kernel, *case, **options)[:1], expected(*case, causal=False), atol=1e-2)


def test_strided_inputs_give_the_same_as_contiguous_ones() -> None:
    case = make(50, 50)
    strided = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in case]
    assert not strided[0].is_contiguous()
    for kernel in KERNELS.values():
        assert_close(run(kernel, *strided, causal=True), run(kernel, *case, causal=True))


@pytest.mark.parametrize("kernel", KERNELS)
def test_backward_passes_gradcheck(kernel: str) -> None:
    q, k, v, _ = (t[:1] for t in make(5, 7, D=4))
    options = {"block_q": 2, "block_k": 3} if kernel == "tiled" else {}
    leaves = [t.requires_grad_() for t in (q, k, v)]
    assert torch.autograd.gradcheck(lambda *t: KERNELS[kernel](*t, causal=True, **options), leaves)


def test_tiled_skips_the_blocks_that_no_query_sees() -> None:
    q, k, v, dout = make(64, 64)
    k[:, :, 40:], v[:, :, 40:] = torch.nan, torch.nan
    leaves = [t.requires_grad_() for t in (q, k, v)]
    out = tiled_attention(*leaves, causal=True, block_q=8, block_k=8)
    assert out[:, :, :40].isfinite().all()
    dout[:, :, 40:] = 0.0
    (dq,) = torch.autograd.grad(out, leaves[:1], dout)
    assert dq[:, :, :40].isfinite().all()


def test_the_memory_of_tiled_lies_on_a_straight_line_over_seq_len() -> None:
    """Every tensor that it allocates, forward and backward, is linear in S or does not depend on it."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, tuple | list) else (out,):
                if isinstance(t, Tensor):
                    self.size = max(self.size, t.untyped_storage().nbytes())
            return out

    def largest(S: int) -> int:
        case = make(S, S, heads=(2, 2), D=64, dtype=torch.bfloat16)
        with Largest() as seen:
            run(tiled_attention, *case, causal=True)
        return seen.size

    assert largest(256) == 2 * 2 * 128 * 128 * 4  # the scores of one pair of blocks
    assert largest(1024) == 2 * 2 * 1024 * 64 * 2  # out, in bf16: no copy of it in fp32, no row of blocks
