"""Losses of language models, a library on its own: cross entropy, preferences, rewards and PPO, in several forms."""

from llmbench.kernels.losses.cross_entropy import (
    IGNORE,
    chunked_linear_cross_entropy,
    cross_entropy,
    fused_cross_entropy,
    linear_cross_entropy,
    sft_labels,
)
from llmbench.kernels.losses.entropy import (
    fused_logprobs_and_entropy,
    logprobs_and_entropy,
    recomputed_logprobs_and_entropy,
)
from llmbench.kernels.losses.logprobs import (
    chunked_token_logprobs,
    fused_token_logprobs,
    gathered_token_logprobs,
    sequence_logps,
    token_logprobs,
)
from llmbench.kernels.losses.policy import Rollout, loop_gae, ppo_loss, scan_gae
from llmbench.kernels.losses.preference import dpo_loss, ipo_loss, last_of, nll_loss, orpo_loss, reward_loss

__all__ = [
    "IGNORE",
    "Rollout",
    "chunked_linear_cross_entropy",
    "chunked_token_logprobs",
    "cross_entropy",
    "dpo_loss",
    "fused_cross_entropy",
    "fused_logprobs_and_entropy",
    "fused_token_logprobs",
    "gathered_token_logprobs",
    "ipo_loss",
    "last_of",
    "linear_cross_entropy",
    "logprobs_and_entropy",
    "loop_gae",
    "nll_loss",
    "orpo_loss",
    "ppo_loss",
    "recomputed_logprobs_and_entropy",
    "reward_loss",
    "scan_gae",
    "sequence_logps",
    "sft_labels",
    "token_logprobs",
]
