"""Attention as the textbook writes it: the whole score matrix in memory."""

# B batch, H query heads, G kv heads, R query heads per kv head (H / G), S query tokens, K key tokens, D head dim

import torch
from torch import Tensor

from llmbench.kernels.attention.span import Span, span_of


def naive_attention(
    q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, causal: bool = False, window: tuple[int, int] | None = None,
    scale: float | None = None,
) -> Tensor:  # fmt: skip
    """out_BHSD = softmax(scale q k^T) v, in the dtype of q; query head h reads kv head h // R.

    Softmax in fp32 (fp64 for fp64 inputs), probabilities cast to the dtype of v. Causal is aligned bottom-right: the
    last query sees the last key, and so is `window` = (left, right), inclusive, a negative side unlimited. A query that
    sees no key gives 0. `scale` is 1 / sqrt(D) if None.
    """
    B, H, S, D = q_BHSD.shape
    G, K = k_BGKD.shape[1:3]
    R = H // G
    q_BGND = (q_BHSD * (D**-0.5 if scale is None else scale)).reshape(B, G, R * S, D)
    scores_BGRSK = (q_BGND @ k_BGKD.mT).view(B, G, R, S, K)
    span = span_of(causal=causal, window=window)
    if not span.is_full:
        hidden_SK = hidden(span, S, K, q_BHSD.device)
        # The lowest finite number, not -inf: a row without any key then has a softmax (and a gradient) that is no NaN.
        scores_BGRSK = scores_BGRSK.masked_fill(hidden_SK, torch.finfo(scores_BGRSK.dtype).min)
    wide = torch.promote_types(q_BHSD.dtype, torch.float32)
    probs_BGRSK = scores_BGRSK.softmax(dim=-1, dtype=wide).to(v_BGKD.dtype)
    if span.right >= 0 and S > K:
        probs_BGRSK = probs_BGRSK.masked_fill(hidden_SK, 0.0)
    return (probs_BGRSK.view(B, G, R * S, K) @ v_BGKD).view(B, H, S, D)


def hidden(span: Span, queries: int, keys: int, device: torch.device) -> Tensor:
    """hidden_SK: True where a query does not see a key."""
    place_S1 = torch.arange(queries, device=device)[:, None] + (keys - queries)
    return unseen(span, place_S1, torch.arange(keys, device=device))


def unseen(span: Span, place: Tensor, key: Tensor) -> Tensor:
    """True where the query at a place (in coordinates of the keys) does not see a key, broadcast over the two."""
    late = key > place + span.right if span.right >= 0 else torch.zeros_like(key > place)
    return late | (key < place - span.left) if span.left >= 0 else late
