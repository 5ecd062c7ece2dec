"""AdamW and Lion in Triton: every tensor of a group in one launch, each number read once and written once."""

# N entries of a block. `pointers` has a row a tensor: param, grad, moments; a program finds its own in `blocks`.

import triton
import triton.language as tl


@triton.jit
def _place(
    pointers, numels, blocks, param_like, grad_like, moment_like,
    COLUMNS: tl.constexpr, ALIGNED: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Pointers to the entries of this program (param, grad, first moment), which of them are there, its row."""
    block = tl.program_id(0).to(tl.int64)
    tensor = tl.load(blocks + 2 * block)
    entries_N = tl.load(blocks + 2 * block + 1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row = pointers + tensor * COLUMNS
    param = tl.load(row).to(param_like.dtype)
    grad = tl.load(row + 1).to(grad_like.dtype)
    moment = tl.load(row + 2).to(moment_like.dtype)
    if ALIGNED:
        param, grad, moment = tl.multiple_of(param, 16), tl.multiple_of(grad, 16), tl.multiple_of(moment, 16)
    numel = tl.load(numels + tensor)
    if ALIGNED:  # then a mask is the same for 16 entries, and a load takes 16 bytes
        numel = tl.multiple_of(numel, 16)
    there_N = entries_N < numel
    return param + entries_N, grad + entries_N, moment + entries_N, entries_N, there_N, row


@triton.jit
def adamw_kernel(
    pointers, numels, blocks, param_like, grad_like, moment_like,
    decay, beta1, beta2, one_less_beta1, one_less_beta2, eps, step_size, second_root,
    ALIGNED: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One step of AdamW in float32, whatever is stored. decay: 1 - lr * weight_decay; step_size: lr / (1 - beta1^t)."""
    param_N, grad_N, first_N, entries_N, there_N, row = _place(
        pointers, numels, blocks, param_like, grad_like, moment_like, 4, ALIGNED, BLOCK_N
    )
    second = tl.load(row + 3).to(moment_like.dtype)
    if ALIGNED:
        second = tl.multiple_of(second, 16)
    second_N = second + entries_N
    g_N = tl.load(grad_N, mask=there_N, other=0.0).to(tl.float32)
    m_N = tl.load(first_N, mask=there_N, other=0.0).to(tl.float32)
    v_N = tl.load(second_N, mask=there_N, other=0.0).to(tl.float32)
    p_N = tl.load(param_N, mask=there_N, other=0.0).to(tl.float32)
    m_N = m_N * beta1 + g_N * one_less_beta1
    v_N = v_N * beta2 + g_N * g_N * one_less_beta2
    p_N = p_N * decay - step_size * m_N / (tl.sqrt(v_N) / second_root + eps)
    tl.store(first_N, m_N.to(first_N.dtype.element_ty), mask=there_N)
    tl.store(second_N, v_N.to(second_N.dtype.element_ty), mask=there_N)
    tl.store(param_N, p_N.to(param_N.dtype.element_ty), mask=there_N)


@triton.jit
def lion_kernel(
    pointers, numels, blocks, param_like, grad_like, moment_like,
    decay, beta1, beta2, one_less_beta1, one_less_beta2, lr,
    ALIGNED: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One step of Lion in float32, whatever is stored. decay = 1 - lr * weight_decay."""
    param_N, grad_N, moment_N, _, there_N, _ = _place(
        pointers, numels, blocks, param_like, grad_like, moment_like, 3, ALIGNED, BLOCK_N
    )
    g_N = tl.load(grad_N, mask=there_N, other=0.0).to(tl.float32)
    m_N = tl.load(moment_N, mask=there_N, other=0.0).to(tl.float32)
    p_N = tl.load(param_N, mask=there_N, other=0.0).to(tl.float32)
    mixed_N = m_N * beta1 + g_N * one_less_beta1
    sign_N = tl.where(mixed_N > 0, 1.0, tl.where(mixed_N < 0, -1.0, mixed_N))  # 0 and NaN stay
    tl.store(param_N, (p_N * decay - lr * sign_N).to(param_N.dtype.element_ty), mask=there_N)
    tl.store(moment_N, (m_N * beta2 + g_N * one_less_beta2).to(moment_N.dtype.element_ty), mask=there_N)
