"""Implementations of attention for sequences of one length; those of packed sequences are in packed.py."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention import SDPBackend

from llmbench.kernels.attention import naive_attention, tiled_attention
from llmbench.kernels.attention.naive import hidden
from llmbench.ops.attention.definition import Attend, attention
from llmbench.ops.attention.params import AttentionParams
from llmbench.ops.op import Unavailable


@dataclass(frozen=True)
class _Pinned:
    """`scaled_dot_product_attention` on one back end, the others switched off for the time of the call.

    By the switches themselves, 1 us a call: the context manager `sdpa_kernel` does the same in 10 us (measured, torch
    2.13), which would be part of the time.
    """

    backend: SDPBackend
    causal: bool
    mask: Tensor | None = None  # additive, where `causal` cannot say it
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
            return F.scaled_dot_product_attention(
                q_BHSD, k_BGSD, v_BGSD, attn_mask=self.mask, is_causal=self.causal, enable_gqa=gqa
            )
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


@attention.impl("naive")
def naive(p: AttentionParams) -> Attend:
    """Eager, the whole score matrix in memory. Source: llmbench.kernels.attention.naive."""
    dense_only(p)
    return partial(naive_attention, **p.masking._asdict())


@attention.impl("naive_compiled", needs=["inductor"], compiled=True)
def naive_compiled(p: AttentionParams) -> Attend:
    """torch.compile of the naive one. Source: llmbench.kernels.attention.naive."""
    dense_only(p)
    return partial(torch.compile(naive_attention, dynamic=False, fullgraph=True), **p.masking._asdict())


@attention.impl("tiled")
def tiled(p: AttentionParams) -> Attend:
    """FlashAttention-2's online softmax in plain torch, no S x S matrix. Source: llmbench.kernels.attention.tiled."""
    dense_only(p)
    return partial(tiled_attention, **p.masking._asdict())


@attention.impl("sdpa_math")
def sdpa_math(p: AttentionParams) -> Attend:
    """torch's SDPA pinned to its composed, materialising back end. Source: torch scaled_dot_product_attention."""
    return _sdpa(p, SDPBackend.MATH, masks=True)


@attention.impl("sdpa_flash")
def sdpa_flash(p: AttentionParams) -> Attend:
    """torch's SDPA pinned to FlashAttention (FA2 on CUDA, C++ on a CPU). Source: torch scaled_dot_product_attention.

    On a CPU it adds dk and dv of blocks of queries, and of the heads of a group, to a sum in the dtype of the inputs:
    in 16 bits and with many heads to a kv head it is further off than is allowed, and told so. (With 32 heads 4.6 times
    as far as a plain computation, torch 2.13. Source: gemm into grad_k in torch's cpu/FlashAttentionKernel.cpp.)
    """
    return _sdpa(p, SDPBackend.FLASH_ATTENTION)


@attention.impl("sdpa_efficient", needs=["cuda"])
def sdpa_efficient(p: AttentionParams) -> Attend:
    """torch's SDPA pinned to xformers' memory-efficient kernel. Source: torch scaled_dot_product_attention.

    It takes no grouped kv heads: they are repeated inside the call, in its time and memory.
    """
    return _sdpa(p, SDPBackend.EFFICIENT_ATTENTION, masks=True, repeat_kv=True)


@attention.impl("sdpa_cudnn", needs=["cuda"])
def sdpa_cudnn(p: AttentionParams) -> Attend:
    """torch's SDPA pinned to cuDNN's fused kernel. Source: torch scaled_dot_product_attention."""
    return _sdpa(p, SDPBackend.CUDNN_ATTENTION)


@attention.impl("flash_attn", needs=["cuda", "flash_attn"])
def flash_attn(p: AttentionParams) -> Attend:
    """FlashAttention 2. Source: package flash-attn. Its layout is (B, S, H, D): given transposed views."""
    dense_only(p, "varlen_flash_attn has them")
    half_only(p, "flash-attn")
    from flash_attn import flash_attn_func

    masking = flash_attn_masking(p)
    return lambda q, k, v: flash_attn_func(*_BSHD(q, k, v), **masking).transpose(1, 2)


@attention.impl("flash_attn4", needs=["cuda", "flash_attn4"])
def flash_attn4(p: AttentionParams) -> Attend:
    """FlashAttention 4, for Hopper and later. Source: package flash-attn-4. Its layout is (B, S, H, D): given views."""
    dense_only(p)
    half_only(p, "flash-attn-4")
    if torch.cuda.get_device_capability() < (9, 0):
        raise Unavailable("flash-attn-4 needs Hopper or later (sm90)")
    from flash_attn.cute import flash_attn_func

    sides = tuple(None if side < 0 else side for side in p.span)
    masking = {"window_size": sides} if p.mask == "window" else {"causal": p.masking.causal}

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        result = flash_attn_func(*_BSHD(q, k, v), **masking)
        out: Tensor = result[0] if isinstance(result, tuple) else result  # (out, lse) in most versions
        return out.transpose(1, 2)

    return attend


def _sdpa(p: AttentionParams, backend: SDPBackend, *, masks: bool = False, repeat_kv: bool = False) -> Attend:
    """SDPA on that back end; `masks` says that it takes a mask, which it holds in memory."""
    dense_only(p)
    top_left = p.mask == "causal" and p.keys == p.seq_len  # torch's alignment: the same where the lengths are
    if p.mask == "full" or top_left:
        return _Pinned(backend, top_left, repeat_kv=repeat_kv)
    if not masks:
        what = "has no sliding window" if p.mask == "window" else "aligns causal masks top-left, wrong for kv_len"
        raise Unavailable(f"torch's SDPA on {backend.name} {what}")
    return _Pinned(backend, False, mask=additive_mask(p, p.seq_len, p.keys), repeat_kv=repeat_kv)


def additive_mask(p: AttentionParams, queries: int, keys: int) -> Tensor:
    """mask_SK: 0 where a query sees a key, else -inf, in the dtype of the case.

    torch makes a boolean mask into this in each call, which would be part of the time.
    """
    device = torch.get_default_device()
    mask_SK = torch.zeros(queries, keys, dtype=getattr(torch, p.dtype), device=device)
    return mask_SK.masked_fill_(hidden(p.span, queries, keys, device), -torch.inf)


def pinned(backend: SDPBackend, *, repeat_kv: bool = False) -> Attend:
    """SDPA on that back end, without a mask."""
    return _Pinned(backend, False, repeat_kv=repeat_kv)


def dense_only(p: AttentionParams, instead: str = "") -> None:
    """Raises: Unavailable for packed sequences."""
    if p.varlen:
        raise Unavailable("has no packed sequences" + (f"; {instead}" if instead else ""))


def half_only(p: AttentionParams, package: str) -> None:
    """Raises: Unavailable for 32 bits."""
    if p.dtype == "float32":
        raise Unavailable(f"{package} takes float16 and bfloat16, not float32")


def flash_attn_masking(p: AttentionParams) -> dict[str, object]:
    """The mask as flash-attn takes it."""
    return {"window_size": tuple(p.span)} if p.mask == "window" else {"causal": p.masking.causal}


def _BSHD(*tensors: Tensor) -> list[Tensor]:  # noqa: N802
    return [t.transpose(1, 2) for t in tensors]
