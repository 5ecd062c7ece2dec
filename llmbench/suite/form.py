"""Strict YAML as pydantic models: what a value is told to be, every error with its place, and the JSON Schema."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, WrapValidator
from pydantic_core import ErrorDetails, PydanticCustomError

from llmbench.errors import SuiteError
from llmbench.suite.document import Document, Place, dotted, seen

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
"""Of every model: these keys alone, values of these types alone; the docstring of a field describes it."""

BESIDE = "beside"  # the type of an error that says itself what stands behind the value that was seen
_WANTED = {"list_type": "a list", "dict_type": "a mapping", "model_type": "a mapping"}


def wanted(text: str) -> WrapValidator:
    """Says what is wanted, whatever was wrong."""

    def check(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("wanted", "{wanted}", {"wanted": text}) from None

    return WrapValidator(check)


Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$"), wanted("a name of letters, digits, _ . and -")
]


def told(
    error: ValidationError, document: Document, *, at: Place = (), whole: str, unknown: Callable[[Place], str]
) -> list[SuiteError]:
    """pydantic's errors as ours: where, what was seen, what is wanted.

    `at` is where the model stands in the document, `whole` what messages call all of it, `unknown` the message for a
    key that is none.
    """
    return [_told(d, document, at, whole, unknown) for d in error.errors(include_url=False, include_input=False)]


def json_schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """pydantic's schema of a model without made-up titles and empty defaults, and with every mapping closed."""
    schema: dict[str, Any] = _tidy(model.model_json_schema())
    return schema


def _told(
    detail: ErrorDetails, document: Document, at: Place, whole: str, unknown: Callable[[Place], str]
) -> SuiteError:
    place, value, extra = _walk(document, at, detail["loc"])
    kind, where = detail["type"], dotted(place)
    if kind == "missing":
        return document.error(f"{where or whole} has no key {extra[0]!r}, which it needs", place)
    if kind == "extra_forbidden":
        return document.error(unknown(place), place, at="key")
    if "[key]" in extra:
        return document.error(f"{where} is not {detail['msg']}", place, at="key")
    if kind == "too_short":
        return document.error(f"{where} is empty; wanted at least one", place)
    if kind == "too_long":
        return document.error(f"{where} has too many entries; wanted at most {detail['ctx']['max_length']}", place)
    if kind == BESIDE:
        return document.error(f"{where} is {seen(value)}, {detail['msg']}", place)
    return document.error(f"{where} is {seen(value)}; wanted {_WANTED.get(kind, detail['msg'])}", place)


def _walk(document: Document, at: Place, steps: Place) -> tuple[Place, object, list[str]]:
    """The place in the document, what is there, and the steps that are pydantic's own or not in the document."""
    place, extra = at, []
    value: Any = document.data
    for step in at:
        value = value[step]
    for step in steps:
        if (*place, step) in document.values:
            place, value = (*place, step), value[step]
        else:
            extra.append(str(step))
    return place, value, extra


def _tidy(node: Any) -> Any:
    if isinstance(node, list):
        return [_tidy(n) for n in node]
    if not isinstance(node, dict):
        return node
    empty: tuple[object, ...] = ([], {}, "", None)
    kept = {
        k: v
        for k, v in node.items()
        if not (k == "title" and isinstance(v, str)) and not (k == "default" and v in empty)
    }
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    return {k: v if k == "default" else _tidy(v) for k, v in kept.items()}
