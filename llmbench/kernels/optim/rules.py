"""Update rules of optimizers in plain torch, in place, one tensor at a time: what every faster form must equal."""

from typing import NamedTuple

import torch
from torch import Tensor


class Hyper(NamedTuple):
    """What a rule is told. AdamW's defaults; Lion's own are `LION`."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 1e-2


LION = Hyper(lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0)
"""Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, appendix; package lion-pytorch."""


class Correction(NamedTuple):
    """What AdamW's moments are divided by, since they began at zero: 1 - beta^step, of the second its square root."""

    first: float
    second_root: float


def correction(step: float, h: Hyper) -> Correction:
    """Of the step that is being made, the first being 1."""
    return Correction(1 - h.beta1**step, (1 - h.beta2**step) ** 0.5)


def adamw_(param: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, *, step: float, h: Hyper) -> None:
    """One step of AdamW: weight decay apart from the gradient, so that g = 0 from rest gives -lr * weight_decay * p.

    `step` counts from 1. Source: Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2;
    torch.optim.AdamW.
    """
    param.mul_(1 - h.lr * h.weight_decay)
    _adam_(param, grad, exp_avg, exp_avg_sq, step=step, h=h)


def adam_l2_(param: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, *, step: float, h: Hyper) -> None:
    """One step of Adam with weight decay as a penalty in the gradient: it is scaled away like the gradient itself.

    Not what is meant by AdamW; here to be compared with it. Source: torch.optim.Adam(weight_decay=...).
    """
    _adam_(param, grad + h.weight_decay * param, exp_avg, exp_avg_sq, step=step, h=h)


def _adam_(param: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, *, step: float, h: Hyper) -> None:
    first, second_root = correction(step, h)
    exp_avg.lerp_(grad, 1 - h.beta1)
    exp_avg_sq.mul_(h.beta2).addcmul_(grad, grad, value=1 - h.beta2)
    param.addcdiv_(exp_avg, (exp_avg_sq.sqrt() / second_root).add_(h.eps), value=-h.lr / first)


def lion_(param: Tensor, grad: Tensor, exp_avg: Tensor, *, h: Hyper = LION) -> None:
    """One step of Lion: the sign of the old momentum mixed by beta1 moves the weights, then beta2 moves the momentum.

    Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2; package lion-pytorch.
    """
    param.mul_(1 - h.lr * h.weight_decay).add_(torch.lerp(exp_avg, grad, 1 - h.beta1).sign_(), alpha=-h.lr)
    exp_avg.lerp_(grad, 1 - h.beta2)
