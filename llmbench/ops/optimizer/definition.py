"""The op `optimizer`: a step over many tensors, against the bytes that it must move."""

from collections.abc import Callable

import torch
from torch import Tensor

from llmbench.kernels.optim import adam_l2_, adamw_, lion_
from llmbench.ops.op import Op
from llmbench.ops.optimizer.params import OptimizerParams, cost, hyper, inputs, reached
from llmbench.ops.registry import register
from llmbench.suite.catalog import Constraint


def reference(p: OptimizerParams) -> Callable[..., tuple[Tensor, ...]]:
    """The rule on copies, over all numbers as one tensor."""
    h = hyper(p)
    rule = {"adamw": adamw_, "adam_l2": adam_l2_}.get(p.rule)

    def step(params: Tensor, grads: Tensor, *moments: Tensor) -> tuple[Tensor, ...]:
        params = params.clone()
        if p.state == "8bit":  # a first step, from moments of zero
            moments = tuple(torch.zeros_like(params) for _ in range(1 if rule is None else 2))
        state = tuple(m.clone() for m in moments)
        if rule is None:
            lion_(params, grads, *state, h=h)
        else:
            rule(params, grads, *state, step=reached(p) + 1, h=h)
        return (params,) if p.state == "8bit" else (params, *state)

    return step


optimizer: Op[OptimizerParams] = Op(
    name="optimizer",
    version=1,
    params=OptimizerParams,
    inputs=inputs,
    reference=reference,
    cost=cost,
    phases=("step",),
    sizes=("num_params",),
    input_names=("params", "grads", "exp_avg", "exp_avg_sq"),
    constraints=(Constraint("at_most", "num_tensors", "num_params"),),
    doc="One step of an optimizer: AdamW, Lion, or Adam with an L2 penalty, which is not AdamW.",
)
register(optimizer)
