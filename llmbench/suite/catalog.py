"""The catalog: what this installation can measure, as plain data that the parent reads without importing torch.

`llmbench worker --describe` prints it as JSON; `run.describe` caches it.
"""

from dataclasses import dataclass, field
from typing import Literal

Scalar = int | float | str | bool
ParamType = Literal["int", "float", "str", "bool"]
Phase = Literal["infer", "fwd", "bwd", "fwd_bwd", "step"]
Isolation = Literal["point", "case"]


@dataclass(frozen=True)
class ParamSpec:
    """One parameter of an op. `default` None means that a suite must set it."""

    name: str
    type: ParamType
    default: Scalar | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    doc: str = ""


@dataclass(frozen=True)
class Constraint:
    """A rule between two parameters: `left` must be a multiple of `right`, or at most `right`; or may differ from its
    default only where `right` is `value` (`only_with`) or is not (`not_with`), since it would do nothing elsewhere.

    Where a value of 0 stands for what the parameter `preset` chooses, `own` has that, by preset and parameter.
    """

    kind: Literal["multiple_of", "at_most", "only_with", "not_with"]
    left: str
    right: str
    value: str | None = None
    preset: str | None = None
    own: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class ImplSpec:
    """One implementation of an op, and whether it can run on the device that was described."""

    name: str
    doc: str = ""
    phases: tuple[Phase, ...] = ()
    needs: tuple[str, ...] = ()
    why_unavailable: str | None = None


@dataclass(frozen=True)
class OpSpec:
    """One op: its parameters, phases, constraints and implementations."""

    name: str
    version: int
    doc: str
    params: tuple[ParamSpec, ...]
    phases: tuple[Phase, ...]
    impls: tuple[ImplSpec, ...]
    constraints: tuple[Constraint, ...] = ()
    isolation: Isolation = "point"
    sizes: tuple[str, ...] = ()  # parameters that memory grows with

    def param(self, name: str) -> ParamSpec | None:
        """The parameter of that name, or None."""
        return next((p for p in self.params if p.name == name), None)


@dataclass(frozen=True)
class DeviceSpec:
    """A device as torch names it (`cpu`, `cuda:0`), its architecture (`cpu`, `sm90`) and its own name."""

    device: str
    arch: str
    name: str
    uuid: str = ""  # of a GPU, which `cuda:0` is not: that depends on CUDA_VISIBLE_DEVICES


@dataclass(frozen=True)
class Catalog:
    """Every op that a worker of this interpreter offers on one device."""

    device: DeviceSpec
    ops: tuple[OpSpec, ...]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()  # what went wrong without stopping anybody, e.g. an installed plugin that does not load

    def op(self, name: str) -> OpSpec | None:
        """The op of that name, or None."""
        return next((o for o in self.ops if o.name == name), None)
