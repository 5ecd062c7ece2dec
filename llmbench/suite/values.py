"""Values of parameters: what a suite or a flag gives, checked against the parameter of the op."""

from collections.abc import Iterable

from llmbench.errors import nearest
from llmbench.suite.catalog import ParamSpec, Scalar
from llmbench.suite.document import seen

_KINDS = {"int": "an integer", "float": "a number", "str": "a string", "bool": "true or false"}
_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


def read_value(spec: ParamSpec, value: Scalar) -> Scalar:
    """The value in the parameter's own type; an integer is taken where a number is wanted.

    Raises: ValueError with what was seen and what is wanted.
    """
    if spec.type == "float" and type(value) is int:
        value = float(value)
    if type(value) is not _TYPES[spec.type]:
        raise ValueError(f"is {seen(value)}; wanted {_KINDS[spec.type]}")
    if spec.choices and value not in spec.choices:
        raise ValueError(f"is {seen(value)}{nearest(str(value)[:60], spec.choices)}")
    if spec.minimum is not None and isinstance(value, int | float) and value < spec.minimum:
        raise ValueError(f"is {seen(value)}; wanted {spec.minimum:g} or more")
    return value


def read_text(spec: ParamSpec, text: str) -> Scalar:
    """The value that a flag spells. Raises: ValueError with what was seen and what is wanted."""
    try:
        value: Scalar = {"true": True, "false": False}[text] if spec.type == "bool" else _TYPES[spec.type](text)
    except (KeyError, ValueError, OverflowError):
        raise ValueError(f"is {seen(text)}; wanted {_KINDS[spec.type]}") from None
    return read_value(spec, value)


def repeats(values: Iterable[Scalar]) -> list[tuple[int, int]]:
    """The (index, index of the first) of each value that stands in the list a second time; 1, 1.0 and true differ."""
    first: dict[tuple[type, Scalar], int] = {}
    return [(i, at) for i, v in enumerate(values) if (at := first.setdefault((type(v), v), i)) != i]
