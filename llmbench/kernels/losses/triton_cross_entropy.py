"""Cross entropy in Triton: loss of each token by an online log-sum-exp, and its gradient in place of the logits."""

# T tokens, V vocabulary; N entries of a block
# Where vocabulary and strides are multiples of 16, which Triton sees, masks are the same for 16 entries and loads wide.

import triton
import triton.language as tl


@triton.jit
def loss_kernel(
    logits_ptr, labels_ptr, loss_ptr, lse_ptr, vocabulary, logits_row,
    IGNORE: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Loss and log-sum-exp of one token, 0 for one that is ignored; the logits are read once. Grid: tokens."""
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels_ptr + row)
    if label == IGNORE:
        tl.store(loss_ptr + row, 0.0)
        tl.store(lse_ptr + row, 0.0)
        return
    logits_ptr += row * logits_row
    offsets_N = tl.arange(0, BLOCK_N)
    max_N = tl.full([BLOCK_N], float("-inf"), dtype=tl.float32)  # of each lane: joined at the end, not in each step
    sum_N = tl.zeros([BLOCK_N], dtype=tl.float32)
    for first in tl.range(0, vocabulary, BLOCK_N):
        there_N = first + offsets_N < vocabulary
        x_N = tl.load(logits_ptr + first + offsets_N, mask=there_N, other=float("-inf")).to(tl.float32)
        new_max_N = tl.maximum(max_N, x_N)
        shift_N = tl.where(new_max_N == float("-inf"), 0.0, new_max_N)
        sum_N = sum_N * tl.exp(max_N - shift_N) + tl.exp(x_N - shift_N)
        max_N = new_max_N
    top = tl.max(max_N, 0)
    lse = top + tl.log(tl.sum(sum_N * tl.exp(max_N - top), 0))
    tl.store(loss_ptr + row, lse - tl.load(logits_ptr + label).to(tl.float32))
    tl.store(lse_ptr + row, lse)


@triton.jit
def gradient_kernel(
    logits_ptr, gradient_ptr, labels_ptr, lse_ptr, upstream_ptr, entropy_ptr, dentropy_ptr, vocabulary, logits_row,
    gradient_row, upstream_row, dentropy_row, HAS_ENTROPY: tl.constexpr, IGNORE: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """(p - one-hot) times the upstream gradient of the token's loss, p the softmax, and, of an entropy that was asked
    for, - p (log p + entropy) times the gradient of that; `gradient` may be the logits themselves.

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
    probs_N = tl.exp(logp_N)
    gradient_N = (probs_N - tl.where(entries_N == label, 1.0, 0.0)) * tl.load(upstream_ptr + row * upstream_row)
    if HAS_ENTROPY:
        above_N = tl.where(probs_N > 0.0, logp_N + tl.load(entropy_ptr + row), 0.0)
        gradient_N -= probs_N * above_N * tl.load(dentropy_ptr + row * dentropy_row)
    tl.store(gradient_ptrs_N, gradient_N.to(kind), mask=there_N)
