"""A learning rate after so many steps of a schedule: cosine annealing with a linear warm-up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Generator, Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from llmbench.kernels.optim import CosineWithWarmup, cosine_with_warmup
from llmbench.ops.op import Op, Unavailable
from llmbench.ops.params import AtLeast
from llmbench.ops.registry import register
from llmbench.suite.catalog import Constraint

Rate = Callable[[Tensor], Tensor]  # peak learning rate -> learning rate after `step` steps
PEAK = 3e-4  # Source: Touvron et al. 2023, LLaMA, table 2


@dataclass(frozen=True, kw_only=True)
class ScheduleParams:
    """A schedule of `total` optimizer steps, `warmup` of them, that ends at `floor` of the peak; `step` were made."""

    step: Annotated[int, AtLeast(0)]
    total: int
    warmup: Annotated[int, AtLeast(0)] = 0
    floor: Annotated[float, AtLeast(0)] = 0.0


def inputs(p: ScheduleParams, generator: Generator) -> tuple[Tensor]:
    """The peak learning rate, a float64 scalar."""
    return (torch.full((), PEAK, dtype=torch.float64, device=generator.device),)


def _factor(p: ScheduleParams) -> float:
    return cosine_with_warmup(p.step, warmup=p.warmup, total=p.total, floor=p.floor)


def figures(p: ScheduleParams) -> Mapping[str, float]:
    """`learning_rate`, as a share of the peak: the schedule's closed form."""
    return {"learning_rate": _factor(p)}


op: Op[ScheduleParams] = Op(
    name="schedule",
    version=1,
    params=ScheduleParams,
    inputs=inputs,
    reference=lambda p: lambda peak: peak * _factor(p),
    figures=figures,
    phases=("infer",),
    input_names=("peak",),
    constraints=(Constraint("at_most", "warmup", "total"),),
    doc="The learning rate that a schedule reaches, and what it takes to get there: at once, or step by step.",
)
register(op)


@op.impl("closed_form", graphable=False)
def closed_form(p: ScheduleParams) -> Rate:
    """At once, by its formula. Source: llmbench.kernels.optim.schedule."""
    return lambda peak: torch.full_like(peak, peak.item() * _factor(p))


@op.impl("scheduler", graphable=False)
def scheduler(p: ScheduleParams) -> Rate:
    """Our torch scheduler, stepped. Source: llmbench.kernels.optim.schedule.CosineWithWarmup."""
    return _stepped(p, lambda o: CosineWithWarmup(o, warmup=p.warmup, total=p.total, floor=p.floor))


@op.impl("scheduler_resumed", graphable=False)
def scheduler_resumed(p: ScheduleParams) -> Rate:
    """Our torch scheduler, resumed at the step from a state_dict. Source: llmbench.kernels.optim.schedule."""

    def rate(peak: Tensor) -> Tensor:
        optimizer = _optimizer(peak)
        found = CosineWithWarmup(optimizer, warmup=p.warmup, total=p.total, floor=p.floor)
        found.load_state_dict({**found.state_dict(), "last_epoch": p.step - 1})
        if p.step:
            _step(optimizer, found, 1)
        return torch.full_like(peak, optimizer.param_groups[0]["lr"])

    return rate


@op.impl("torch_cosine", graphable=False)
def torch_cosine(p: ScheduleParams) -> Rate:
    """torch's cosine annealing, which has no warm-up from 0, stepped. Source: torch CosineAnnealingLR."""
    if p.warmup:
        raise Unavailable("torch has no schedule that warms up from 0 (LinearLR starts above it)")
    if p.step > p.total:
        raise Unavailable("torch's cosine rises again behind its end")
    return _stepped(p, lambda o: CosineAnnealingLR(o, T_max=p.total, eta_min=_peak_of(o) * p.floor))


@op.impl("transformers", needs=["transformers"], graphable=False)
def transformers(p: ScheduleParams) -> Rate:
    """transformers' schedule, which ends at 0, stepped. Source: get_cosine_schedule_with_warmup of that package."""
    if p.floor:
        raise Unavailable("transformers' cosine with a warm-up ends at 0, not at a floor")
    if p.step > p.total:
        raise Unavailable("transformers' cosine is not meant for steps behind its end")
    from transformers import get_cosine_schedule_with_warmup

    return _stepped(p, lambda o: get_cosine_schedule_with_warmup(o, p.warmup, p.total))


def _peak_of(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def _stepped(p: ScheduleParams, make: Callable[[torch.optim.Optimizer], LRScheduler]) -> Rate:
    def rate(peak: Tensor) -> Tensor:
        optimizer = _optimizer(peak)
        _step(optimizer, make(optimizer), p.step)
        return torch.full_like(peak, optimizer.param_groups[0]["lr"])

    return rate


def _step(optimizer: torch.optim.Optimizer, found: LRScheduler, steps: int) -> None:
    for _ in range(steps):
        optimizer.step()
        found.step()


def _optimizer(peak: Tensor) -> torch.optim.Optimizer:
    """One without parameters that have a gradient: its steps cost next to nothing."""
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak.item())
