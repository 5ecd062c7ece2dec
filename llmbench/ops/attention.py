"""Attention over whole sequences, as in training and prefill: parameters, inputs, cost, oracle, implementations."""

# B batch, H query heads, G kv heads, R query heads per kv head (H / G), S tokens, K keys of a block, D head dim

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from llmbench.kernels.attention import naive_attention, tiled_attention
from llmbench.ops.op import Cost, Expected, Op, Unavailable
from llmbench.ops.oracle import expect, ieee_matmul, wider_dtype
from llmbench.ops.registry import register
from llmbench.suite.catalog import Constraint, Phase

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q_BHSD, k_BGSD, v_BGSD -> out_BHSD

SCORE_BYTES = 64 * 2**20
"""What the scores of one block of the oracle may take: a tile of the work, far below the memory of any device."""


@dataclass(frozen=True, kw_only=True)
class AttentionParams:
    """Shape, mask and dtype of one call of attention."""

    batch: int = 1
    seq_len: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mask: Literal["full", "causal"] = "full"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


def inputs(p: AttentionParams, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """q_BHSD, k_BGSD, v_BGSD, standard normal: scores are then standard normal as well."""
    q_shape = (p.batch, p.num_heads, p.seq_len, p.head_dim)
    kv_shape = (p.batch, p.num_kv_heads, p.seq_len, p.head_dim)
    dtype: torch.dtype = getattr(torch, p.dtype)
    q, k, v = (
        torch.randn(s, generator=generator, device=generator.device, dtype=dtype) for s in (q_shape, kv_shape, kv_shape)
    )
    return q, k, v


def attention_cost(p: AttentionParams, phase: Phase) -> Cost:
    """FLOP and bytes of one call, counting exactly the unmasked (query, key) pairs.

    FLOP: fwd = 4 B H P D for P pairs; bwd = 2.5 x fwd (five matmuls against two); fwd_bwd = 3.5 x.
    Bytes, each tensor once: fwd reads q, k, v and writes out; bwd reads q, k, v, out, dout and writes dq, dk, dv.
    Source: Dao 2023, FlashAttention-2, section 4.1.
    """
    flop = 4 * p.batch * p.num_heads * unmasked_pairs(p.seq_len, p.seq_len, p.mask == "causal") * p.head_dim
    itemsize: int = getattr(torch, p.dtype).itemsize
    q_bytes = p.batch * p.num_heads * p.seq_len * p.head_dim * itemsize  # also out, dout, dq
    kv_bytes = 2 * p.batch * p.num_kv_heads * p.seq_len * p.head_dim * itemsize  # k and v; also dk and dv
    fwd_bytes, bwd_bytes = 2 * q_bytes + kv_bytes, 4 * q_bytes + 2 * kv_bytes
    tokens = p.batch * p.seq_len
    if phase == "bwd":
        return Cost(2.5 * flop, bwd_bytes, tokens)
    if phase == "fwd_bwd":
        return Cost(3.5 * flop, fwd_bytes + bwd_bytes, tokens)
    return Cost(flop, fwd_bytes, tokens)


def unmasked_pairs(queries: int, keys: int, causal: bool) -> int:
    """Number of (query, key) pairs that attend; causal is aligned bottom-right, so the last query sees every key."""
    if not causal:
        return queries * keys
    seeing = min(queries, keys)  # with more queries than keys, the first ones see nothing
    return seeing * (keys - seeing) + seeing * (seeing + 1) // 2


def oracle(p: AttentionParams, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()) -> list[Expected]:
    """out, dq, dk, dv (as the phase returns them), in plain torch and by autograd, one precision above the inputs.

    By (batch, kv head, block of queries): the scores of the whole shape are never in memory.
    """
    dout_BHSD = douts[0] if phase in ("bwd", "fwd_bwd") else None
    dtype = inputs[0].dtype
    with ieee_matmul():
        refs = _by_blocks(inputs, dout_BHSD, causal=p.mask == "causal", dtype=wider_dtype(dtype))
    lows = _by_blocks(inputs, dout_BHSD, causal=p.mask == "causal", dtype=dtype)
    pairs = {n: (ref, getattr(lows, n).to(dtype)) for n, ref in refs._asdict().items()}
    outs = [] if phase == "bwd" else [expect("out", *pairs["out"], factor=2.0)]
    if dout_BHSD is None:
        return outs
    # dq and dk are sums of what cancels, in part (and for a single token, all of it); dv is of the size of the terms.
    scale = max(t.abs().max().item() for t in (refs.dq, refs.dk, refs.dv))
    return outs + [expect(n, *pairs[n], factor=3.0, scale=scale) for n in ("dq", "dk", "dv")]


class _Values(NamedTuple):
    out: Tensor
    dq: Tensor
    dk: Tensor
    dv: Tensor


def _by_blocks(inputs: Sequence[Tensor], dout_BHSD: Tensor | None, *, causal: bool, dtype: torch.dtype) -> _Values:
    """Output and gradients, computed in `dtype`, summed over blocks one precision above the inputs."""
    q_BHSD, k_BGSD, v_BGSD = inputs
    B, H, S, _ = q_BHSD.shape
    G = k_BGSD.shape[1]
    R = H // G
    wide = wider_dtype(q_BHSD.dtype)
    values = _Values(*(torch.zeros_like(t, dtype=wide) for t in (q_BHSD, q_BHSD, k_BGSD, v_BGSD)))
    rows = max(1, SCORE_BYTES // (R * S * wide.itemsize))
    for b in range(B):
        for g in range(G):
            for first in range(0, S, rows):
                queries = (b, slice(g * R, (g + 1) * R), slice(first, first + rows))
                keys = (b, g, slice(0, min(S, first + rows) if causal else S))
                q_RSD, k_KD, v_KD = block = [
                    t.detach().to(dtype).requires_grad_(dout_BHSD is not None)
                    for t in (q_BHSD[queries], k_BGSD[keys], v_BGSD[keys])
                ]
                with torch.set_grad_enabled(dout_BHSD is not None):
                    out_RSD = _attend(q_RSD, k_KD, v_KD, first=first if causal else None)
                values.out[queries] = out_RSD.detach().to(wide)
                if dout_BHSD is not None:
                    dq, dk, dv = torch.autograd.grad(out_RSD, block, dout_BHSD[queries].to(dtype))
                    values.dq[queries] = dq.to(wide)
                    values.dk[keys] += dk
                    values.dv[keys] += dv
    return values


def _attend(q_RSD: Tensor, k_KD: Tensor, v_KD: Tensor, *, first: int | None) -> Tensor:
    """Attention of the queries that start at `first`, causal; of every query to every key if it is None."""
    # A kv head for each query head, as flash-attention's rule has it: each head's dk and dv are rounded, then summed.
    k_RKD, v_RKD = (t.expand(q_RSD.shape[0], -1, -1) for t in (k_KD, v_KD))
    scores_RSK = (q_RSD * q_RSD.shape[-1] ** -0.5) @ k_RKD.mT
    if first is not None:
        query = torch.arange(first, first + q_RSD.shape[1], device=q_RSD.device)
        key = torch.arange(k_KD.shape[0], device=q_RSD.device)
        scores_RSK = scores_RSK.masked_fill(key > query[:, None], -torch.inf)
    out_RSD: Tensor = scores_RSK.softmax(dim=-1) @ v_RKD
    return out_RSD


@dataclass(frozen=True)
class _Pinned:
    """`scaled_dot_product_attention` on one back end, the others switched off for the time of the call.

    By the switches themselves, 1 us a call: the context manager `sdpa_kernel` does the same in 10 us (measured, torch
    2.13), which would be part of the time.
    """

    backend: SDPBackend
    causal: bool
    repeat_kv: bool = False

    def __call__(self, q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor) -> Tensor:
        gqa = q_BHSD.shape[1] != k_BGSD.shape[1]
        if gqa and self.repeat_kv:
            R = q_BHSD.shape[1] // k_BGSD.shape[1]
            k_BGSD, v_BGSD = k_BGSD.repeat_interleave(R, dim=1), v_BGSD.repeat_interleave(R, dim=1)
            gqa = False
        for backend, switch in _SWITCHES.items():
            switch(backend is self.backend)
        try:
            # torch aligns causal top-left: the same where there are as many keys as queries, as here.
            return F.scaled_dot_product_attention(q_BHSD, k_BGSD, v_BGSD, is_causal=self.causal, enable_gqa=gqa)
        except RuntimeError as e:
            if "No available kernel" in str(e) or "No viable backend" in str(e):  # CUDA says the one, a CPU the other
                what = f"{q_BHSD.dtype}, head_dim {q_BHSD.shape[-1]}, on {q_BHSD.device.type}"
                raise Unavailable(f"torch's SDPA has no {self.backend.name} kernel for {what}") from e
            raise
        finally:
            for switch in _SWITCHES.values():
                switch(True)


_SWITCHES: dict[SDPBackend, Callable[[bool], None]] = {
    SDPBackend.MATH: torch.backends.cuda.enable_math_sdp,
    SDPBackend.FLASH_ATTENTION: torch.backends.cuda.enable_flash_sdp,
    SDPBackend.EFFICIENT_ATTENTION: torch.backends.cuda.enable_mem_efficient_sdp,
    SDPBackend.CUDNN_ATTENTION: torch.backends.cuda.enable_cudnn_sdp,
}
"""Back end -> what switches it on and off, on every device in spite of the name; all are on by default."""


attention: Op[AttentionParams] = Op(
    name="attention",
    version=1,
    params=AttentionParams,
    inputs=inputs,
    reference=lambda p: lambda q, k, v: naive_attention(q, k, v, causal=p.mask == "causal"),
    oracle=oracle,
    cost=attention_cost,
    input_names=("q", "k", "v"),
    constraints=(Constraint("multiple_of", "num_heads", "num_kv_heads"),),
    doc="Scaled dot-product attention over whole sequences (training, prefill), with grouped kv heads.",
)
register(attention)


@attention.impl("naive")
def naive(p: AttentionParams) -> Attend:
    """Eager, the whole score matrix in memory. Source: llmbench.kernels.attention.naive."""
    return lambda q, k, v: naive_attention(q, k, v, causal=p.mask == "causal")


@attention.impl("naive_compiled", needs=["inductor"], compiled=True)
def naive_compiled(p: AttentionParams) -> Attend:
    """torch.compile of the naive one. Source: llmbench.kernels.attention.naive."""
    attend = torch.compile(naive_attention, dynamic=False, fullgraph=True)
    return lambda q, k, v: attend(q, k, v, causal=p.mask == "causal")


@attention.impl("tiled")
def tiled(p: AttentionParams) -> Attend:
    """FlashAttention-2's online softmax in plain torch, no S x S matrix. Source: llmbench.kernels.attention.tiled."""
    return lambda q, k, v: tiled_attention(q, k, v, causal=p.mask == "causal")


@attention.impl("sdpa_math")
def sdpa_math(p: AttentionParams) -> Attend:
    """torch's SDPA pinned to its composed, materialising back end. Source: torch scaled_dot_product_attention."""
    return _Pinned(SDPBackend.MATH, p.mask == "causal")


@attention.impl("sdpa_flash")
def sdpa_flash(p: AttentionParams) -> Attend:
    """torch's SDPA pinned to FlashAttention (FA2 on CUDA, C++ on a CPU). Source: torch scaled_dot_product_attention.

    On a CPU it adds dk and dv of blocks of queries, and of the heads of a group, to a sum in the dtype of the inputs:
    in 16 bits and with many heads to a kv head it is further off than is allowed, and told so. (With 32 heads 4.6 times
    as far as a plain computation, torch 2.13. Source: gemm into grad_k in torch's cpu/FlashAttentionKernel.cpp.)
    """
    return _Pinned(SDPBackend.FLASH_ATTENTION, p.mask == "causal")


@attention.impl("sdpa_efficient", needs=["cuda"])
def sdpa_efficient(p: AttentionParams) -> Attend:
    """torch's SDPA pinned to xformers' memory-efficient kernel. Source: torch scaled_dot_product_attention.

    It takes no grouped kv heads: they are repeated inside the call, in its time and memory.
    """
    return _Pinned(SDPBackend.EFFICIENT_ATTENTION, p.mask == "causal", repeat_kv=True)


@attention.impl("sdpa_cudnn", needs=["cuda"])
def sdpa_cudnn(p: AttentionParams) -> Attend:
    """torch's SDPA pinned to cuDNN's fused kernel. Source: torch scaled_dot_product_attention."""
    return _Pinned(SDPBackend.CUDNN_ATTENTION, p.mask == "causal")


@attention.impl("flex", needs=["inductor"], backward_on=["cuda"], compiled=True)
def flex(p: AttentionParams) -> Attend:
    """FlexAttention, compiled, with a block mask when causal. Source: torch.nn.attention.flex_attention."""
    attend, block_mask = torch.compile(flex_attention, dynamic=False, fullgraph=True), None
    if p.mask == "causal":
        device = torch.get_default_device()
        block_mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, p.seq_len, p.seq_len, device=device)
    gqa = p.num_heads != p.num_kv_heads
    return lambda q, k, v: attend(q, k, v, block_mask=block_mask, enable_gqa=gqa)


@attention.impl("flash_attn", needs=["cuda", "flash_attn"])
def flash_attn(p: AttentionParams) -> Attend:
    """FlashAttention 2. Source: package flash-attn. Its layout is (B, S, H, D): given transposed views."""
    _half_only(p, "flash-attn")
    from flash_attn import flash_attn_func

    return lambda q, k, v: flash_attn_func(*_BSHD(q, k, v), causal=p.mask == "causal").transpose(1, 2)


@attention.impl("flash_attn4", needs=["cuda", "flash_attn4"])
def flash_attn4(p: AttentionParams) -> Attend:
    """FlashAttention 4, for Hopper and later. Source: package flash-attn-4. Its layout is (B, S, H, D): given views."""
    _half_only(p, "flash-attn-4")
    if torch.cuda.get_device_capability() < (9, 0):
        raise Unavailable("flash-attn-4 needs Hopper or later (sm90)")
    from flash_attn.cute import flash_attn_func

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        result = flash_attn_func(*_BSHD(q, k, v), causal=p.mask == "causal")
        out: Tensor = result[0] if isinstance(result, tuple) else result  # (out, lse) in most versions
        return out.transpose(1, 2)

    return attend


def _half_only(p: AttentionParams, package: str) -> None:
    if p.dtype == "float32":
        raise Unavailable(f"{package} takes float16 and bfloat16, not float32")


def _BSHD(*tensors: Tensor) -> list[Tensor]:  # noqa: N802
    return [t.transpose(1, 2) for t in tensors]
