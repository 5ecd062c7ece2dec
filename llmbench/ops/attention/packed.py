"""Implementations of attention for packed sequences (`layout: varlen`), and those that take both layouts."""

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from llmbench.kernels.attention import flash_attention, flash_attention_varlen
from llmbench.kernels.attention.launch import blocks_text
from llmbench.kernels.attention.packed import Cut, padded_attention
from llmbench.ops.attention.definition import Attend, attention
from llmbench.ops.attention.dense import additive_mask, flash_attn_masking, half_only
from llmbench.ops.attention.params import AttentionParams, cu_seqlens
from llmbench.ops.op import Unavailable


@attention.impl("triton_flash", needs=["triton_gpu"])
def triton_flash(p: AttentionParams) -> Attend:
    """Our FlashAttention in Triton, dense and packed. Source: llmbench.kernels.attention.flash."""
    return _Ours(p)


class _Ours:
    """Our kernels for a case, and the blocks that they ran it with."""

    def __init__(self, p: AttentionParams) -> None:
        longest = {"max_seqlen_q": p.seq_len, "max_seqlen_k": p.keys}
        packed = partial(flash_attention_varlen, **longest, **p.masking._asdict())
        self._attend: Attend = packed if p.varlen else partial(flash_attention, **p.masking._asdict())
        self._p = p

    def __call__(self, *inputs: Tensor) -> Tensor:
        return self._attend(*inputs)

    def config(self) -> str:
        """`forward 128x64 4 warps 3 stages, dkdv ...`"""
        p = self._p
        return blocks_text(("forward", "dkdv", "dq"), head_dim=p.head_dim, dtype=p.dtype, mask=p.span.mask)


@attention.impl("flex", needs=["inductor"], backward_on=["cuda"], compiled=True)
def flex(p: AttentionParams) -> Attend:
    """FlexAttention, compiled, with a block mask where there is one. Source: torch.nn.attention.flex_attention.

    The block mask is made in set-up, outside of the time, also that of packed sequences, which changes with each batch.
    On a CPU with AVX2 and no AVX-512, with 8 keys in the last block of 64 and at most 16 features, it is wrong as of
    torch 2.13: it reads what is not its own.
    """
    if torch.get_default_device().type == "cpu" and not _is_made_for_this_cpu():
        raise Unavailable("torch compiles FlexAttention, but not for this CPU")
    attend, block_mask = torch.compile(flex_attention, dynamic=False, fullgraph=True), _block_mask(p)
    gqa = p.num_heads != p.num_kv_heads
    if not p.varlen:
        return lambda q, k, v: attend(q, k, v, block_mask=block_mask, enable_gqa=gqa)

    def packed(q_THD: Tensor, k_UGD: Tensor, v_UGD: Tensor, cu_q: Tensor, cu_k: Tensor) -> Tensor:
        q, k, v = (t.transpose(0, 1)[None] for t in (q_THD, k_UGD, v_UGD))
        out: Tensor = attend(q, k, v, block_mask=block_mask, enable_gqa=gqa)
        return out[0].transpose(0, 1)

    return packed


def _is_made_for_this_cpu() -> bool:
    """Whether torch compiles FlexAttention for it: no, as of 2.13, without AVX2; yes where torch does not say."""
    try:
        from torch._inductor.kernel.flex.flex_cpu import check_cpu_supported  # takes a second to import
    except ImportError:
        return True
    is_supported: Callable[[], bool] = check_cpu_supported
    return is_supported()


def _block_mask(p: AttentionParams) -> BlockMask | None:
    """Which blocks see one another: by place in the sequence, and by sequence where they are packed."""
    device, (left, right) = torch.get_default_device(), p.span
    if p.span.is_full and not p.varlen:
        return None
    if not p.varlen:
        shift = p.keys - p.seq_len

        def seen(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            late, early = j > i + shift + right, j < i + shift - left
            return ~(late if right >= 0 and left < 0 else early if right < 0 else late | early)

        return create_block_mask(seen, None, None, p.seq_len, p.keys, device=device)
    cu_q, cu_k = cu_seqlens(p, device)
    lengths_q, lengths_k = cu_q.diff(), cu_k.diff()
    numbers = torch.arange(p.batch, device=device)
    sequence_q, sequence_k = (numbers.repeat_interleave(n) for n in (lengths_q, lengths_k))
    # where each query stands among the keys of all sequences, and each key
    place_q = torch.arange(len(sequence_q), device=device) + (cu_k[1:] - cu_q[1:])[sequence_q]

    def seen_packed(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        same = sequence_q[i] == sequence_k[j]
        if right >= 0:
            same = same & (j <= place_q[i] + right)
        return same & (j >= place_q[i] - left) if left >= 0 else same

    return create_block_mask(seen_packed, None, None, len(sequence_q), len(sequence_k), device=device)


@attention.impl("varlen_loop")
def varlen_loop(p: AttentionParams) -> Attend:
    """torch's SDPA, called for each sequence by itself. Source: torch scaled_dot_product_attention.

    The lengths are known to the host beforehand: waiting for the device to tell them is not in the time.
    """
    packed_only(p)
    calls = [_sdpa_call(p, q, k) for q, k in p.seqlens]
    q_ends, k_ends = ([0, *accumulate(lengths[i] for lengths in p.seqlens)] for i in (0, 1))

    def attend(q_THD: Tensor, k_UGD: Tensor, v_UGD: Tensor, cu_q: Tensor, cu_k: Tensor) -> Tensor:
        outs = []
        for call, (q0, q1), (k0, k1) in zip(calls, pairwise(q_ends), pairwise(k_ends), strict=True):
            if q1 > q0:
                parts = (t.transpose(0, 1)[None] for t in (q_THD[q0:q1], k_UGD[k0:k1], v_UGD[k0:k1]))
                outs.append(call(*parts)[0].transpose(0, 1))
        return torch.cat(outs)

    return attend


def _sdpa_call(p: AttentionParams, queries: int, keys: int) -> Callable[..., Tensor]:
    gqa, top_left = p.num_heads != p.num_kv_heads, p.mask == "causal" and queries == keys
    mask_SK = None
    if p.mask != "full" and not top_left:
        mask_SK = additive_mask(p, queries, keys)
    return lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask_SK, is_causal=top_left, enable_gqa=gqa
    )


@attention.impl("padded")
def padded(p: AttentionParams) -> Attend:
    """Padded to the longest, torch's SDPA, padding taken away. Source: llmbench.kernels.attention.packed."""
    packed_only(p)
    same = all(q == k for q, k in p.seqlens)
    return lambda q, k, v, cu_q, cu_k: padded_attention(
        q, k, v, Cut(cu_q, cu_k, p.seq_len, p.keys), **p.masking._asdict(), same=same
    )


@attention.impl("varlen_flash_attn", needs=["cuda", "flash_attn"])
def varlen_flash_attn(p: AttentionParams) -> Attend:
    """FlashAttention 2 for packed sequences. Source: package flash-attn, flash_attn_varlen_func."""
    packed_only(p)
    half_only(p, "flash-attn")
    from flash_attn import flash_attn_varlen_func

    masking = flash_attn_masking(p)

    def attend(*inputs: Tensor) -> Tensor:
        out: Tensor = flash_attn_varlen_func(*inputs, p.seq_len, p.keys, **masking)
        return out

    return attend


@attention.impl("varlen_torch", needs=["cuda"])
def varlen_torch(p: AttentionParams) -> Attend:
    """torch's attention for packed sequences (FlashAttention). Source: torch.nn.attention.varlen."""
    packed_only(p)
    half_only(p, "torch.nn.attention.varlen")
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as e:
        raise Unavailable(f"this torch has no torch.nn.attention.varlen: {e}") from e
    call: Callable[..., Any] = varlen_attn  # its signature differs between versions
    options = _varlen_torch_options(p, tuple(signature(varlen_attn).parameters))

    def attend(*inputs: Tensor) -> Tensor:
        out: Tensor = call(*inputs, p.seq_len, p.keys, **options)
        return out

    return attend


def _varlen_torch_options(p: AttentionParams, known: Sequence[str]) -> dict[str, object]:
    """The mask and grouped heads as this version of torch takes them: 2.10 has `is_causal`, 2.11 `window_size`."""
    gqa = p.num_heads != p.num_kv_heads
    if gqa and "enable_gqa" not in known:
        raise Unavailable("torch.nn.attention.varlen of this version takes no grouped kv heads")
    options: dict[str, object] = {"enable_gqa": True} if gqa else {}
    if "window_size" in known:
        return {**options, "window_size": tuple(p.span)}
    if p.mask == "window":
        raise Unavailable("torch.nn.attention.varlen of this version has no window")
    return {**options, "is_causal": p.masking.causal}


def packed_only(p: AttentionParams) -> None:
    """Raises: Unavailable for sequences of one length."""
    if not p.varlen:
        raise Unavailable("is for packed sequences (layout: varlen)")
