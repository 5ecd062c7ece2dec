"""Log-probability and entropy of each token in Triton, by one online softmax; the gradient is `gradient_kernel`'s."""

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
