"""What a step will need, before it is run: peak memory and its parts, from tensors that have a shape and no data."""

# torch's own MemTracker (torch.distributed._tools) refuses a second forward before the optimizer's step, which
# accumulation is; what is needed of it is small: who allocates how much, and when it is given back.

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmbench.kernels.training.recipe import Recipe
from llmbench.kernels.training.step import Data, Part, TrainingStep

Kind = Literal["parameters", "gradients", "optimizer", "activations", "other"]
KINDS: tuple[Kind, ...] = ("parameters", "gradients", "optimizer", "activations", "other")
MADE_IN: dict[Part, Kind] = {"data": "activations", "forward": "activations", "backward": "other", "optimizer": "other"}
STEPS = 2  # the first makes what an optimizer keeps, the second has it from the start
LINEAR_TO = 5  # micro-batches; from the second on each adds as much, its tokens: of more, two and three are tried


@dataclass(frozen=True)
class Memory:
    """Bytes at the moment when most are held: all together, and by what they are for. The parts sum to the peak.

    `activations` is what a forward made, `other` temporary tensors of backward and optimizer. `working` is the most
    that both took at any time before the optimizer's update: what checkpointing is about, whatever makes the peak.
    """

    peak: int
    parts: dict[Kind, int]
    working: int = 0

    def further(self, other: "Memory", steps: int) -> "Memory":
        """On the straight line from here through `other`, that many steps of their distance from here."""
        parts = {kind: size + steps * (other.parts[kind] - size) for kind, size in self.parts.items()}
        return Memory(
            self.peak + steps * (other.peak - self.peak), parts, self.working + steps * (other.working - self.working)
        )


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of every storage that an operation returns, until it is given back; within it, `kind` is new.

    It sees what operators return, and not the scratch inside them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind: Kind = "parameters"
        self._held: dict[int, tuple[int, Kind]] = {}  # by id of a storage that lives
        self._now: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.memory = Memory(0, dict(self._now))
        self.working, self.updating = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor) and id(storage := t.untyped_storage()) not in self._held:
                self._held[id(storage)] = storage.nbytes(), self.kind
                self._now[self.kind] += storage.nbytes()
                weakref.finalize(storage, self._freed, id(storage))
        if not self.updating:
            self.working = max(self.working, self._now["activations"] + self._now["other"])
        if (total := sum(self._now.values())) > self.memory.peak:
            self.memory = Memory(total, dict(self._now))
        return out

    def become(self, kind: Kind, tensors: Iterable[Tensor]) -> None:
        """These are of another kind from now on, wherever they were made."""
        for t in tensors:
            key = id(t.untyped_storage())
            if key in self._held:
                size, before = self._held[key]
                self._held[key] = size, kind
                self._now[before] -= size
                self._now[kind] += size

    def _freed(self, key: int) -> None:
        size, kind = self._held.pop(key)
        self._now[kind] -= size


def predict(recipe: Recipe, *, seed: int = 0) -> Memory:
    """Of building the model and two steps, on fake tensors: nothing is computed, and no memory is taken.

    A CPU stands for every device: what an operator allocates inside itself is not counted on any.
    Raises: ValueError for a recipe whose memory cannot be known beforehand, which torch.compile decides.
    """
    if recipe.compiled:
        raise ValueError("torch.compile decides what is kept and fused: only running it tells")
    if recipe.accumulation <= LINEAR_TO or recipe.stage == "ppo":  # which keeps more with every step, for a while
        return _predict(recipe, recipe.accumulation, seed=seed)
    two, three = (_predict(recipe, few, seed=seed) for few in (2, 3))
    return two.further(three, recipe.accumulation - 2)


def _predict(recipe: Recipe, micro_batches: int, *, seed: int) -> Memory:
    """With that many micro-batches in each step."""
    draw = Data(recipe, seed=seed)  # before tensors are fake: lengths are data
    known = [draw(step)[:micro_batches] for step in range(STEPS)]
    with FakeTensorMode() as fake, Allocations() as allocations:
        step = TrainingStep(
            recipe, device=torch.device("cpu"), seed=seed, drawn=known.__getitem__, place=fake.from_tensor
        )
        return memory_of(step, allocations)


def measured_memory(build: Callable[[], TrainingStep]) -> Memory:
    """The same of a step on real tensors: slower than it, and exact but for scratch inside operators."""
    with Allocations() as allocations:
        return memory_of(build(), allocations)


def memory_of(step: TrainingStep, allocations: Allocations) -> Memory:
    """Of two steps, told apart by their parts as they end."""
    listen = torch.Tensor.register_post_accumulate_grad_hook
    held: list[Any] = [listen(p, _gradient(allocations)) for p in step.model.parameters()]  # type: ignore[no-untyped-call]

    def mark(part: Part | None) -> None:
        if part is not None:
            allocations.kind, allocations.updating = MADE_IN[part], part == "optimizer"
        else:
            state = (t for s in step.optimizer.state.values() for t in s.values() if isinstance(t, Tensor))
            allocations.become("optimizer", state)

    step(mark)
    first = allocations.memory
    allocations.memory, allocations.working = Memory(0, dict(first.parts)), 0
    for _ in range(1, STEPS):
        step(mark)
    for hook in held:
        hook.remove()
    last = allocations.memory  # the step in which what an optimizer keeps is known as that
    more = max(0, first.peak - last.peak)
    return Memory(last.peak + more, {**last.parts, "other": last.parts["other"] + more}, allocations.working)


def _gradient(allocations: Allocations) -> Callable[[Tensor], None]:
    def hook(p: Tensor) -> None:
        if p.grad is not None:
            allocations.become("gradients", [p.grad])

    return hook
