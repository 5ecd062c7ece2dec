"""What an optimizer updates: the rule, so many numbers in so many tensors, the inputs and the least traffic."""

# N numbers of all parameters together

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from llmbench.kernels.optim import LION, Hyper
from llmbench.ops.op import Cost
from llmbench.ops.params import AtLeast
from llmbench.suite.catalog import Phase

DECAY = 0.1  # Source: Touvron et al. 2023, LLaMA, section 2.3
ALIGNED = 64  # numbers that a tensor's size is a multiple of, but for the last one: as an allocator would align it
REACHED = 1  # steps that were made before: a step more or less changes the bias correction by a seventh
RATE = 1e-2  # large, so that an error of an update stands out from the rounding of parameters


@dataclass(frozen=True, kw_only=True)
class OptimizerParams:
    """A rule, and the parameters that it updates: so many numbers in so many tensors, all equally large but the last.

    `state` `8bit` keeps moments in 8 bits, from a first step on; they are not compared, the parameters are.
    """

    rule: Literal["adamw", "lion", "adam_l2"] = "adamw"
    num_params: int
    num_tensors: Annotated[int, AtLeast(1)] = 64
    state: Literal["full", "8bit"] = "full"
    dtype: Literal["float32", "bfloat16"] = "float32"


def hyper(p: OptimizerParams) -> Hyper:
    """What the rule is told: its usual betas, and a learning rate and weight decay that show."""
    return (LION if p.rule == "lion" else Hyper())._replace(lr=RATE, weight_decay=DECAY)


def inputs(p: OptimizerParams, generator: Generator) -> tuple[Tensor, ...]:
    """params_N, grads_N, exp_avg_N and, of rules that have it, exp_avg_sq_N, each one buffer that tensors are cut from.

    Half of the moments are far larger than any gradient, half far smaller, and none is near zero: so the sign of Lion's
    update hangs on the one or the other, and never on rounding.
    """
    dtype: torch.dtype = getattr(torch, p.dtype)

    def uniform(low: float, high: float) -> Tensor:
        drawn = torch.rand(p.num_params, generator=generator, device=generator.device)
        return drawn.mul_(high - low).add_(low)

    def signs() -> Tensor:
        return torch.randint(2, (p.num_params,), generator=generator, device=generator.device).mul_(2).sub_(1)

    params = torch.randn(p.num_params, generator=generator, device=generator.device, dtype=dtype)
    grads = (uniform(0.5, 4.0) * signs()).to(dtype)
    if p.state == "8bit":
        return params, grads
    large = torch.randint(2, (p.num_params,), generator=generator, device=generator.device).bool()
    exp_avg = (torch.where(large, uniform(0.7, 1.6), uniform(0.001, 0.02)) * signs()).to(dtype)
    return (params, grads, exp_avg) if p.rule == "lion" else (params, grads, exp_avg, uniform(0.5, 4.0).to(dtype))


def cost(p: OptimizerParams, phase: Phase) -> Cost:
    """Bytes: parameter and moments read and written, gradient read. AdamW 28 a float32 parameter, Lion 20.

    With 8-bit state a moment is one byte; its scales are left out. No FLOP: they are nothing beside the bytes.
    """
    itemsize: int = getattr(torch, p.dtype).itemsize
    moments = 1 if p.rule == "lion" else 2
    return Cost(None, p.num_params * (3 * itemsize + 2 * moments * (1 if p.state == "8bit" else itemsize)))


def sizes(p: OptimizerParams) -> list[int]:
    """How many numbers each tensor has."""
    each = max(1, p.num_params // p.num_tensors)
    each -= each % ALIGNED if each > ALIGNED else 0
    return [*(each for _ in range(p.num_tensors - 1)), p.num_params - each * (p.num_tensors - 1)]


def reached(p: OptimizerParams) -> int:
    """Steps that were made before: none with 8-bit state, which each optimizer makes for itself."""
    return 0 if p.state == "8bit" else REACHED
