"""Log-probability of given tokens together with the entropy of what each was drawn from: what PPO asks of the logits.

Both are float32 (float64 of float64), and 0 without a gradient for a token whose label is -100. The gradient of the
entropy H by a logit of probability p is -p (log p + H).
"""

# B sequences, S tokens of a sequence, T tokens of all, V vocabulary, C tokens of a chunk

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmbench.kernels.device import check_device, on_device_of
from llmbench.kernels.losses.cross_entropy import BLOCK, CHUNK_BYTES, IGNORE, write_gradient
from llmbench.kernels.losses.logprobs import wide_dtype

ENTROPY_BLOCK = BLOCK // 2
"""Entries that a program holds at a time: three sums a lane take 48 registers on sm_90 (80 with twice as many)."""


class Drawn(NamedTuple):
    """What tokens were drawn with, in nats."""

    logps: Tensor  # BS
    entropy: Tensor  # BS


def logprobs_and_entropy(logits_BSV: Tensor, labels_BS: Tensor) -> Drawn:
    """Both by the log-softmax of all logits, which autograd keeps, and the softmax beside it."""
    ignored_BS = labels_BS == IGNORE
    all_BSV = logits_BSV.log_softmax(dim=-1, dtype=wide_dtype(logits_BSV))
    logps_BS = all_BSV.gather(-1, labels_BS.masked_fill(ignored_BS, 0).unsqueeze(-1)).squeeze(-1)
    entropy_BS = -(all_BSV.exp() * all_BSV).sum(dim=-1)
    return Drawn(logps_BS.masked_fill(ignored_BS, 0.0), entropy_BS.masked_fill(ignored_BS, 0.0))


def recomputed_logprobs_and_entropy(logits_BSV: Tensor, labels_BS: Tensor, *, chunk: int | None = None) -> Drawn:
    """Both by chunks of tokens, whose softmax backward makes anew: the logits are all that is kept of their size."""
    logits_TV = logits_BSV.flatten(0, -2)
    size = chunk or max(1, CHUNK_BYTES // (4 * logits_TV.shape[1]))
    found = _Recomputed.apply(logits_TV, labels_BS.flatten(), size)  # type: ignore[no-untyped-call]
    return Drawn(*(t.view(labels_BS.shape) for t in found))


def fused_logprobs_and_entropy(logits_BSV: Tensor, labels_BS: Tensor) -> Drawn:
    """Both by Triton: one pass over the logits forward, one backward. Needs a GPU, or TRITON_INTERPRET=1.

    Raises: ValueError for shapes and dtypes that it does not take.
    """
    if labels_BS.shape != logits_BSV.shape[:-1] or labels_BS.dtype != torch.int64:
        raise ValueError(
            f"logits {tuple(logits_BSV.shape)}, labels {labels_BS.dtype} {tuple(labels_BS.shape)}: "
            "wanted BSV and int64 BS"
        )
    found = _Fused.apply(logits_BSV.flatten(0, -2), labels_BS.flatten())  # type: ignore[no-untyped-call]
    return Drawn(*(t.view(labels_BS.shape) for t in found))


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_TV: Tensor, labels_T: Tensor, size: int) -> tuple[Tensor, Tensor]:
        logps_T, entropy_T, lse_T = (
            torch.zeros(len(labels_T), dtype=wide_dtype(logits_TV), device=logits_TV.device) for _ in range(3)
        )
        for at in _chunks(len(labels_T), size):
            counts_C = labels_T[at] != IGNORE
            wide_CV = logits_TV[at].to(logps_T.dtype)
            lse_T[at] = wide_CV.logsumexp(dim=-1)
            all_CV = wide_CV.log_softmax(dim=-1)
            logps_C = all_CV.gather(1, labels_T[at].masked_fill(~counts_C, 0)[:, None]).squeeze(1)
            logps_T[at] = logps_C.where(counts_C, 0.0)
            entropy_T[at] = -(all_CV.exp().mul_(all_CV)).sum(dim=-1).where(counts_C, 0.0)
        ctx.save_for_backward(logits_TV, labels_T, lse_T, entropy_T)
        ctx.size = size
        return logps_T, entropy_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlogps_T: Tensor, dentropy_T: Tensor) -> tuple[Tensor, None, None]:
        logits_TV, labels_T, lse_T, entropy_T = ctx.saved_tensors
        gradient_TV = torch.empty_like(logits_TV)
        for at in _chunks(len(labels_T), ctx.size):
            counts_C = labels_T[at] != IGNORE
            dlogps_C1, dentropy_C1, entropy_C1 = (
                t[at].where(counts_C, 0.0)[:, None] for t in (dlogps_T, dentropy_T, entropy_T)
            )
            all_CV = logits_TV[at].to(lse_T.dtype) - lse_T[at, None]
            probs_CV = all_CV.exp()
            all_CV.add_(entropy_C1).mul_(dentropy_C1).add_(dlogps_C1).mul_(probs_CV).neg_()
            all_CV.scatter_add_(1, labels_T[at].masked_fill(~counts_C, 0)[:, None], dlogps_C1)
            gradient_TV[at] = all_CV.to(logits_TV.dtype)
        return gradient_TV, None, None


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_TV: Tensor, labels_T: Tensor) -> tuple[Tensor, Tensor]:
        from llmbench.kernels.losses.triton_entropy import entropy_kernel

        check_device(logits_TV)
        logits_TV = logits_TV if logits_TV.stride(-1) == 1 else logits_TV.contiguous()
        T, V = logits_TV.shape
        logps_T, entropy_T, lse_T = (torch.empty(T, dtype=torch.float32, device=logits_TV.device) for _ in range(3))
        if T:
            with on_device_of(logits_TV):
                entropy_kernel[(T,)](
                    logits_TV, labels_T, logps_T, entropy_T, lse_T, V, logits_TV.stride(0),
                    IGNORE=IGNORE, BLOCK_N=ENTROPY_BLOCK, num_warps=8,
                )  # fmt: skip
        ctx.save_for_backward(logits_TV, labels_T, lse_T, entropy_T)
        return logps_T, entropy_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlogps_T: Tensor, dentropy_T: Tensor) -> tuple[Tensor, None]:
        logits_TV, labels_T, lse_T, entropy_T = ctx.saved_tensors
        gradient_TV = torch.empty_like(logits_TV)
        write_gradient(logits_TV, gradient_TV, labels_T, lse_T, -dlogps_T, entropy=(entropy_T, dentropy_T))
        return gradient_TV, None


def _chunks(tokens: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, tokens, size)]
