"""Ops and their implementations: the contract that a kernel fulfils to be measured.

An implementation is `setup(p) -> fn(*inputs) -> outputs`. The op owns everything else: inputs, backward, oracle, cost.
"""

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from llmbench.errors import UsageError
from llmbench.ops.needs import unmet
from llmbench.ops.params import param_specs
from llmbench.suite.catalog import Constraint, ImplSpec, Isolation, OpSpec, Phase

P = TypeVar("P")
Fn = Callable[..., Any]  # *tensors -> a tensor or a tuple of tensors
Setup = Callable[[P], Fn]

KERNEL_PHASES: tuple[Phase, ...] = ("infer", "fwd", "bwd", "fwd_bwd")


class Unavailable(Exception):  # noqa: N818  (a status, not an error)
    """Raised by an implementation that cannot serve this case on this machine, with the reason."""


class Cost(NamedTuple):
    """What one call must do at least: floating-point operations, bytes to and from memory, tokens; None if unknown."""

    flop: float | None = None
    bytes: float | None = None
    tokens: float | None = None


class Expected(NamedTuple):
    """What an output should be: the reference, one precision above the inputs, and how far off it may be."""

    name: str
    ref: Tensor
    allowed: float  # absolute, of any element
    rel_allowed: float = math.inf  # Frobenius, of the whole: many small errors that no element shows
    by_index: tuple[Tensor, ...] = ()  # for each axis, Frobenius, of each index of it: small values in a wrong place
    dtype: torch.dtype | None = None  # None if any will do


@dataclass(frozen=True)
class Impl(Generic[P]):
    """An implementation. `needs` are looked up in `ops.needs`; `backward_on` are the device types that have a backward.

    `mutates` names inputs that it may change, `graphable` says that it can be captured in a CUDA graph, `compiled` that
    its first call compiles (and is timed apart as `compile_time`).

    The function that `setup` gives may have attributes: `config`, a text or a function that gives one, is recorded
    (what autotuning chose); `figures()` gives metrics, or (metric, part), of its own after a call; `reset()` is called
    whenever the inputs are put back, for a state that is not among them (a step count).
    """

    name: str
    setup: Setup[P]
    phases: tuple[Phase, ...]
    needs: tuple[str, ...] = ()
    backward_on: tuple[str, ...] = ("cpu", "cuda")
    mutates: tuple[str, ...] = ()
    graphable: bool = True
    compiled: bool = False

    @property
    def source_hash(self) -> str:
        """Twelve hexadecimal digits of the file that defines it: evidence of what was measured."""
        try:
            text = inspect.getsource(inspect.getmodule(self.setup) or self.setup)
        except (OSError, TypeError):
            return ""
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def why_unavailable(self, phase: Phase | None, *, device_type: str) -> str | None:
        """Why it cannot run on such a device (in that phase), or None."""
        reason = unmet(self.needs, device_type)
        if reason is None and phase in ("bwd", "fwd_bwd") and device_type not in self.backward_on:
            reason = f"has no backward on {device_type}"
        if reason is None and phase is not None and phase not in self.phases:
            reason = f"does not offer phase {phase}"
        return reason


@dataclass(frozen=True)
class Op(Generic[P]):
    """An op: `inputs(p, generator)` makes tensors on the generator's device, `cost(p, phase)` says what a call must do.

    Correctness comes from `reference`, an implementation in plain torch that is run one precision above the inputs, or
    from `oracle(p, phase, inputs, douts)` where the whole reference would not fit into memory. `constant` names inputs
    that may hold one value throughout (a fresh optimizer's state); others are random, since data decide about power.
    `frozen` names inputs that get no gradient (log-probs of a reference model).
    `sizes` names parameters that memory grows with: where a case ran out of it, those that are at least as large in
    each, and alike otherwise, are `inferred`. `figures(p)` gives metrics that follow from the parameters alone, such as
    the size of a KV cache. `predicted_memory(p, impl)` gives the bytes of a case at its peak without running it, or why
    they are not known.
    """

    name: str
    version: int
    params: type[P]
    inputs: Callable[[P, Generator], Sequence[Tensor]]
    reference: Setup[P] | None = None
    oracle: Callable[[P, Phase, Sequence[Tensor], Sequence[Tensor]], list[Expected]] | None = None
    cost: Callable[[P, Phase], Cost] = lambda p, phase: Cost()
    figures: Callable[[P], Mapping[str, float]] = lambda p: {}
    predicted_memory: Callable[[P, str], float | str] | None = None
    phases: tuple[Phase, ...] = KERNEL_PHASES
    input_names: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    isolation: Isolation = "point"
    sizes: tuple[str, ...] = ()
    doc: str = ""
    impls: dict[str, Impl[P]] = field(default_factory=dict)

    def impl(
        self, name: str, *, needs: Sequence[str] = (), phases: Sequence[Phase] | None = None,
        backward_on: Sequence[str] = ("cpu", "cuda"), mutates: Sequence[str] = (), graphable: bool = True,
        compiled: bool = False,
    ) -> Callable[[Setup[P]], Setup[P]]:  # fmt: skip
        """A decorator that adds `setup(p) -> fn(*inputs) -> outputs` under a name.

        Raises: UsageError when the op has an implementation of that name.
        """

        def add(setup: Setup[P]) -> Setup[P]:
            if name in self.impls:
                raise UsageError(f"op {self.name!r} already has an implementation {name!r}")
            self.impls[name] = Impl(
                name, setup, tuple(phases or self.phases), tuple(needs), tuple(backward_on), tuple(mutates), graphable,
                compiled,
            )  # fmt: skip
            return setup

        return add

    def input_name(self, i: int) -> str:
        """The name of the i-th input; its number where the op names none."""
        return self.input_names[i] if i < len(self.input_names) else str(i)

    def leaves(self, inputs: Sequence[Tensor], *, grad: bool) -> list[Tensor]:
        """The inputs without their history, in the same storage; if `grad`, floating ones that are not frozen ask for
        gradients."""
        return [
            t.detach().requires_grad_(grad and t.is_floating_point() and self.input_name(i) not in self.frozen)
            for i, t in enumerate(inputs)
        ]

    def spec(self, device_type: str) -> OpSpec:
        """The op as catalog data, with what cannot run on such a device and why."""
        return OpSpec(
            name=self.name,
            version=self.version,
            doc=self.doc,
            params=param_specs(self.params),
            phases=self.phases,
            impls=tuple(
                ImplSpec(
                    i.name, _first_line(i.setup), i.phases, i.needs, i.why_unavailable(None, device_type=device_type)
                )
                for i in self.impls.values()
            ),
            constraints=self.constraints,
            isolation=self.isolation,
            sizes=self.sizes,
        )


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").split("\n")[0]
