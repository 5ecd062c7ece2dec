"""The names that a dashboard may use: metrics, and the facts that the cases of its runs have."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from llmbench.analyze.derive import DERIVED
from llmbench.metrics import METRICS, Metric
from llmbench.store.query import Run
from llmbench.store.record import WORST_FIRST
from llmbench.suite.catalog import ParamSpec, Scalar
from llmbench.suite.document import Place, seen
from llmbench.suite.values import read_value

ALL_METRICS: Mapping[str, Metric] = {**METRICS, **DERIVED}
"""Every metric that a panel can show: those that a run stores, and those that follow from them."""

FACTS = (
    "impl",
    "phase",
    "run",
    "device",
    "arch",
    "commit",
    "started",
    "torch",
    "suite",
    "op",
    "cache",
    "status",
    "process",
)
"""What every case has beside its parameters and bundles."""

Role = Literal["metric", "sampled", "fact", "any"]
"""What an option names: a metric, one that runs store, a fact (parameter, bundle or one of FACTS), or any of them."""

NOTES = "notes"  # a column of tables beside metrics and facts: what weakens a case's numbers, or why it has none

ROLES: Mapping[str, Role] = {
    "x": "any", "y": "any", "z": "metric", "color": "fact", "facet": "fact", "row": "fact", "metric": "sampled",
    "columns": "any",
}  # fmt: skip
"""Options that name something, and what it is in panels of most kinds."""

_A = {"impl": "an implementation", "phase": "a phase", "status": "a status", "cache": "a state of the cache"}
_OF_ALL = {"status": WORST_FIRST, "cache": ("cold", "warm")}  # the values of these, whatever the runs hold
_METRIC_OPTIONS = {"y": ("bars", "complexity", "fit", "stacked", "pareto"), "x": ("pareto",)}
_FACT_ONLY = {"x": ("bars", "speedup", "complexity", "fit", "heatmap", "stacked", "status"), "y": ("heatmap",)}


@dataclass(frozen=True)
class Names:
    """What the runs know: parameters and bundles by name, and how messages call their ops."""

    ops: str
    params: dict[str, ParamSpec]
    bundles: dict[str, tuple[str, ...]]  # name -> labels of its values
    parts: dict[str, tuple[str, ...]]  # metric -> parts that were recorded of it
    impls: tuple[str, ...]
    phases: tuple[str, ...]

    @property
    def facts(self) -> tuple[str, ...]:
        """Everything that tells cases apart, by name."""
        return tuple(dict.fromkeys((*FACTS, *self.bundles, *self.params)))


class Problem(NamedTuple):
    """A name that is not right, at a place within its panel; `known` are the names to suggest from."""

    place: Place
    message: str
    seen: str = ""
    known: tuple[str, ...] = ()
    at_key: bool = False


def names_of(runs: Sequence[Run]) -> Names:
    """The names of every run together."""
    suites = [run.manifest.header.suite for run in runs]
    ops = {s.op.name: s.op for s in suites}
    bundles: dict[str, dict[str, None]] = {}
    for axis in (a for s in suites for a in s.axes if a.values and a.values[0].label is not None):
        bundles.setdefault(axis.name, {}).update((v.label, None) for v in axis.values if v.label is not None)
    parts: dict[str, dict[str, None]] = {}
    for row in (r for run in runs for r in run.rows if r.part is not None and r.metric is not None):
        parts.setdefault(str(row.metric), {})[str(row.part)] = None
    return Names(
        ops=" and ".join(f"op {name!r}" for name in ops),
        params={p.name: p for op in ops.values() for p in op.params},
        bundles={name: tuple(labels) for name, labels in bundles.items()},
        parts={name: tuple(found) for name, found in parts.items()},
        impls=tuple(dict.fromkeys(i.name for op in ops.values() for i in op.impls)),
        phases=tuple(dict.fromkeys(p for op in ops.values() for p in op.phases)),
    )


def problems(kind: str, options: Mapping[str, Any], known: Names) -> Iterator[Problem]:
    """What is wrong with the names in a panel's options."""
    for option in ROLES:
        given = options[option]
        names = enumerate(given) if isinstance(given, tuple) else [(None, given)]
        for i, name in names:
            if name is not None and (option, name) != ("columns", NOTES):
                yield from _CHECKS[role_of(kind, option)]((option,) if i is None else (option, i), name, known)
    for key, values in options["where"].items():
        yield from _where(key, values, known)
    yield from _parts(options["part"], options["y"], known)
    if options["color"] in (None, "impl"):
        for name in options["theory"]:
            if name not in known.impls:
                message = f"is not an implementation of {known.ops}"
                yield Problem(("theory", name), message, name, known.impls, at_key=True)
    if options["facet"] is not None and options["facet"] == options["row"]:
        yield Problem(("row",), f"is {seen(options['row'])}, as facet is")


def role_of(kind: str, option: str) -> Role:
    """What that option of `ROLES` names in panels of that kind."""
    if kind in _METRIC_OPTIONS.get(option, ()):
        return "metric"
    return "fact" if kind in _FACT_ONLY.get(option, ()) else ROLES[option]


def _metric(place: Place, name: str, known: Names) -> Iterator[Problem]:
    if name not in ALL_METRICS:
        yield Problem(place, f"is {seen(name)}, which is not a metric", name, tuple(ALL_METRICS))


def _sampled(place: Place, name: str, known: Names) -> Iterator[Problem]:
    if name not in METRICS:
        yield Problem(place, f"is {seen(name)}, which is not a metric that is sampled", name, tuple(METRICS))


def _any(place: Place, name: str, known: Names) -> Iterator[Problem]:
    names = (*ALL_METRICS, *known.facts)
    if name not in names:
        message = f"is {seen(name)}, which is not a metric, parameter or axis of {known.ops}"
        yield Problem(place, message, name, (*names, NOTES) if place[0] == "columns" else names)


def _fact(place: Place, name: str, known: Names) -> Iterator[Problem]:
    if name in known.facts:
        return
    what = "a metric; wanted" if name in ALL_METRICS else "not"
    message = f"is {seen(name)}, which is {what} a parameter or axis of {known.ops}"
    yield Problem(place, message, name, () if name in ALL_METRICS else known.facts)


_CHECKS: Mapping[Role, Callable[[Place, str, Names], Iterator[Problem]]] = {
    "metric": _metric, "sampled": _sampled, "fact": _fact, "any": _any,
}  # fmt: skip


def _parts(given: Sequence[str], metric: str | None, known: Names) -> Iterator[Problem]:
    """Parts that were not recorded of a metric of which others were."""
    choices = known.parts.get(metric or "", ())
    for i, name in enumerate(given):
        if choices and name not in choices:
            yield Problem(("part", i), f"is {seen(name)}, which is not a part of {metric}", name, choices)


def _where(key: str, values: Sequence[Scalar], known: Names) -> Iterator[Problem]:
    if key not in known.facts:
        message = f"is not a parameter or axis of {known.ops}"
        yield Problem(("where", key), message, key, known.facts, at_key=True)
        return
    choices = {"impl": known.impls, "phase": known.phases, **_OF_ALL, **known.bundles}.get(key, ())
    for i, value in enumerate(values):
        place: Place = ("where", key, i)
        if choices and value not in choices:
            owner = "" if key in _OF_ALL else f" of {known.ops}"
            what = _A.get(key, f"a value of {key}")
            yield Problem(place, f"is {seen(value)}, which is not {what}{owner}", str(value), choices)
        elif key in known.params and key not in known.bundles:
            try:
                read_value(known.params[key], value)
            except ValueError as e:
                yield Problem(place, str(e))
