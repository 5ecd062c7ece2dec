"""One level of a suite checked against its op, stage by stage, and made into a Suite.

Problems are collected, not raised, so that the first one in the document is told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal, cast

from llmbench.errors import SuiteError, nearest
from llmbench.metrics import METRICS
from llmbench.suite.catalog import OpSpec, ParamSpec, Phase, Scalar
from llmbench.suite.constraints import Setting, violations
from llmbench.suite.document import Document, Place, dotted, seen
from llmbench.suite.level import Level
from llmbench.suite.suite import Axis, AxisValue, GateCase, Match, Skip, Suite
from llmbench.suite.values import read_value, repeats

MAX_CASES = 100_000


@dataclass
class Draft:
    """A level while it is checked: the stages are called in their order, as long as there are no problems."""

    document: Document
    level: Level
    suite: Suite
    problems: list[SuiteError] = field(default_factory=list)
    settings: dict[str, list[Setting]] = field(default_factory=dict)  # by parameter
    axes: list[Axis] = field(default_factory=list)

    @property
    def op(self) -> OpSpec:
        """The op of the suite."""
        return self.suite.op

    def read(self) -> None:
        """Stage 1: names and values, each for itself."""
        axes_spec, axes_place = self.level.owner("axes")
        for axis in axes_spec.axes:
            self._axis(axis, (*axes_place, axis))
        self.suite = replace(
            self.suite,
            impls=self._names("impls"),
            phases=cast(tuple[Phase, ...], self._names("phases")),
            axes=tuple(self.axes),
            fixed=self._fixed(),
            measure=self.level.owner("measure")[0].measure.read(),
            probes=self._unique("probes"),
            gate=self._gate(),
            seed=self.level.owner("seed")[0].seed,
            plugins=self._unique("plugins"),
        )

    def check_missing(self) -> None:
        """Stage 2: every parameter has a value in every combination."""
        place = self.level.owner("axes")[1]
        for name, settings in list(self.settings.items()):
            if settings[0].axis is not None:
                self._partly(name, settings, (*place, settings[0].axis))
        for param in self.op.params:
            if param.name in self.settings:
                continue
            if param.default is None:
                text = f"parameter {param.name!r} of op {self.op.name!r} has no value; set it under axes or fixed"
                given = [p for p in (place, self.level.owner("fixed")[1]) if p in self.document.values]
                self.add(text, given[0] if given else ("op",), at="key")
            else:
                self.settings[param.name] = [Setting(param.default, ())]

    def read_matches(self) -> None:
        """Stage 3: what the baseline, the skip rules and the gate's cases name is in the suite."""
        part, place = self.level.owner("baseline")
        baseline = self._match(part.baseline, place, must_fit=True)
        part, place = self.level.owner("skip")
        own = self.level.is_own(place)
        skip = tuple(
            Skip(self._match(rule.match, (*place, i, "match"), must_fit=own), rule.why)
            for i, rule in enumerate(part.skip)
        )
        part, place = self.level.owner("gate")
        own = self.level.is_own(place)
        cases = tuple(
            GateCase(self._match(entry.match, (*place, "cases", i, "match"), must_fit=own), entry.limits, entry.why)
            for i, entry in enumerate(part.gate.cases)
        )
        first = {key: values[0] for key, values in baseline.items()}
        self.suite = replace(self.suite, baseline=first, skip=skip, gate_cases=cases)

    def check_size(self) -> None:
        """Stage 4: not too many cases."""
        suite = self.suite
        size = prod((len(suite.impls), len(suite.phases), *(len(a.values) for a in suite.axes)))
        if size > MAX_CASES:
            message = f"{size:,} cases, more than {MAX_CASES:,}; shorten an axis or split the suite"
            self.add(message, self.level.owner("axes")[1], at="key")

    def check_constraints(self) -> None:
        """Stage 5: no combination of values that is not skipped breaks a rule of the op; the first of each is told."""
        for text, place in violations(self.suite, self.settings):
            self.add(text, place)

    def add(self, message: str, place: Place, *, at: Literal["key", "value"] = "value") -> None:
        """Notes a problem; where the fault is in another level's text, the message names the overlays."""
        context = "" if self.level.is_own(place) else self.level.context
        self.problems.append(self.document.error(context + message, place, at=at))

    def _line(self, place: Place) -> str:
        return f"line {self.document.mark(place, at='key').line}"

    def _names(self, key: Literal["impls", "phases"]) -> tuple[str, ...]:
        part, place = self.level.owner(key)
        offered = [i.name for i in self.op.impls] if key == "impls" else list(self.op.phases)
        given: list[str] = getattr(part, key)
        what = "an implementation" if key == "impls" else "a phase"
        for i, name in enumerate(given):
            if name not in offered:
                self.add(f"{name!r} is not {what} of op {self.op.name!r}{self._near(name, offered)}", (*place, i))
        self._repeated(given, place)
        if given:
            return tuple(given)
        return tuple(offered) if key == "impls" else ("fwd",) if "fwd" in offered else tuple(offered[:1])

    def _unique(self, key: Literal["probes", "plugins"]) -> tuple[str, ...]:
        part, place = self.level.owner(key)
        self._repeated(getattr(part, key), place)
        return tuple(getattr(part, key))

    def _repeated(self, values: Iterable[Scalar], place: Place) -> None:
        values = list(values)
        for i, first in repeats(values):
            self.add(f"{dotted((*place, i))} repeats {seen(values[i])} of {dotted((*place, first))}", (*place, i))

    def _gate(self) -> dict[str, float | None]:
        part, place = self.level.owner("gate")
        self._metrics(part.gate.limits, place)
        for i, entry in enumerate(part.gate.cases):
            at = (*place, "cases", i)
            self._metrics(entry.limits, at)
            if not entry.limits:
                self.add(f"{dotted(at)} sets no limit; wanted at least one, such as time: 0.1", at)
        return part.gate.limits

    def _metrics(self, names: Iterable[str], place: Place) -> None:
        """Refuses what is no metric, or none that can be gated."""
        for name in names:
            at = (*place, name)
            if name not in METRICS:
                self.add(f"{dotted(at)} is not a metric{self._near(name, METRICS)}", at, at="key")
            elif METRICS[name].better == "none":
                self.add(f"{dotted(at)} cannot be a gate; neither more nor less of it is better", at, at="key")

    def _param(self, name: str, place: Place) -> ParamSpec | None:
        spec = self.op.param(name)
        if spec is None:
            near = self._near(name, [p.name for p in self.op.params])
            self.add(f"{dotted(place)} is not a parameter of op {self.op.name!r}{near}", place, at="key")
        return spec

    def _value(self, spec: ParamSpec, raw: Scalar, place: Place) -> Scalar:
        try:
            return read_value(spec, raw)
        except ValueError as error:
            self.add(f"{dotted(place)} {error}", place)
            return raw

    def _claim(self, name: str, place: Place) -> None:
        """Refuses a parameter that another axis, or an axis and `fixed`, set as well."""
        for other in self.settings.get(name, [])[:1]:
            where = other.place[:-1] if isinstance(other.place[-1], int) else other.place
            message = f"parameter {name!r} is set twice; {dotted(where)} in {self._line(where)} sets it too"
            self.add(message, place, at="key")

    def _axis(self, name: str, place: Place) -> None:
        values = self.level.owner("axes")[0].axes[name]
        if isinstance(values, dict):
            self._bundles(name, values, place)
            return
        if (spec := self._param(name, place)) is None:
            return
        self._claim(name, place)
        known = [self._value(spec, v, (*place, i)) for i, v in enumerate(values)]
        self._repeated(known, place)
        settings = [Setting(v, (*place, i), name, f"{name}={v}") for i, v in enumerate(known)]
        self.settings.setdefault(name, []).extend(settings)
        self.axes.append(Axis(name, tuple(AxisValue({name: v}) for v in known)))

    def _bundles(self, name: str, bundles: dict[str, dict[str, Scalar]], place: Place) -> None:
        if name in ("impl", "phase") or self.op.param(name):
            what = "a word of the suite" if name in ("impl", "phase") else f"a parameter of op {self.op.name!r}"
            self.add(f"{dotted(place)} has labels, so it needs a name of its own; {name!r} is {what}", place, at="key")
        values: list[AxisValue] = []
        found: dict[str, list[Setting]] = {}
        for label, params in bundles.items():
            known: dict[str, Scalar] = {}
            for param, raw in params.items():
                at = (*place, label, param)
                if spec := self._param(param, at):
                    self._claim(param, at)
                    known[param] = self._value(spec, raw, at)
                    found.setdefault(param, []).append(Setting(known[param], at, name, f"{name}={label}"))
            if (twin := next((v.label for v in values if v.params == known), None)) is not None:
                self.add(f"{dotted((*place, label))} sets the same values as {twin!r}", (*place, label), at="key")
            values.append(AxisValue(known, label))
        self.settings.update(found)
        self.axes.append(Axis(name, tuple(values)))

    def _partly(self, param: str, settings: list[Setting], place: Place) -> None:
        """Labels that leave out what others set: an error without a default, else they take the default."""
        spec = self.op.param(param)
        labels = [v.label for a in self.axes if a.name == place[-1] for v in a.values]
        has = {s.place[len(place)] for s in settings}
        for label in labels:
            if label is None or label in has or spec is None:
                continue
            if spec.default is None:
                other = dotted(settings[0].place[:-1])
                message = f"{dotted((*place, label))} does not set {param!r}, which {other} sets"
                self.add(message, (*place, label), at="key")
            else:
                settings.append(Setting(spec.default, (*place, label), str(place[-1]), f"{place[-1]}={label}"))

    def _fixed(self) -> dict[str, Scalar]:
        part, place = self.level.owner("fixed")
        fixed: dict[str, Scalar] = {}
        for name, raw in part.fixed.items():
            at = (*place, name)
            if spec := self._param(name, at):
                self._claim(name, at)
                fixed[name] = self._value(spec, raw, at)
                self.settings.setdefault(name, []).append(Setting(fixed[name], at))
        return fixed

    def _match(self, match: Mapping[str, Scalar | list[Scalar]], place: Place, *, must_fit: bool) -> Match:
        """The match with its values in the parameters' types; `must_fit` asks that the suite has each of them."""
        read: Match = {}
        for key, raw in match.items():
            at = (*place, key)
            offered = choices(self.suite, key, [s.value for s in self.settings.get(key, [])])
            if offered is None and must_fit:
                known = ["impl", "phase", *(a.name for a in self.axes), *(p.name for p in self.op.params)]
                near = self._near(key, dict.fromkeys(known))
                self.add(f"{dotted(at)} is not a parameter, axis, impl or phase here{near}", at, at="key")
            values: list[tuple[Scalar, Place]]
            values = [(v, (*at, i)) for i, v in enumerate(raw)] if isinstance(raw, list) else [(raw, at)]
            known_values = [self._matched(key, v, p, offered if must_fit else None) for v, p in values]
            self._repeated(known_values, at)
            read[key] = tuple(known_values)
        return read

    def _matched(self, key: str, raw: Scalar, place: Place, offered: dict[Scalar, None] | None) -> Scalar:
        spec, before = self.op.param(key), len(self.problems)
        value = self._value(spec, raw, place) if spec else raw
        if (
            offered is not None
            and len(self.problems) == before
            and not (value in offered and (spec or isinstance(value, str)))
        ):
            near = self._near(str(value), [str(o) for o in offered])
            self.add(f"{dotted(place)} is {seen(value)}, which this suite does not have{near}", place)
        return value

    def _near(self, text: str, known: Iterable[str]) -> str:
        """The nearest name; not after twenty problems, of which one will be told: a search in a long axis is slow."""
        return nearest(text[:60], known) if len(self.problems) < 20 else ""


def choices(suite: Suite, key: str, values: Iterable[Scalar]) -> dict[Scalar, None] | None:
    """What a match can ask of the key in this suite, `values` being the parameter's; None for a key that it lacks."""
    if key in ("impl", "phase"):
        return dict.fromkeys(suite.impls if key == "impl" else suite.phases)
    for axis in suite.axes:
        if axis.name == key and any(v.label is not None for v in axis.values):
            return dict.fromkeys(v.label for v in axis.values if v.label is not None)
    return dict.fromkeys(values) if suite.op.param(key) else None
