"""Log-probabilities of given tokens, in several forms: what preference losses and PPO are made of.

Every form gives float32 (float64 of float64), and 0 without a gradient for a token whose label is -100.
"""

# B sequences, S tokens of a sequence, T tokens of all, V vocabulary, H hidden size, C tokens of a chunk

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmbench.kernels.losses.cross_entropy import IGNORE, autocast, chunk_of, losses_of, write_gradient


def token_logprobs(logits_BSV: Tensor, labels_BS: Tensor) -> Tensor:
    """logps_BS by the log-softmax of all logits, of which the labels pick one a token.

    Source: torchtune, rlhf/sequence_processing.py, logits_to_logprobs.
    """
    logps_BSV = logits_BSV.log_softmax(dim=-1, dtype=wide_dtype(logits_BSV))
    return _where_counted(_chosen(logps_BSV, labels_BS), labels_BS)


def gathered_token_logprobs(logits_BSV: Tensor, labels_BS: Tensor) -> Tensor:
    """logps_BS as the chosen logit minus the log-sum-exp, sequence by sequence: there is no log-softmax of all logits.

    16-bit logits are widened first, once for both: where a token is nearly certain its gradient is a small difference.
    (TRL takes the log-softmax of such logits, in 16 bits.) Source: TRL, trainer/utils.py, selective_log_softmax.
    """
    rows = []
    for logits_SV, labels_S in zip(logits_BSV, labels_BS, strict=True):
        wide_SV = logits_SV.to(wide_dtype(logits_SV))
        rows.append(_chosen(wide_SV, labels_S) - wide_SV.logsumexp(dim=-1))
    return _where_counted(torch.stack(rows), labels_BS)


def fused_token_logprobs(logits_BSV: Tensor, labels_BS: Tensor, *, in_place: bool = False) -> Tensor:
    """logps_BS by Triton: the kernels of `fused_cross_entropy`, with a gradient for each token.

    With `in_place` backward writes the gradient where the logits are: they are gone then, and a second backward is
    refused. Needs a GPU, or TRITON_INTERPRET=1. Raises: ValueError for shapes and dtypes that it does not take.
    """
    if labels_BS.shape != logits_BSV.shape[:-1] or labels_BS.dtype != torch.int64:
        raise ValueError(
            f"logits {tuple(logits_BSV.shape)}, labels {labels_BS.dtype} {tuple(labels_BS.shape)}: "
            "wanted BSV and int64 BS"
        )
    logits_TV, labels_T = logits_BSV.flatten(0, -2), labels_BS.flatten()
    logps_T: Tensor = _Fused.apply(logits_TV, labels_T, in_place)  # type: ignore[no-untyped-call]
    return logps_T.view(labels_BS.shape)


def chunked_token_logprobs(
    hidden_BSH: Tensor, weight_VH: Tensor, labels_BS: Tensor, *, chunk: int | None = None
) -> Tensor:
    """logps_BS of logits = hidden weight^T by chunks of tokens: the full logits never exist, forward or backward.

    A loss of these may ask any gradient of each token, so backward makes the logits of a chunk anew: one product more
    than `chunked_linear_cross_entropy` needs. The weight's gradient is summed in float32 over chunks.
    """
    hidden_TH, weight_VH = autocast(hidden_BSH.flatten(0, -2), weight_VH)
    size = chunk or chunk_of(len(hidden_TH), len(weight_VH.T), len(weight_VH))
    logps_T: Tensor = _Chunked.apply(hidden_TH, weight_VH, labels_BS.flatten(), size)  # type: ignore[no-untyped-call]
    return logps_T.view(labels_BS.shape)


def sequence_logps(logps_BS: Tensor, labels_BS: Tensor, reduction: Literal["sum", "mean"] = "sum") -> Tensor:
    """logps_B: sum or mean over the tokens with a label; 0, connected to the graph, for a sequence without any."""
    total_B = logps_BS.sum(dim=-1)  # others are 0
    return total_B if reduction == "sum" else total_B / (labels_BS != IGNORE).sum(dim=-1).clamp(min=1)


def wide_dtype(t: Tensor) -> torch.dtype:
    """float32 for 16 bits, else the dtype of `t`."""
    return torch.promote_types(t.dtype, torch.float32)


def _chosen(values_BSV: Tensor, labels_BS: Tensor) -> Tensor:
    """Of each token the value of its label, of entry 0 where it has none; wide."""
    at_BS1 = labels_BS.masked_fill(labels_BS == IGNORE, 0).unsqueeze(-1)
    return values_BSV.gather(-1, at_BS1).squeeze(-1).to(wide_dtype(values_BSV))


def _where_counted(logps_BS: Tensor, labels_BS: Tensor) -> Tensor:
    return logps_BS.masked_fill(labels_BS == IGNORE, 0.0)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_TV: Tensor, labels_T: Tensor, in_place: bool) -> Tensor:
        logits_TV = logits_TV if logits_TV.stride(-1) == 1 else logits_TV.contiguous()
        loss_T, lse_T = losses_of(logits_TV, labels_T)
        ctx.save_for_backward(labels_T, lse_T, *(() if in_place else (logits_TV,)))
        ctx.logits, ctx.in_place = logits_TV.detach() if in_place else None, in_place  # it will hold the gradient
        return -loss_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlogps_T: Tensor) -> tuple[Tensor, None, None]:
        labels_T, lse_T, *kept = ctx.saved_tensors
        logits_TV = ctx.logits if ctx.in_place else kept[0]
        if logits_TV is None:
            raise RuntimeError("the gradient stands where the logits were: a second backward needs in_place=False")
        gradient_TV = logits_TV if ctx.in_place else torch.empty_like(logits_TV)
        write_gradient(logits_TV, gradient_TV, labels_T, lse_T, -dlogps_T)
        ctx.logits = None
        return gradient_TV, None, None


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor, size: int) -> Tensor:
        logps_T = torch.empty(len(labels_T), dtype=wide_dtype(hidden_TH), device=hidden_TH.device)
        lse_T = torch.empty_like(logps_T)
        for start in range(0, len(labels_T), size):
            at = slice(start, start + size)
            logps_T[at], lse_T[at] = _logps_of(hidden_TH[at] @ weight_VH.T, labels_T[at])
        ctx.save_for_backward(hidden_TH, weight_VH, labels_T, lse_T)
        ctx.size = size
        return logps_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlogps_T: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden_TH, weight_VH, labels_T, lse_T = ctx.saved_tensors
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        dhidden_TH = torch.empty_like(hidden_TH) if wants_hidden else None
        dweight_VH = torch.zeros_like(weight_VH, dtype=wide_dtype(weight_VH)) if wants_weight else None
        for start in range(0, len(labels_T), ctx.size):
            at = slice(start, start + ctx.size)
            logits_CV = hidden_TH[at] @ weight_VH.T
            dlogits_CV = _gradient_of(logits_CV, labels_T[at], lse_T[at], dlogps_T[at])
            if dhidden_TH is not None:
                torch.mm(dlogits_CV, weight_VH, out=dhidden_TH[at])
            if dweight_VH is not None and dweight_VH.dtype == weight_VH.dtype:
                dweight_VH.addmm_(dlogits_CV.T, hidden_TH[at])
            elif dweight_VH is not None:
                dweight_VH += dlogits_CV.T @ hidden_TH[at]
        return dhidden_TH, None if dweight_VH is None else dweight_VH.to(weight_VH.dtype), None, None


def _logps_of(logits_CV: Tensor, labels_C: Tensor) -> tuple[Tensor, Tensor]:
    """logps_C and lse_C: on a GPU by the fused kernel, else in plain torch."""
    if logits_CV.is_cuda:
        loss_C, lse_C = losses_of(logits_CV, labels_C)
        return -loss_C, lse_C
    lse_C = logits_CV.to(wide_dtype(logits_CV)).logsumexp(dim=-1)
    return _where_counted(_chosen(logits_CV, labels_C) - lse_C, labels_C), lse_C


def _gradient_of(logits_CV: Tensor, labels_C: Tensor, lse_C: Tensor, dlogps_C: Tensor) -> Tensor:
    """(one-hot - softmax) times the gradient of each token, in the dtype of the logits and where they can be."""
    if logits_CV.is_cuda:
        write_gradient(logits_CV, logits_CV, labels_C, lse_C, -dlogps_C)
        return logits_CV
    counts_C = labels_C != IGNORE
    at_C1 = labels_C.masked_fill(~counts_C, 0)[:, None]
    wide_CV = logits_CV.to(wide_dtype(logits_CV))
    probs_CV = wide_CV.sub_(lse_C[:, None]).exp_()
    probs_CV.scatter_add_(1, at_C1, torch.full_like(probs_CV[:, :1], -1.0))
    return probs_CV.mul_((dlogps_C * counts_C).neg()[:, None]).to(logits_CV.dtype)
