"""Cross entropy of next tokens, as in supervised fine-tuning: eager, fused in Triton, and without the full logits.

Every form is the sum over tokens with a label, divided by their number (at least 1, so that a batch without any gives 0
that is connected to the graph), in float32. Source: TRL, SFTTrainer; torch cross_entropy with reduction="mean".
"""

# B batch, S tokens of a sequence, T tokens, V vocabulary, H hidden size, C tokens of a chunk

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmbench.kernels.device import check_device, on_device_of

IGNORE = -100  # the label of a token that does not count. Source: torch cross_entropy
BLOCK = 4096  # entries that a program of the fused kernel holds at a time
CHUNK_BYTES = 16 * 2**20  # what the float32 logits of a chunk may always take


def sft_labels(tokens_BS: Tensor, prompt_lengths_B: Tensor, lengths_B: Tensor) -> Tensor:
    """labels_BS: of each place the next token; -100 where that belongs to the prompt, or to the padding behind.

    `prompt_lengths_B` and `lengths_B` count tokens of the prompt, and of prompt and completion.
    """
    place_S = torch.arange(1, tokens_BS.shape[1] + 1, device=tokens_BS.device)  # of the next token
    counts_BS = (place_S >= prompt_lengths_B[:, None]) & (place_S < lengths_B[:, None])
    return tokens_BS.roll(-1, dims=1).masked_fill(~counts_BS, IGNORE)


def cross_entropy(logits_TV: Tensor, labels_T: Tensor) -> Tensor:
    """The mean loss, a float32 scalar, in plain torch: the log-softmax in float32 is in memory. labels: int64.

    float64 logits are taken as they are.
    """
    wide_TV = logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32))
    total = F.cross_entropy(wide_TV, labels_T, ignore_index=IGNORE, reduction="sum")
    return total / count_of(labels_T)


def linear_cross_entropy(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> Tensor:
    """The same of logits = hidden weight^T, which are in memory as a whole."""
    return cross_entropy(hidden_TH @ weight_VH.T, labels_T)


def count_of(labels_T: Tensor) -> Tensor:
    """How many tokens count, at least 1, as float32 on the device: nobody waits for it."""
    return (labels_T != IGNORE).sum().clamp(min=1).float()


def fused_cross_entropy(logits_TV: Tensor, labels_T: Tensor, *, in_place: bool = False) -> Tensor:
    """The mean loss by Triton: one pass over the logits forward, one backward; nothing of their size beside them.

    With `in_place` backward writes the gradient where the logits are, as Liger does: they are gone then, and a second
    backward is refused. Needs a GPU, or TRITON_INTERPRET=1. Source of the idea: Liger-Kernel, cross_entropy.py.
    Raises: ValueError for shapes and dtypes that it does not take.
    """
    if logits_TV.ndim != 2 or labels_T.shape != logits_TV.shape[:1] or labels_T.dtype != torch.int64:
        raise ValueError(
            f"logits {tuple(logits_TV.shape)}, labels {labels_T.dtype} {tuple(labels_T.shape)}: wanted TV and int64 T"
        )
    loss: Tensor = _Fused.apply(logits_TV, labels_T, in_place)  # type: ignore[no-untyped-call]
    return loss


def losses_of(logits_TV: Tensor, labels_T: Tensor) -> tuple[Tensor, Tensor]:
    """loss_T and lse_T, float32, by the fused kernel; 0 for tokens that do not count."""
    from llmbench.kernels.losses.triton_cross_entropy import loss_kernel

    check_device(logits_TV)
    T, V = logits_TV.shape
    loss_T, lse_T = torch.empty((2, T), dtype=torch.float32, device=logits_TV.device)
    if T:
        with on_device_of(logits_TV):
            loss_kernel[(T,)](
                logits_TV, labels_T, loss_T, lse_T, V, logits_TV.stride(0), IGNORE=IGNORE, BLOCK_N=BLOCK, num_warps=8
            )
    return loss_T, lse_T


def write_gradient(
    logits_TV: Tensor, gradient_TV: Tensor, labels_T: Tensor, lse_T: Tensor, upstream_T: Tensor, *,
    entropy: tuple[Tensor, Tensor] | None = None,
) -> None:  # fmt: skip
    """Writes d loss / d logits times `upstream_T` (float32) into `gradient_TV`, which may be the logits.

    `entropy` is that of each token and its gradient, T each, whose part is added.
    """
    from llmbench.kernels.losses.triton_cross_entropy import gradient_kernel

    T, V = logits_TV.shape
    entropy_T, dentropy_T = entropy or (None, None)
    if T:
        with on_device_of(logits_TV):
            gradient_kernel[(T, -(-V // BLOCK))](
                logits_TV, gradient_TV, labels_T, lse_T, upstream_T, entropy_T, dentropy_T, V, logits_TV.stride(0),
                gradient_TV.stride(0), upstream_T.stride(0), 0 if dentropy_T is None else dentropy_T.stride(0),
                HAS_ENTROPY=entropy is not None, IGNORE=IGNORE, BLOCK_N=BLOCK, num_warps=8,
            )  # fmt: skip


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_TV: Tensor, labels_T: Tensor, in_place: bool) -> Tensor:
        logits_TV = logits_TV if logits_TV.stride(-1) == 1 else logits_TV.contiguous()
        loss_T, lse_T = losses_of(logits_TV, labels_T)
        count = count_of(labels_T)
        ctx.save_for_backward(labels_T, lse_T, count, *(() if in_place else (logits_TV,)))
        ctx.logits, ctx.in_place = logits_TV.detach() if in_place else None, in_place  # it will hold the gradient
        return loss_T.sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, None, None]:
        labels_T, lse_T, count, *kept = ctx.saved_tensors
        logits_TV = ctx.logits if ctx.in_place else kept[0]
        if logits_TV is None:
            raise RuntimeError("the gradient stands where the logits were: a second backward needs in_place=False")
        gradient_TV = logits_TV if ctx.in_place else torch.empty_like(logits_TV)
        write_gradient(logits_TV, gradient_TV, labels_T, lse_T, (dloss / count).expand(len(labels_T)))
        ctx.logits = None
        return gradient_TV, None, None


def chunked_linear_cross_entropy(
    hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor, *, chunk: int | None = None
) -> Tensor:
    """`linear_cross_entropy` by chunks of tokens: the full logits never exist, forward or backward.

    Gradients of hidden and weight are made in forward, chunk by chunk, so that logits are computed once: what it holds
    is these two and a chunk. The weight's is summed in float32 over chunks. On a GPU by the fused kernel in place of a
    chunk's logits, else in plain torch. Source of the idea: Liger-Kernel, fused_linear_cross_entropy.py.
    """
    hidden_TH, weight_VH = autocast(hidden_TH, weight_VH)
    size = chunk or chunk_of(len(hidden_TH), len(weight_VH.T), len(weight_VH))
    loss: Tensor = _Chunked.apply(hidden_TH, weight_VH, labels_T, size)  # type: ignore[no-untyped-call]
    return loss


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors as torch's autocast, where it is on, would give them to a product, in forward and backward alike.

    Source: torch, aten/src/ATen/autocast_mode.h, cached_cast (float64 stays).
    """
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return tuple(t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors)


def chunk_of(tokens: int, hidden: int, vocabulary: int) -> int:
    """Tokens of a chunk: so many that its logits are as large as all hidden states, and never less than `CHUNK_BYTES`.

    Source of the first: Liger-Kernel, fused_linear_cross_entropy.py.
    """
    return max(1, tokens * hidden // vocabulary, CHUNK_BYTES // (4 * vocabulary))


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor, size: int) -> Tensor:
        dhidden_TH = torch.zeros_like(hidden_TH) if hidden_TH.requires_grad else None
        wide = torch.promote_types(weight_VH.dtype, torch.float32)
        dweight_VH = torch.zeros_like(weight_VH, dtype=wide) if weight_VH.requires_grad else None
        count = count_of(labels_T)
        total = torch.zeros((), dtype=torch.promote_types(torch.float32, hidden_TH.dtype), device=hidden_TH.device)
        for chunk in _chunks(len(hidden_TH), size):
            hidden_CH, labels_C = hidden_TH[chunk], labels_T[chunk]
            logits_CV = hidden_CH @ weight_VH.T
            loss, dlogits_CV = _loss_and_gradient(logits_CV, labels_C)
            total += loss
            if dhidden_TH is not None:
                torch.mm(dlogits_CV, weight_VH, out=dhidden_TH[chunk])
            if dweight_VH is not None:
                if dweight_VH.dtype == weight_VH.dtype:
                    dweight_VH.addmm_(dlogits_CV.T, hidden_CH)
                else:
                    dweight_VH += dlogits_CV.T @ hidden_CH
        ctx.save_for_backward(count, *(t for t in (dhidden_TH, dweight_VH) if t is not None))
        ctx.has = dhidden_TH is not None, dweight_VH is not None
        ctx.dtype = weight_VH.dtype
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        saved = iter(ctx.saved_tensors)
        scale = dloss / next(saved)  # a loss scale of 2^16 is beyond float16: multiplied in float32
        dhidden_TH, dweight_VH = (next(saved) if has else None for has in ctx.has)
        return (
            None if dhidden_TH is None else (dhidden_TH.to(scale.dtype) * scale).to(dhidden_TH.dtype),
            None if dweight_VH is None else (dweight_VH * scale).to(ctx.dtype),
            None,
            None,
        )


def _loss_and_gradient(logits_CV: Tensor, labels_C: Tensor) -> tuple[Tensor, Tensor]:
    """The summed loss of a chunk, and its gradient by the logits, in their place where the fused kernel can.

    Of the sum and not of the mean, whose small numbers float16 would lose.
    """
    if logits_CV.is_cuda:
        loss_C, lse_C = losses_of(logits_CV, labels_C)
        write_gradient(logits_CV, logits_CV, labels_C, lse_C, torch.ones_like(loss_C))
        return loss_C.sum(), logits_CV
    counts_C = labels_C != IGNORE
    at_C1 = labels_C.masked_fill(~counts_C, 0)[:, None]
    wide_CV = logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))
    lse_C1 = wide_CV.logsumexp(dim=-1, keepdim=True)
    loss = ((lse_C1 - wide_CV.gather(1, at_C1)).squeeze(1) * counts_C).sum()
    probs_CV = wide_CV.sub_(lse_C1).exp_() if wide_CV is logits_CV else (wide_CV - lse_C1).exp_()
    probs_CV.scatter_add_(1, at_C1, torch.full_like(lse_C1, -1.0))
    return loss, probs_CV.mul_(counts_C[:, None]).to(logits_CV.dtype)


def _chunks(tokens: int, size: int) -> Iterator[slice]:
    for start in range(0, tokens, size):
        yield slice(start, start + size)
