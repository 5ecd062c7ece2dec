"""The JSON Schema of dashboards, for editors: from the models and the names that `load_dashboard` goes by."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmbench.metrics import METRICS
from llmbench.report.dashboard_form import KINDS, MODELS, Kind, Top
from llmbench.report.dashboard_names import ALL_METRICS, FACTS, NOTES, ROLES, Role, role_of
from llmbench.suite.form import json_schema_of

_KNOWN: Mapping[Role, Sequence[str]] = {
    "metric": tuple(ALL_METRICS), "sampled": tuple(METRICS), "fact": FACTS, "any": (*ALL_METRICS, *FACTS),
}  # fmt: skip
_OPEN: tuple[Role, ...] = ("fact", "any")  # parameters and bundles too, which the runs name
_TEXTS: Mapping[Role, str] = {
    "metric": "A metric.",
    "sampled": "A metric that a run stores.",
    "fact": "A parameter, a bundle, or what is true of every case.",
    "any": "A metric, a parameter, a bundle, or what is true of every case.",
}


def dashboard_schema() -> dict[str, Any]:
    """The JSON Schema of a dashboard; it takes any name where a parameter may stand, since no run is known here."""
    top = json_schema_of(Top)
    kinds = {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": list(KINDS)}}}
    told = [{"if": {**kinds, "properties": {"kind": {"const": k}}}, "then": {"$ref": f"#/$defs/{k}"}} for k in KINDS]
    top["properties"]["panels"] |= {"items": {**kinds, "allOf": told}, "uniqueItems": True}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "title": "llmbench dashboard",
        "$defs": {kind: _panel(kind) for kind in KINDS},
    }


def _panel(kind: Kind) -> dict[str, Any]:
    schema = json_schema_of(MODELS[kind])
    options: dict[str, dict[str, Any]] = schema["properties"]
    options["kind"] |= {"const": kind}
    for name, option in options.items():
        for form in (option, *option.get("anyOf", ())):
            form |= {"uniqueItems": True} if form.get("type") == "array" else {}
        if name in ROLES:
            role = role_of(kind, name)
            target = option["items"] if name == "columns" else option
            _name(target, role, (NOTES,) if name == "columns" else ())
            option.setdefault("description", _TEXTS[role])
    return schema


def _name(option: dict[str, Any], role: Role, more: Sequence[str]) -> None:
    """Lists the names of that role first; those that only runs know follow as a pattern, null where it may be one."""
    rest = option.pop("anyOf", None) or [{k: option.pop(k) for k in ("type", "pattern")}]
    free = [form for form in rest if role in _OPEN or form["type"] == "null"]
    known = {"enum": [*_KNOWN[role], *more]}
    option |= {"anyOf": [known, *free]} if free else known
