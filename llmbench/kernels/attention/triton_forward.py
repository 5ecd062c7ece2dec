"""FlashAttention-2's forward in Triton: the online softmax by blocks of keys, for one block of queries.

Source: Dao 2023, FlashAttention-2, algorithm 1. Scores are kept in base 2 (log2(e) is folded into the scale), so that
exp2 does without a multiplication. Blocks of keys that every query of the block sees take no mask.
"""

# B batch, H query heads, G kv heads, S query tokens, K key tokens, D head dim; M queries and N keys of a block

import triton
import triton.language as tl

LN2 = tl.constexpr(0.6931471805599453)
UNSPECIALISED = ("queries", "keys", "group", "left", "right")  # or else 1, and multiples of 16, would compile anew


@triton.jit
def cut_of(cu_ptr, sequence, length, VARLEN: tl.constexpr):
    """Where a sequence starts among packed tokens, and its length; 0 and `length` where none are packed."""
    first = length * 0
    if VARLEN:
        first = tl.load(cu_ptr + sequence)
        length = tl.load(cu_ptr + sequence + 1) - first
    return first, length


@triton.jit
def seen_blocks(
    first, last, before, after, length,
    STEP: tl.constexpr, HAS_BEFORE: tl.constexpr, HAS_AFTER: tl.constexpr,
):  # fmt: skip
    """Of the places 0 to `length` on the other side: (start, whole_start, whole_stop, stop), in steps of blocks.

    Places `first` to `last` (in coordinates of the other side) see from `before` ahead of them to `after` behind them;
    blocks from whole_start to whole_stop are seen by each of them as a whole.
    """
    start = length * 0
    whole_start = start
    stop = length
    whole_stop = length
    if HAS_BEFORE:
        start = tl.maximum(first - before, 0) // STEP * STEP
        whole_start = (tl.maximum(last - before, 0) + STEP - 1) // STEP * STEP
    if HAS_AFTER:
        stop = tl.maximum(tl.minimum(length, last + after + 1), 0)
        whole_stop = tl.maximum(tl.minimum(length, first + after + 1), 0)
    whole_stop = whole_stop // STEP * STEP
    whole_start = tl.minimum(tl.maximum(whole_start, start), (stop + STEP - 1) // STEP * STEP)
    whole_stop = tl.maximum(whole_stop, whole_start)
    return start, whole_start, whole_stop, stop


@triton.jit
def is_seen(
    places_M, keys_N, left, right, keys,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr,
):  # fmt: skip
    """Whether the query at a place (in coordinates of the keys) sees a key, broadcast over the two."""
    seen = keys_N < keys
    if HAS_RIGHT:
        seen = seen & (keys_N <= places_M + right)
    if HAS_LEFT:
        seen = seen & (keys_N >= places_M - left)
    return seen


@triton.jit
def over_keys(
    acc_MD, sum_M, max_M, q_MD, k_ptr, v_ptr, start, stop,
    places_M, dims_D, keys, left, right, scale, k_row, v_row,
    D: tl.constexpr, BLOCK_N: tl.constexpr, PADDED: tl.constexpr, MASKED: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The running accumulator, sum and maximum (of scaled scores, in base 2) after the keys from `start` to `stop`."""
    offsets_N = tl.arange(0, BLOCK_N)
    k_offsets_DN = offsets_N[None, :] * k_row + dims_D[:, None]
    v_offsets_ND = offsets_N[:, None] * v_row + dims_D[None, :]
    k_ptr += start.to(tl.int64) * k_row
    v_ptr += start.to(tl.int64) * v_row
    for first in tl.range(start, stop, BLOCK_N):
        keys_N = first + offsets_N
        k_ptrs_DN = k_ptr + k_offsets_DN
        v_ptrs_ND = v_ptr + v_offsets_ND
        if MASKED:
            there_DN = (keys_N < keys)[None, :] & (dims_D < D)[:, None]
            k_DN = tl.load(k_ptrs_DN, mask=there_DN, other=0.0)
            v_ND = tl.load(v_ptrs_ND, mask=(keys_N < keys)[:, None] & (dims_D < D)[None, :], other=0.0)
        elif PADDED:
            k_DN = tl.load(k_ptrs_DN, mask=(dims_D < D)[:, None], other=0.0)
            v_ND = tl.load(v_ptrs_ND, mask=(dims_D < D)[None, :], other=0.0)
        else:
            k_DN = tl.load(k_ptrs_DN)
            v_ND = tl.load(v_ptrs_ND)
        scores_MN = tl.dot(q_MD, k_DN, input_precision=PRECISION)
        if MASKED:
            seen_MN = is_seen(places_M[:, None], keys_N[None, :], left, right, keys, HAS_LEFT, HAS_RIGHT)
            scores_MN = tl.where(seen_MN, scores_MN, float("-inf"))
        new_max_M = tl.maximum(max_M, tl.max(scores_MN, 1) * scale)
        shift_M = new_max_M
        if MASKED:  # a query that has seen no key: -inf - -inf would be NaN
            shift_M = tl.where(new_max_M == float("-inf"), 0.0, new_max_M)
        probs_MN = tl.exp2(scores_MN * scale - shift_M[:, None])
        rescale_M = tl.exp2(max_M - shift_M)
        sum_M = sum_M * rescale_M + tl.sum(probs_MN, 1)
        acc_MD = acc_MD * rescale_M[:, None]
        acc_MD = tl.dot(probs_MN.to(v_ND.dtype), v_ND, acc_MD, input_precision=PRECISION)
        max_M = new_max_M
        k_ptr += BLOCK_N * k_row
        v_ptr += BLOCK_N * v_row
    return acc_MD, sum_M, max_M


@triton.jit(do_not_specialize=UNSPECIALISED)
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, cu_q_ptr, cu_k_ptr,
    queries, keys, group, left, right, scale,
    q_batch, q_head, q_row, k_batch, k_head, k_row,
    v_batch, v_head, v_row, out_batch, out_head, out_row,
    lse_batch, lse_head,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, VARLEN: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head of one sequence. Grid: blocks of queries, query heads, sequences."""
    block = tl.program_id(0)
    head = tl.program_id(1)
    sequence = tl.program_id(2)
    if HAS_RIGHT:  # the last queries see the most: the long ones first, so that the tail of the grid is short
        block = tl.num_programs(0) - 1 - block
    first_query, queries = cut_of(cu_q_ptr, sequence, queries, VARLEN)
    first_key, keys = cut_of(cu_k_ptr, sequence, keys, VARLEN)
    start_M = block * BLOCK_M
    if start_M >= queries:
        return
    kv_head = head // group
    sequence = sequence.to(tl.int64)
    query = (first_query + start_M).to(tl.int64)
    key = first_key.to(tl.int64)
    q_ptr += sequence * q_batch + head.to(tl.int64) * q_head + query * q_row
    k_ptr += sequence * k_batch + kv_head.to(tl.int64) * k_head + key * k_row
    v_ptr += sequence * v_batch + kv_head.to(tl.int64) * v_head + key * v_row
    out_ptr += sequence * out_batch + head.to(tl.int64) * out_head + query * out_row
    lse_ptr += sequence * lse_batch + head.to(tl.int64) * lse_head + query

    rows_M = tl.arange(0, BLOCK_M)
    dims_D = tl.arange(0, BLOCK_D)
    PADDED: tl.constexpr = BLOCK_D != D
    there_MD = (start_M + rows_M < queries)[:, None] & (dims_D < D)[None, :]
    q_MD = tl.load(q_ptr + rows_M[:, None] * q_row + dims_D[None, :], mask=there_MD, other=0.0)

    place = start_M + keys - queries  # of the first query, in coordinates of the keys
    last = tl.minimum(start_M + BLOCK_M, queries) - 1 + keys - queries
    start, whole_start, whole_stop, stop = seen_blocks(place, last, left, right, keys, BLOCK_N, HAS_LEFT, HAS_RIGHT)
    places_M = place + rows_M
    acc_MD = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    sum_M = tl.zeros([BLOCK_M], dtype=tl.float32)
    max_M = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    if HAS_LEFT:
        acc_MD, sum_M, max_M = over_keys(
            acc_MD, sum_M, max_M, q_MD, k_ptr, v_ptr, start, whole_start, places_M, dims_D, keys, left, right,
            scale, k_row, v_row, D, BLOCK_N, PADDED, True, HAS_LEFT, HAS_RIGHT, PRECISION,
        )  # fmt: skip
    acc_MD, sum_M, max_M = over_keys(
        acc_MD, sum_M, max_M, q_MD, k_ptr, v_ptr, whole_start, whole_stop, places_M, dims_D, keys, left, right,
        scale, k_row, v_row, D, BLOCK_N, PADDED, False, HAS_LEFT, HAS_RIGHT, PRECISION,
    )  # fmt: skip
    acc_MD, sum_M, max_M = over_keys(
        acc_MD, sum_M, max_M, q_MD, k_ptr, v_ptr, whole_stop, stop, places_M, dims_D, keys, left, right,
        scale, k_row, v_row, D, BLOCK_N, PADDED, True, HAS_LEFT, HAS_RIGHT, PRECISION,
    )  # fmt: skip

    empty_M = sum_M == 0.0  # a query that sees no key gives 0
    acc_MD = acc_MD / tl.where(empty_M, 1.0, sum_M)[:, None]
    lse_M = tl.where(empty_M, float("-inf"), (max_M + tl.log2(tl.where(empty_M, 1.0, sum_M))) * LN2)
    tl.store(lse_ptr + rows_M, lse_M, mask=start_M + rows_M < queries)
    out_ptrs_MD = out_ptr + rows_M[:, None] * out_row + dims_D[None, :]
    tl.store(out_ptrs_MD, acc_MD.to(out_ptr.dtype.element_ty), mask=there_MD)
