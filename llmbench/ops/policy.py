"""PPO of a language model: KL penalty, advantages, and the clipped losses of policy and values, of given logits."""

# B sequences, S tokens of the longest, V vocabulary

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from llmbench.kernels.losses import (
    IGNORE,
    Rollout,
    fused_logprobs_and_entropy,
    logprobs_and_entropy,
    loop_gae,
    ppo_loss,
    recomputed_logprobs_and_entropy,
    scan_gae,
)
from llmbench.kernels.losses.policy import Draw, Gae
from llmbench.ops.op import Cost, Op
from llmbench.ops.oracle import expected_of_loss
from llmbench.ops.params import AtLeast
from llmbench.ops.registry import register
from llmbench.suite.catalog import Phase

Loss = Callable[..., Tensor]  # logits_BSV, values_BS, labels_BS, old logps_BS, old values_BS, scores_B, ref_BS? -> loss
LOGIT = 0.5  # logits are -LOGIT, 0 or LOGIT, and noise: ratios are near 0.6, 1 and 1.65, far from 1 +- 0.2
NOISE = 0.02  # of logits, log-probabilities and values
VALUE = 0.5  # values are VALUE and, the new ones, -VALUE, 0 or VALUE more: clipped by 0.2, or far from it
SCORE = 2.0  # scores are VALUE and SCORE more or less: returns of late tokens lie beyond values, where clips show


@dataclass(frozen=True, kw_only=True)
class PpoParams:
    """Responses of a rollout: the longest has `seq_len` tokens, a share `padding` of all places is padding.

    `kl` is the estimate of the divergence from a reference that is taken off the rewards, token by token.
    """

    batch: int
    seq_len: int
    vocab: int
    padding: Annotated[float, AtLeast(0)] = 0.25
    kl: Literal["none", "k1", "k3"] = "k1"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence: (1 - u)^k of the longest for u evenly in [0, 1], whose mean is 1 / (k + 1)."""
        k = self.padding / (1 - self.padding) if self.padding < 1 else math.inf
        shares = [(1 - (i + 0.5) / self.batch) ** k for i in range(1, self.batch)]
        return [self.seq_len, *(max(1, round(share * self.seq_len)) for share in shares)]


def inputs(p: PpoParams, generator: Generator) -> tuple[Tensor, ...]:
    """logits_BSV, values_BS, labels_BS; then of the rollout, float32: logps_BS, values_BS, scores_B, and ref_logps_BS.

    A loss that clips has no gradient to compare where rounding decides on which side of the limit a token is. So ratios
    and values stand in three groups, apart by many times their spread; when all of it is moved and scaled by 3/4 (as
    checks do), ratios fall below the lower limit together.
    """
    dtype: torch.dtype = getattr(torch, p.dtype)
    device = generator.device

    def noise(*shape: int, size: float = NOISE) -> Tensor:
        return size * torch.randn(shape, generator=generator, device=device)

    def levels(*shape: int) -> Tensor:
        return torch.randint(-1, 2, shape, generator=generator, device=device, dtype=torch.int8)

    def logps() -> Tensor:
        """What a logit of 0 has, since the mean of e^logit over the three levels is (1 + 2 cosh LOGIT) / 3."""
        return noise(p.batch, p.seq_len) - math.log(p.vocab * (1 + 2 * math.cosh(LOGIT)) / 3)

    logits_BSV = (LOGIT * levels(p.batch, p.seq_len, p.vocab)).add_(noise(p.batch, p.seq_len, p.vocab)).to(dtype)
    old_values_BS = VALUE + noise(p.batch, p.seq_len)
    values_BS = (old_values_BS + VALUE * levels(p.batch, p.seq_len)).to(dtype)
    labels_BS = torch.randint(p.vocab, (p.batch, p.seq_len), generator=generator, device=device)
    lengths_B1 = torch.tensor(p.lengths, device=device)[:, None]
    labels_BS = labels_BS.masked_fill(torch.arange(p.seq_len, device=device) >= lengths_B1, IGNORE)
    scores_B = SCORE * (1 - 2 * (torch.arange(p.batch, device=device) % 2)) + noise(p.batch)
    given = logits_BSV, values_BS, labels_BS, logps(), old_values_BS, VALUE + scores_B
    return given if p.kl == "none" else (*given, logps())


def ppo_cost(p: PpoParams, phase: Phase) -> Cost:
    """Bytes of the logits of tokens, read once; backward also writes their gradient, at padding too. FLOP: unknown."""
    itemsize: int = getattr(torch, p.dtype).itemsize
    tokens, places = sum(p.lengths), p.batch * p.seq_len
    read, written = tokens * p.vocab * itemsize, places * p.vocab * itemsize
    return Cost(None, read + written if phase in ("bwd", "fwd_bwd") else read, tokens)


def figures(p: PpoParams) -> Mapping[str, float]:
    """`logits_memory` of all places; `ideal_speedup` of tokens without their padding."""
    places = p.batch * p.seq_len
    logits = places * p.vocab * getattr(torch, p.dtype).itemsize
    return {"logits_memory": logits, "ideal_speedup": places / sum(p.lengths)}


def _loss(p: PpoParams, *, gae: Gae = scan_gae, draw: Draw = logprobs_and_entropy) -> Loss:
    def loss(logits_BSV: Tensor, values_BS: Tensor, *rollout: Tensor) -> Tensor:
        return ppo_loss(logits_BSV, values_BS, Rollout(*rollout), kl=p.kl, gae=gae, draw=draw)

    return loss


op: Op[PpoParams] = Op(
    name="ppo",
    version=1,
    params=PpoParams,
    inputs=inputs,
    reference=lambda p: _loss(p, gae=loop_gae),
    oracle=lambda p, phase, inputs, douts: expected_of_loss(op, p, phase, inputs, douts),
    cost=ppo_cost,
    figures=figures,
    input_names=("logits", "values", "labels", "old_logps", "old_values", "scores", "ref_logps"),
    frozen=("old_logps", "old_values", "scores", "ref_logps"),
    doc="PPO's loss of given logits and values: KL penalty, GAE, whitening, clipping, entropy.",
)
register(op)


@op.impl("eager_loop")
def eager_loop(p: PpoParams) -> Loss:
    """Advantages token by token, in a loop over time. Source: llmbench.kernels.losses.policy."""
    return _loss(p, gae=loop_gae)


@op.impl("eager")
def eager(p: PpoParams) -> Loss:
    """Advantages by a scan of log2(S) steps. Source: llmbench.kernels.losses.policy."""
    return _loss(p)


@op.impl("eager_compiled", needs=["inductor"], compiled=True)
def eager_compiled(p: PpoParams) -> Loss:
    """torch.compile of the eager one. Source: llmbench.kernels.losses.policy."""
    return torch.compile(_loss(p), dynamic=False, fullgraph=True)


@op.impl("recomputed")
def recomputed(p: PpoParams) -> Loss:
    """Scan; the softmax of chunks made anew in backward, none kept. Source: llmbench.kernels.losses.entropy."""
    return _loss(p, draw=recomputed_logprobs_and_entropy)


@op.impl("triton_fused", needs=["triton_gpu"])
def triton_fused(p: PpoParams) -> Loss:
    """Scan; log-probabilities and entropy by our fused kernels. Source: llmbench.kernels.losses.entropy."""
    return _loss(p, draw=fused_logprobs_and_entropy)


@op.impl("torchrl_gae", needs=["torchrl"], graphable=False)
def torchrl_gae(p: PpoParams) -> Loss:
    """The eager one with torchrl's advantages, a convolution. Source: package torchrl."""
    from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

    return _loss(p, gae=partial(_torchrl, vec_generalized_advantage_estimate))


def _torchrl(
    estimate: Callable[..., tuple[Tensor, Tensor]], rewards_BS: Tensor, values_BS: Tensor, *, gamma: float, lam: float
) -> Tensor:
    """advantages_BS of one trajectory a row, whose padding has rewards and values 0."""
    next_BS = torch.nn.functional.pad(values_BS[:, 1:], (0, 1))
    done_BS1 = torch.zeros_like(values_BS, dtype=torch.bool)[..., None]
    done_BS1[:, -1] = True
    steps = (t[..., None] for t in (values_BS, next_BS, rewards_BS))
    return estimate(gamma, lam, *steps, done_BS1)[0].squeeze(-1)
