"""A suite, checked and resolved for one device: what `load` makes of YAML and `case.expand` reads."""

from dataclasses import dataclass, field
from typing import Literal

from llmbench.suite.catalog import Isolation, OpSpec, Phase, Scalar

Match = dict[str, tuple[Scalar, ...]]  # parameter, axis, impl or phase -> the values that match


@dataclass(frozen=True)
class AxisValue:
    """One value of an axis: the parameters that it sets, and its label when it is a named bundle."""

    params: dict[str, Scalar]
    label: str | None = None


@dataclass(frozen=True)
class Axis:
    """One axis of the sweep, its values in the order of the suite."""

    name: str
    values: tuple[AxisValue, ...]


@dataclass(frozen=True)
class Skip:
    """Cases that match are recorded as `skipped`, with the reason."""

    match: Match
    why: str


@dataclass(frozen=True)
class GateCase:
    """Limits of the cases that match, in place of those of all; a metric with None is not gated in them."""

    match: Match
    limits: dict[str, float | None]
    why: str | None = None


@dataclass(frozen=True)
class Measure:
    """How each case is measured; the defaults are those of a suite that says nothing."""

    target_ci: float = 0.01  # stop when the half-width of the 95 % CI of the median is below this share of it
    max_s: float = 1.0  # or when one case has been sampled for this long, cache flushes included
    min_samples: int = 6  # the order-statistic CI at 95 % needs six
    cache: Literal["cold", "warm"] = "cold"
    order: Literal["interleaved", "apart"] = "interleaved"
    processes: int = 1  # fresh processes, each measuring every case
    timeout_s: float = 300.0  # a stage of a case (build, check, memory, a block of samples) that takes longer is a hang
    memory_limit: int | None = None  # bytes that a worker may add to what it holds after its imports
    threads: int | None = None  # of torch in a worker; None leaves it to torch and the environment
    sentinels: bool = True  # kernels that never change are timed between the points: how fast is the machine?


@dataclass(frozen=True)
class Suite:
    """What to measure, on which device; equal suites expand to equal cases."""

    name: str
    op: OpSpec
    device: str
    impls: tuple[str, ...]
    phases: tuple[Phase, ...]
    axes: tuple[Axis, ...]
    fixed: dict[str, Scalar]
    baseline: dict[str, Scalar] = field(default_factory=dict)
    skip: tuple[Skip, ...] = ()
    measure: Measure = field(default_factory=Measure)
    probes: tuple[str, ...] = ()
    gate: dict[str, float | None] = field(default_factory=dict)  # a metric with None is not gated
    gate_cases: tuple[GateCase, ...] = ()  # of two that match a case, the later one counts, metric by metric
    seed: int = 0
    plugins: tuple[str, ...] = ()

    @property
    def isolation(self) -> Isolation:
        """Whether the cases of a point share a worker."""
        return self.op.isolation

    @property
    def order(self) -> Literal["interleaved", "apart"]:
        """Whether the cases of a point take turns where that can be: only in a worker that they share."""
        return self.measure.order if self.isolation == "point" else "apart"
