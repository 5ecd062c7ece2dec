"""Cross entropy of the next token, with the projection onto the vocabulary: what the vocabulary costs."""

# T tokens, V vocabulary, H hidden size

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from llmbench.kernels.losses import (
    IGNORE,
    chunked_linear_cross_entropy,
    cross_entropy,
    fused_cross_entropy,
    linear_cross_entropy,
)
from llmbench.ops.op import Cost, Op, Unavailable
from llmbench.ops.oracle import expected_of_loss
from llmbench.ops.params import AtLeast
from llmbench.ops.registry import register
from llmbench.suite.catalog import Phase

Loss = Callable[..., Tensor]  # hidden_TH, weight_VH, labels_T -> loss; logits_TV, labels_T -> loss


@dataclass(frozen=True, kw_only=True)
class CrossEntropyParams:
    """Tokens, vocabulary and hidden size of a loss; with `hidden` 0 the logits are given, and nothing is projected.

    `masked` is the share of tokens that do not count (prompt and padding), a stretch at the start.
    """

    tokens: int
    vocab: int
    hidden: Annotated[int, AtLeast(0)] = 0
    masked: float = 0.25
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


def inputs(p: CrossEntropyParams, generator: Generator) -> tuple[Tensor, ...]:
    """hidden_TH, standard normal, weight_VH with logits of standard deviation 1, labels_T; or logits_TV, labels_T."""
    dtype: torch.dtype = getattr(torch, p.dtype)
    device = generator.device
    labels_T = torch.randint(p.vocab, (p.tokens,), generator=generator, device=device)
    labels_T[: round(p.masked * p.tokens)] = IGNORE
    if not p.hidden:
        return torch.randn(p.tokens, p.vocab, generator=generator, device=device, dtype=dtype), labels_T
    hidden_TH = torch.randn(p.tokens, p.hidden, generator=generator, device=device, dtype=dtype)
    weight_VH = torch.randn(p.vocab, p.hidden, generator=generator, device=device, dtype=dtype) * p.hidden**-0.5
    return hidden_TH, weight_VH, labels_T


def cross_entropy_cost(p: CrossEntropyParams, phase: Phase) -> Cost:
    """FLOP of the projection, 2 T V H forward and twice that backward; bytes of what is given and of its gradients.

    Logits that are given are read once and, backward, their gradient is written: with the projection they need not be
    in memory at all.
    """
    itemsize: int = getattr(torch, p.dtype).itemsize
    given = (p.tokens + p.vocab) * p.hidden if p.hidden else p.tokens * p.vocab
    flop = 2 * p.tokens * p.vocab * p.hidden
    passes = {"bwd": 2, "fwd_bwd": 3}.get(phase, 1)
    return Cost(flop * passes or None if p.hidden else None, given * itemsize * min(passes, 2), p.tokens)


def figures(p: CrossEntropyParams) -> Mapping[str, float]:
    """`logits_memory`: what the logits take in the dtype of the inputs."""
    return {"logits_memory": p.tokens * p.vocab * getattr(torch, p.dtype).itemsize}


def _reference(p: CrossEntropyParams) -> Loss:
    return linear_cross_entropy if p.hidden else cross_entropy


op: Op[CrossEntropyParams] = Op(
    name="cross_entropy",
    version=1,
    params=CrossEntropyParams,
    inputs=inputs,
    reference=_reference,
    oracle=lambda p, phase, inputs, douts: expected_of_loss(op, p, phase, inputs, douts),
    cost=cross_entropy_cost,
    figures=figures,
    sizes=("tokens", "vocab"),
    input_names=("hidden", "weight", "labels"),
    doc="Cross entropy of the next token (SFT), with or without the projection onto the vocabulary.",
)
register(op)


@op.impl("eager")
def eager(p: CrossEntropyParams) -> Loss:
    """Logits and their float32 log-softmax in memory. Source: llmbench.kernels.losses.cross_entropy."""
    return _reference(p)


@op.impl("eager_compiled", needs=["inductor"], compiled=True)
def eager_compiled(p: CrossEntropyParams) -> Loss:
    """torch.compile of the eager one. Source: llmbench.kernels.losses.cross_entropy."""
    return torch.compile(_reference(p), dynamic=False, fullgraph=True)


@op.impl("triton_fused", needs=["triton_gpu"])
def triton_fused(p: CrossEntropyParams) -> Loss:
    """Our fused kernel on logits that are projected as a whole. Source: llmbench.kernels.losses.cross_entropy."""
    if not p.hidden:
        return fused_cross_entropy  # given logits stay as they are
    return lambda hidden, weight, labels: fused_cross_entropy(hidden @ weight.T, labels)


@op.impl("chunked")
def chunked(p: CrossEntropyParams) -> Loss:
    """Projection and loss by chunks of tokens, no full logits. Source: llmbench.kernels.losses.cross_entropy."""
    _needs_projection(p)
    return chunked_linear_cross_entropy


@op.impl("torch_linear")
def torch_linear(p: CrossEntropyParams) -> Loss:
    """torch's own loss of a projection, chunked where it offers that. Source: torch linear_cross_entropy."""
    _needs_projection(p)
    call: Callable[..., Tensor] | None = getattr(F, "linear_cross_entropy", None)
    if call is None:
        raise Unavailable("this torch has no linear_cross_entropy")
    options: dict[str, Any] = {}
    if "options" in signature(call).parameters and (kind := getattr(torch.nn, "LinearCrossEntropyOptions", None)):
        options = {"options": kind()}
    return lambda hidden, weight, labels: call(hidden, weight, labels, ignore_index=IGNORE, **options)


@op.impl("liger", needs=["cuda", "liger"])
def liger(p: CrossEntropyParams) -> Loss:
    """Liger's fused linear cross entropy, or its cross entropy. Source: package liger-kernel."""
    if p.hidden:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        fused = LigerFusedLinearCrossEntropyLoss(ignore_index=IGNORE)
        return lambda hidden, weight, labels: fused(weight, hidden, labels)
    from liger_kernel.transformers import LigerCrossEntropyLoss

    loss = LigerCrossEntropyLoss(ignore_index=IGNORE)
    return lambda logits, labels: loss(logits.clone(), labels)  # it writes into the logits, which are given


@op.impl("cut_cross_entropy", needs=["cuda", "cut_cross_entropy"])
def cut_cross_entropy(p: CrossEntropyParams) -> Loss:
    """Apple's linear cross entropy in Triton, no logits in memory. Source: package cut-cross-entropy."""
    _needs_projection(p)
    if p.dtype == "float32":
        raise Unavailable("cut-cross-entropy takes float16 and bfloat16, not float32")
    from cut_cross_entropy import linear_cross_entropy as cut

    return lambda hidden, weight, labels: cut(hidden, weight, labels, ignore_index=IGNORE)


def _needs_projection(p: CrossEntropyParams) -> None:
    if not p.hidden:
        raise Unavailable("is a loss with its projection: give hidden")
