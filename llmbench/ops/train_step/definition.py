"""The op `train_step`: inputs, what its losses should be, and what a step must compute."""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from llmbench.kernels.model import PRESETS, forward_flops, step_flops
from llmbench.kernels.model.flops import AttentionKind
from llmbench.ops.op import Cost, Op
from llmbench.ops.registry import register
from llmbench.ops.train_step.foresight import predicted_memory
from llmbench.ops.train_step.params import TrainStepParams, config_of
from llmbench.ops.train_step.reference import oracle
from llmbench.suite.catalog import Constraint, Phase

OWN_HEADS = {name: {"num_heads": c.num_heads, "num_kv_heads": c.num_kv_heads} for name, c in PRESETS.items()}
SEED = 0  # of weights and data


def inputs(p: TrainStepParams, generator: Generator) -> tuple[Tensor]:
    """The seed of weights and data, an int64 scalar: a step draws its own data."""
    return (torch.full((), SEED, dtype=torch.int64, device=generator.device),)


def cost(p: TrainStepParams, phase: Phase) -> Cost:
    """FLOP that the model asks (causal pairs exact, backward twice forward, nothing for recomputing): so its rate over
    the peak is the MFU of that convention. Tokens of a step, padding included."""
    tokens = p.rows * p.seq_len * p.accumulation
    return Cost(p.accumulation * flop_of(p, recomputed=False), None, tokens)


def flop_of(p: TrainStepParams, *, recomputed: bool, attention: AttentionKind = "exact") -> int:
    """Of a micro-batch forward and backward, DPO's frozen reference included; with what is computed again, or not."""
    config = config_of(p)
    policy = p.checkpointing if recomputed else "none"
    forward = forward_flops(config, batch=p.rows, seq_len=p.seq_len, attention=attention)
    found = step_flops(
        config, batch=p.rows, seq_len=p.seq_len, policy=policy, early_stop=p.early_stop, attention=attention
    ).total  # fmt: skip
    if p.loss == "dpo":
        found += forward.total
    if recomputed and p.loss in ("dpo", "orpo"):
        found += forward.head  # log-probabilities keep no logits
    return found


def figures(p: TrainStepParams) -> Mapping[str, float]:
    """Parameters of the model; FLOP with what checkpointing computes again, over those without: as `cost` counts."""
    asked, done = (flop_of(p, recomputed=recomputed) for recomputed in (False, True))
    return {"model_params": config_of(p).num_params, "recomputed_flop": done / asked}


train_step: Op[TrainStepParams] = Op(
    name="train_step",
    version=2,
    params=TrainStepParams,
    inputs=inputs,
    oracle=oracle,
    cost=cost,
    figures=figures,
    predicted_memory=predicted_memory,
    phases=("step",),
    sizes=("micro_batch", "seq_len"),
    input_names=("seed",),
    constant=("seed",),
    constraints=(
        Constraint("multiple_of", "num_heads", "num_kv_heads", preset="model", own=OWN_HEADS),
        Constraint("only_with", "matmul", "dtype", "float32"),
        Constraint("only_with", "cross_entropy", "loss", "sft"),
        Constraint("only_with", "autocast", "dtype", "float32"),
        Constraint("only_with", "loss_scale", "autocast", "float16"),
        Constraint("not_with", "early_stop", "checkpointing", "none"),
    ),
    isolation="case",
    doc="A step of training a decoder: data, forward, backward, optimizer; what fits, and what is fastest.",
)
register(train_step)
