"""The loss of a reward model: pairs of sequences, each scored at its last token."""

# P pairs, B = 2 P sequences (the chosen ones first), S tokens of the longest, H hidden size

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from llmbench.kernels.losses import last_of, reward_loss
from llmbench.ops.op import Cost, Op
from llmbench.ops.oracle import expected_of_loss
from llmbench.ops.registry import register
from llmbench.suite.catalog import Phase

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # hidden_BSH, weight_1H, lengths_B, margin_P -> loss
Score = Callable[[Tensor, Tensor, Tensor], Tensor]  # hidden_BSH, weight_1H, lengths_B -> scores_B


@dataclass(frozen=True, kw_only=True)
class RewardParams:
    """Pairs of a chosen and a rejected sequence, of between a half and all of `seq_len` tokens, padded to that."""

    pairs: int
    seq_len: int
    hidden: int
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


def inputs(p: RewardParams, generator: Generator) -> tuple[Tensor, ...]:
    """hidden_BSH, standard normal, weight_1H with scores of standard deviation 1, lengths_B, margin_P in [0, 1)."""
    dtype: torch.dtype = getattr(torch, p.dtype)
    device = generator.device
    hidden_BSH = torch.randn(2 * p.pairs, p.seq_len, p.hidden, generator=generator, device=device, dtype=dtype)
    weight_1H = torch.randn(1, p.hidden, generator=generator, device=device, dtype=dtype) * p.hidden**-0.5
    lengths_B = torch.tensor([p.seq_len - i * (p.seq_len // 2) // (2 * p.pairs) for i in range(2 * p.pairs)])
    margin_P = torch.rand(p.pairs, generator=generator, device=device)
    return hidden_BSH, weight_1H, lengths_B.to(device), margin_P


def reward_cost(p: RewardParams, phase: Phase) -> Cost:
    """FLOP of scoring one token a sequence, 2 H forward and twice that backward; bytes read, and of gradients.

    Forward reads the last hidden states and the weight; backward writes the gradient of all hidden states, nearly all
    of it 0.
    """
    itemsize: int = getattr(torch, p.dtype).itemsize
    sequences = 2 * p.pairs
    read, written = (sequences + 1) * p.hidden, (sequences * p.seq_len + 1) * p.hidden
    flop = 2 * sequences * p.hidden * {"bwd": 2, "fwd_bwd": 3}.get(phase, 1)
    moved = read + written if phase in ("bwd", "fwd_bwd") else read
    return Cost(flop, moved * itemsize, sequences * p.seq_len)


def every_score(hidden_BSH: Tensor, weight_1H: Tensor, lengths_B: Tensor) -> Tensor:
    """scores_B, each picked from those of all tokens. Source: TRL, experimental/utils.py, get_reward."""
    return last_of((hidden_BSH @ weight_1H.T).squeeze(-1), lengths_B)


def last_score(hidden_BSH: Tensor, weight_1H: Tensor, lengths_B: Tensor) -> Tensor:
    """scores_B of the last hidden states alone."""
    return (last_of(hidden_BSH, lengths_B) @ weight_1H.T).squeeze(-1)


def _loss(score: Score) -> Loss:
    def loss(hidden_BSH: Tensor, weight_1H: Tensor, lengths_B: Tensor, margin_P: Tensor) -> Tensor:
        chosen_P, rejected_P = score(hidden_BSH, weight_1H, lengths_B).chunk(2)
        return reward_loss(chosen_P, rejected_P, margin_P)

    return loss


op: Op[RewardParams] = Op(
    name="reward",
    version=1,
    params=RewardParams,
    inputs=inputs,
    reference=lambda p: _loss(every_score),
    oracle=lambda p, phase, inputs, douts: expected_of_loss(op, p, phase, inputs, douts),
    cost=reward_cost,
    input_names=("hidden", "weight", "lengths", "margin"),
    frozen=("margin",),
    doc="Loss of a reward model (Bradley-Terry, with a margin), scored at the last token.",
)
register(op)


@op.impl("eager")
def eager(p: RewardParams) -> Loss:
    """Scores every token, then picks. Source: TRL, experimental/utils.py, get_reward."""
    return _loss(every_score)


@op.impl("gathered")
def gathered(p: RewardParams) -> Loss:
    """Picks the last hidden states, then scores them. Source: llmbench.kernels.losses.preference."""
    return _loss(last_score)


@op.impl("eager_compiled", needs=["inductor"], compiled=True)
def eager_compiled(p: RewardParams) -> Loss:
    """torch.compile of the eager one. Source: TRL, experimental/utils.py, get_reward."""
    return torch.compile(_loss(every_score), dynamic=False, fullgraph=True)


@op.impl("gathered_compiled", needs=["inductor"], compiled=True)
def gathered_compiled(p: RewardParams) -> Loss:
    """torch.compile of the gathered one. Source: llmbench.kernels.losses.preference."""
    return torch.compile(_loss(last_score), dynamic=False, fullgraph=True)
