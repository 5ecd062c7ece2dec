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

DECAY = 0.5  # five times what models take, so that one step's decay stands out from the rounding of bfloat16
ALIGNED = 64  # numbers that a tensor's size is a multiple of, but for the last one: as an allocator would align it
REACHED = 1  # steps that were made before: a step more or less changes the bias correction by a seventh
RATE = 0.1  # large, and the size of parameters: so that updates stand out from their rounding
GRADIENT = 2.0
MOMENTS = (0.5, 0.008, 0.117, 0.106)  # of a gradient; Lion's sign turns at 0.111, with the new momentum at 0.122


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

    Gradients are 2, give or take 1 %, with either sign. First moments are of four kinds: far larger than a gradient's
    share of Lion's update, far smaller, and just above and below what turns the sign: so the sign never hangs on
    rounding, and tells beta1 from its neighbours and the old momentum from the new. Parameters are small enough for
    weight decay and update to stand out from the rounding of bfloat16.
    """
    dtype: torch.dtype = getattr(torch, p.dtype)

    def uniform(low: float, high: float) -> Tensor:
        drawn = torch.rand(p.num_params, generator=generator, device=generator.device)
        return drawn.mul_(high - low).add_(low)

    def signs() -> Tensor:
        return torch.randint(2, (p.num_params,), generator=generator, device=generator.device).mul_(2).sub_(1)

    params = RATE * torch.randn(p.num_params, generator=generator, device=generator.device)
    grads = uniform(0.99 * GRADIENT, 1.01 * GRADIENT) * signs()
    if p.state == "8bit":
        return params.to(dtype), grads.to(dtype)
    kind = torch.randint(len(MOMENTS), (p.num_params,), generator=generator, device=generator.device)
    sizes_M = torch.tensor(MOMENTS, device=generator.device)
    exp_avg = (GRADIENT * sizes_M[kind] * signs()).mul_(uniform(0.99, 1.01))
    found = (params, grads, exp_avg) if p.rule == "lion" else (params, grads, exp_avg, uniform(0.5, 4.0))
    return tuple(t.to(dtype) for t in found)


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
