"""A suite made smaller from the command line: `--only` and `--quick`."""

from dataclasses import replace

from llmbench.errors import UsageError, nearest
from llmbench.suite.case import ends
from llmbench.suite.catalog import Scalar
from llmbench.suite.resolve import choices
from llmbench.suite.suite import Axis, AxisValue, Match, Suite
from llmbench.suite.values import read_text


def suite_filter(only: list[str], suite: Suite) -> Match:
    """What `--only impl=naive,tiled` asks for, each value in its parameter's type; the same key twice adds values.

    Raises: UsageError for a key or a value that the suite does not have, with the nearest.
    """
    match: dict[str, list[Scalar]] = {}
    for text in only:
        key, equals, values = text.partition("=")
        if not equals or not values:
            raise UsageError(f"--only {text}: wanted key=value or key=value,value")
        offered = choices(suite, key, _values(suite, key))
        if offered is None:
            known = ["impl", "phase", *(a.name for a in suite.axes), *(p.name for p in suite.op.params)]
            near = nearest(key[:60], dict.fromkeys(known))
            raise UsageError(f"--only {text}: {key!r} is no parameter or axis of suite {suite.name!r}{near}")
        for value in values.split(","):
            found = _value(text, key, value.strip(), suite, offered)
            if found not in match.setdefault(key, []):
                match[key].append(found)
    return {key: tuple(values) for key, values in match.items()}


def quick(suite: Suite) -> Suite:
    """The suite with the ends of each axis (and what the baseline names), one process and little time a case."""
    max_s = min(0.05, suite.measure.max_s)
    measure = replace(suite.measure, max_s=max_s, min_samples=6, processes=1, sentinels=False)
    return replace(suite, axes=tuple(_ends(axis, suite.baseline) for axis in suite.axes), measure=measure)


def _ends(axis: Axis, baseline: dict[str, Scalar]) -> Axis:
    kept = ends(axis).values
    return Axis(axis.name, tuple(v for v in axis.values if v in kept or _is_baseline(axis, v, baseline)))


def _is_baseline(axis: Axis, value: AxisValue, baseline: dict[str, Scalar]) -> bool:
    facts = {**value.params, **({} if value.label is None else {axis.name: value.label})}
    asked = {k: v for k, v in baseline.items() if k in facts}
    return bool(asked) and all(facts[k] == v for k, v in asked.items())


def _values(suite: Suite, key: str) -> list[Scalar]:
    """Every value that the parameter takes in the suite."""
    spec = suite.op.param(key)
    default = [] if spec is None or spec.default is None else [spec.default]
    for axis in suite.axes:
        if any(key in v.params for v in axis.values):
            return [value for v in axis.values for value in ([v.params[key]] if key in v.params else default)]
    return [suite.fixed[key]] if key in suite.fixed else default


def _value(text: str, key: str, value: str, suite: Suite, offered: dict[Scalar, None]) -> Scalar:
    spec = suite.op.param(key)
    try:
        found: Scalar = read_text(spec, value) if spec else value
    except ValueError as error:
        raise UsageError(f"--only {text}: {key} {error}") from None
    if found not in offered:
        near = nearest(value[:60], [str(o) for o in offered])
        raise UsageError(f"--only {text}: suite {suite.name!r} has no {key} {value!r}{near}")
    return found
