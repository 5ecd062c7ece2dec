"""Decoding: one new token a sequence attends to its KV cache. What it costs is reading the cache."""

# B batch, H query heads, G kv heads, K key tokens of the cache, D head dim

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend

from llmbench.kernels.attention import flash_decode, naive_attention, tiled_attention
from llmbench.kernels.attention.launch import blocks_text
from llmbench.ops.attention import AttentionParams
from llmbench.ops.attention.dense import pinned
from llmbench.ops.attention.oracle import oracle as attention_oracle
from llmbench.ops.op import Cost, Expected, Op, Unavailable
from llmbench.ops.registry import register
from llmbench.suite.catalog import Constraint, Phase

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q_BH1D, k_BGKD, v_BGKD -> out_BH1D


@dataclass(frozen=True, kw_only=True)
class DecodeParams:
    """Shape and dtype of one step of decoding: one query a sequence, `kv_len` tokens in its cache."""

    batch: int = 1
    kv_len: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


def inputs(p: DecodeParams, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """q_BH1D, k_BGKD, v_BGKD, standard normal."""
    dtype: torch.dtype = getattr(torch, p.dtype)
    kv_shape = (p.batch, p.num_kv_heads, p.kv_len, p.head_dim)
    q, k, v = (
        torch.randn(s, generator=generator, device=generator.device, dtype=dtype)
        for s in ((p.batch, p.num_heads, 1, p.head_dim), kv_shape, kv_shape)
    )
    return q, k, v


def decode_cost(p: DecodeParams, phase: Phase) -> Cost:
    """FLOP 4 B H K D; bytes: q and out, and the KV cache once, however many query heads share it; B tokens."""
    itemsize: int = getattr(torch, p.dtype).itemsize
    q_bytes = p.batch * p.num_heads * p.head_dim * itemsize
    flop = 4 * p.batch * p.num_heads * p.kv_len * p.head_dim
    return Cost(flop, 2 * q_bytes + kv_cache_bytes(p), p.batch)


def kv_cache_bytes(p: DecodeParams) -> int:
    """Of one layer: keys and values of each sequence, 2 B K G D e."""
    itemsize: int = getattr(torch, p.dtype).itemsize
    return 2 * p.batch * p.kv_len * p.num_kv_heads * p.head_dim * itemsize


def figures(p: DecodeParams) -> Mapping[str, float]:
    """The KV cache, and how many times smaller it is than with a kv head for each query head."""
    return {"kv_cache": kv_cache_bytes(p), "kv_cache_reduction": p.num_heads / p.num_kv_heads}


def oracle(p: DecodeParams, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()) -> list[Expected]:
    """out, as attention of one query says it."""
    return attention_oracle(_attention(p), phase, inputs, douts)


def _attention(p: DecodeParams) -> AttentionParams:
    return AttentionParams(
        batch=p.batch, seq_len=1, kv_len=p.kv_len, num_heads=p.num_heads, num_kv_heads=p.num_kv_heads,
        head_dim=p.head_dim, dtype=p.dtype,
    )  # fmt: skip


decode: Op[DecodeParams] = Op(
    name="decode",
    version=1,
    params=DecodeParams,
    inputs=inputs,
    reference=lambda p: naive_attention,
    oracle=oracle,
    cost=decode_cost,
    figures=figures,
    phases=("infer",),
    sizes=("batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
    input_names=("q", "k", "v"),
    constraints=(Constraint("multiple_of", "num_heads", "num_kv_heads"),),
    doc="Attention of one new token a sequence to its KV cache (decoding), with grouped kv heads.",
)
register(decode)


@decode.impl("naive")
def naive(p: DecodeParams) -> Attend:
    """Eager, plain torch. Source: llmbench.kernels.attention.naive."""
    return naive_attention


@decode.impl("tiled")
def tiled(p: DecodeParams) -> Attend:
    """The online softmax in plain torch, block by block. Source: llmbench.kernels.attention.tiled."""
    return partial(tiled_attention, block_k=1024)


@decode.impl("sdpa_math")
def sdpa_math(p: DecodeParams) -> Attend:
    """torch's SDPA pinned to its composed back end. Source: torch scaled_dot_product_attention."""
    return pinned(SDPBackend.MATH)


@decode.impl("sdpa_flash")
def sdpa_flash(p: DecodeParams) -> Attend:
    """torch's SDPA pinned to FlashAttention (FA2 on CUDA, C++ on a CPU). Source: torch scaled_dot_product_attention."""
    return pinned(SDPBackend.FLASH_ATTENTION)


@decode.impl("sdpa_efficient", needs=["cuda"])
def sdpa_efficient(p: DecodeParams) -> Attend:
    """torch's SDPA pinned to xformers' kernel, kv heads repeated inside. Source: torch scaled_dot_product_attention."""
    return pinned(SDPBackend.EFFICIENT_ATTENTION, repeat_kv=True)


@decode.impl("sdpa_cudnn", needs=["cuda"])
def sdpa_cudnn(p: DecodeParams) -> Attend:
    """torch's SDPA pinned to cuDNN's fused kernel. Source: torch scaled_dot_product_attention."""
    return pinned(SDPBackend.CUDNN_ATTENTION)


@decode.impl("flash_attn", needs=["cuda", "flash_attn"])
def flash_attn(p: DecodeParams) -> Attend:
    """FlashAttention 2 for a KV cache. Source: package flash-attn, flash_attn_with_kvcache."""
    if p.dtype == "float32":
        raise Unavailable("flash-attn takes float16 and bfloat16, not float32")
    from flash_attn import flash_attn_with_kvcache

    return lambda q, k, v: flash_attn_with_kvcache(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)


class _Split:
    """Our kernel for a case, and the blocks that it ran it with."""

    def __init__(self, p: DecodeParams) -> None:
        self._p = p

    def __call__(self, q_BH1D: Tensor, k_BGKD: Tensor, v_BGKD: Tensor) -> Tensor:
        return flash_decode(q_BH1D.squeeze(2), k_BGKD, v_BGKD).unsqueeze(2)

    def config(self) -> str:
        """`decode 16x128 4 warps 3 stages`"""
        return blocks_text(("decode",), head_dim=self._p.head_dim, dtype=self._p.dtype, mask="full")


@decode.impl("triton_decode", needs=["triton_gpu"])
def triton_decode(p: DecodeParams) -> Attend:
    """Our split-KV kernel in Triton, the heads of a group packed. Source: llmbench.kernels.attention.decode."""
    return _Split(p)
