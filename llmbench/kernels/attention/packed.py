"""Sequences of unequal lengths, packed one behind the other: padded to a batch, and back."""

# B sequences, H query heads, G kv heads, S, K longest queries and keys, T, U query and key tokens of all, D head dim

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

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
    q_BHSD, k_BGKD, v_BGKD = (
        pad(t, cu, longest).transpose(1, 2)
        for t, cu, longest in ((q_THD, cut.cu_q, cut.max_q), (k_UGD, cut.cu_k, cut.max_k), (v_UGD, cut.cu_k, cut.max_k))
    )
    alone = causal and same and window is None
    mask_B1SK = None if alone else _seen(cut, causal=causal, window=window)
    gqa = q_BHSD.shape[1] != k_BGKD.shape[1]
    out_BHSD = F.scaled_dot_product_attention(
        q_BHSD, k_BGKD, v_BGKD, attn_mask=mask_B1SK, is_causal=alone, enable_gqa=gqa
    )
    return unpad(out_BHSD.transpose(1, 2), cut.cu_q, len(q_THD))


def pad(x_THD: Tensor, cu: Tensor, longest: int) -> Tensor:
    """x_BSHD: each sequence as a row, zeros behind it."""
    sequence_T, place_T = _places(cu, len(x_THD))
    x_BSHD = x_THD.new_zeros(len(cu) - 1, longest, *x_THD.shape[1:])
    return x_BSHD.index_put((sequence_T, place_T), x_THD)


def unpad(x_BSHD: Tensor, cu: Tensor, tokens: int) -> Tensor:
    """x_THD: the sequences without what is behind them."""
    return x_BSHD[_places(cu, tokens)]


def _places(cu: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Of each token its sequence and its place in it."""
    sequences = torch.arange(len(cu) - 1, device=cu.device)
    sequence_T = sequences.repeat_interleave(cu.diff(), output_size=tokens)
    return sequence_T, torch.arange(tokens, device=cu.device) - cu[sequence_T]


def _seen(cut: Cut, *, causal: bool, window: tuple[int, int] | None) -> Tensor:
    """seen_B1SK: True where a query of a sequence sees a key of it; of a row without any, torch's SDPA makes 0."""
    device, span = cut.cu_q.device, span_of(causal=causal, window=window)
    queries_B11, keys_B11 = (cu.diff()[:, None, None] for cu in (cut.cu_q, cut.cu_k))
    query_S1, key_K = torch.arange(cut.max_q, device=device)[:, None], torch.arange(cut.max_k, device=device)
    place_BS1 = query_S1 + (keys_B11 - queries_B11)
    seen_BSK = (key_K < keys_B11) & (query_S1 < queries_B11)
    if span.right >= 0:
        seen_BSK = seen_BSK & (key_K <= place_BS1 + span.right)
    if span.left >= 0:
        seen_BSK = seen_BSK & (key_K >= place_BS1 - span.left)
    return seen_BSK[:, None]
