"""What one call of attention is: shape, mask, layout and dtype; its lengths, its cost, and what it can gain."""

# B batch, H query heads, G kv heads, S, K query and key tokens, T, U those of all sequences, D head dim

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from llmbench.kernels.attention.span import UNLIMITED, Span, span_of
from llmbench.ops.op import Cost
from llmbench.ops.params import AtLeast
from llmbench.suite.catalog import Phase

LENGTHS_SEED = 20  # lengths are a part of the case: the same in every run


class Masking(NamedTuple):
    """A mask as the functions of `kernels.attention` take it."""

    causal: bool
    window: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class AttentionParams:
    """Shape, mask, layout and dtype of one call of attention.

    `kv_len` 0 is as many keys as queries. Window and causal are aligned bottom-right. `layout: varlen` packs `batch`
    sequences, the longest of `seq_len` tokens (and `kv_len` keys), their lengths by `lengths`: all equal; uniform
    between 1 and the longest; one of the longest and others of an eighth; uniform with every third one empty.
    `logit_scale` is the standard deviation of the logits.
    """

    batch: int = 1
    seq_len: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mask: Literal["full", "causal", "window"] = "full"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    kv_len: Annotated[int, AtLeast(0)] = 0
    window_left: Annotated[int, AtLeast(-1)] = UNLIMITED
    window_right: Annotated[int, AtLeast(-1)] = 0
    layout: Literal["dense", "varlen"] = "dense"
    lengths: Literal["equal", "uniform", "one_long", "with_empty"] = "equal"
    logit_scale: Annotated[float, AtLeast(2**-20)] = 1.0

    @property
    def keys(self) -> int:
        """Keys of a sequence, of the longest one where they differ."""
        return self.kv_len or self.seq_len

    @property
    def masking(self) -> Masking:
        """The mask as the functions of `kernels.attention` take it."""
        window = (self.window_left, self.window_right) if self.mask == "window" else None
        return Masking(self.mask == "causal", window)

    @property
    def span(self) -> Span:
        """Which keys a query sees."""
        return span_of(causal=self.masking.causal, window=self.masking.window)

    @property
    def varlen(self) -> bool:
        """Whether sequences are packed."""
        return self.layout == "varlen"

    @cached_property
    def seqlens(self) -> tuple[tuple[int, int], ...]:
        """Queries and keys of each sequence."""
        if not self.varlen:
            return ((self.seq_len, self.keys),) * self.batch
        drawn = random.Random(LENGTHS_SEED)
        shares = [self._share(i, drawn.random()) for i in range(self.batch)]
        return tuple((_length(share, self.seq_len), _length(share, self.keys)) for share in shares)

    def _share(self, sequence: int, drawn: float) -> float:
        """The length of a sequence as a share of the longest: the first has it all."""
        if sequence == 0 or self.lengths == "equal":
            return 1.0
        if self.lengths == "one_long":
            return 1 / 8
        return 0.0 if self.lengths == "with_empty" and sequence % 3 == 2 else max(drawn, 1e-9)

    @property
    def pairs(self) -> int:
        """(query, key) pairs that see one another, over all sequences, in one head."""
        return sum(self.span.pairs(q, k) for q, k in self.seqlens)


def _length(share: float, longest: int) -> int:
    return 0 if share == 0 else max(1, round(share * longest))


def inputs(p: AttentionParams, generator: Generator) -> tuple[Tensor, ...]:
    """q_BHSD, k_BGKD, v_BGKD, standard normal, q times `logit_scale`: logits have that standard deviation.

    Varlen: q_THD, k_UGD, v_UGD and the two cu_seqlens, int32 with a leading 0.
    """
    dtype: torch.dtype = getattr(torch, p.dtype)
    shapes: list[tuple[int, ...]] = []
    for tokens, longest, heads in ((0, p.seq_len, p.num_heads), (1, p.keys, p.num_kv_heads)):
        total = sum(lengths[tokens] for lengths in p.seqlens)
        shapes.append((total, heads, p.head_dim) if p.varlen else (p.batch, heads, longest, p.head_dim))
    q_shape, kv_shape = shapes
    q, k, v = (
        torch.randn(s, generator=generator, device=generator.device, dtype=dtype) for s in (q_shape, kv_shape, kv_shape)
    )
    q = q * p.logit_scale if p.logit_scale != 1.0 else q
    return (q, k, v, *cu_seqlens(p, generator.device)) if p.varlen else (q, k, v)


def cu_seqlens(p: AttentionParams, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the packed queries and keys are cut, int32 with a leading 0."""
    q, k = (
        torch.tensor([0, *accumulate(lengths[i] for lengths in p.seqlens)], dtype=torch.int32, device=device)
        for i in (0, 1)
    )
    return q, k


def attention_cost(p: AttentionParams, phase: Phase) -> Cost:
    """FLOP and bytes of one call, counting exactly the unmasked (query, key) pairs.

    FLOP: fwd = 4 B H P D for P pairs; bwd = 2.5 x fwd (five matmuls against two); fwd_bwd = 3.5 x.
    Bytes, each tensor once: fwd reads q, k, v and writes out; bwd reads q, k, v, out, dout and writes dq, dk, dv.
    Source: Dao 2023, FlashAttention-2, section 4.1.
    """
    flop = 4 * p.num_heads * p.pairs * p.head_dim
    itemsize: int = getattr(torch, p.dtype).itemsize
    queries, keys = (sum(lengths[i] for lengths in p.seqlens) for i in (0, 1))
    q_bytes = queries * p.num_heads * p.head_dim * itemsize  # also out, dout, dq
    kv_bytes = 2 * keys * p.num_kv_heads * p.head_dim * itemsize  # k and v; also dk and dv
    fwd_bytes, bwd_bytes = 2 * q_bytes + kv_bytes, 4 * q_bytes + 2 * kv_bytes
    if phase == "bwd":
        return Cost(2.5 * flop, bwd_bytes, queries)
    if phase == "fwd_bwd":
        return Cost(3.5 * flop, fwd_bytes + bwd_bytes, queries)
    return Cost(flop, fwd_bytes, queries)


def figures(p: AttentionParams) -> Mapping[str, float]:
    """`ideal_speedup`: how many times the pairs of the same shape, padded and without its window, it has.

    A window is held against causal where it does not look ahead, else against full.
    """
    if p.mask != "window" and not p.varlen:
        return {}
    whole = Span(right=0) if p.span.right == 0 else Span()
    return {"ideal_speedup": p.batch * whole.pairs(p.seq_len, p.keys) / p.pairs} if p.pairs else {}
