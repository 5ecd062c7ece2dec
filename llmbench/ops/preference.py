"""DPO, IPO and ORPO of pairs of completions, with the projection onto the vocabulary that they need."""

# P pairs, B = 2 P sequences, S tokens of a sequence (padded), T tokens of all sequences, H hidden size, V vocabulary

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from llmbench.kernels.losses import (
    IGNORE,
    chunked_token_logprobs,
    dpo_loss,
    fused_token_logprobs,
    gathered_token_logprobs,
    ipo_loss,
    nll_loss,
    orpo_loss,
    sequence_logps,
    token_logprobs,
)
from llmbench.ops.op import Cost, Op, Unavailable
from llmbench.ops.oracle import expected_of_loss
from llmbench.ops.params import AtLeast
from llmbench.ops.registry import register
from llmbench.suite.catalog import Constraint, Phase

Loss = Callable[..., Tensor]  # hidden_TH, weight_VH, labels_T, then what the reference gives -> loss
FromHidden = Callable[[Tensor, Tensor, Tensor], Tensor]  # hidden_BSH, weight_VH, labels_BS -> logps_BS
FromLogits = Callable[[Tensor, Tensor], Tensor]  # logits_BSV, labels_BS -> logps_BS
NEAR = 0.1  # how far the reference is from the policy, against the size of hidden states and weights


@dataclass(frozen=True, kw_only=True)
class PreferenceParams:
    """Pairs of a chosen and a rejected completion of one prompt, what their loss is and how it gets log-probabilities.

    Sequences have between a half and all of `seq_len` tokens, the rejected of `rejected_len` (0: as the chosen); a
    quarter of the shorter longest is prompt, which does not count. `forward: concatenated` makes one batch of both,
    padded to `seq_len`, `separate` two, each padded to its own longest. `reference: precomputed` gives what the
    completions have under the reference, `on_the_fly` its hidden states and projection. ORPO has no reference.
    """

    loss: Literal["dpo", "ipo", "orpo"] = "dpo"
    pairs: int
    seq_len: int
    rejected_len: Annotated[int, AtLeast(0)] = 0
    hidden: int
    vocab: int
    beta: float = 0.1
    label_smoothing: Annotated[float, AtLeast(0)] = 0.0
    forward: Literal["concatenated", "separate"] = "concatenated"
    reference: Literal["precomputed", "on_the_fly"] = "precomputed"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"

    @property
    def longest(self) -> tuple[int, int]:
        """Tokens of the longest chosen and of the longest rejected sequence, prompt included."""
        return self.seq_len, self.rejected_len or self.seq_len

    @property
    def padded(self) -> tuple[int, int]:
        """Tokens that chosen and rejected sequences are padded to."""
        return self.longest if self.forward == "separate" else (self.seq_len, self.seq_len)

    @property
    def prompt(self) -> int:
        """Tokens of a prompt."""
        return min(self.longest) // 4

    @property
    def lengths(self) -> tuple[list[int], list[int]]:
        """Tokens of each chosen sequence, evenly from the longest to a half, and of each rejected, the other way."""
        chosen, rejected = ([n - i * (n // 2) // self.pairs for i in range(self.pairs)] for n in self.longest)
        return chosen, rejected[::-1]

    @property
    def completion_tokens(self) -> int:
        """Tokens that count, over all sequences."""
        return sum(n - self.prompt for lengths in self.lengths for n in lengths)

    @property
    def tokens(self) -> int:
        """Tokens that are given, padding and prompts included."""
        return self.pairs * sum(self.padded)


def inputs(p: PreferenceParams, generator: Generator) -> tuple[Tensor, ...]:
    """hidden_TH, weight_VH with logits of standard deviation 1, labels_T: sequences row by row, the chosen ones first.

    Then reference_2P, near what the policy gives, or the reference's hidden_TH and weight_VH, near the policy's.
    """
    dtype: torch.dtype = getattr(torch, p.dtype)
    device = generator.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    hidden_TH, weight_VH = normal(p.tokens, p.hidden), normal(p.vocab, p.hidden) * p.hidden**-0.5
    labels_T = torch.randint(p.vocab, (p.tokens,), generator=generator, device=device)
    labels_T = labels_T.masked_fill(~_counts(p).to(device), IGNORE)
    given = hidden_TH.to(dtype), weight_VH.to(dtype), labels_T
    if p.loss == "orpo":
        return given
    if p.reference == "precomputed":
        return *given, _near_policy(p, normal(2, p.pairs))
    hidden_TH = hidden_TH + NEAR * normal(*hidden_TH.shape)
    weight_VH = weight_VH + NEAR * p.hidden**-0.5 * normal(*weight_VH.shape)
    return *given, hidden_TH.to(dtype), weight_VH.to(dtype)


def _counts(p: PreferenceParams) -> Tensor:
    """Whether each token is of a completion, as bool T."""
    rows = [
        (torch.arange(padded) >= p.prompt) & (torch.arange(padded) < n)
        for lengths, padded in zip(p.lengths, p.padded, strict=True)
        for n in lengths
    ]
    return torch.cat(rows)


def _near_policy(p: PreferenceParams, noise_2P: Tensor) -> Tensor:
    """Log-probabilities as normal logits of standard deviation 1 give them, -(log V + 1/2) a token, float32."""
    tokens_2P = torch.tensor(p.lengths, device=noise_2P.device, dtype=torch.float32) - p.prompt
    per_token_2P = -(torch.tensor(float(p.vocab), device=noise_2P.device).log() + 0.5) + noise_2P / tokens_2P.sqrt()
    return per_token_2P if p.loss == "ipo" else per_token_2P * tokens_2P


def preference_cost(p: PreferenceParams, phase: Phase) -> Cost:
    """FLOP of projecting the tokens that count, 2 V H a token forward and twice that backward; bytes of what is given.

    A reference that is run adds a forward. Prompts and padding need no projection: what an implementation spends on
    them is no work. Bytes: hidden states and weight read once, backward their gradients written.
    """
    itemsize: int = getattr(torch, p.dtype).itemsize
    run_too = p.loss != "orpo" and p.reference == "on_the_fly" and phase != "bwd"
    passes = {"bwd": 2, "fwd_bwd": 3}.get(phase, 1)
    flop = 2 * p.completion_tokens * p.vocab * p.hidden * (passes + run_too)
    given = (p.completion_tokens + p.vocab) * p.hidden
    return Cost(flop, given * itemsize * (min(passes, 2) + run_too), p.completion_tokens)


def figures(p: PreferenceParams) -> Mapping[str, float]:
    """`logits_memory` of all tokens that are given; `ideal_speedup` of fewer such tokens than one padded batch has."""
    logits = p.tokens * p.vocab * getattr(torch, p.dtype).itemsize
    return {"logits_memory": logits, "ideal_speedup": 2 * p.pairs * p.seq_len / p.tokens}


class _Completions(NamedTuple):
    """Log-probabilities of the tokens of chosen and rejected sequences, and their labels."""

    chosen: Tensor  # PS, as the others
    rejected: Tensor
    chosen_labels: Tensor
    rejected_labels: Tensor


def _loss(p: PreferenceParams, logps: FromHidden) -> Loss:
    """The loss by log-probabilities of tokens, whatever gives them."""

    def completions(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> _Completions:
        P, (chosen_S, rejected_S) = p.pairs, p.padded
        if p.forward == "concatenated":
            labels_BS = labels_T.view(2 * P, chosen_S)
            logps_BS = logps(hidden_TH.view(2 * P, chosen_S, p.hidden), weight_VH, labels_BS)
            return _Completions(*logps_BS.chunk(2), *labels_BS.chunk(2))
        sizes = [P * chosen_S, P * rejected_S]
        hidden, labels = hidden_TH.split_with_sizes(sizes), labels_T.split_with_sizes(sizes)
        rows = [t.view(P, -1) for t in labels]
        found = [logps(h.view(P, -1, p.hidden), weight_VH, t) for h, t in zip(hidden, rows, strict=True)]
        return _Completions(*found, *rows)

    def sums(of: _Completions) -> tuple[Tensor, Tensor]:
        reduction: Literal["sum", "mean"] = "sum" if p.loss == "dpo" else "mean"
        return (
            sequence_logps(of.chosen, of.chosen_labels, reduction),
            sequence_logps(of.rejected, of.rejected_labels, reduction),
        )

    def loss(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor, *reference: Tensor) -> Tensor:
        policy = completions(hidden_TH, weight_VH, labels_T)
        if p.loss == "orpo":
            return orpo_loss(*sums(policy), nll_loss(policy.chosen, policy.chosen_labels), beta=p.beta)
        against: tuple[Tensor, ...] = reference[0].unbind()
        if p.reference == "on_the_fly":
            with torch.no_grad():
                against = sums(completions(reference[0], reference[1], labels_T))
        if p.loss == "ipo":
            return ipo_loss(*sums(policy), *against, beta=p.beta)
        return dpo_loss(*sums(policy), *against, beta=p.beta, label_smoothing=p.label_smoothing)

    return loss


def _projected(logps: FromLogits) -> FromHidden:
    return lambda hidden_BSH, weight_VH, labels_BS: logps(hidden_BSH @ weight_VH.T, labels_BS)


op: Op[PreferenceParams] = Op(
    name="preference",
    version=1,
    params=PreferenceParams,
    inputs=inputs,
    reference=lambda p: _loss(p, _projected(token_logprobs)),
    oracle=lambda p, phase, inputs, douts: expected_of_loss(op, p, phase, inputs, douts),
    cost=preference_cost,
    figures=figures,
    input_names=("hidden", "weight", "labels", "reference", "reference_weight"),
    frozen=("reference", "reference_weight"),
    constraints=(
        Constraint("at_most", "rejected_len", "seq_len"),
        Constraint("only_with", "label_smoothing", "loss", "dpo"),
        Constraint("not_with", "reference", "loss", "orpo"),
    ),
    doc="DPO, IPO or ORPO of pairs of completions, with the projection onto the vocabulary.",
)
register(op)


@op.impl("eager")
def eager(p: PreferenceParams) -> Loss:
    """Log-softmax of all logits, then the labels' own. Source: llmbench.kernels.losses.logprobs."""
    return _loss(p, _projected(token_logprobs))


@op.impl("gathered")
def gathered(p: PreferenceParams) -> Loss:
    """Chosen logit minus log-sum-exp, a sequence at a time. Source: llmbench.kernels.losses.logprobs."""
    return _loss(p, _projected(gathered_token_logprobs))


@op.impl("gathered_compiled", needs=["inductor"], compiled=True)
def gathered_compiled(p: PreferenceParams) -> Loss:
    """torch.compile of the gathered one. Source: llmbench.kernels.losses.logprobs."""
    return torch.compile(gathered(p), dynamic=False, fullgraph=True)


@op.impl("chunked")
def chunked(p: PreferenceParams) -> Loss:
    """By chunks of tokens, made anew in backward, no full logits. Source: llmbench.kernels.losses.logprobs."""
    return _loss(p, chunked_token_logprobs)


@op.impl("triton_fused", needs=["triton_gpu"])
def triton_fused(p: PreferenceParams) -> Loss:
    """Our fused cross-entropy kernels, token by token. Source: llmbench.kernels.losses.logprobs."""
    return _loss(p, _projected(fused_token_logprobs))


@op.impl("liger", needs=["liger", "inductor"], graphable=False, compiled=True)
def liger(p: PreferenceParams) -> Loss:
    """Liger's chunked losses, a pair at a time, gradients made in forward. Source: package liger-kernel."""
    if p.forward != "concatenated":
        raise Unavailable("Liger takes chosen and rejected in one batch (forward: concatenated)")
    if p.loss == "ipo" or p.label_smoothing:
        raise Unavailable("Liger's DPO has neither IPO nor label smoothing")
    if p.loss == "dpo" and p.reference == "precomputed":
        raise Unavailable("Liger runs the reference itself (reference: on_the_fly)")
    from liger_kernel.chunked_loss import LigerFusedLinearDPOLoss, LigerFusedLinearORPOLoss

    call = LigerFusedLinearORPOLoss(IGNORE, p.beta) if p.loss == "orpo" else LigerFusedLinearDPOLoss(IGNORE, p.beta)

    def loss(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor, *reference: Tensor) -> Tensor:
        sequences = 2 * p.pairs
        hidden_BSH, labels_BS = hidden_TH.view(sequences, p.seq_len, p.hidden), labels_T.view(sequences, p.seq_len)
        given: tuple[Tensor | None, ...] = (weight_VH, hidden_BSH, labels_BS)
        if reference:
            given = (*given, None, reference[0].view_as(hidden_BSH), reference[1])
        found: Tensor = call(*given)[0]  # beside it: log-probabilities and rewards
        return found

    return loss
