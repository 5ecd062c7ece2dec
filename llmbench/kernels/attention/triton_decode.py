"""Decoding in Triton: one query a sequence against its KV cache, the cache split over many programs.

A program reads one part of the keys and values of one kv head, once for all query heads of its group (packed as rows of
one tile); a second kernel joins the parts by their log-sum-exp. Source: Dao et al. 2023, Flash-Decoding.
"""

# B batch, H query heads, G kv heads, K key tokens, D head dim; R query heads of a group, N keys of a block, P parts

import triton
import triton.language as tl

from llmbench.kernels.attention.triton_forward import LN2, over_keys


@triton.jit(do_not_specialize=("keys", "part_keys", "group"))
def decode_kernel(
    q_ptr, k_ptr, v_ptr, parts_ptr, part_lse_ptr, seqlens_ptr,
    keys, part_keys, group, scale,
    q_batch, q_head, k_batch, k_head, k_row, v_batch, v_head, v_row,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_R: tl.constexpr, TILES: tl.constexpr, BLOCK_N: tl.constexpr,
    HAS_SEQLENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One part of the keys of one kv head of one sequence; parts_BHPD is float32, its lse in base 2.

    Grid: parts, kv heads times the tiles of their groups, sequences.
    """
    part = tl.program_id(0)
    kv_head = tl.program_id(1) // TILES
    tile = tl.program_id(1) % TILES
    sequence = tl.program_id(2)
    parts = tl.num_programs(0)
    heads = tl.num_programs(1) // TILES * group
    if HAS_SEQLENS:
        keys = tl.minimum(tl.load(seqlens_ptr + sequence), keys)
    start = part * part_keys
    stop = tl.minimum(start + part_keys, keys)

    rows_R = tile * BLOCK_R + tl.arange(0, BLOCK_R)
    dims_D = tl.arange(0, BLOCK_D)
    PADDED: tl.constexpr = BLOCK_D != D
    there_RD = (rows_R < group)[:, None] & (dims_D < D)[None, :]
    heads_R = kv_head * group + rows_R
    q_ptrs_RD = q_ptr + sequence.to(tl.int64) * q_batch + heads_R[:, None] * q_head + dims_D[None, :]
    q_RD = tl.load(q_ptrs_RD, mask=there_RD, other=0.0)
    k_ptr += sequence.to(tl.int64) * k_batch + kv_head.to(tl.int64) * k_head
    v_ptr += sequence.to(tl.int64) * v_batch + kv_head.to(tl.int64) * v_head

    acc_RD = tl.zeros([BLOCK_R, BLOCK_D], dtype=tl.float32)
    sum_R = tl.zeros([BLOCK_R], dtype=tl.float32)
    max_R = tl.full([BLOCK_R], float("-inf"), dtype=tl.float32)
    whole_stop = start + tl.maximum(stop - start, 0) // BLOCK_N * BLOCK_N
    acc_RD, sum_R, max_R = over_keys(
        acc_RD, sum_R, max_R, q_RD, k_ptr, v_ptr, start, whole_stop, rows_R, dims_D, stop, 0, 0,
        scale, k_row, v_row, D, BLOCK_N, PADDED, False, False, False, PRECISION,
    )  # fmt: skip
    acc_RD, sum_R, max_R = over_keys(
        acc_RD, sum_R, max_R, q_RD, k_ptr, v_ptr, whole_stop, stop, rows_R, dims_D, stop, 0, 0,
        scale, k_row, v_row, D, BLOCK_N, PADDED, True, False, False, PRECISION,
    )  # fmt: skip

    empty_R = sum_R == 0.0
    at_R = (sequence.to(tl.int64) * heads + heads_R) * parts + part
    sum_R = tl.where(empty_R, 1.0, sum_R)
    tl.store(part_lse_ptr + at_R, tl.where(empty_R, float("-inf"), max_R + tl.log2(sum_R)), mask=rows_R < group)
    acc_RD = acc_RD / sum_R[:, None]
    tl.store(parts_ptr + at_R[:, None] * D + dims_D[None, :], acc_RD, mask=there_RD)


@triton.jit(do_not_specialize=("parts",))
def join_kernel(
    parts_ptr, part_lse_ptr, out_ptr, lse_ptr, parts, heads, out_batch,
    out_head, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """The output of one head of one sequence from its parts. Grid: query heads, sequences."""
    head = tl.program_id(0)
    sequence = tl.program_id(1)
    numbers_P = tl.arange(0, BLOCK_P)
    dims_D = tl.arange(0, BLOCK_D)
    row = sequence.to(tl.int64) * heads + head
    lse_P = tl.load(part_lse_ptr + row * parts + numbers_P, mask=numbers_P < parts, other=float("-inf"))
    top = tl.max(lse_P, 0)
    base = tl.where(top == float("-inf"), 0.0, top)  # no key at all
    weights_P = tl.exp2(lse_P - base)
    empty = top == float("-inf")
    total = tl.where(empty, 1.0, tl.sum(weights_P, 0))
    there_PD = (numbers_P < parts)[:, None] & (dims_D < D)[None, :]
    parts_PD = tl.load(parts_ptr + (row * parts + numbers_P)[:, None] * D + dims_D[None, :], mask=there_PD, other=0.0)
    out_D = tl.sum(parts_PD * weights_P[:, None], 0) / total
    tl.store(lse_ptr + row, tl.where(empty, float("-inf"), (base + tl.log2(total)) * LN2))
    out_ptrs_D = out_ptr + sequence.to(tl.int64) * out_batch + head.to(tl.int64) * out_head + dims_D
    tl.store(out_ptrs_D, out_D.to(out_ptr.dtype.element_ty), mask=dims_D < D)
