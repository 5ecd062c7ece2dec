"""The text of a dashboard as pydantic models: the kinds of panels, the options of each and what they may hold."""

from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, Field, ValidationError

from llmbench.errors import SuiteError, nearest
from llmbench.suite.document import Document, Place, dotted, seen
from llmbench.suite.form import STRICT, Name, told, wanted
from llmbench.suite.spec import MatchSpec

Kind = Literal[
    "sweep", "bars", "speedup", "roofline", "complexity", "fit", "heatmap", "pareto", "stacked", "distribution",
    "timeline", "table", "status",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_PANELS = 100


class Form(NamedTuple):
    """A dashboard whose keys have the right form: its title, and each panel's options as `PanelSpec` takes them."""

    title: str  # empty where it has none
    panels: list[dict[str, Any]]


Words = Annotated[str, Field(min_length=1, max_length=300), wanted("a text of 1 to 300 characters")]
Logs = Annotated[list[Annotated[Literal["x", "y"], wanted("x or y")]], Field(max_length=2)]
Power = Annotated[float, Field(gt=0, lt=10), wanted("a power, a number above 0 and below 10")]
Known = Annotated[float, Field(allow_inf_nan=False), wanted("a number")]
Exponent = Annotated[float, Field(gt=-10, lt=10), wanted("an exponent, a number between -10 and 10")]


class Panel(BaseModel):
    """What every kind has."""

    model_config = STRICT

    kind: str
    """What it shows."""
    title: Words | None = None
    """Above the panel. Default: made from what it shows."""
    note: Annotated[str, Field(max_length=900), wanted("a text of at most 900 characters")] = ""
    """What its reader should know, below the panel."""
    where: MatchSpec = {}
    """Only cases that have these values: parameter, bundle, impl, phase, run, device or commit."""


class _Grid(Panel):
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
    """Which axes are logarithmic. Default: sizes, ratios and what spans decades."""


class Sweep(_Curve):
    """Lines of y over x; points where x is a metric."""

    y: Name
    band: Annotated[Literal["ci", "none"], wanted("ci or none")] = "ci"
    """The intervals, or none."""
    diagonal: bool = False
    """A line where y equals x, for two metrics of one unit: what is achieved against what is possible."""
    reference: Annotated[dict[Name, Known], Field(min_length=1)] = {}
    """Values of y that are known from elsewhere, in SI units, each a line: {textbook: 0.33}."""


class Bars(_Grid):
    """Bars of y with their intervals."""

    y: Name
    x: Name | None = None
    color: Name | None = None
    log: Logs | None = None
    """Which axes are logarithmic. Default: none."""


class Speedup(_Curve):
    """How many times less time than the baseline of the point."""


class Roofline(_Grid):
    """FLOP/s over arithmetic intensity, under the roofs of the datasheet."""

    color: Name | None = None


class Complexity(_Curve):
    """The measured log-log slope of y over x, and the law it should follow."""

    y: Name = "peak_memory"
    theory: Annotated[dict[Name, Exponent], Field(min_length=1)] = {}
    """The exponent that each implementation (or other colour) should have: {naive: 2, tiled: 1}."""


class Fit(_Grid):
    """Straight lines of y, or of the sum of some of its parts, in a power of x, and how much they explain."""

    x: Name | None = None
    """Default: the axis with the most numbers."""
    y: Name = "peak_memory"
    color: Name | None = None
    part: Annotated[list[Words], Field(min_length=1)] = []
    """Which parts are summed, such as activations of peak_memory. Default: the whole."""
    theory: Annotated[dict[Name, Power], Field(min_length=1)] = {}
    """The power of x that each colour should be a line in: {none: 1, sqrt: 0.5}. Default: 1."""


class Heatmap(_Grid):
    """z over two axes."""

    x: Name | None = None
    y: Name | None = None
    z: Name


class Pareto(_Grid):
    """Two metrics against each other; what nothing else beats in both is marked."""

    x: Name = "time"
    y: Name = "peak_memory"
    color: Name | None = None
    log: Logs | None = None
    """Which axes are logarithmic. Default: what spans decades."""
    front: Annotated[Literal["point", "subplot"], wanted("point or subplot")] = "point"
    """Among which cases: of a point, or of a run in a subplot with as many FLOP a token, whose best are then named."""


class Stacked(_Grid):
    """The parts of a metric, stacked."""

    x: Name | None = None
    y: Name = "time"
    part: Annotated[list[Words], Field(min_length=1)] = []
    """Which parts, such as aten::bmm of launches, from the bottom. Default: all."""


class Distribution(Panel):
    """Samples in measured order beside their histogram."""

    metric: Name = "time"
    cases: Annotated[int, Field(ge=1, le=12), wanted("an integer from 1 to 12")] = 4
    """How many: those with the most flags, then the widest intervals."""


class Timeline(Panel):
    """Clocks, power and temperature over the run."""


class Table(Panel):
    """Numbers, one line a case."""

    columns: Annotated[list[Name], Field(min_length=1)] = []


class Status(Panel):
    """Which cases have a result, and why the others have none."""

    x: Name | None = None


MODELS: dict[Kind, type[Panel]] = {
    "sweep": Sweep, "bars": Bars, "speedup": Speedup, "roofline": Roofline, "complexity": Complexity,
    "fit": Fit,
    "heatmap": Heatmap, "pareto": Pareto, "stacked": Stacked, "distribution": Distribution, "timeline": Timeline,
    "table": Table, "status": Status,
}  # fmt: skip


class Top(BaseModel):
    """A dashboard: what a page shows, as data."""

    model_config = STRICT

    title: Words = ""
    """Of the page. Default: the name of the suite."""
    panels: Annotated[list[Any], Field(min_length=1, max_length=MAX_PANELS)]
    """In their order."""


def parse_form(document: Document) -> Form:
    """The document as a dashboard's text. Raises: SuiteError for the first key or value that has the wrong form."""
    found, panels = [], []
    data = document.data
    try:
        Top.model_validate(data)
    except ValidationError as error:
        found += told(error, document, whole="the dashboard", unknown=_unknown_key)
    given = data.get("panels")
    for i, panel in enumerate(given if isinstance(given, list) else []):
        errors, options = _panel(document, i, panel)
        found += errors
        panels.append(options)
    if found:
        raise min(found, key=lambda e: (e.line, e.column))
    return Form(data.get("title", ""), panels)


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
        return told(error, document, at=place, whole="the dashboard", unknown=partial(_unknown_option, model)), {}
    errors = [
        document.error(f"panels[{index}].{key}[{i}] repeats {seen(v)}", (*place, key, i))
        for key, values in panel.items()
        if isinstance(values, list)
        for i, v in enumerate(values)
        if v in values[:i]
    ]
    return errors, {k: _frozen(k, v) for k, v in options.items()}


def _unknown_key(place: Place) -> str:
    return f"{dotted(place)} is not a key of a dashboard{nearest(str(place[-1])[:60], Top.model_fields)}"


def _unknown_option(model: type[Panel], place: Place) -> str:
    known = nearest(str(place[-1])[:60], model.model_fields)
    return f"{dotted(place)} is not an option of kind {model.__name__.lower()!r}{known}"


def _frozen(key: str, value: Any) -> Any:
    if key == "where":
        return {k: tuple(v) if isinstance(v, list) else (v,) for k, v in value.items()}
    return tuple(value) if isinstance(value, list) else value
