"""What the first steps of training must give: a plain step in higher precision, and how far off others may be."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from llmbench.kernels.training import TrainingStep
from llmbench.ops.gemm import multiplied_as
from llmbench.ops.op import Expected
from llmbench.ops.oracle import LOSS_TOLERANCE
from llmbench.ops.train_step.checked import CHECKED, SUMS, first_steps, parameter_names, sketch
from llmbench.ops.train_step.params import OptimizerName, TrainStepParams, config_of, recipe_of
from llmbench.suite.catalog import Phase

LARGE = 50_000_000  # parameters from which the reference keeps neither activations nor all logits, to fit as well
NORM_SUMS = 256  # of a sketch that tells a norm
GRADIENT_OFF = 10  # times LOSS_TOLERANCE, of the norm of a gradient
SMALL = 1e-4  # of all gradients together: what is off by less in one of them is noise
CHANGE_OFF = {torch.float64: 1e-6, torch.float32: 0.05, torch.float16: 0.4, torch.bfloat16: 0.6}
"""Of the norm of a change: Adam's first updates are nearly signs, which noise turns where it is larger."""
LION_OFF = 0.25  # at the least: all of its updates are signs, and one in a vector of 128 that is turned is off by 0.1


def oracle(p: TrainStepParams, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()) -> list[Expected]:
    """The loss of the first step, a sketch of each of its gradients, and of what the first steps change: by naive
    attention and eager loss, one precision above the computation.

    Limits hang on the dtype that products run in. A loss that begins at the logarithm of the vocabulary hardly tells
    what attention does, and in bfloat16 not at all: gradients do, each for itself. Changes tell what the optimizer
    does, and hardly anything of weights in bfloat16, which round as much as they change.
    """
    device, computed, kept = inputs[0].device, getattr(torch, p.computed_in), getattr(torch, p.dtype)
    found = _reference(_plain(p), int(inputs[0].item()), device)
    computed = torch.bfloat16 if p.matmul == "tf32" else computed
    tolerance, dtype = LOSS_TOLERANCE[computed], torch.promote_types(kept, torch.float32)
    change_off = max(CHANGE_OFF[computed], LION_OFF if p.optimizer.startswith("lion") else 0.0)
    rounded = CHECKED * torch.finfo(kept).eps / 2
    least = SMALL * sum(_norm(one) ** 2 for one in found.gradients) ** 0.5

    def near(name: str, told: Tensor, allowed: float) -> Expected:
        wanted = told[:SUMS]
        length = torch.linalg.vector_norm(wanted).item()
        return Expected(name, wanted, allowed, rel_allowed=allowed / (length or 1.0), dtype=dtype)

    loss = Expected("loss of the first step", found.loss, tolerance * found.loss.abs().item(), dtype=dtype)
    gradients, changes = [], []
    for name, gradient, change, weight in zip(*found[1:], strict=True):
        off = GRADIENT_OFF * tolerance * (_norm(gradient) + least)
        gradients.append(near(f"sketch of the gradient of {name}", gradient, off))
        off = change_off * _norm(change) + rounded * weight
        changes.append(near(f"sketch of the change of {name}", change, off))
    return [loss, *gradients, *changes]


class _Found(NamedTuple):
    """A loss, names of parameters, and what is told of their gradients and changes: a short sketch, then one that is
    long enough to have the norm."""

    loss: Tensor
    names: list[str]
    gradients: list[Tensor]
    changes: list[Tensor]
    weights: list[float]  # norms


def _norm(told: Tensor) -> float:
    return float(torch.linalg.vector_norm(told[SUMS:]))


def _told(tensor: Tensor) -> Tensor:
    return torch.cat([sketch(tensor), sketch(tensor, NORM_SUMS)]).double()


@lru_cache(maxsize=8)
def _reference(p: TrainStepParams, seed: int, device: torch.device) -> _Found:
    step = TrainingStep(recipe_of(p, device=device), device=device, seed=seed)
    weights = [float(torch.linalg.vector_norm(w.detach())) for w in reversed(list(step.model.parameters()))]
    with multiplied_as("ieee"):
        loss, *told = first_steps(step, step, _told)
    count = len(weights)
    return _Found(loss.double(), parameter_names(step), told[:count], told[count:], weights)


def _plain(p: TrainStepParams) -> TrainStepParams:
    """The parameters of the reference."""
    large = config_of(p).num_params >= LARGE
    itemsize = getattr(torch, p.computed_in).itemsize
    wide: Literal["float32", "float64"] = "float64" if itemsize >= (8 if large else 4) else "float32"
    plain = replace(
        p, attention="naive", cross_entropy="eager", dtype=wide, autocast="none", matmul="ieee", early_stop=True,
        checkpointing="none", optimizer=_plain_optimizer(p.optimizer),
    )  # fmt: skip
    return replace(plain, attention="tiled", cross_entropy="chunked", checkpointing="full") if large else plain


def _plain_optimizer(optimizer: OptimizerName) -> OptimizerName:
    if optimizer.startswith("adam_l2"):
        return "adam_l2_foreach"
    return "lion_for_loop" if optimizer.startswith("lion") else "adamw_for_loop"
