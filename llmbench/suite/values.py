"""Values of parameters: what a suite or a flag gives, checked against the parameter of the op."""

from collections.abc import Iterable

from llmbench.errors import nearest
from llmbench.suite.catalog import Constraint, ParamSpec, Scalar
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


def broken(constraint: Constraint, left: Scalar, right: Scalar) -> str | None:
    """Which rule the two values break, as `is not a multiple of`, or None. `left` is not at its default."""
    if constraint.kind == "only_with":
        return "has no effect with" if right != constraint.value else None
    if constraint.kind == "not_with":
        return "has no effect with" if right == constraint.value else None
    if isinstance(left, str) or isinstance(right, str):
        return None
    if constraint.kind == "at_most":
        return "is more than" if left > right else None
    return "is not a multiple of" if right and left % right else None  # 0, where it may be given, is a preset's own


def repeats(values: Iterable[Scalar]) -> list[tuple[int, int]]:
    """The (index, index of the first) of each value that stands in the list a second time; 1, 1.0 and true differ."""
    first: dict[tuple[type, Scalar], int] = {}
    return [(i, at) for i, v in enumerate(values) if (at := first.setdefault((type(v), v), i)) != i]
