"""FLOP formulas of the registered attention, for torch.utils.flop_counter: the pairs that see one another, exactly."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from llmbench.kernels.attention import decode, flash  # noqa: F401  (register what the formulas are for)
from llmbench.kernels.attention.span import Span

BACKWARD = 2.5  # matrix products of backward against forward: five against two. Source: FlashAttention-2, section 4.1


def attention_flop(lengths: Sequence[tuple[int, int]], *, heads: int, head_dim: int, span: Span) -> int:
    """Of a forward: two matrix products over the pairs of each sequence (queries, keys)."""
    return 4 * heads * head_dim * sum(span.pairs(q, k) for q, k in lengths)


@register_flop_formula(torch.ops.llmbench.flash_attention)
def _forward(q: Any, k: Any, v: Any, scale: float, left: int, right: int, **_: Any) -> int:
    B, H, S, D = q
    return attention_flop([(S, k[2])] * B, heads=H, head_dim=D, span=Span(left, right))


@register_flop_formula(torch.ops.llmbench.flash_attention_backward)
def _backward(
    dout: Any, dlse: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, scale: float, left: int, right: int, **_: Any
) -> int:
    return int(BACKWARD * _forward(q, k, v, scale, left, right))


@register_flop_formula(torch.ops.llmbench.flash_attention_varlen, get_raw=True)
def _varlen(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, scale: float, left: int,
    right: int, **_: Any,
) -> int:  # fmt: skip
    lengths = list(zip(_lengths(cu_q, max_q), _lengths(cu_k, max_k), strict=True))
    return attention_flop(lengths, heads=q.shape[1], head_dim=q.shape[2], span=Span(left, right))


@register_flop_formula(torch.ops.llmbench.flash_attention_varlen_backward, get_raw=True)
def _varlen_backward(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, cu_q: Tensor,
    cu_k: Tensor, max_q: int, max_k: int, scale: float, left: int, right: int, **_: Any,
) -> int:  # fmt: skip
    return int(BACKWARD * _varlen(q, k, v, cu_q, cu_k, max_q, max_k, scale, left, right))


@register_flop_formula(torch.ops.llmbench.flash_decode, get_raw=True)
def _decode(q: Tensor, k: Tensor, v: Tensor, seqlens: Tensor | None, scale: float, parts: int, **_: Any) -> int:
    B, H, D = q.shape
    filled = [k.shape[2]] * B if seqlens is None or _unknown(seqlens) else seqlens.tolist()
    return attention_flop([(1, n) for n in filled], heads=H, head_dim=D, span=Span())


def _unknown(t: Tensor) -> bool:
    """Whether only its shape is known."""
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(t, FakeTensor) or t.is_meta


def _lengths(cu: Tensor, longest: int) -> list[int]:
    """Of each sequence; the longest there may be where only shapes are known (fake tensors)."""
    if _unknown(cu):
        return [longest] * (len(cu) - 1)
    found: list[int] = cu.diff().tolist()
    return found
