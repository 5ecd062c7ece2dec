"""A case made ready: inputs, oracle, the implementation set up, and the calls of its phase."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmbench.ops.op import Expected, Impl, Op, Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.work import Work, build, make_douts, output_like, work
from llmbench.run.compiled import Compiled, compiled_so_far
from llmbench.run.protocol import StageName
from llmbench.store.record import Record
from llmbench.suite.case import Case


class Given(NamedTuple):
    """What calls work on: inputs, and gradients of the outputs."""

    inputs: list[Tensor]
    douts: list[Tensor]


@dataclass
class Problem:
    """Inputs and oracle that the cases of a point share; `pristine` proves that nobody changed the inputs.

    `clones` are more inputs and gradients of the same values, made when the first case asks for them.
    """

    p: Any
    inputs: list[Tensor]
    pristine: list[Tensor]
    douts: list[Tensor]
    expected: list[Expected]
    clones: list[Given] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Of one set of inputs and gradients."""
        return sum(t.nbytes for t in (*self.inputs, *self.douts))

    def cloned(self, n: int) -> list[Given]:
        """`n` clones, the same for every case."""
        while len(self.clones) < n:
            self.clones.append(Given([t.clone() for t in self.inputs], [t.clone() for t in self.douts]))
        return self.clones[:n]

    @property
    def input_sets(self) -> list[list[Tensor]]:
        """The inputs and every clone of them."""
        return [self.inputs, *(c.inputs for c in self.clones)]

    def restore(self) -> None:
        """Puts the inputs back, so that one implementation's mistake is not the next one's."""
        self.clones.clear()
        with torch.no_grad():
            for tensor, before in zip(self.inputs, self.pristine, strict=True):
                tensor.copy_(before)


@dataclass
class Prepared:
    """A case that was checked and may be timed. `inputs` are the problem's, but for copies of what it may change."""

    case: Case
    op: Op[Any]
    impl: Impl[Any]
    problem: Problem
    record: Record
    inputs: list[Tensor]
    fn: Callable[..., Any]
    compiled_before: Compiled  # by others of this process, when its set-up began
    work: Work | None = field(default=None)

    @property
    def config(self) -> str | None:
        """What the implementation chose for this case, where it says so."""
        told = getattr(self.fn, "config", None)
        return None if told is None else str(told() if callable(told) else told)

    def make_work(self, device: torch.device) -> Work:
        """The calls of its phase; for bwd the forward runs here."""
        self.restore()
        self.work = self.work_on(Given(self.inputs, self.problem.douts), device)
        return self.work

    def work_on(self, given: Given, device: torch.device) -> Work:
        """The calls of its phase on other inputs."""
        return work(self.impl, self.fn, given.inputs, self.case.phase, device_type=device.type, douts=given.douts)

    def restore(self) -> None:
        """Puts the inputs back that it may change; others are shared, and must not change."""
        with torch.no_grad():
            for mine, shared, before in zip(self.inputs, self.problem.inputs, self.problem.pristine, strict=True):
                if mine is not shared:
                    mine.copy_(before)


def make_problem(
    op: Op[Any], case: Case, *, seed: int, device: torch.device, say: Callable[[StageName, str | None], None]
) -> Problem:
    """Inputs, gradients of the outputs and the oracle of a case's parameters and phase, from one seed."""
    say("inputs", None)
    p = op.params(**case.params)
    generator = torch.Generator(device).manual_seed(seed)
    inputs = list(op.inputs(p, generator))
    douts = list(make_douts(output_like(op, p, inputs), generator)) if case.phase in ("bwd", "fwd_bwd") else []
    say("oracle", None)
    wanted = expected(op, p, case.phase, inputs, douts)
    return Problem(p, inputs, [t.clone() for t in inputs], douts, wanted)


def prepare(
    case: Case, op: Op[Any], impl: Impl[Any], problem: Problem, record: Record, device: torch.device
) -> Prepared:
    """The case with its implementation set up. Raises: Unavailable where a package cannot be imported."""
    names = [op.input_name(i) for i in range(len(problem.inputs))]
    inputs = [t.clone() if n in impl.mutates else t for n, t in zip(names, problem.inputs, strict=True)]
    before = compiled_so_far()
    try:
        return Prepared(case, op, impl, problem, record, inputs, build(impl, problem.p, device=device), before)
    except ImportError as e:
        raise Unavailable(f"cannot be imported: {e}") from e
