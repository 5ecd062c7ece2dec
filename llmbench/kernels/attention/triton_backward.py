"""FlashAttention-2's backward in Triton: one kernel for dk and dv, one for dq, so that nothing is added up in memory.

Source: Dao 2023, FlashAttention-2, algorithm 2; cut in two as in Triton's tutorial 06. That makes seven matrix products
of a pair of blocks, not five, and results that are the same each time: there are no atomic additions. A block of keys
goes over the query heads of its group, so dk and dv are summed over the group in registers.
"""

# B batch, H query heads, G kv heads, S query tokens, K key tokens, D head dim; M queries and N keys of a block

import triton
import triton.language as tl

from llmbench.kernels.attention.triton_forward import UNSPECIALISED, cut_of, is_seen, seen_blocks

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=("queries",))
def delta_kernel(
    out_ptr, dout_ptr, dlse_ptr, delta_ptr, queries,
    out_batch, out_head, out_row, dout_batch, dout_head, dout_row,
    lse_batch, lse_head,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, HAS_DLSE: tl.constexpr,
):  # fmt: skip
    """delta = rowsum(dout out) - dlse: what the Jacobian of softmax takes away. Grid: blocks of rows, heads, batch."""
    start = tl.program_id(0).to(tl.int64) * BLOCK_M
    head = tl.program_id(1).to(tl.int64)
    sequence = tl.program_id(2).to(tl.int64)
    rows_M = tl.arange(0, BLOCK_M)
    dims_D = tl.arange(0, BLOCK_D)
    there_M = start + rows_M < queries
    there_MD = there_M[:, None] & (dims_D < D)[None, :]
    out_ptr += sequence * out_batch + head * out_head + start * out_row
    dout_ptr += sequence * dout_batch + head * dout_head + start * dout_row
    at = sequence * lse_batch + head * lse_head + start
    out_MD = tl.load(out_ptr + rows_M[:, None] * out_row + dims_D[None, :], mask=there_MD, other=0.0)
    dout_MD = tl.load(dout_ptr + rows_M[:, None] * dout_row + dims_D[None, :], mask=there_MD, other=0.0)
    delta_M = tl.sum(out_MD.to(tl.float32) * dout_MD.to(tl.float32), 1)
    if HAS_DLSE:
        delta_M -= tl.load(dlse_ptr + at + rows_M, mask=there_M, other=0.0)
    tl.store(delta_ptr + at + rows_M, delta_M, mask=there_M)


@triton.jit
def _over_queries(
    dk_ND, dv_ND, k_ND, v_ND, q_ptr, dout_ptr, lse_ptr, delta_ptr, start, whole_start, whole_stop, stop,
    shift, keys_N, dims_D, queries, left, right, scale, q_row, dout_row,
    D: tl.constexpr, BLOCK_M: tl.constexpr, PADDED: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk (without the scale) and dv of a block of keys after the queries from `start` to `stop`.

    One loop, not three as in forward: masked and unmasked loops side by side took more registers than there are. Rows
    behind the last query have an lse of infinity, so their probabilities are 0; keys behind the last are not stored.
    """
    offsets_M = tl.arange(0, BLOCK_M)
    q_offsets_MD = offsets_M[:, None] * q_row + dims_D[None, :]
    dout_offsets_MD = offsets_M[:, None] * dout_row + dims_D[None, :]
    q_ptr += start.to(tl.int64) * q_row
    dout_ptr += start.to(tl.int64) * dout_row
    for first in tl.range(start, stop, BLOCK_M):
        rows_M = first + offsets_M
        there_M = rows_M < queries
        there_MD = there_M[:, None]
        if PADDED:
            there_MD = there_MD & (dims_D < D)[None, :]
        q_MD = tl.load(q_ptr + q_offsets_MD, mask=there_MD, other=0.0)
        dout_MD = tl.load(dout_ptr + dout_offsets_MD, mask=there_MD, other=0.0)
        lse_M = tl.load(lse_ptr + rows_M, mask=there_M, other=float("inf"))
        delta_M = tl.load(delta_ptr + rows_M, mask=there_M, other=0.0)
        lse_M = tl.where(lse_M == float("-inf"), float("inf"), lse_M)  # a query that sees no key
        scores_NM = tl.dot(k_ND, tl.trans(q_MD), input_precision=PRECISION)
        if HAS_LEFT or HAS_RIGHT:  # noqa: SIM102  (at compile time; the next at run time)
            if (first < whole_start) | (first >= whole_stop):
                places_M = rows_M + shift
                seen_NM = keys_N[:, None] >= 0
                if HAS_RIGHT:
                    seen_NM = seen_NM & (keys_N[:, None] <= places_M[None, :] + right)
                if HAS_LEFT:
                    seen_NM = seen_NM & (keys_N[:, None] >= places_M[None, :] - left)
                scores_NM = tl.where(seen_NM, scores_NM, float("-inf"))
        probs_NM = tl.exp2(scores_NM * scale - (lse_M * LOG2E)[None, :])
        dv_ND = tl.dot(probs_NM.to(dout_MD.dtype), dout_MD, dv_ND, input_precision=PRECISION)
        dprobs_NM = tl.dot(v_ND, tl.trans(dout_MD), input_precision=PRECISION)
        dscores_NM = probs_NM * (dprobs_NM - delta_M[None, :])
        dk_ND = tl.dot(dscores_NM.to(q_MD.dtype), q_MD, dk_ND, input_precision=PRECISION)
        q_ptr += BLOCK_M * q_row
        dout_ptr += BLOCK_M * dout_row
    return dk_ND, dv_ND


@triton.jit(do_not_specialize=UNSPECIALISED)
def dkdv_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    cu_q_ptr, cu_k_ptr,
    queries, keys, group, left, right, scale, scale_log2,
    q_batch, q_head, q_row, k_batch, k_head, k_row,
    v_batch, v_head, v_row, dout_batch, dout_head, dout_row,
    dk_batch, dk_head, dk_row, dv_batch, dv_head, dv_row,
    lse_batch, lse_head,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, VARLEN: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk and dv of one block of keys of one kv head of one sequence. Grid: blocks of keys, kv heads, sequences."""
    start_N = tl.program_id(0) * BLOCK_N
    kv_head = tl.program_id(1)
    sequence = tl.program_id(2)
    first_query, queries = cut_of(cu_q_ptr, sequence, queries, VARLEN)
    first_key, keys = cut_of(cu_k_ptr, sequence, keys, VARLEN)
    if start_N >= keys:
        return
    sequence = sequence.to(tl.int64)
    query = first_query.to(tl.int64)
    key = (first_key + start_N).to(tl.int64)
    k_ptr += sequence * k_batch + kv_head.to(tl.int64) * k_head + key * k_row
    v_ptr += sequence * v_batch + kv_head.to(tl.int64) * v_head + key * v_row
    dk_ptr += sequence * dk_batch + kv_head.to(tl.int64) * dk_head + key * dk_row
    dv_ptr += sequence * dv_batch + kv_head.to(tl.int64) * dv_head + key * dv_row
    q_ptr += sequence * q_batch + query * q_row
    dout_ptr += sequence * dout_batch + query * dout_row
    lse_ptr += sequence * lse_batch + query
    delta_ptr += sequence * lse_batch + query

    offsets_N = tl.arange(0, BLOCK_N)
    keys_N = start_N + offsets_N
    dims_D = tl.arange(0, BLOCK_D)
    PADDED: tl.constexpr = BLOCK_D != D
    there_ND = (keys_N < keys)[:, None] & (dims_D < D)[None, :]
    k_ND = tl.load(k_ptr + offsets_N[:, None] * k_row + dims_D[None, :], mask=there_ND, other=0.0)
    v_ND = tl.load(v_ptr + offsets_N[:, None] * v_row + dims_D[None, :], mask=there_ND, other=0.0)

    shift = keys - queries
    first = start_N - shift  # the block of keys, in coordinates of the queries: those see it from right of them on
    last = tl.minimum(start_N + BLOCK_N, keys) - 1 - shift
    start, whole_start, whole_stop, stop = seen_blocks(
        first, last, right, left, queries, BLOCK_M, HAS_RIGHT, HAS_LEFT
    )  # fmt: skip
    dk_ND = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    dv_ND = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    for member in tl.range(0, group):
        head = (kv_head * group + member).to(tl.int64)
        head_q_ptr = q_ptr + head * q_head
        head_dout_ptr = dout_ptr + head * dout_head
        head_lse_ptr = lse_ptr + head * lse_head
        head_delta_ptr = delta_ptr + head * lse_head
        dk_ND, dv_ND = _over_queries(
            dk_ND, dv_ND, k_ND, v_ND, head_q_ptr, head_dout_ptr, head_lse_ptr, head_delta_ptr, start, whole_start,
            whole_stop, stop, shift, keys_N, dims_D, queries, left, right, scale_log2, q_row, dout_row,
            D, BLOCK_M, PADDED, HAS_LEFT, HAS_RIGHT, PRECISION,
        )  # fmt: skip

    dk_ptrs_ND = dk_ptr + offsets_N[:, None] * dk_row + dims_D[None, :]
    dv_ptrs_ND = dv_ptr + offsets_N[:, None] * dv_row + dims_D[None, :]
    tl.store(dk_ptrs_ND, (dk_ND * scale).to(dk_ptr.dtype.element_ty), mask=there_ND)
    tl.store(dv_ptrs_ND, dv_ND.to(dv_ptr.dtype.element_ty), mask=there_ND)


@triton.jit
def _over_keys(
    dq_MD, q_MD, dout_MD, lse_M, delta_M, k_ptr, v_ptr, start,
    stop, places_M, dims_D, keys, left, right, scale, k_row, v_row,
    D: tl.constexpr, BLOCK_N: tl.constexpr, PADDED: tl.constexpr, MASKED: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq (without the scale) of a block of queries after the keys from `start` to `stop`; lse is in base 2."""
    offsets_N = tl.arange(0, BLOCK_N)
    k_offsets_ND = offsets_N[:, None] * k_row + dims_D[None, :]
    v_offsets_ND = offsets_N[:, None] * v_row + dims_D[None, :]
    k_ptr += start.to(tl.int64) * k_row
    v_ptr += start.to(tl.int64) * v_row
    for first in tl.range(start, stop, BLOCK_N):
        keys_N = first + offsets_N
        k_ptrs_ND = k_ptr + k_offsets_ND
        v_ptrs_ND = v_ptr + v_offsets_ND
        if MASKED:
            there_ND = (keys_N < keys)[:, None] & (dims_D < D)[None, :]
            k_ND = tl.load(k_ptrs_ND, mask=there_ND, other=0.0)
            v_ND = tl.load(v_ptrs_ND, mask=there_ND, other=0.0)
        elif PADDED:
            k_ND = tl.load(k_ptrs_ND, mask=(dims_D < D)[None, :], other=0.0)
            v_ND = tl.load(v_ptrs_ND, mask=(dims_D < D)[None, :], other=0.0)
        else:
            k_ND = tl.load(k_ptrs_ND)
            v_ND = tl.load(v_ptrs_ND)
        scores_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision=PRECISION)
        if MASKED:
            seen_MN = is_seen(places_M[:, None], keys_N[None, :], left, right, keys, HAS_LEFT, HAS_RIGHT)
            scores_MN = tl.where(seen_MN, scores_MN, float("-inf"))
        probs_MN = tl.exp2(scores_MN * scale - lse_M[:, None])
        dprobs_MN = tl.dot(dout_MD, tl.trans(v_ND), input_precision=PRECISION)
        dscores_MN = probs_MN * (dprobs_MN - delta_M[:, None])
        dq_MD = tl.dot(dscores_MN.to(k_ND.dtype), k_ND, dq_MD, input_precision=PRECISION)
        k_ptr += BLOCK_N * k_row
        v_ptr += BLOCK_N * v_row
    return dq_MD


@triton.jit(do_not_specialize=UNSPECIALISED)
def dq_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dq_ptr,
    cu_q_ptr, cu_k_ptr,
    queries, keys, group, left, right, scale, scale_log2,
    q_batch, q_head, q_row, k_batch, k_head, k_row,
    v_batch, v_head, v_row, dout_batch, dout_head, dout_row,
    dq_batch, dq_head, dq_row, lse_batch, lse_head,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, VARLEN: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq of one block of queries of one head of one sequence. Grid: blocks of queries, query heads, sequences."""
    block = tl.program_id(0)
    head = tl.program_id(1)
    sequence = tl.program_id(2)
    if HAS_RIGHT:  # the long ones first
        block = tl.num_programs(0) - 1 - block
    first_query, queries = cut_of(cu_q_ptr, sequence, queries, VARLEN)
    first_key, keys = cut_of(cu_k_ptr, sequence, keys, VARLEN)
    start_M = block * BLOCK_M
    if start_M >= queries:
        return
    kv_head = (head // group).to(tl.int64)
    head = head.to(tl.int64)
    sequence = sequence.to(tl.int64)
    query = (first_query + start_M).to(tl.int64)
    key = first_key.to(tl.int64)
    q_ptr += sequence * q_batch + head * q_head + query * q_row
    dout_ptr += sequence * dout_batch + head * dout_head + query * dout_row
    dq_ptr += sequence * dq_batch + head * dq_head + query * dq_row
    k_ptr += sequence * k_batch + kv_head * k_head + key * k_row
    v_ptr += sequence * v_batch + kv_head * v_head + key * v_row
    lse_ptr += sequence * lse_batch + head * lse_head + query
    delta_ptr += sequence * lse_batch + head * lse_head + query

    rows_M = tl.arange(0, BLOCK_M)
    dims_D = tl.arange(0, BLOCK_D)
    PADDED: tl.constexpr = BLOCK_D != D
    there_M = start_M + rows_M < queries
    there_MD = there_M[:, None] & (dims_D < D)[None, :]
    q_MD = tl.load(q_ptr + rows_M[:, None] * q_row + dims_D[None, :], mask=there_MD, other=0.0)
    dout_MD = tl.load(dout_ptr + rows_M[:, None] * dout_row + dims_D[None, :], mask=there_MD, other=0.0)
    lse_M = tl.load(lse_ptr + rows_M, mask=there_M, other=float("inf"))
    lse_M = tl.where(lse_M == float("-inf"), float("inf"), lse_M) * LOG2E  # a query that sees no key
    delta_M = tl.load(delta_ptr + rows_M, mask=there_M, other=0.0)

    place = start_M + keys - queries
    last = tl.minimum(start_M + BLOCK_M, queries) - 1 + keys - queries
    start, whole_start, whole_stop, stop = seen_blocks(place, last, left, right, keys, BLOCK_N, HAS_LEFT, HAS_RIGHT)
    places_M = place + rows_M
    dq_MD = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    if HAS_LEFT:
        dq_MD = _over_keys(
            dq_MD, q_MD, dout_MD, lse_M, delta_M, k_ptr, v_ptr, start, whole_start, places_M, dims_D, keys,
            left, right, scale_log2, k_row, v_row, D, BLOCK_N, PADDED, True, HAS_LEFT, HAS_RIGHT, PRECISION,
        )  # fmt: skip
    dq_MD = _over_keys(
        dq_MD, q_MD, dout_MD, lse_M, delta_M, k_ptr, v_ptr, whole_start, whole_stop, places_M, dims_D, keys,
        left, right, scale_log2, k_row, v_row, D, BLOCK_N, PADDED, False, HAS_LEFT, HAS_RIGHT, PRECISION,
    )  # fmt: skip
    dq_MD = _over_keys(
        dq_MD, q_MD, dout_MD, lse_M, delta_M, k_ptr, v_ptr, whole_stop, stop, places_M, dims_D, keys,
        left, right, scale_log2, k_row, v_row, D, BLOCK_N, PADDED, True, HAS_LEFT, HAS_RIGHT, PRECISION,
    )  # fmt: skip
    dq_ptrs_MD = dq_ptr + rows_M[:, None] * dq_row + dims_D[None, :]
    tl.store(dq_ptrs_MD, (dq_MD * scale).to(dq_ptr.dtype.element_ty), mask=there_MD)
