"""Implementations of the op `optimizer`: ours, torch's, and those of packages."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from llmbench.kernels.optim import FusedAdamW, FusedLion, Hyper, Lion, adam_l2_, adamw_, lion_
from llmbench.ops.op import Unavailable
from llmbench.ops.optimizer.calls import ByLists, ByOptimizer, EightBit
from llmbench.ops.optimizer.definition import optimizer
from llmbench.ops.optimizer.params import REACHED, OptimizerParams, hyper

TRIES = 5  # calls of a block size, of which the fastest counts
CHANGED = ("params", "exp_avg", "exp_avg_sq")


@optimizer.impl("plain", mutates=CHANGED, graphable=False)
def plain(p: OptimizerParams) -> ByLists:
    """Tensor by tensor in plain torch; no step count is kept. Source: llmbench.kernels.optim.rules."""
    return ByLists(_full(p), _loop(p))


def _loop(p: OptimizerParams) -> Callable[..., None]:
    h, step = hyper(p), REACHED + 1

    def lion(params: list[Tensor], grads: list[Tensor], moments: list[Tensor]) -> None:
        for param, grad, moment in zip(params, grads, moments, strict=True):
            lion_(param, grad, moment, h=h)

    def adam(params: list[Tensor], grads: list[Tensor], firsts: list[Tensor], seconds: list[Tensor]) -> None:
        rule = adamw_ if p.rule == "adamw" else adam_l2_
        for param, grad, first, second in zip(params, grads, firsts, seconds, strict=True):
            rule(param, grad, first, second, step=step, h=h)

    return lion if p.rule == "lion" else adam


@optimizer.impl("compiled", needs=["inductor"], mutates=CHANGED, compiled=True, graphable=False)
def compiled(p: OptimizerParams) -> ByLists:
    """torch.compile of the plain one, for one step count. Source: llmbench.kernels.optim.rules.

    The bias correction is a constant of the graph: training would pass it as a tensor, or compile in each step.
    """
    return ByLists(_full(p), torch.compile(_loop(p), dynamic=False, fullgraph=True))


@optimizer.impl("for_loop", mutates=CHANGED, graphable=False)
def for_loop(p: OptimizerParams) -> ByOptimizer:
    """An optimizer of torch, tensor by tensor; for Lion ours. Source: torch.optim; llmbench.kernels.optim.lion."""
    return _torch_like(p, foreach=False)


@optimizer.impl("foreach", mutates=CHANGED, graphable=False)
def foreach(p: OptimizerParams) -> ByOptimizer:
    """An optimizer of torch over lists; for Lion ours. Source: torch.optim; llmbench.kernels.optim.lion."""
    return _torch_like(p, foreach=True)


@optimizer.impl("fused", mutates=CHANGED, graphable=False)
def fused(p: OptimizerParams) -> ByOptimizer:
    """torch's fused optimizer. Source: torch.optim.AdamW(fused=True), torch.optim.Adam(fused=True)."""
    if p.rule == "lion":
        raise Unavailable("torch has no Lion, so no fused one; triton_fused is ours")
    return _torch_like(p, fused=True)


class _Tuned(ByOptimizer):
    """Our fused kernels, on a GPU with the fastest blocks for these tensors, which are found on copies."""

    def prepare(self, optimizer: Optimizer) -> None:
        """State and step counts, then blocks."""
        super().prepare(optimizer)
        if isinstance(optimizer, FusedAdamW | FusedLion) and optimizer.param_groups[0]["params"][0].is_cuda:
            optimizer.tuned(_device_seconds)


def _device_seconds(call: Callable[[], object]) -> float:
    """The fastest of some calls, by events, after one that compiles."""
    call()
    found = []
    for _ in range(TRIES):
        start, end = (_event() for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end) / 1e3)
    return float(min(found))


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


@optimizer.impl("triton_fused", needs=["triton_gpu"], mutates=CHANGED, graphable=False)
def triton_fused(p: OptimizerParams) -> ByOptimizer:
    """Our fused kernel, all tensors in one launch. Source: llmbench.kernels.optim.fused."""
    h = hyper(_full(p))
    if p.rule == "adam_l2":
        raise Unavailable("Adam with an L2 penalty has no fused kernel here; AdamW and Lion have")

    def make(params: list[Tensor]) -> Optimizer:
        if p.rule == "lion":
            return FusedLion(params, h.lr, (h.beta1, h.beta2), h.weight_decay)
        return FusedAdamW(params, h.lr, (h.beta1, h.beta2), h.eps, h.weight_decay)

    return _Tuned(p, make)


@optimizer.impl("lion_pytorch", needs=["lion_pytorch"], mutates=CHANGED, graphable=False)
def lion_pytorch(p: OptimizerParams) -> ByOptimizer:
    """Lion of lucidrains. Source: package lion-pytorch."""
    h = _lion_only(p)
    from lion_pytorch import Lion as TheirLion

    return ByOptimizer(
        p, lambda params: TheirLion(params, lr=h.lr, betas=(h.beta1, h.beta2), weight_decay=h.weight_decay)
    )


@optimizer.impl("bitsandbytes", needs=["bitsandbytes"], mutates=CHANGED, graphable=False)
def bitsandbytes(p: OptimizerParams) -> EightBit:
    """Block-wise 8-bit moments. Source: Dettmers et al. 2022; package bitsandbytes, AdamW8bit and Lion8bit."""
    h = _eight_bit(p)
    from bitsandbytes.optim import AdamW8bit, Lion8bit

    options = {"betas": (h.beta1, h.beta2), "weight_decay": h.weight_decay, "min_8bit_size": 0}
    kind = Lion8bit if p.rule == "lion" else AdamW8bit
    return EightBit(p, lambda params: kind(params, lr=h.lr, **options))


@optimizer.impl("torchao", needs=["torchao", "inductor"], mutates=CHANGED, compiled=True, graphable=False)
def torchao(p: OptimizerParams) -> EightBit:
    """Block-wise 8-bit moments, by torch.compile. Source: package torchao, AdamW8bit."""
    h = _eight_bit(p)
    if p.rule == "lion":
        raise Unavailable("torchao has no Lion")
    from torchao.optim import AdamW8bit

    return EightBit(p, lambda params: AdamW8bit(params, lr=h.lr, betas=(h.beta1, h.beta2), weight_decay=h.weight_decay))


def _torch_like(p: OptimizerParams, **how: bool) -> ByOptimizer:
    h, betas = hyper(_full(p)), (hyper(p).beta1, hyper(p).beta2)
    if p.rule == "lion":
        return ByOptimizer(p, lambda params: Lion(params, h.lr, betas, h.weight_decay, **how))
    kind: Any = {"adamw": torch.optim.AdamW, "adam_l2": torch.optim.Adam}[p.rule]
    return ByOptimizer(
        p, lambda params: kind(params, lr=h.lr, betas=betas, eps=h.eps, weight_decay=h.weight_decay, **how)
    )


def _full(p: OptimizerParams) -> OptimizerParams:
    if p.state != "full":
        raise Unavailable("keeps its moments in the dtype of the parameters: see state full")
    return p


def _lion_only(p: OptimizerParams) -> Hyper:
    if p.rule != "lion":
        raise Unavailable(f"is Lion, not {p.rule}")
    return hyper(_full(p))


def _eight_bit(p: OptimizerParams) -> Hyper:
    if p.state != "8bit" or p.rule == "adam_l2":
        raise Unavailable("keeps 8-bit moments of AdamW and Lion: see state 8bit")
    return hyper(p)
