"""A recipe: everything that decides what a training step computes, and how."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from llmbench.kernels.losses import linear_cross_entropy
from llmbench.kernels.model import Attention, ModelConfig, segments
from llmbench.kernels.optim import FusedAdamW, FusedLion, Lion

StageName = Literal["sft", "reward", "dpo", "orpo", "ppo"]
STAGES: tuple[StageName, ...] = ("sft", "reward", "dpo", "orpo", "ppo")
PAIRED: tuple[StageName, ...] = ("reward", "dpo", "orpo")  # compare a chosen and a rejected completion
CrossEntropy = Callable[[Tensor, Tensor, Tensor], Tensor]  # hidden_TE, weight_VE, labels_T -> mean loss

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = MappingProxyType({
    "adamw_for_loop": partial(AdamW, foreach=False),
    "adamw_foreach": partial(AdamW, foreach=True),
    "adamw_fused": partial(AdamW, fused=True),
    "adamw_triton": FusedAdamW,
    "adam_l2_foreach": partial(Adam, foreach=True),
    "lion_for_loop": partial(Lion, foreach=False),
    "lion_foreach": Lion,
    "lion_triton": FusedLion,
})  # fmt: skip
"""Name -> what makes it of parameters, `lr` and `weight_decay`."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model, how it is computed, what it is trained on and by what.

    `rows` sequences (or pairs of them, in stages that compare two) make a micro-batch, `accumulation` micro-batches a
    step. Parameters are stored in `dtype`; products run in `autocast` where that is not None, in float16 with dynamic
    loss scaling that starts at `loss_scale`. `clip` is the largest norm of all gradients together.
    Raises: ValueError for a number, a name or a policy that there is not.
    """

    config: ModelConfig
    attention: Attention
    rows: int
    seq_len: int
    accumulation: int = 1
    stage: StageName = "sft"
    cross_entropy: CrossEntropy = linear_cross_entropy
    checkpointing: str = "none"
    early_stop: bool = True
    dtype: torch.dtype = torch.float32
    autocast: torch.dtype | None = None
    loss_scale: float = 2.0**16
    optimizer: str = "adamw_foreach"
    lr: float = 1e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    compiled: bool = False

    def __post_init__(self) -> None:
        least = {"rows": (self.rows, 1), "seq_len": (self.seq_len, 2), "accumulation": (self.accumulation, 1)}
        for name, (seen, wanted) in least.items():
            if seen < wanted:
                raise ValueError(f"{name} is {seen}, wanted at least {wanted}")
        if not self.clip > 0:
            raise ValueError(f"clip is {self.clip}, wanted more than 0; inf clips nothing")
        for name, text, known in (("stage", self.stage, STAGES), ("optimizer", self.optimizer, OPTIMIZERS)):
            if text not in known:
                raise ValueError(f"{name} {text!r} is none of {', '.join(known)}")
        segments(self.checkpointing, self.config.layers)

    @property
    def pairs(self) -> bool:
        """Whether a row is a chosen and a rejected completion."""
        return self.stage in PAIRED

    def make_optimizer(self, params: Iterable[Tensor]) -> Optimizer:
        """The optimizer over these parameters."""
        return OPTIMIZERS[self.optimizer](params, lr=self.lr, weight_decay=self.weight_decay)
