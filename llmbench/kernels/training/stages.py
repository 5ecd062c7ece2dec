"""The stages of training: what the loss of a micro-batch is, and what models it takes beside the one that learns."""

# B sequences of a micro-batch (chosen ones, then rejected ones), S tokens, E hidden size, T tokens of all, P pairs

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from llmbench.kernels.losses import IGNORE
from llmbench.kernels.losses.logprobs import chunked_token_logprobs, sequence_logps
from llmbench.kernels.losses.policy import Rollout, ppo_loss
from llmbench.kernels.losses.preference import dpo_loss, last_of, nll_loss, orpo_loss, reward_loss
from llmbench.kernels.model import Batch, Decoder
from llmbench.kernels.training.recipe import Recipe


class Given(NamedTuple):
    """A micro-batch on its device, and its share of the step: of the tokens or pairs that count."""

    batch: Batch
    share: float
    number: int


class Stage(Protocol):
    """A stage: `loss` is the mean over what counts in a micro-batch."""

    models: list[nn.Module]
    """Models beside the one that learns, which are in memory too."""

    def before(self, model: Decoder, given: Given) -> Rollout | None:
        """What the loss asks of the model as it was when the micro-batch was first met."""
        return None

    def loss(self, model: Decoder, given: Given, before: Rollout | None) -> Tensor: ...


def make_stage(recipe: Recipe, model: Decoder) -> Stage:
    """The stage of a recipe, begun from a model as it is now."""
    kinds: dict[str, Callable[[Recipe, Decoder], Stage]] = {
        "sft": Sft,
        "reward": Reward,
        "dpo": Dpo,
        "orpo": Orpo,
        "ppo": Ppo,
    }
    return kinds[recipe.stage](recipe, model)


def counts(batch: Batch, recipe: Recipe) -> int:
    """What a loss is a mean over: tokens with a label, or pairs."""
    return recipe.rows if recipe.pairs else int((batch.labels != IGNORE).sum())


class Sft(Stage):
    """Cross entropy of the next token."""

    models: list[nn.Module] = []  # noqa: RUF012

    def __init__(self, recipe: Recipe, model: Decoder) -> None:
        self._cross_entropy = recipe.cross_entropy

    def loss(self, model: Decoder, given: Given, before: Rollout | None) -> Tensor:
        hidden_TE = model(given.batch.tokens).flatten(0, 1)
        return self._cross_entropy(hidden_TE, model.head_weight, given.batch.labels.flatten())


class Reward(Stage):
    """A reward model: the score of the chosen completion above that of the rejected one, by Bradley and Terry."""

    models: list[nn.Module] = []  # noqa: RUF012

    def __init__(self, recipe: Recipe, model: Decoder) -> None:
        if not recipe.config.score_head:
            raise ValueError("a reward model has a score head: config.with_score_head()")

    def loss(self, model: Decoder, given: Given, before: Rollout | None) -> Tensor:
        last_BE = last_of(model(given.batch.tokens), given.batch.lengths)
        chosen_P, rejected_P = model.logits(last_BE).squeeze(-1).chunk(2)
        return reward_loss(chosen_P, rejected_P)


class Dpo(Stage):
    """DPO: the policy against a frozen copy of how it began, which is computed in each step."""

    def __init__(self, recipe: Recipe, model: Decoder) -> None:
        self._reference = frozen_copy(recipe, model)
        self.models: list[nn.Module] = [self._reference]

    def loss(self, model: Decoder, given: Given, before: Rollout | None) -> Tensor:
        with torch.no_grad():
            ref_chosen_P, ref_rejected_P = completion_logps(self._reference, given.batch)
        chosen_P, rejected_P = completion_logps(model, given.batch)
        return dpo_loss(chosen_P, rejected_P, ref_chosen_P, ref_rejected_P)


class Orpo(Stage):
    """ORPO: cross entropy of the chosen completion and its odds against the rejected one; no reference."""

    models: list[nn.Module] = []  # noqa: RUF012

    def __init__(self, recipe: Recipe, model: Decoder) -> None:
        pass

    def loss(self, model: Decoder, given: Given, before: Rollout | None) -> Tensor:
        labels_BS = given.batch.labels
        logps_BS = token_logps(model, given.batch)
        chosen_P, rejected_P = sequence_logps(logps_BS, labels_BS, "mean").chunk(2)
        half = len(labels_BS) // 2
        return orpo_loss(chosen_P, rejected_P, nll_loss(logps_BS[:half], labels_BS[:half]))


class Ppo(Stage):
    """PPO on rollouts of the policy as it was when a micro-batch was first met, with a value head on hidden states.

    Sampling is not part of the step: completions are the corpus's, scores evenly spaced, log-probabilities and values
    those of the time of the rollout. The policy of the rollout is the reference too: its KL is computed, and 0.
    """

    def __init__(self, recipe: Recipe, model: Decoder) -> None:
        weight = model.head_weight
        self._value = nn.Linear(recipe.config.hidden, 1, bias=False, device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            self._value.weight.zero_()
        model.add_module("value", self._value)
        self._rollouts: dict[int, Rollout] = {}
        self.models: list[nn.Module] = []

    def before(self, model: Decoder, given: Given) -> Rollout:
        tokens_BS, labels_BS, _ = given.batch
        if given.number not in self._rollouts:
            with torch.no_grad():
                hidden_BSE = model(tokens_BS)
                logps_BS = logps_of(model, hidden_BSE, labels_BS)
                scores_B = torch.linspace(-1, 1, len(tokens_BS), device=tokens_BS.device)
                values_BS = F.linear(hidden_BSE, self._value.weight).squeeze(-1).float()
            self._rollouts[given.number] = Rollout(labels_BS, logps_BS, values_BS, scores_B, logps_BS)
        return self._rollouts[given.number]

    def loss(self, model: Decoder, given: Given, before: Rollout | None) -> Tensor:
        assert before is not None
        hidden_BSE = model(given.batch.tokens)
        values_BS = F.linear(hidden_BSE, self._value.weight).squeeze(-1)
        return ppo_loss(model.logits(hidden_BSE), values_BS, before, kl="k3")


def completion_logps(model: Decoder, batch: Batch) -> tuple[Tensor, ...]:
    """Summed logps of the chosen and of the rejected completions, P each."""
    return sequence_logps(token_logps(model, batch), batch.labels).chunk(2)


def token_logps(model: Decoder, batch: Batch) -> Tensor:
    """logps_BS of the labels; the logits of all tokens are never in memory."""
    return logps_of(model, model(batch.tokens), batch.labels)


def logps_of(model: Decoder, hidden_BSE: Tensor, labels_BS: Tensor) -> Tensor:
    """The same of hidden states."""
    return chunked_token_logprobs(hidden_BSE, model.head_weight, labels_BS)


def frozen_copy(recipe: Recipe, model: Decoder) -> Decoder:
    """The model with the weights that it has now, which gets no gradient and is not checkpointed."""
    parameter = model.head_weight
    made = Decoder(recipe.config, recipe.attention, device=parameter.device, dtype=parameter.dtype)
    made.load_state_dict(model.state_dict())
    return made.requires_grad_(False)
