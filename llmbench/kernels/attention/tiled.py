"""FlashAttention-2 in plain torch: softmax online, block by block, so that memory grows with S and not with S x K.

Source: Dao 2023, FlashAttention-2, algorithms 1 (forward) and 2 (backward); a kernel runs the same loops in on-chip
memory. Backward goes over the pairs of blocks twice, for dq and for dk and dv, as kernels do that add nothing up in
global memory: seven matrix products a pair instead of five, and no dq in fp32 beside the one that is returned.
"""

# B batch, H query heads, G kv heads, R query heads per kv head (H / G), S query tokens, K key tokens, D head dim
# N rows of one block of queries: its tokens for each of the R heads that share a kv head (R x tokens), so that one
# matrix product with a block of keys serves the whole group, and sums dK and dV over it.

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmbench.kernels.attention.naive import unseen
from llmbench.kernels.attention.span import Span, span_of


@overload
def tiled_attention(
    q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, causal: bool = ..., window: tuple[int, int] | None = ...,
    scale: float | None = ..., block_q: int = ..., block_k: int = ..., return_lse: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def tiled_attention(
    q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, causal: bool = ..., window: tuple[int, int] | None = ...,
    scale: float | None = ..., block_q: int = ..., block_k: int = ..., return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...  # fmt: skip
def tiled_attention(
    q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, causal: bool = False, window: tuple[int, int] | None = None,
    scale: float | None = None, block_q: int = 128, block_k: int = 128, return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """out_BHSD = softmax(scale q k^T) v, in the dtype of q; with `return_lse` also lse_BHS, without a gradient.

    Arithmetic in fp32 (fp64 for fp64 inputs). lse = log sum exp of a row of scaled scores (natural log), -inf for a
    query that sees no key, whose output is 0. Causal is aligned bottom-right: the last query sees the last key; so is
    `window` = (left, right), inclusive, a negative side unlimited. `scale` is 1 / sqrt(D) if None. Beside its results
    it holds a few blocks of (B, H, block_q, block_k).
    """
    span = span_of(causal=causal, window=window)
    tiling = Tiling(q_BHSD.shape[2], k_BGKD.shape[2], span, block_q, block_k)
    scale = q_BHSD.shape[3] ** -0.5 if scale is None else scale
    out_BHSD, lse_BHS = _TiledAttention.apply(q_BHSD, k_BGKD, v_BGKD, tiling, scale)  # type: ignore[no-untyped-call]
    return (out_BHSD, lse_BHS) if return_lse else out_BHSD


class Tiling(NamedTuple):
    """How S queries and K keys are cut into blocks, and which blocks see one another."""

    S: int
    K: int
    span: Span
    block_q: int
    block_k: int

    def query_blocks(self, seeing: slice | None = None) -> Iterator[slice]:
        """The blocks of queries; with `seeing`, only those in which some query sees one of these keys."""
        (left, right), shift, first, stop = self.span, self.K - self.S, 0, self.S
        if seeing is not None:
            first = max(0, seeing.start - shift - right) if right >= 0 else 0
            stop = min(self.S, seeing.stop - shift + left) if left >= 0 else self.S
        for start in range(first // self.block_q * self.block_q, stop, self.block_q):
            yield slice(start, min(start + self.block_q, self.S))

    def key_blocks(self, seen_by: slice | None = None) -> Iterator[slice]:
        """The blocks of keys; with `seen_by`, only those of which some key is seen by one of these queries."""
        (left, right), shift, first, stop = self.span, self.K - self.S, 0, self.K
        if seen_by is not None:
            first = max(0, seen_by.start + shift - left) if left >= 0 else 0
            stop = min(self.K, seen_by.stop + shift + right) if right >= 0 else self.K
        for start in range(first // self.block_k * self.block_k, stop, self.block_k):
            yield slice(start, min(start + self.block_k, self.K))

    def hidden(self, queries: slice, keys: slice, device: torch.device) -> Tensor | None:
        """True where the query does not see the key, for one pair of blocks; None where every query sees every key."""
        (left, right), shift = self.span, self.K - self.S  # query i is at key i + shift
        late = right >= 0 and keys.stop - 1 > queries.start + shift + right
        early = left >= 0 and keys.start < queries.stop - 1 + shift - left
        if not late and not early:
            return None
        place_S1 = torch.arange(queries.start, queries.stop, device=device)[:, None] + shift
        key_K = torch.arange(keys.start, keys.stop, device=device)
        return unseen(self.span, place_S1, key_K)


class _TiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, tiling: Tiling, scale: float
    ) -> tuple[Tensor, Tensor]:
        G = k_BGKD.shape[1]
        wide = torch.promote_types(q_BHSD.dtype, torch.float32)
        out_BHSD = torch.empty_like(q_BHSD, memory_format=torch.contiguous_format)
        lse_BHS = torch.empty(q_BHSD.shape[:3], dtype=wide, device=q_BHSD.device)

        for queries in tiling.query_blocks():
            q_BGND = _rows(q_BHSD, queries, G).to(wide) * scale
            acc_BGND = torch.zeros_like(q_BGND)  # sum of exp(score - max) v
            sum_BGN1 = torch.zeros_like(q_BGND[..., :1])  # sum of exp(score - max)
            max_BGN1 = torch.full_like(sum_BGN1, -torch.inf)  # max, over the keys so far

            for keys in tiling.key_blocks(seen_by=queries):
                hidden_SK = tiling.hidden(queries, keys, q_BHSD.device)
                scores_BGNK = _scores(q_BGND, k_BGKD[:, :, keys].to(wide), hidden_SK)
                new_max_BGN1 = torch.maximum(max_BGN1, scores_BGNK.amax(dim=-1, keepdim=True))
                shift_BGN1 = new_max_BGN1.masked_fill(new_max_BGN1 == -torch.inf, 0.0)  # -inf - -inf would be NaN
                probs_BGNK = scores_BGNK.sub_(shift_BGN1).exp_()
                rescale_BGN1 = (max_BGN1 - shift_BGN1).exp_()  # what came before was relative to the old max
                sum_BGN1 = sum_BGN1.mul_(rescale_BGN1).add_(probs_BGNK.sum(dim=-1, keepdim=True))
                acc_BGND = acc_BGND.mul_(rescale_BGN1).add_(probs_BGNK @ v_BGKD[:, :, keys].to(wide))
                max_BGN1 = new_max_BGN1

            acc_BGND /= sum_BGN1.masked_fill(sum_BGN1 == 0.0, 1.0)  # a query that sees no key gives 0
            out_BHSD[:, :, queries] = _heads(acc_BGND, queries)
            lse_BHS[:, :, queries] = _heads(max_BGN1 + sum_BGN1.log(), queries).squeeze(-1)

        ctx.save_for_backward(q_BHSD, k_BGKD, v_BGKD, out_BHSD, lse_BHS)
        ctx.tiling, ctx.scale = tiling, scale
        ctx.mark_non_differentiable(lse_BHS)
        return out_BHSD, lse_BHS

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout_BHSD: Tensor, dlse: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q_BHSD, k_BGKD, v_BGKD, out_BHSD, lse_BHS = ctx.saved_tensors
        tiling, scale = ctx.tiling, ctx.scale
        G = k_BGKD.shape[1]
        wide = lse_BHS.dtype
        dq_BHSD = torch.empty_like(q_BHSD, memory_format=torch.contiguous_format)
        dk_BGKD = torch.empty_like(k_BGKD, memory_format=torch.contiguous_format)
        dv_BGKD = torch.empty_like(v_BGKD, memory_format=torch.contiguous_format)
        delta_BHS = torch.empty_like(lse_BHS)

        def block(queries: slice) -> _Queries:
            rows = (_rows(x, queries, G) for x in (q_BHSD, dout_BHSD, lse_BHS[..., None], delta_BHS[..., None]))
            q_BGND, dout_BGND, lse_BGN1, delta_BGN1 = (x.to(wide) for x in rows)
            return _Queries(q_BGND * scale, dout_BGND, lse_BGN1, delta_BGN1)

        for queries in tiling.query_blocks():
            # delta = rowsum(dout out) = rowsum(P dP): what the Jacobian of softmax needs, without P.
            delta_BHS[:, :, queries] = (dout_BHSD[:, :, queries].to(wide) * out_BHSD[:, :, queries]).sum(dim=-1)
            rows = block(queries)
            dq_BGND = torch.zeros_like(rows.q)
            for keys in tiling.key_blocks(seen_by=queries):
                k_BGJD, v_BGJD = k_BGKD[:, :, keys].to(wide), v_BGKD[:, :, keys].to(wide)
                hidden_SJ = tiling.hidden(queries, keys, q_BHSD.device)
                _, dscores_BGNJ = _probs_and_dscores(rows, k_BGJD, v_BGJD, hidden_SJ)
                dq_BGND += dscores_BGNJ @ k_BGJD
            dq_BHSD[:, :, queries] = _heads(dq_BGND * scale, queries)

        for keys in tiling.key_blocks():
            k_BGJD, v_BGJD = k_BGKD[:, :, keys].to(wide), v_BGKD[:, :, keys].to(wide)
            dk_BGJD, dv_BGJD = torch.zeros_like(k_BGJD), torch.zeros_like(v_BGJD)
            for queries in tiling.query_blocks(seeing=keys):
                rows = block(queries)
                hidden_SJ = tiling.hidden(queries, keys, q_BHSD.device)
                probs_BGNJ, dscores_BGNJ = _probs_and_dscores(rows, k_BGJD, v_BGJD, hidden_SJ)
                dv_BGJD += probs_BGNJ.mT @ rows.dout
                dk_BGJD += dscores_BGNJ.mT @ rows.q  # q holds the scale already
            dk_BGKD[:, :, keys], dv_BGKD[:, :, keys] = dk_BGJD, dv_BGJD

        return dq_BHSD, dk_BGKD, dv_BGKD, None, None


class _Queries(NamedTuple):
    """What backward reads of one block of queries: q (times the scale) and dout are BGND, lse and delta BGN1."""

    q: Tensor
    dout: Tensor
    lse: Tensor
    delta: Tensor


def _probs_and_dscores(
    rows: _Queries, k_BGKD: Tensor, v_BGKD: Tensor, hidden_SK: Tensor | None
) -> tuple[Tensor, Tensor]:
    """P and dS of one pair of blocks; P is recomputed from the log-sum-exp of the rows, it was never stored."""
    # A query that sees no key: -inf - inf gives probabilities of 0, where -inf - -inf would give NaN.
    lse_BGN1 = rows.lse.masked_fill(rows.lse == -torch.inf, torch.inf)
    probs_BGNK = _scores(rows.q, k_BGKD, hidden_SK).sub_(lse_BGN1).exp_()
    dprobs_BGNK = rows.dout @ v_BGKD.mT
    return probs_BGNK, dprobs_BGNK.sub_(rows.delta).mul_(probs_BGNK)


def _scores(q_BGND: Tensor, k_BGKD: Tensor, hidden_SK: Tensor | None) -> Tensor:
    """Scores of one pair of blocks, -inf where the query does not see the key."""
    scores_BGNK = q_BGND @ k_BGKD.mT
    if hidden_SK is not None:
        B, G = scores_BGNK.shape[:2]
        scores_BGNK.view(B, G, -1, *hidden_SK.shape).masked_fill_(hidden_SK, -torch.inf)
    return scores_BGNK


def _rows(x_BHSD: Tensor, queries: slice, G: int) -> Tensor:
    """x_BGND: one block of queries, the heads that share a kv head one below the other."""
    B, _, _, D = x_BHSD.shape
    return x_BHSD[:, :, queries].reshape(B, G, -1, D)


def _heads(x_BGND: Tensor, queries: slice) -> Tensor:
    """x_BHSD: the inverse of `_rows`, for one block."""
    B, _, _, D = x_BGND.shape
    return x_BGND.reshape(B, -1, queries.stop - queries.start, D)
