"""The text of a dashboard as pydantic models: the kinds of panels, the options of each and what they may hold."""

from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic_core import ErrorDetails, PydanticCustomError

from llmbench.errors import SuiteError, nearest
from llmbench.suite.document import Document, Place, dotted, seen
from llmbench.suite.spec import MatchSpec, Name

Kind = Literal[
    "sweep", "bars", "speedup", "roofline", "complexity", "heatmap", "pareto", "stacked", "distribution", "timeline",
    "table", "status",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_PANELS = 100


class Form(NamedTuple):
    """A dashboard whose keys have the right form: its title, and each panel's options as `PanelSpec` takes them."""

    title: str
    panels: list[dict[str, Any]]


def _wanted(text: str) -> WrapValidator:
    """Says what is wanted, whatever was wrong."""

    def check(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("wanted", "{wanted}", {"wanted": text}) from None

    return WrapValidator(check)


Words = Annotated[str, Field(min_length=1, max_length=300), _wanted("a text of 1 to 300 characters")]
Logs = Annotated[list[Annotated[Literal["x", "y"], _wanted("x or y")]], Field(max_length=2)]
Exponent = Annotated[float, Field(gt=-10, lt=10), _wanted("an exponent, a number between -10 and 10")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class _Panel(_Strict):
    kind: str
    title: Words | None = None
    """Above the panel. Default: made from what it shows."""
    where: MatchSpec = {}
    """Only cases that have these values: parameter, bundle, impl, phase, run, device or commit."""


class _Grid(_Panel):
    facet: Name | None = None
    """One subplot a value, side by side."""
    row: Name | None = None
    """One subplot a value, one below the other."""


class _Curve(_Grid):
    x: Name | None = None
    """Default: the axis with the most numbers."""
    color: Name | None = None
    """Default: impl."""
    log: Logs | None = None
    """Which axes are logarithmic. Default: sizes, and what spans decades."""


class Sweep(_Curve):
    """Lines of y over x; points where x is a metric."""

    y: Name
    band: Annotated[Literal["ci", "none"], _wanted("ci or none")] = "ci"


class Bars(_Grid):
    """Bars of y with their intervals."""

    y: Name
    x: Name | None = None
    color: Name | None = None
    log: Logs | None = None


class Speedup(_Curve):
    """How many times less time than the baseline of the point."""


class Roofline(_Grid):
    """FLOP/s over arithmetic intensity, under the roofs of the datasheet."""

    color: Name | None = None


class Complexity(_Curve):
    """The measured log-log slope of y over x, and the law it should follow."""

    y: Name = "peak_memory"
    theory: Annotated[dict[Name, Exponent], Field(min_length=1)] = {}


class Heatmap(_Grid):
    """z over two axes."""

    x: Name | None = None
    y: Name | None = None
    z: Name


class Pareto(_Grid):
    """Two metrics against each other; what nothing else of its point beats in both is marked."""

    x: Name = "time"
    y: Name = "peak_memory"
    color: Name | None = None
    log: Logs | None = None


class Stacked(_Grid):
    """The parts of a metric, stacked."""

    x: Name | None = None
    y: Name = "time"
    part: Annotated[list[Name], Field(min_length=1)] = []
    """Which parts, from the bottom. Default: all."""


class Distribution(_Panel):
    """Samples in measured order beside their histogram."""

    metric: Name = "time"
    cases: Annotated[int, Field(ge=1, le=12), _wanted("an integer from 1 to 12")] = 4


class Timeline(_Panel):
    """Clocks, power and temperature over the run."""


class Table(_Panel):
    """Numbers, one line a case."""

    columns: Annotated[list[Name], Field(min_length=1)] = []


class Status(_Panel):
    """Which cases have a result, and why the others have none."""

    x: Name | None = None


MODELS: dict[Kind, type[_Panel]] = {
    "sweep": Sweep, "bars": Bars, "speedup": Speedup, "roofline": Roofline, "complexity": Complexity,
    "heatmap": Heatmap, "pareto": Pareto, "stacked": Stacked, "distribution": Distribution, "timeline": Timeline,
    "table": Table, "status": Status,
}  # fmt: skip


class _Top(_Strict):
    title: Words
    panels: Annotated[list[Any], Field(min_length=1, max_length=MAX_PANELS)]


def parse_form(document: Document) -> Form:
    """The document as a dashboard's text. Raises: SuiteError for the first key or value that has the wrong form."""
    found, panels = [], []
    data = document.data
    try:
        _Top.model_validate(data)
    except ValidationError as error:
        found += [_told(document, (), _Top, d) for d in error.errors(include_url=False, include_input=False)]
    given = data.get("panels")
    for i, panel in enumerate(given if isinstance(given, list) else []):
        errors, options = _panel(document, i, panel)
        found += errors
        panels.append(options)
    if found:
        raise min(found, key=lambda e: (e.line, e.column))
    return Form(data["title"], panels)


def _panel(document: Document, index: int, panel: Any) -> tuple[list[SuiteError], dict[str, Any]]:
    place: Place = ("panels", index)
    if not isinstance(panel, dict):
        return [document.error(f"panels[{index}] is {seen(panel)}; wanted a mapping with a kind", place)], {}
    if "kind" not in panel:
        return [
            document.error(f"panels[{index}] has no key 'kind', which it needs; known: {', '.join(KINDS)}", place)
        ], {}
    model = next((m for kind, m in MODELS.items() if kind == panel["kind"]), None)
    if model is None:
        text = f"panels[{index}].kind is {seen(panel['kind'])}{nearest(str(panel['kind'])[:60], KINDS)}"
        return [document.error(text, (*place, "kind"))], {}
    try:
        options = model.model_validate(panel).model_dump()
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return [_told(document, place, model, d) for d in details], {}
    errors = [
        document.error(f"panels[{index}].{key}[{i}] repeats {seen(v)}", (*place, key, i))
        for key, values in panel.items()
        if isinstance(values, list)
        for i, v in enumerate(values)
        if v in values[:i]
    ]
    return errors, {k: _frozen(k, v) for k, v in options.items()}


def _frozen(key: str, value: Any) -> Any:
    if key == "where":
        return {k: tuple(v) if isinstance(v, list) else (v,) for k, v in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _told(document: Document, base: Place, model: type[BaseModel], detail: ErrorDetails) -> SuiteError:
    """A pydantic error as ours: where, what was seen, what is wanted."""
    place, value, extra = _walk(document, base, detail["loc"])
    kind, where = detail["type"], dotted(place)
    if kind == "missing":
        return document.error(f"{where or 'the dashboard'} has no key {extra[0]!r}, which it needs", place)
    if kind == "extra_forbidden":
        name = str(place[-1])
        what = f"is not an option of kind {model.__name__.lower()!r}" if base else "is not a key of a dashboard"
        return document.error(f"{where} {what}{nearest(name[:60], model.model_fields)}", place, at="key")
    if "[key]" in extra:
        return document.error(f"{where} is not {detail['msg']}", place, at="key")
    if kind == "too_short":
        return document.error(f"{where} is empty; wanted at least one", place)
    if kind == "too_long":
        return document.error(f"{where} has too many entries; wanted at most {detail['ctx']['max_length']}", place)
    wanted = {"list_type": "a list", "dict_type": "a mapping", "model_type": "a mapping"}.get(kind, detail["msg"])
    return document.error(f"{where} is {seen(value)}; wanted {wanted}", place)


def _walk(document: Document, base: Place, loc: tuple[str | int, ...]) -> tuple[Place, object, list[str]]:
    """The place in the document, what is there, and the steps that are pydantic's own or not in the document."""
    place, value = base, document.data
    for step in base:
        value = value[step]  # type: ignore[index]
    extra: list[str] = []
    for step in loc:
        if (*place, step) in document.values:
            place, value = (*place, step), value[step]  # type: ignore[index]
        else:
            extra.append(str(step))
    return place, value, extra
