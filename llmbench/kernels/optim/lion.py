"""Lion as a torch optimizer, tensor by tensor or with foreach; torch has none."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from llmbench.kernels.optim.rules import LION, Hyper, lion_


class Lion(torch.optim.Optimizer):
    """Lion; its state is one moment a parameter, half of AdamW's. The learning rate is about a tenth of AdamW's.

    With `foreach` a step is a handful of operations over lists of tensors, else some of them for each tensor.
    Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = LION.lr, betas: tuple[float, float] = (LION.beta1, LION.beta2),
        weight_decay: float = LION.weight_decay, *, foreach: bool = True,
    ) -> None:  # fmt: skip
        check_hyper(lr, betas, weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "foreach": foreach})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step over every parameter that has a gradient; what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            moments = [self.state[p]["exp_avg"] for p in params]
            grads = [p.grad for p in params]
            beta1, beta2 = group["betas"]
            h = Hyper(group["lr"], beta1, beta2, weight_decay=group["weight_decay"])
            if group["foreach"]:
                lion_foreach_(params, grads, moments, h=h)
            else:
                for p, grad, moment in zip(params, grads, moments, strict=True):
                    lion_(p, grad, moment, h=h)
        return loss


def lion_foreach_(params: list[Tensor], grads: list[Tensor], exp_avgs: list[Tensor], *, h: Hyper = LION) -> None:
    """`lion_` over lists of tensors, a few kernels for all of them; the updates are in memory meanwhile."""
    updates = torch._foreach_lerp(exp_avgs, grads, 1 - h.beta1)
    torch._foreach_sign_(updates)
    torch._foreach_mul_(params, 1 - h.lr * h.weight_decay)
    torch._foreach_add_(params, updates, alpha=-h.lr)
    torch._foreach_lerp_(exp_avgs, grads, 1 - h.beta2)


def check_hyper(lr: float, betas: tuple[float, float], weight_decay: float, eps: float = 0.0) -> None:
    """Raises: ValueError for what no optimizer can be told."""
    if not lr >= 0 or not eps >= 0 or not weight_decay >= 0:
        raise ValueError(f"lr={lr}, eps={eps}, weight_decay={weight_decay}: wanted none below 0")
    if not all(0 <= b < 1 for b in betas):
        raise ValueError(f"betas={betas}: wanted each at least 0 and below 1")
