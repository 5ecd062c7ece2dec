"""The parameters of an op, read from its frozen dataclass."""

from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from llmbench.suite.catalog import ParamSpec, ParamType, Scalar

_TYPES: dict[type, ParamType] = {int: "int", float: "float", str: "str", bool: "bool"}


class AtLeast(NamedTuple):
    """The smallest value of a parameter: `Annotated[int, AtLeast(0)]`. Integers without one start at 1."""

    minimum: float


def param_specs(params: type) -> tuple[ParamSpec, ...]:
    """One spec a field of the dataclass `params`: int, float, str, bool or a Literal of strings.

    Raises: TypeError for a field of another type.
    """
    hints = get_type_hints(params, include_extras=True)
    return tuple(_spec(f.name, hints[f.name], f.default) for f in fields(params))


def _spec(name: str, hint: Any, default: Any) -> ParamSpec:
    minimum: float | None = None
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        minimum = next((e.minimum for e in extras if isinstance(e, AtLeast)), None)
    given: Scalar | None = None if default is MISSING else default
    if get_origin(hint) is Literal:
        return ParamSpec(name, "str", given, choices=get_args(hint))
    if hint not in _TYPES:
        raise TypeError(f"parameter {name!r}: {hint} is none of int, float, str, bool, Literal of strings")
    if hint is int and minimum is None:
        minimum = 1
    return ParamSpec(name, _TYPES[hint], given, minimum=minimum)
