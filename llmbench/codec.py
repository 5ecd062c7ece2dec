"""Frozen dataclasses to plain JSON data and back: what the catalog, the protocol and the journal travel as."""

import types
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_plain(value: object) -> Any:
    """Dataclasses, tuples, mappings and enums as dicts, lists and scalars that `json.dumps` takes."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    return value


def from_plain(cls: type[T], data: Any) -> T:
    """The dataclass `cls` from what `to_plain` made of it.

    Fields that the data lacks take their defaults, so that a newer reader takes an older journal.
    Raises: ValueError naming the field, when the data does not fit the type.
    """
    return _read(cls, data, cls.__name__)  # type: ignore[no-any-return]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(kind: Any, data: Any, where: str) -> Any:
    if kind is Any or kind is object:
        return data
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(kind, data, where)
    if origin is Literal:
        if data not in get_args(kind):
            raise ValueError(f"{where}: {data!r} is none of {get_args(kind)}")
        return data
    if origin in (tuple, list):
        return _read_sequence(kind, data, where)
    if origin is dict:
        _expect(isinstance(data, dict), kind, data, where)
        return {k: _read(get_args(kind)[1], v, f"{where}.{k}") for k, v in data.items()}
    if is_dataclass(kind):
        return _read_dataclass(kind, data, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    _expect(isinstance(data, kind) and (kind is bool or not isinstance(data, bool)), kind, data, where)
    return data


def _read_union(kind: Any, data: Any, where: str) -> Any:
    for option in get_args(kind):
        if option is type(None):
            if data is None:
                return None
            continue
        try:
            # an int stays an int in `int | float`: only an exact fit counts on this first round
            if option is float and isinstance(data, int):
                continue
            return _read(option, data, where)
        except ValueError:
            continue
    if float in get_args(kind) and isinstance(data, int):
        return float(data)
    raise ValueError(f"{where}: {data!r} is no {kind}")


def _read_sequence(kind: Any, data: Any, where: str) -> Any:
    _expect(isinstance(data, list), kind, data, where)
    args = get_args(kind)
    if get_origin(kind) is list:
        return [_read(args[0], v, where) for v in data]
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_read(args[0], v, where) for v in data)
    _expect(len(args) == len(data), kind, data, where)
    return tuple(_read(a, v, where) for a, v in zip(args, data, strict=True))


def _read_dataclass(kind: Any, data: Any, where: str) -> Any:
    _expect(isinstance(data, dict), kind, data, where)
    hints, values = _hints(kind), {}
    for f in fields(kind):
        if f.name in data:
            values[f.name] = _read(hints[f.name], data[f.name], f"{where}.{f.name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where}.{f.name} is missing")
    return kind(**values)


def _expect(fits: bool, kind: Any, data: Any, where: str) -> None:
    if not fits:
        raise ValueError(f"{where}: {data!r} is no {getattr(kind, '__name__', kind)}")
