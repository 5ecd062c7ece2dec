"""The text of a suite as pydantic models: its keys, what each may hold, and the JSON Schema made of them.

What a value means (whether the op has that parameter) is not known here; `resolve` checks it against a catalog.
"""

import re
from math import inf, isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from llmbench.errors import nearest
from llmbench.metrics import METRICS
from llmbench.suite.catalog import Catalog, Scalar
from llmbench.suite.document import Document, Place, dotted
from llmbench.suite.form import BESIDE, STRICT, Name, json_schema_of, told, wanted
from llmbench.suite.suite import Measure

_DEFAULT = Measure()
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)")
SHARE = "0 to 1 (0.05 is 5 %)"
_UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


def size_bytes(value: int | str) -> int:
    """Bytes: the number itself, or a text such as `2 GiB`. Raises: ValueError for any other text."""
    if isinstance(value, int):
        return value
    if not (size := _SIZE.fullmatch(value)):
        raise ValueError(value)
    return int(float(size[1]) * _UNITS[size[2]])


def _at_least_a_byte(value: int | str) -> int | str:
    if size_bytes(value) < 1:
        raise ValueError(value)
    return value


def _finite(value: Scalar) -> Scalar:
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(value)
    return value


def _with_metrics(schema: dict[str, Any]) -> None:
    """Closes the schema of such a mapping: the metrics that can be gated, by name."""
    value = schema.pop("additionalProperties")
    found = {m.name: {**value, "description": m.doc} for m in METRICS.values() if m.better != "none"}
    schema["properties"] |= found
    schema["additionalProperties"] = False


def _limit(value: Any, handler: Any) -> Any:
    """A limit of a metric; of one that takes a percentage for a fraction, it says what that means."""
    try:
        return handler(value)
    except ValidationError:
        if isinstance(value, int | float) and not isinstance(value, bool) and 1 < value < inf:
            told = f"which is {value * 100:g} %; wanted {SHARE}"
            raise PydanticCustomError(BESIDE, "{told}", {"told": told}) from None
        raise PydanticCustomError("wanted", "{wanted}", {"wanted": f"{SHARE}, or none"}) from None


def _read(limits: dict[str, float | Literal["none"]]) -> dict[str, float | None]:
    """Metric -> its limit, None for `none`."""
    return {name: None if limit == "none" else limit for name, limit in limits.items()}


def _form(value: object) -> str | None:
    return "<list>" if isinstance(value, list) else "<mapping>" if isinstance(value, dict) else None


Value = Annotated[
    int | float | str | bool,
    AfterValidator(_finite),
    wanted("a finite number, a string, true or false"),
]
Values = Annotated[list[Value], Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
Bundle = Annotated[dict[Name, Value], Field(min_length=1)]
Bundles = Annotated[dict[Name, Bundle], Field(min_length=1)]
AxisSpec = Annotated[
    Annotated[Values, Tag("<list>")] | Annotated[Bundles, Tag("<mapping>")],
    Discriminator(
        _form,
        custom_error_type="wanted",
        custom_error_message="{wanted}",
        custom_error_context={"wanted": "a list of values, or a mapping of labels to parameters"},
    ),
]
MatchSpec = Annotated[
    dict[
        Name,
        Annotated[
            Annotated[Values, Tag("<list>")] | Annotated[Value, Tag("<value>")],
            Discriminator(lambda v: "<list>" if isinstance(v, list) else "<value>"),
        ],
    ],
    Field(min_length=1),
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Plugin = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?$"),
    wanted("'module' or 'module:function'"),
]
Limit = Annotated[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | Literal["none"], WrapValidator(_limit)]
Why = Annotated[str, StringConstraints(min_length=1), wanted("the reason, in words")]
OPEN = ConfigDict(**{**STRICT, "extra": "allow", "json_schema_extra": _with_metrics})
"""Of a mapping whose other keys are metrics: `resolve` checks their names."""
OverlayName = Annotated[
    str, StringConstraints(pattern=r"^(cpu|cuda|sm[0-9]{2,3})$"), wanted("cpu, cuda or an architecture such as sm90")
]


class SkipSpec(BaseModel):
    """Cases that are recorded as skipped instead of run."""

    model_config = STRICT

    match: MatchSpec
    """What they have in common: parameter, axis, impl or phase, with the value or the list of values that match."""
    why: Why
    """The reason, as the record and the report give it."""


class GateCaseSpec(BaseModel):
    """Limits of some cases, metric by metric in place of those of all: {match: {impl: naive}, time: 0.1}."""

    model_config = OPEN
    __pydantic_extra__: dict[str, Limit]

    match: MatchSpec
    """What they have in common, as in `skip`."""
    why: Why | None = None
    """The reason, as verdicts give it."""

    @property
    def limits(self) -> dict[str, float | None]:
        """Metric -> how much worse it may get, None where it is not gated."""
        return _read(self.__pydantic_extra__)


class GateSpec(BaseModel):
    """How much worse each metric may get before a gate fails, as a fraction of 0 to 1: {time: 0.03}; or none."""

    model_config = OPEN
    __pydantic_extra__: dict[str, Limit]

    cases: list[GateCaseSpec] = []
    """Limits of some cases: 0.1, or `none` to leave a metric out. The last entry that names a metric counts."""

    @property
    def limits(self) -> dict[str, float | None]:
        """Metric -> how much worse it may get, None where it is not gated."""
        return _read(self.__pydantic_extra__)


class MeasureSpec(BaseModel):
    """How each case is measured. An overlay that sets `measure` starts from the defaults, not from the suite's."""

    model_config = STRICT

    target_ci: Annotated[float, Field(gt=0, lt=1), wanted("a fraction between 0 and 1, such as 0.01")] = (
        _DEFAULT.target_ci
    )
    """Stop when the half-width of the 95 % CI of the median is below this share of it."""
    max_s: Annotated[Positive, wanted("a number of seconds above 0")] = _DEFAULT.max_s
    """Or when one case has been sampled for this many seconds."""
    min_samples: Annotated[int, Field(ge=6), wanted("an integer, 6 or more")] = _DEFAULT.min_samples
    """Samples of a case before it may stop; a CI of the median at 95 % needs six."""
    cache: Annotated[Literal["cold", "warm"], wanted("cold or warm")] = _DEFAULT.cache
    """Whether the cache is flushed before each call."""
    order: Annotated[Literal["interleaved", "apart"], wanted("interleaved or apart")] = _DEFAULT.order
    """Whether the implementations of a point take turns, or run one after the other."""
    processes: Annotated[int, Field(ge=1), wanted("an integer, 1 or more")] = _DEFAULT.processes
    """Fresh processes, each measuring every case."""
    timeout_s: Annotated[Positive, wanted("a number of seconds above 0")] = _DEFAULT.timeout_s
    """A stage of a case that takes longer is a hang."""
    memory_limit: Annotated[
        int | str, AfterValidator(_at_least_a_byte), wanted("a number of bytes, or a size such as '2 GiB'")
    ] = Field(default_factory=int)  # unset, there is none
    """Memory that a worker may add to what it holds after its imports."""
    threads: Annotated[int, Field(ge=1), wanted("an integer, 1 or more")] | None = None
    """Threads of torch's kernels on a CPU. Default: OMP_NUM_THREADS, or else one a core."""
    sentinels: Annotated[bool, wanted("true or false")] = _DEFAULT.sentinels
    """Whether kernels that never change are timed now and then, so that a gate knows how fast the machine was."""

    def read(self) -> Measure:
        """The same with its sizes in bytes."""
        limit = size_bytes(self.memory_limit) if "memory_limit" in self.model_fields_set else None
        return Measure(
            target_ci=self.target_ci,
            max_s=self.max_s,
            min_samples=self.min_samples,
            cache=self.cache,
            order=self.order,
            processes=self.processes,
            timeout_s=self.timeout_s,
            memory_limit=limit,
            threads=self.threads,
            sentinels=self.sentinels,
        )


class PartSpec(BaseModel):
    """What an overlay may set; it replaces the suite's key whole, nothing is merged."""

    model_config = STRICT

    impls: Names = []
    """Implementations to measure, in order. Default: all that the op has."""
    baseline: Bundle = {}
    """What speed-ups are against, as one value of impl, an axis or a parameter: {impl: sdpa_flash}."""
    phases: Names = []
    """What runs: infer, fwd, bwd, fwd_bwd, step. Default: fwd, or the op's first where it has no fwd."""
    axes: dict[Name, AxisSpec] = {}
    """What is swept: a parameter with its values, or a name of your own with labels that each set parameters."""
    fixed: dict[Name, Value] = {}
    """Parameters with one value."""
    skip: list[SkipSpec] = []
    """Cases not to run, with the reason."""
    measure: MeasureSpec = Field(default_factory=MeasureSpec)
    """How each case is measured."""
    probes: Annotated[
        list[Annotated[Literal["memory", "power", "energy", "kernels"], wanted("memory, power, energy or kernels")]],
        Field(json_schema_extra={"uniqueItems": True}),
    ] = []
    """What is observed beside time, in passes of its own."""
    gate: GateSpec = Field(default_factory=lambda: GateSpec.model_validate({}))
    """How much worse each metric may get before a gate fails, as a fraction of 0 to 1: {time: 0.03}; none leaves it
    out; `cases` for some of them."""
    seed: Annotated[int, Field(ge=0), wanted("an integer, 0 or more")] = 0
    """Where the inputs' random numbers start."""


class SuiteSpec(PartSpec):
    """A suite: what to measure, as data."""

    op: Name
    """What is measured: an op that `llmbench list ops` shows."""
    on: dict[OverlayName, PartSpec] = {}
    """Overlays for cpu, cuda or an architecture such as sm90; each key they set replaces the suite's."""
    plugins: Annotated[list[Plugin], Field(json_schema_extra={"uniqueItems": True})] = []
    """Modules that add ops or implementations: `module`, or `module:function` to call."""


def parse_spec(document: Document) -> SuiteSpec:
    """The document as a suite's text. Raises: SuiteError for the first key or value that has the wrong form."""
    try:
        return SuiteSpec.model_validate(document.data)
    except ValidationError as error:
        found = told(error, document, whole="the suite", unknown=_unknown_key)
        raise min(found, key=lambda e: (e.line, e.column)) from None


def json_schema(catalog: Catalog | None = None) -> dict[str, Any]:
    """The JSON Schema of a suite, for editors; with a catalog, it lists its ops, implementations and phases."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **json_schema_of(SuiteSpec),
        "title": "llmbench suite",
    }
    if catalog is not None:
        schema["properties"]["op"]["enum"] = [o.name for o in catalog.ops]
        impls = list(dict.fromkeys(i.name for o in catalog.ops for i in o.impls))
        phases = list(dict.fromkeys(p for o in catalog.ops for p in o.phases))
        for part in (schema, schema["$defs"]["PartSpec"]):
            part["properties"]["impls"]["items"] = {"type": "string", "enum": impls}
            part["properties"]["phases"]["items"] = {"type": "string", "enum": phases}
    return schema


def _unknown_key(place: Place) -> str:
    name, where = str(place[-1]), dotted(place)
    if len(place) == 1:
        return f"{where} is not a key of a suite{nearest(name[:60], SuiteSpec.model_fields)}"
    if place[0] == "on" and len(place) == 3:
        if name in SuiteSpec.model_fields:
            return f"{where} cannot be set by an overlay; set it at the top of the suite"
        return f"{where} is not a key of an overlay{nearest(name[:60], PartSpec.model_fields)}"
    model = MeasureSpec if place[-2] == "measure" else SkipSpec
    return f"{where} is not a key of {dotted(place[:-1])}{nearest(name[:60], model.model_fields)}"
