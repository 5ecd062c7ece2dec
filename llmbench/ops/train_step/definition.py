"""The op `train_step`: inputs, what its losses should be, and what a step must compute."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Generator, Tensor

from llmbench.kernels.model import model_flops, step_flops
from llmbench.kernels.training import TrainingStep, predict
from llmbench.ops.attention import attention
from llmbench.ops.cross_entropy import op as cross_entropy
from llmbench.ops.op import Cost, Expected, Op
from llmbench.ops.oracle import LOSS_TOLERANCE
from llmbench.ops.registry import register
from llmbench.ops.train_step.params import OptimizerName, TrainStepParams, config_of, recipe_of
from llmbench.suite.catalog import Constraint, Phase

SEED = 0  # of weights and data
CHECKED = 3  # losses of the first steps: the third hangs on two updates, and AdamW's first is Lion's
LARGE = 50_000_000  # parameters from which the reference recomputes its activations, to fit beside what it judges


def inputs(p: TrainStepParams, generator: Generator) -> tuple[Tensor]:
    """The seed of weights and data, an int64 scalar: a step draws its own data."""
    return (torch.full((), SEED, dtype=torch.int64, device=generator.device),)


def oracle(p: TrainStepParams, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()) -> list[Expected]:
    """The losses of the first steps, by naive attention and eager loss, one precision above the computation.

    As far off as losses may be: `LOSS_TOLERANCE` of the dtype that products run in.
    """
    device, computed = inputs[0].device, getattr(torch, p.computed_in)
    wide: Literal["float32", "float64"] = (
        "float64" if computed.itemsize >= 4 and config_of(p).num_params < LARGE else "float32"
    )
    plain = replace(
        p, attention="naive", cross_entropy="eager", dtype=wide, autocast="none", matmul="ieee", early_stop=True,
        checkpointing="full" if config_of(p).num_params >= LARGE else "none", optimizer=_plain(p.optimizer),
    )  # fmt: skip
    losses = _losses(plain, int(inputs[0].item()), device)
    tolerance = LOSS_TOLERANCE[torch.bfloat16 if p.matmul == "tf32" else computed]
    return [Expected("losses", losses, allowed=tolerance * losses.abs().max().item(), dtype=torch.float32)]


@lru_cache(maxsize=8)
def _losses(p: TrainStepParams, seed: int, device: torch.device) -> Tensor:
    step = TrainingStep(recipe_of(p, device=device), device=device, seed=seed)
    return torch.stack([step().double() for _ in range(CHECKED)])


def _plain(optimizer: OptimizerName) -> OptimizerName:
    if optimizer.startswith("adam_l2"):
        return "adam_l2_foreach"
    return "lion_for_loop" if optimizer.startswith("lion") else "adamw_for_loop"


def cost(p: TrainStepParams, phase: Phase) -> Cost:
    """FLOP that the model asks (causal pairs exact, backward twice forward, nothing for recomputing): so its rate over
    the peak is the MFU of that convention. Tokens of a step, padding included."""
    tokens = p.rows * p.seq_len * p.accumulation
    flop = model_flops(config_of(p), batch=p.rows * p.accumulation, seq_len=p.seq_len, convention="exact")
    return Cost(flop, None, tokens)


def figures(p: TrainStepParams) -> Mapping[str, float]:
    """Parameters of the model; FLOP with what checkpointing computes again, over those without: as `cost` counts."""
    config = config_of(p)
    asked, done = (
        step_flops(
            config, batch=p.rows, seq_len=p.seq_len, policy=policy, early_stop=p.early_stop, attention="exact"
        )
        for policy in ("none", p.checkpointing)
    )  # fmt: skip
    return {"model_params": config.num_params, "recomputed_flop": done.total / asked.total}


def predicted_memory(p: TrainStepParams, impl: str) -> float | str:
    """Bytes at the peak of two steps, by `predict`; eager ones only.

    As a CPU would hold them, whatever the device: attention that needs a GPU stands as SDPA's flash kernel, which holds
    as much, and so do fused kernels as their eager forms.
    """
    if impl == "compiled":
        return "torch.compile decides what is kept and fused: only running it tells"
    if impl != "eager":
        return f"of the eager step alone, and this is {impl}"
    stand_in = p
    if attention.impls[p.attention].why_unavailable("fwd_bwd", device_type="cpu"):
        stand_in = replace(stand_in, attention="sdpa_flash")
    if cross_entropy.impls[p.cross_entropy].why_unavailable("fwd_bwd", device_type="cpu"):
        stand_in = replace(stand_in, cross_entropy="chunked")
    if p.optimizer.endswith("triton"):
        stand_in = replace(stand_in, optimizer="adamw_fused" if p.optimizer == "adamw_triton" else "lion_foreach")
    return _predicted_peak(stand_in)


@lru_cache(maxsize=256)  # several cases may have one stand-in, and a large model takes seconds
def _predicted_peak(p: TrainStepParams) -> float:
    return float(predict(recipe_of(p, device=torch.device("cpu")), seed=SEED).peak)


train_step: Op[TrainStepParams] = Op(
    name="train_step",
    version=1,
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
