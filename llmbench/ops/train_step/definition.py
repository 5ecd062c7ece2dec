"""The op `train_step`: inputs, what its losses should be, and what a step must compute."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Generator, Tensor

from llmbench.kernels.model import forward_flops, step_flops
from llmbench.kernels.model.flops import AttentionKind
from llmbench.kernels.training import TrainingStep
from llmbench.ops.op import Cost, Expected, Op
from llmbench.ops.oracle import LOSS_TOLERANCE
from llmbench.ops.registry import register
from llmbench.ops.train_step.checked import SUMS, first_steps, gradient_names, sketch
from llmbench.ops.train_step.foresight import predicted_memory
from llmbench.ops.train_step.params import OptimizerName, TrainStepParams, config_of, recipe_of
from llmbench.suite.catalog import Constraint, Phase

SEED = 0  # of weights and data
GRADIENT_OFF = 10  # times LOSS_TOLERANCE
SMALL_NORM = 1e-3  # of all gradients together, below which one is noise
LARGE = 50_000_000  # parameters from which the reference keeps neither activations nor all logits, to fit as well


def inputs(p: TrainStepParams, generator: Generator) -> tuple[Tensor]:
    """The seed of weights and data, an int64 scalar: a step draws its own data."""
    return (torch.full((), SEED, dtype=torch.int64, device=generator.device),)


def oracle(p: TrainStepParams, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()) -> list[Expected]:
    """The loss of the first step, a sketch of each of its gradients, the losses of the next steps: by naive attention
    and eager loss, one precision above the computation.

    As far off as losses may be: `LOSS_TOLERANCE` of the dtype that products run in. A loss that begins at the logarithm
    of the vocabulary hardly tells what attention does, and in bfloat16 not at all: gradients do, each for itself.
    """
    device, computed = inputs[0].device, getattr(torch, p.computed_in)
    wide: Literal["float32", "float64"] = (
        "float64" if computed.itemsize >= (4 if config_of(p).num_params < LARGE else 8) else "float32"
    )
    plain = replace(
        p, attention="naive", cross_entropy="eager", dtype=wide, autocast="none", matmul="ieee", early_stop=True,
        checkpointing="none", optimizer=_plain(p.optimizer),
    )  # fmt: skip
    if config_of(p).num_params >= LARGE:
        plain = replace(plain, attention="tiled", cross_entropy="chunked", checkpointing="full")
    names, (first, *told, later) = _reference(plain, int(inputs[0].item()), device)
    tolerance = LOSS_TOLERANCE[torch.bfloat16 if p.matmul == "tf32" else computed]
    given = torch.promote_types(getattr(torch, p.dtype), torch.float32)
    off = tolerance * max(first.abs().item(), later.abs().max().item())
    small = SMALL_NORM * torch.stack([one[SUMS:] for one in told]).norm().item()
    sketches = [
        Expected(
            f"sketch of the gradient of {name}", one[:SUMS], dtype=given,
            allowed=GRADIENT_OFF * tolerance * (one[SUMS].item() + small),
        )
        for name, one in zip(names, told, strict=True)
    ]  # fmt: skip
    return [
        Expected("loss of the first step", first, allowed=off, dtype=given),
        *sketches,
        Expected("losses of the next steps", later, allowed=off, dtype=given),
    ]


@lru_cache(maxsize=8)
def _reference(p: TrainStepParams, seed: int, device: torch.device) -> tuple[list[str], list[Tensor]]:
    """Names of parameters; what `first_steps` gives, with the norm of each gradient behind its sketch, in float64."""
    step = TrainingStep(recipe_of(p, device=device), device=device, seed=seed)
    told = first_steps(step, step, lambda g: torch.cat([sketch(g), torch.linalg.vector_norm(g)[None]]))
    return gradient_names(step), [one.double() for one in told]


def _plain(optimizer: OptimizerName) -> OptimizerName:
    if optimizer.startswith("adam_l2"):
        return "adam_l2_foreach"
    return "lion_for_loop" if optimizer.startswith("lion") else "adamw_for_loop"


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
        Constraint("multiple_of", "num_heads", "num_kv_heads"),
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
