"""Log-probability and entropy of each token in Triton, by one online softmax, and the gradient of both."""

# T tokens, V vocabulary; N entries of a block

import triton
import triton.language as tl


@triton.jit
def entropy_kernel(
    logits_ptr, labels_ptr, logps_ptr, entropy_ptr, lse_ptr, vocabulary, logits_row,
    IGNORE: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Log-probability, entropy and log-sum-exp of one token, 0 for one that is ignored. Grid: tokens.

    Each lane sums e^(x - max) and e^(x - max) (x - max): the entropy is then free of the size of the logits.
    """
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels_ptr + row)
    if label == IGNORE:
        tl.store(logps_ptr + row, 0.0)
        tl.store(entropy_ptr + row, 0.0)
        tl.store(lse_ptr + row, 0.0)
        return
    logits_ptr += row * logits_row
    offsets_N = tl.arange(0, BLOCK_N)
    max_N = tl.full([BLOCK_N], float("-inf"), dtype=tl.float32)  # of each lane: joined at the end, not in each step
    sum_N = tl.zeros([BLOCK_N], dtype=tl.float32)
    dot_N = tl.zeros([BLOCK_N], dtype=tl.float32)
    for first in tl.range(0, vocabulary, BLOCK_N):
        there_N = first + offsets_N < vocabulary
        x_N = tl.load(logits_ptr + first + offsets_N, mask=there_N, other=float("-inf")).to(tl.float32)
        new_max_N = tl.maximum(max_N, x_N)
        shift_N = tl.where(new_max_N == float("-inf"), 0.0, new_max_N)
        back_N = tl.where(sum_N > 0.0, max_N - shift_N, 0.0)
        ahead_N = tl.where(x_N > float("-inf"), x_N - shift_N, 0.0)
        weight_N = tl.where(x_N > float("-inf"), tl.exp(ahead_N), 0.0)
        dot_N = (dot_N + sum_N * back_N) * tl.exp(back_N) + weight_N * ahead_N
        sum_N = sum_N * tl.exp(back_N) + weight_N
        max_N = new_max_N
    top = tl.max(max_N, 0)
    back_N = tl.where(sum_N > 0.0, max_N - top, 0.0)
    total = tl.sum(sum_N * tl.exp(back_N), 0)
    dot = tl.sum((dot_N + sum_N * back_N) * tl.exp(back_N), 0)
    tl.store(logps_ptr + row, tl.load(logits_ptr + label).to(tl.float32) - top - tl.log(total))
    tl.store(entropy_ptr + row, tl.log(total) - dot / total)
    tl.store(lse_ptr + row, top + tl.log(total))


@triton.jit
def entropy_gradient_kernel(
    logits_ptr, gradient_ptr, labels_ptr, lse_ptr, entropy_ptr, dlogps_ptr, dentropy_ptr, vocabulary, logits_row,
    gradient_row, dlogps_row, dentropy_row, IGNORE: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """(one-hot - p) dlogp - p (log p + entropy) dentropy, p the softmax; `gradient` may be the logits themselves.

    Grid: tokens, blocks of the vocabulary. Each entry is read before it is written, by the same program.
    """
    row = tl.program_id(0).to(tl.int64)
    entries_N = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    there_N = entries_N < vocabulary
    label = tl.load(labels_ptr + row)
    gradient_ptrs_N = gradient_ptr + row * gradient_row + entries_N
    kind = gradient_ptr.dtype.element_ty
    if label == IGNORE:
        tl.store(gradient_ptrs_N, tl.zeros([BLOCK_N], dtype=kind), mask=there_N)
        return
    x_N = tl.load(logits_ptr + row * logits_row + entries_N, mask=there_N, other=float("-inf")).to(tl.float32)
    logp_N = x_N - tl.load(lse_ptr + row)
    p_N = tl.exp(logp_N)
    one_hot_N = tl.where(entries_N == label, 1.0, 0.0)
    above_N = tl.where(p_N > 0.0, logp_N + tl.load(entropy_ptr + row), 0.0)
    gradient_N = (one_hot_N - p_N) * tl.load(dlogps_ptr + row * dlogps_row)
    gradient_N -= p_N * above_N * tl.load(dentropy_ptr + row * dentropy_row)
    tl.store(gradient_ptrs_N, gradient_N.to(kind), mask=there_N)
