"""A step as an implementation calls it: a function of lists, or a torch optimizer whose state is the inputs."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from llmbench.ops.optimizer.params import OptimizerParams, reached, sizes

Outputs = tuple[Tensor, ...]


class Views:
    """The tensors that a set of buffers is cut into, made once for each set: clones of inputs have their own."""

    def __init__(self, p: OptimizerParams) -> None:
        self._sizes = sizes(p)
        self._known: dict[int, tuple[Outputs, list[list[Tensor]]]] = {}

    def of(self, buffers: Sequence[Tensor]) -> list[list[Tensor]]:
        """A list of tensors for each buffer."""
        key = id(buffers[0])
        if key not in self._known:  # it holds the buffers, so that nothing else gets their id
            self._known[key] = tuple(buffers), [list(torch.split(b.detach(), self._sizes)) for b in buffers]
        return self._known[key][1]


class ByLists:
    """A step as a function of lists: params, grads, moments."""

    def __init__(self, p: OptimizerParams, step: Callable[..., object]) -> None:
        self._views, self._step = Views(p), step
        self._moments = 1 if p.rule == "lion" else 2
        self._p = p

    def __call__(self, *buffers: Tensor) -> Outputs:
        self._step(*self._views.of(buffers))
        return (buffers[0], *buffers[2:])

    def figures(self) -> Mapping[str, float]:
        """Bytes of what is kept between steps."""
        itemsize: int = getattr(torch, self._p.dtype).itemsize
        return _state(self._moments * itemsize * self._p.num_params, self._p)


class ByOptimizer:
    """A step of a torch optimizer whose state is the inputs: one optimizer a set of buffers, made in its first call."""

    def __init__(self, p: OptimizerParams, make: Callable[[list[Tensor]], Optimizer]) -> None:
        self._p, self._make, self._views = p, make, Views(p)
        self._known: dict[int, Optimizer] = {}

    def __call__(self, *buffers: Tensor) -> Outputs:
        optimizer = self._known.get(id(buffers[0])) or self._new(buffers)
        optimizer.step()
        return (buffers[0], *buffers[2:])

    def _new(self, buffers: Sequence[Tensor]) -> Optimizer:
        params, grads, *moments = self._views.of(buffers)
        optimizer = self._make(params)
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad
        for i, p in enumerate(params):
            optimizer.state[p].update(zip(("exp_avg", "exp_avg_sq"), (m[i] for m in moments), strict=False))
        self._known[id(buffers[0])] = optimizer
        self.prepare(optimizer)
        self._set_steps(optimizer)
        return optimizer

    def prepare(self, optimizer: Optimizer) -> None:
        """Gives each parameter's state its step count, as the optimizer has it."""
        group = optimizer.param_groups[0]
        on_device = group.get("fused") or group.get("capturable")
        for p in group["params"]:
            optimizer.state[p]["step"] = torch.zeros((), device=p.device if on_device else "cpu")

    def reset(self) -> None:
        """Puts step counts back to where inputs are from."""
        for optimizer in self._known.values():
            self._set_steps(optimizer)

    def _set_steps(self, optimizer: Optimizer) -> None:
        for state in optimizer.state.values():
            step = state.get("step")
            if torch.is_tensor(step):
                step.fill_(reached(self._p))
            elif step is not None:
                state["step"] = reached(self._p)

    def figures(self) -> Mapping[str, float]:
        """Bytes of what is kept between steps, step counts on their own."""
        states = next(iter(self._known.values())).state.values()
        held = [(k, t) for state in states for k, v in state.items() if torch.is_tensor(v) for t in plain_tensors(v)]
        sizes = {(t.data_ptr(), t.nbytes): k for k, t in held}  # what many parameters share (a code book) counts once
        steps = sum(size for (_, size), k in sizes.items() if k == "step")
        return _state(sum(size for _, size in sizes) - steps, self._p, steps)

    def config(self) -> str:
        """What a kernel of ours chose."""
        chosen = getattr(next(iter(self._known.values()), None), "blocks", None)
        return "" if chosen is None else str(chosen)


class EightBit(ByOptimizer):
    """An optimizer that makes its own state, in 8 bits; each step is a first one.

    A first step of AdamW does not depend on betas, nor on much of the state: it tells a right sign and size.
    """

    def __init__(self, p: OptimizerParams, make: Callable[[list[Tensor]], Optimizer]) -> None:
        super().__init__(p, make)
        self._fresh: list[tuple[Tensor, Tensor]] = []

    def prepare(self, optimizer: Optimizer) -> None:
        """A step of gradients of zero makes the state; what it is then, is what a first step begins with."""
        group = optimizer.param_groups[0]
        grads, kept = [p.grad for p in group["params"]], [p.clone() for p in group["params"]]
        for p in group["params"]:
            p.grad = torch.zeros_like(p)
        optimizer.step()
        for p, grad, before in zip(group["params"], grads, kept, strict=True):
            p.grad = grad
            p.copy_(before)
        for state in optimizer.state.values():
            held = [t for v in state.values() if torch.is_tensor(v) for t in plain_tensors(v)]
            self._fresh += [(t, t.clone()) for t in held]

    def reset(self) -> None:
        """Moments of zero, no step made."""
        for tensor, fresh in self._fresh:
            tensor.copy_(fresh)
        super().reset()


def plain_tensors(t: Tensor) -> list[Tensor]:
    """The tensors that a wrapper (quantised moments, say) is made of; a plain one itself."""
    if not hasattr(t, "__tensor_flatten__"):
        return [t]
    names, _ = t.__tensor_flatten__()
    return [inner for name in names for inner in plain_tensors(getattr(t, name))]


def _state(moments_bytes: float, p: OptimizerParams, steps_bytes: float = 0.0) -> Mapping[str, float]:
    return {"state_memory": moments_bytes + steps_bytes, "moments_per_param": moments_bytes / p.num_params}
