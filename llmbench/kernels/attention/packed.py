"""Sequences of unequal lengths, packed one behind the other: padded to a batch, and back."""

# B sequences, H query heads, G kv heads, S, K longest queries and keys, T, U query and key tokens of all, D head dim

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from llmbench.kernels.attention.naive import unseen
from llmbench.kernels.attention.span import span_of


class Cut(NamedTuple):
    """Where packed sequences are cut: cu_seqlens (int32, with a leading 0) of queries and keys, and the longest."""

    cu_q: Tensor
    cu_k: Tensor
    max_q: int
    max_k: int


def padded_attention(
    q_THD: Tensor, k_UGD: Tensor, v_UGD: Tensor, cut: Cut, *, causal: bool = False,
    window: tuple[int, int] | None = None, same: bool = False,
) -> Tensor:  # fmt: skip
    """out_THD by padding to the longest sequence, one call of torch's SDPA, and taking the padding away.

    What is done where packed sequences are not understood: work and memory are those of the longest sequence, B times.
    `same` says that each sequence has as many keys as queries: padding behind needs no mask then where causal hides it.
    """
    places_q = places(cut.cu_q, len(q_THD), cut.max_q)
    places_k = places_q if same and cut.max_q == cut.max_k else places(cut.cu_k, len(k_UGD), cut.max_k)
    B = len(cut.cu_q) - 1
    q_BHSD, k_BGKD, v_BGKD = (
        pad(t, at, B, longest).transpose(1, 2)
        for t, at, longest in ((q_THD, places_q, cut.max_q), (k_UGD, places_k, cut.max_k), (v_UGD, places_k, cut.max_k))
    )
    alone = causal and same and window is None
    mask_B1SK = None if alone else _seen(cut, causal=causal, window=window)
    gqa = q_BHSD.shape[1] != k_BGKD.shape[1]
    out_BHSD = F.scaled_dot_product_attention(
        q_BHSD, k_BGKD, v_BGKD, attn_mask=mask_B1SK, is_causal=alone, enable_gqa=gqa
    )
    return unpad(out_BHSD.transpose(1, 2), places_q)


def places(cu: Tensor, tokens: int, longest: int) -> Tensor:
    """Of each token its row in a padded batch whose rows are one below the other."""
    sequences = torch.arange(len(cu) - 1, device=cu.device)
    sequence_T = sequences.repeat_interleave(cu.diff(), output_size=tokens)
    return torch.arange(tokens, device=cu.device) - cu[sequence_T] + sequence_T * longest


def pad(x_THD: Tensor, places_T: Tensor, batch: int, longest: int) -> Tensor:
    """x_BSHD: each sequence as a row, zeros behind it."""
    padded: Tensor = _Scatter.apply(x_THD, places_T, batch * longest)  # type: ignore[no-untyped-call]
    return padded.view(batch, longest, *x_THD.shape[1:])


def unpad(x_BSHD: Tensor, places_T: Tensor) -> Tensor:
    """x_THD: the sequences without what is behind them."""
    x_THD: Tensor = _Gather.apply(x_BSHD.flatten(0, 1), places_T)  # type: ignore[no-untyped-call]
    return x_THD


class _Scatter(torch.autograd.Function):
    """Rows into places that are all different: its gradient is a gather. Source: flash-attention, bert_padding.py."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, at: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(at)
        return x.new_zeros(rows, *x.shape[1:]).index_copy_(0, at, x)

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, None, None]:
        return dout.index_select(0, *ctx.saved_tensors), None, None


class _Gather(torch.autograd.Function):
    """Rows from places that are all different: its gradient is a copy into them, where torch's would add and sort."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, at: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        ctx.rows = len(x)
        return x.index_select(0, at)

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, None]:
        (at,) = ctx.saved_tensors
        return dout.new_zeros(ctx.rows, *dout.shape[1:]).index_copy_(0, at, dout), None


def _seen(cut: Cut, *, causal: bool, window: tuple[int, int] | None) -> Tensor:
    """seen_B1SK: True where a query of a sequence sees a key of it; of a row without any, torch's SDPA makes 0."""
    device, span = cut.cu_q.device, span_of(causal=causal, window=window)
    queries_B11, keys_B11 = (cu.diff()[:, None, None] for cu in (cut.cu_q, cut.cu_k))
    query_S1, key_K = torch.arange(cut.max_q, device=device)[:, None], torch.arange(cut.max_k, device=device)
    place_BS1 = query_S1 + (keys_B11 - queries_B11)
    there_BSK = (key_K < keys_B11) & (query_S1 < queries_B11)
    seen_BSK = there_BSK if span.is_full else there_BSK & ~unseen(span, place_BS1, key_K)
    return seen_BSK[:, None]
