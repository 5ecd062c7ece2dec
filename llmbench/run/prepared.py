"""A case made ready: inputs, oracle, the implementation set up, and the calls of its phase."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmbench.ops.op import Expected, Impl, Op, Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.work import Work, build, make_douts, make_inputs, other_values, output_like, work
from llmbench.run.compiled import Compiled, compiled_so_far
from llmbench.run.protocol import StageName
from llmbench.store.record import Record
from llmbench.suite.case import Case
from llmbench.suite.catalog import Phase


class Given(NamedTuple):
    """What calls work on: inputs, and gradients of the outputs."""

    inputs: list[Tensor]
    douts: list[Tensor]


@dataclass
class Problem:
    """Inputs, gradients of outputs and oracle that the cases of a point share.

    `pristine` proves that nobody changed them. `expected_of_others` is the oracle for other values of them. `clones`
    are more inputs and gradients of the same values, made when the first case asks for them.
    """

    p: Any
    inputs: list[Tensor]
    douts: list[Tensor]
    pristine: list[Tensor]
    expected: list[Expected]
    expected_of_others: list[Expected]
    clones: list[Given] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Of one set of inputs and gradients."""
        return sum(t.nbytes for t in self.shared)

    def cloned(self, n: int) -> list[Given]:
        """`n` clones, the same for every case."""
        while len(self.clones) < n:
            self.clones.append(Given([t.clone() for t in self.inputs], [t.clone() for t in self.douts]))
        return self.clones[:n]

    @property
    def shared(self) -> list[Tensor]:
        """Inputs, then gradients of outputs: what nobody may change."""
        return [*self.inputs, *self.douts]

    @property
    def shared_sets(self) -> list[list[Tensor]]:
        """What is shared, and every clone of it."""
        return [self.shared, *([*c.inputs, *c.douts] for c in self.clones)]

    def restore(self) -> None:
        """Puts back what is shared, so that one implementation's mistake is not the next one's."""
        self.clones.clear()
        _put(self.shared, self.pristine)


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
    compiled: Compiled = field(default_factory=Compiled)  # for this case, until it was checked
    work: Work | None = field(default=None)

    @property
    def config(self) -> str | None:
        """What the implementation chose for this case, where it says so."""
        told = getattr(self.fn, "config", None)
        return None if told is None else str(told() if callable(told) else told)

    @property
    def figures(self) -> dict[tuple[str, str | None], float]:
        """(Metric, part) -> value: what follows from the parameters, and what the implementation gives after a call."""
        own = getattr(self.fn, "figures", None)
        found = {**self.op.figures(self.problem.p), **(own() if own is not None else {})}
        return {(name, None) if isinstance(name, str) else name: float(value) for name, value in found.items()}

    def make_work(self, device: torch.device) -> Work:
        """The calls of its phase; for bwd the forward runs here."""
        self.restore()
        self.work = self.work_on(Given(self.inputs, self.problem.douts), device)
        return self.work

    def work_on(self, given: Given, device: torch.device) -> Work:
        """The calls of its phase on other inputs."""
        return work(
            self.op, self.impl, self.fn, given.inputs, self.case.phase, device_type=device.type, douts=given.douts
        )

    def restore(self) -> None:
        """Puts the inputs back that it may change; others are shared, and must not change."""
        for mine, shared, before in zip(self.inputs, self.problem.inputs, self.problem.pristine, strict=False):
            if mine is not shared:
                _put([mine], [before])
        self._reset()

    def _reset(self) -> None:
        """Puts back what the implementation keeps beside its inputs, where it says how."""
        if (reset := getattr(self.fn, "reset", None)) is not None:
            reset()

    @contextmanager
    def other_values(self) -> Iterator[list[Expected]]:
        """What its work should give while it lasts: its inputs hold other values; in bwd gradients of outputs alone,
        since the forward is done."""
        before, n = self.problem.pristine, len(self.inputs)
        others = _others(before[:n], before[n:], self.case.phase)
        _put([*self.inputs, *self.problem.douts], [*others.inputs, *others.douts])
        del others
        self._reset()
        try:
            yield self.problem.expected_of_others
        finally:
            _put(self.problem.shared, self.problem.pristine)
            self.restore()

    def shared_name(self, i: int) -> str:
        """The name of the i-th tensor that is shared: an input's, or `dout`."""
        return self.op.input_name(i) if i < len(self.inputs) else "dout"


def make_problem(
    op: Op[Any], case: Case, *, seed: int, device: torch.device, say: Callable[[StageName, str | None], None]
) -> Problem:
    """Inputs, gradients of the outputs and the oracle of a case's parameters and phase, from one seed."""
    say("inputs", None)
    p = op.params(**case.params)
    generator = torch.Generator(device).manual_seed(seed)
    inputs = make_inputs(op, p, generator)
    douts = list(make_douts(output_like(op, p, inputs), generator)) if case.phase in ("bwd", "fwd_bwd") else []
    say("oracle", None)
    wanted = expected(op, p, case.phase, inputs, douts)
    say("oracle", None)
    wanted_of_others = expected(op, p, case.phase, *_others(inputs, douts, case.phase))
    return Problem(p, inputs, douts, [t.clone() for t in (*inputs, *douts)], wanted, wanted_of_others)


def _others(inputs: Sequence[Tensor], douts: Sequence[Tensor], phase: Phase) -> Given:
    """Other values for inputs and gradients of outputs; in bwd for the latter alone."""
    others = other_values([*douts, *inputs])
    n = len(douts)
    return Given(list(inputs) if phase == "bwd" else others[n:], others[:n])


def _put(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copies values into tensors, by `.data`: a version that counts up would tell who remembers to compute anew."""
    for tensor, value in zip(tensors, values, strict=True):
        tensor.data.copy_(value)


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
