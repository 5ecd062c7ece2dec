"""Losses of pairs of a chosen and a rejected completion: reward models (Bradley-Terry), DPO, IPO and ORPO.

They are made of log-probabilities of whole completions (`sequence_logps`), or of scores; every mean is over pairs, in
float32.
"""

# P pairs, B sequences, S tokens of a sequence, H hidden size

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from llmbench.kernels.losses.cross_entropy import IGNORE

LN_2 = math.log(2.0)


def last_of(values_BSx: Tensor, lengths_B: Tensor) -> Tensor:
    """values_Bx of each sequence's last token that is no padding; of its first where the length is 0."""
    places_B = torch.arange(len(lengths_B), device=lengths_B.device)
    return values_BSx[places_B, (lengths_B - 1).clamp(min=0)]


def reward_loss(chosen_P: Tensor, rejected_P: Tensor, margin_P: Tensor | None = None) -> Tensor:
    """mean of -logsigmoid(chosen - rejected - margin) over scores of pairs. Source: TRL, trainer/reward_trainer.py."""
    ahead_P = _wide(chosen_P) - _wide(rejected_P)
    return -F.logsigmoid(ahead_P if margin_P is None else ahead_P - margin_P).mean()


def dpo_loss(
    chosen_P: Tensor, rejected_P: Tensor, ref_chosen_P: Tensor, ref_rejected_P: Tensor, *, beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """mean of -logsigmoid(beta x how much further chosen is ahead of rejected than under the reference).

    Log-probabilities are summed over the completion. `label_smoothing` is the share of pairs the wrong way round.
    Source: Rafailov et al. 2023, arXiv 2305.18290; TRL, trainer/dpo_trainer.py; smoothing: torchtune, rlhf/loss/dpo.py.
    """
    ahead_P = beta * ((_wide(chosen_P) - rejected_P) - (ref_chosen_P - ref_rejected_P))
    right_P, wrong_P = -F.logsigmoid(ahead_P), -F.logsigmoid(-ahead_P)
    return (right_P * (1 - label_smoothing) + wrong_P * label_smoothing).mean()


def ipo_loss(
    chosen_P: Tensor, rejected_P: Tensor, ref_chosen_P: Tensor, ref_rejected_P: Tensor, *, beta: float = 0.1
) -> Tensor:
    """mean of (how much further chosen is ahead than under the reference - 1 / (2 beta))².

    Log-probabilities are means over the completion. Source: Azar et al. 2023, arXiv 2310.12036; TRL,
    trainer/dpo_trainer.py, loss_type "ipo", which takes the mean.
    """
    ahead_P = (_wide(chosen_P) - rejected_P) - (ref_chosen_P - ref_rejected_P)
    return (ahead_P - 1 / (2 * beta)).square().mean()


def orpo_loss(chosen_P: Tensor, rejected_P: Tensor, nll: Tensor, *, beta: float = 0.1) -> Tensor:
    """nll - mean of beta x logsigmoid(log odds ratio), without a reference.

    Log-probabilities are means over the completion; `nll` is the loss of the chosen ones (`nll_loss`).
    Source: Hong et al. 2024, arXiv 2403.07691; TRL, experimental/orpo/orpo_trainer.py, odds_ratio_loss.
    """
    odds_P, against_P = (_log_odds(_wide(t)) for t in (chosen_P, rejected_P))
    return nll - beta * F.logsigmoid(odds_P - against_P).mean()


def nll_loss(logps_PS: Tensor, labels_PS: Tensor) -> Tensor:
    """The mean loss of tokens with a label; 0, connected to the graph, where there is none. (TRL's counts prompts.)"""
    return -logps_PS.sum() / (labels_PS != IGNORE).sum().clamp(min=1)


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x <= 0, with a finite gradient up to x = 0, which counts as the largest number below.

    The branch at -ln 2 avoids cancellation. Each branch sees only what it can take: of `torch.where` the gradient of
    both is summed, and 0 times infinity is none. (TRL's log1mexp has NaN there from x = -6e-8 on.)
    Source: Mächler 2012, Accurately Computing log(1 - exp(-|a|)).
    """
    x = x.clamp(max=-torch.finfo(x.dtype).tiny)
    far, near = (-x.clamp(max=-LN_2).exp()).log1p(), (-x.expm1()).log()
    return torch.where(x < -LN_2, far, near)


def _log_odds(logps_P: Tensor) -> Tensor:
    return logps_P - log1mexp(logps_P)


def _wide(t: Tensor) -> Tensor:
    return t.to(torch.promote_types(t.dtype, torch.float32))
