"""PPO on a language model's tokens: KL penalty, advantages (GAE), whitening, clipped losses of policy and values.

A token is a step, its label -100 where it is padding, which stands on the right; padding changes neither loss nor
gradient. Statistics are float32 (float64 of float64).
Source: Schulman et al. 2017, arXiv 1707.06347; Ziegler et al. 2019, arXiv 1909.08593; TRL, experimental/ppo.
"""

# B sequences, S tokens of a sequence, V vocabulary

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from llmbench.kernels.losses.cross_entropy import IGNORE
from llmbench.kernels.losses.entropy import Drawn, logprobs_and_entropy
from llmbench.kernels.losses.logprobs import wide_dtype

Kl = Literal["none", "k1", "k3"]
Gae = Callable[..., Tensor]  # rewards_BS, values_BS, gamma=, lam= -> advantages_BS; what is padding holds 0
Draw = Callable[[Tensor, Tensor], Drawn]  # logits_BSV, labels_BS -> log-probabilities and entropy


class Rollout(NamedTuple):
    """What was sampled, by the policy and the values of that time; `ref_logps` are the reference model's."""

    labels: Tensor  # BS
    logps: Tensor  # BS
    values: Tensor  # BS
    scores: Tensor  # B
    ref_logps: Tensor | None = None  # BS


class Estimate(NamedTuple):
    """How much better a token was than expected, whitened, and what value was to be expected."""

    advantages: Tensor  # BS
    returns: Tensor  # BS


def ppo_loss(
    logits_BSV: Tensor, values_BS: Tensor, rollout: Rollout, *, kl: Kl = "none", kl_coef: float = 0.05,
    gamma: float = 1.0, lam: float = 0.95, clip: float = 0.2, value_clip: float = 0.2, value_coef: float = 0.1,
    entropy_coef: float = 0.01, gae: Gae | None = None, draw: Draw = logprobs_and_entropy,
) -> Tensor:  # fmt: skip
    """policy loss + value_coef x value loss - entropy_coef x entropy; a scalar, 0 where all is padding.

    The defaults are TRL's, which has no entropy in its loss (0.01 is that of the Atari experiments of the paper).
    """
    counts_BS = rollout.labels != IGNORE
    with torch.no_grad():
        estimate = estimate_advantages(rollout, kl=kl, kl_coef=kl_coef, gamma=gamma, lam=lam, gae=gae or scan_gae)
    drawn = draw(logits_BSV, rollout.labels)
    policy = policy_loss(drawn.logps, rollout.logps, estimate.advantages, counts_BS, clip=clip)
    value = value_loss(values_BS, rollout.values, estimate.returns, counts_BS, clip=value_clip)
    return policy + value_coef * value - entropy_coef * masked_mean(drawn.entropy, counts_BS)


def estimate_advantages(rollout: Rollout, *, kl: Kl, kl_coef: float, gamma: float, lam: float, gae: Gae) -> Estimate:
    """Whitened advantages and returns of a rollout; 0 where it is padded."""
    counts_BS = rollout.labels != IGNORE
    penalty_BS = None
    if kl != "none":
        if rollout.ref_logps is None:
            raise ValueError(f"a penalty {kl!r} needs the log-probabilities of a reference")
        penalty_BS = kl_coef * kl_estimate(rollout.logps, rollout.ref_logps, kl)
    rewards_BS = token_rewards(rollout.scores, counts_BS, penalty_BS)
    values_BS = _where(rollout.values, counts_BS)
    advantages_BS = gae(rewards_BS, values_BS, gamma=gamma, lam=lam)
    return Estimate(whiten(advantages_BS, counts_BS), advantages_BS + values_BS)


def kl_estimate(logps_BS: Tensor, ref_logps_BS: Tensor, kind: Literal["k1", "k3"]) -> Tensor:
    """KL of each token from the reference, by the one sample that it is: k1 = -r, k3 = e^r - 1 - r >= 0.

    r is the reference's log-probability minus the policy's. Source: Schulman 2020,
    http://joschu.net/blog/kl-approx.html; TRL, experimental/ppo/ppo_trainer.py.
    """
    r_BS = ref_logps_BS.to(wide_dtype(ref_logps_BS)) - logps_BS
    return -r_BS if kind == "k1" else r_BS.expm1() - r_BS


def token_rewards(scores_B: Tensor, counts_BS: Tensor, penalty_BS: Tensor | None = None) -> Tensor:
    """rewards_BS: the score at a sequence's last token, minus the penalty at each; 0 at padding."""
    length_B1 = counts_BS.sum(dim=1, keepdim=True)
    places_S = torch.arange(counts_BS.shape[1], device=counts_BS.device)
    rewards_BS = torch.where(places_S == length_B1 - 1, scores_B[:, None].to(wide_dtype(scores_B)), 0.0)
    return rewards_BS if penalty_BS is None else rewards_BS - _where(penalty_BS, counts_BS)


def loop_gae(rewards_BS: Tensor, values_BS: Tensor, *, gamma: float, lam: float) -> Tensor:
    """advantages_BS, token by token from the last: A_t = delta_t + gamma lam A_(t+1), a few launches each.

    delta_t = r_t + gamma V_(t+1) - V_t. Rewards and values of padding are 0: so are its advantages, and V behind the
    last token. Source: Schulman et al. 2016, arXiv 1506.02438; TRL, experimental/ppo/ppo_trainer.py.
    """
    delta_BS = _deltas(rewards_BS, values_BS, gamma)
    found, last_B = [], torch.zeros_like(delta_BS[:, 0])
    for t in reversed(range(delta_BS.shape[1])):
        last_B = delta_BS[:, t] + gamma * lam * last_B
        found.append(last_B)
    return torch.stack(found[::-1], dim=1)


def scan_gae(rewards_BS: Tensor, values_BS: Tensor, *, gamma: float, lam: float) -> Tensor:
    """The same in log2(S) steps: each adds what stands 1, 2, 4, ... tokens behind, discounted.

    Source: Hillis and Steele 1986, Data Parallel Algorithms (their scan, of a geometric sum).
    """
    sums_BS, step = _deltas(rewards_BS, values_BS, gamma), 1
    while step < sums_BS.shape[1]:
        behind_BS = torch.nn.functional.pad(sums_BS[:, step:], (0, step))
        sums_BS, step = sums_BS + (gamma * lam) ** step * behind_BS, 2 * step
    return sums_BS


def _deltas(rewards_BS: Tensor, values_BS: Tensor, gamma: float) -> Tensor:
    return rewards_BS + gamma * torch.nn.functional.pad(values_BS[:, 1:], (0, 1)) - values_BS


def policy_loss(
    logps_BS: Tensor, old_logps_BS: Tensor, advantages_BS: Tensor, counts_BS: Tensor, *, clip: float = 0.2
) -> Tensor:
    """Mean over tokens of max(-A ratio, -A clip(ratio, 1 - clip, 1 + clip)), ratio = e^(logp - old logp)."""
    ratio_BS = _where(logps_BS - old_logps_BS, counts_BS).exp()
    clipped_BS = ratio_BS.clamp(1 - clip, 1 + clip)
    return masked_mean(torch.maximum(-advantages_BS * ratio_BS, -advantages_BS * clipped_BS), counts_BS)


def value_loss(
    values_BS: Tensor, old_values_BS: Tensor, returns_BS: Tensor, counts_BS: Tensor, *, clip: float = 0.2
) -> Tensor:
    """Half the mean over tokens of the larger squared error, of the value or of it clipped around the old one."""
    values_BS = _where(values_BS, counts_BS)
    old_BS = _where(old_values_BS, counts_BS)
    clipped_BS = values_BS.clamp(old_BS - clip, old_BS + clip)
    worse_BS = torch.maximum((values_BS - returns_BS).square(), (clipped_BS - returns_BS).square())
    return 0.5 * masked_mean(worse_BS, counts_BS)


def masked_mean(values_BS: Tensor, counts_BS: Tensor) -> Tensor:
    """The mean over tokens that count; 0, connected to the graph, where none does."""
    return _where(values_BS, counts_BS).sum() / counts_BS.sum().clamp(min=1)


def whiten(values_BS: Tensor, counts_BS: Tensor) -> Tensor:
    """Tokens that count with mean 0 and (unbiased) variance 1; 0 elsewhere.

    Source: TRL, experimental/ppo/ppo_trainer.py, masked_whiten.
    """
    centered_BS = _where(values_BS - masked_mean(values_BS, counts_BS), counts_BS)
    variance = centered_BS.square().sum() / (counts_BS.sum() - 1).clamp(min=1)
    return centered_BS * (variance + 1e-8).rsqrt()


def _where(values_BS: Tensor, counts_BS: Tensor) -> Tensor:
    """Wide, and 0 at padding, with no gradient there whatever it holds."""
    return torch.where(counts_BS, values_BS, 0.0).to(wide_dtype(values_BS))
