"""What attention should give: plain torch, by blocks, one precision above the inputs."""

# B batch, H query heads, G kv heads, R query heads per kv head (H / G), S tokens, K keys of a block, D head dim

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from llmbench.kernels.attention.span import Span
from llmbench.ops.attention.params import AttentionParams
from llmbench.ops.op import Expected
from llmbench.ops.oracle import expect, ieee_matmul, wider_dtype
from llmbench.suite.catalog import Phase

EXACT_FLOP = 2**32
"""FLOP of a forward up to which the reference is float64, whatever the inputs are."""
SCORE_BYTES = 64 * 2**20
"""What the scores of one block of the oracle may take: a tile of the work, far below the memory of any device."""


def oracle(p: AttentionParams, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()) -> list[Expected]:
    """out, dq, dk, dv (as the phase returns them), in plain torch and by autograd, one precision above the inputs.

    By (sequence, kv head, block of queries): the scores of the whole shape are never in memory. In float64 as far as
    that takes no longer than a second or two (`EXACT_FLOP`), so that errors are those against float64.
    """
    dout = douts[0] if phase in ("bwd", "fwd_bwd") else None
    dtype = inputs[0].dtype
    small = 4 * p.num_heads * p.head_dim * p.pairs <= EXACT_FLOP
    with ieee_matmul():
        refs = _values(p, inputs, dout, torch.float64 if small else wider_dtype(dtype))
    lows = _values(p, inputs, dout, dtype)
    pairs = {n: (ref, getattr(lows, n).to(dtype)) for n, ref in refs._asdict().items()}
    outs = [] if phase == "bwd" else [expect("out", *pairs["out"], factor=2.0)]
    if dout is None:
        return outs
    # dq and dk are sums of what cancels, in part (and for a single token, all of it); dv is of the size of the terms.
    scale = max(t.abs().max().item() for t in (refs.dq, refs.dk, refs.dv))
    return outs + [expect(n, *pairs[n], factor=3.0, scale=scale) for n in ("dq", "dk", "dv")]


class _Values(NamedTuple):
    out: Tensor
    dq: Tensor
    dk: Tensor
    dv: Tensor


def _values(p: AttentionParams, inputs: Sequence[Tensor], dout: Tensor | None, dtype: torch.dtype) -> _Values:
    """Output and gradients, computed in `dtype`, one precision above the inputs; packed as the inputs are."""
    q, k, v = inputs[:3]
    wide = torch.promote_types(dtype, wider_dtype(q.dtype))
    found = _Values(*(torch.zeros_like(t, dtype=wide) for t in (q, q, k, v)))
    query = key = 0
    for i, (queries, keys) in enumerate(p.seqlens):
        at_q, at_k = (slice(query, query + queries), slice(key, key + keys)) if p.varlen else (i, i)
        query, key = query + queries, key + keys
        one = [t[at].transpose(0, 1) if p.varlen else t[at] for t, at in ((q, at_q), (k, at_k), (v, at_k))]
        into = _Values(
            *(
                t[at].transpose(0, 1) if p.varlen else t[at]
                for t, at in zip(found, (at_q, at_q, at_k, at_k), strict=True)
            )
        )
        own = None if dout is None else dout[at_q].transpose(0, 1) if p.varlen else dout[at_q]
        if queries and keys:
            _by_blocks(one, own, into, span=p.span, dtype=dtype)
    return found


def _by_blocks(
    inputs: Sequence[Tensor], dout_HSD: Tensor | None, into: _Values, *, span: Span, dtype: torch.dtype
) -> None:
    """Adds output and gradients of one sequence, computed in `dtype`, to `into`, one precision above the inputs."""
    q_HSD, k_GKD, v_GKD = inputs
    H, S, _ = q_HSD.shape
    G, K, _ = k_GKD.shape
    R, shift = H // G, K - S
    wide = into.out.dtype
    rows = max(1, SCORE_BYTES // (R * K * wide.itemsize))
    for g in range(G):
        for first in range(0, S, rows):
            last = min(first + rows, S) - 1
            start = max(0, first + shift - span.left) if span.left >= 0 else 0
            stop = min(K, last + shift + span.right + 1) if span.right >= 0 else K
            if stop <= start:  # these queries see no key
                continue
            queries = (slice(g * R, (g + 1) * R), slice(first, last + 1))
            keys = (g, slice(start, stop))
            q_RSD, k_KD, v_KD = block = [
                t.detach().to(dtype).requires_grad_(dout_HSD is not None)
                for t in (q_HSD[queries], k_GKD[keys], v_GKD[keys])
            ]
            with torch.set_grad_enabled(dout_HSD is not None):
                out_RSD = _attend(q_RSD, k_KD, v_KD, place=first + shift - start, span=span)
            into.out[queries] = out_RSD.detach().to(wide)
            if dout_HSD is not None:
                dq, dk, dv = torch.autograd.grad(out_RSD, block, dout_HSD[queries].to(dtype))
                into.dq[queries] = dq.to(wide)
                into.dk[keys] += dk
                into.dv[keys] += dv


def _attend(q_RSD: Tensor, k_KD: Tensor, v_KD: Tensor, *, place: int, span: Span) -> Tensor:
    """Attention of queries to a block of keys; `place` is where the first query stands among these keys."""
    # A kv head for each query head, as flash-attention's rule has it: each head's dk and dv are rounded, then summed.
    k_RKD, v_RKD = (t.expand(q_RSD.shape[0], -1, -1) for t in (k_KD, v_KD))
    scores_RSK = (q_RSD * q_RSD.shape[-1] ** -0.5) @ k_RKD.mT
    if span.is_full:
        whole_RSD: Tensor = scores_RSK.softmax(dim=-1) @ v_RKD
        return whole_RSD
    place_S1 = torch.arange(q_RSD.shape[1], device=q_RSD.device)[:, None] + place
    key_K = torch.arange(k_KD.shape[0], device=q_RSD.device)
    hidden_SK = torch.zeros(q_RSD.shape[1], k_KD.shape[0], dtype=torch.bool, device=q_RSD.device)
    if span.right >= 0:
        hidden_SK |= key_K > place_S1 + span.right
    if span.left >= 0:
        hidden_SK |= key_K < place_S1 - span.left
    blind_S1 = hidden_SK.all(dim=-1, keepdim=True)  # sees no key: gives 0, where softmax would give NaN
    probs_RSK = scores_RSK.masked_fill(hidden_SK & ~blind_S1, -torch.inf).softmax(dim=-1)
    out_RSD: Tensor = probs_RSK.masked_fill(blind_S1, 0.0) @ v_RKD
    return out_RSD
