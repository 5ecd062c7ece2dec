"""Attention with less precision inside than its inputs have, and by theory how far off that is."""

# S tokens; u is half a step of a dtype: 2^-11 in fp16 and tf32, 2^-8 in bf16

import torch
from bad_attention import Forward, right
from torch import Tensor

from llmbench.ops.attention import AttentionParams


def running_sum(p: AttentionParams) -> Forward:
    """Adds up P V key by key in the dtype of its inputs: off by 0.3 u sqrt(S), where 2.3 u are allowed.

    u is half a step of the dtype: 2^-11 in fp16, 2^-8 in bf16. Rounding a number takes 0.42 u of it (root mean square:
    u / sqrt(3) of the power of two below, over log-uniform mantissas). V has mean 0, so the j-th of S sums is sqrt(j/S)
    of the last, and S roundings that walk at random make sqrt(sum j/S) 0.42 u = 0.42 u sqrt(S/2) = 0.3 u sqrt(S).
    Allowed (Frobenius) is twice the plain error and twice the rounding of the output. A plain computation sums in fp32,
    and rounds scores of size 1, probabilities and output: sqrt(3) 0.42 u = 0.73 u. In all 2.3 u, in either dtype.
    So sums of some 60 keys are as good as plain ones, those of 2048 are off by 13.6 u: six times what is allowed.
    """

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        probs, v = _probs(p, q, k), v.repeat_interleave(q.shape[1] // v.shape[1], 1)
        out = torch.zeros_like(q)
        for j in range(v.shape[2]):
            out += probs[..., j : j + 1] * v[:, :, j : j + 1]
        return out

    return call


def bfloat16_inside(p: AttentionParams) -> Forward:
    """Multiplies P V in bf16, for inputs of any dtype.

    For fp32 that is sqrt(3) 0.42 2^-8 = 2.8e-3 (P, V and output are rounded), where eight fp32 roundings, 1e-6, and
    twice the error of a plain computation, some 1e-6 more, are allowed. For fp16 2.3 2^-11 = 1.1e-3 are.
    """

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        v = v.repeat_interleave(q.shape[1] // v.shape[1], 1)
        return (_probs(p, q, k).bfloat16() @ v.bfloat16()).to(q.dtype)

    return call


def tf32_inside(p: AttentionParams) -> Forward:
    """Rounds q and k to the 11 bits of tf32, as tensor cores do unless told otherwise.

    Scores of size 1 are off by sqrt(2) 0.42 2^-11 = 2.9e-4, and so is the output; some 2e-6 are allowed for fp32.
    """

    def tf32(t: Tensor) -> Tensor:
        return ((t.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    return lambda q, k, v: right(p)(tf32(q), tf32(k), v)


def _probs(p: AttentionParams, q: Tensor, k: Tensor) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT
    if p.mask == "causal":
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.softmax(-1, dtype=torch.float32).to(q.dtype)
