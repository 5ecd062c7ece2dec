"""The JSON Schema of what gates print as JSON: from the classes that it is made of, every key closed and described."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from llmbench.analyze.change import Change
from llmbench.analyze.compare import Side
from llmbench.analyze.pair_decision import Decision, Systemic
from llmbench.analyze.pair_rule import PairedRule
from llmbench.analyze.pair_stats import Components
from llmbench.analyze.stored import Inconclusive
from llmbench.analyze.verdict import Finding, Verdict, Word
from llmbench.report.gate_words import DETECTABLE, FIELDS, PAIRED, SIDE, TOP
from llmbench.report.verdict_table import MEANINGS
from llmbench.report.verdict_table import SCHEMA as STORED_SCHEMA
from llmbench.run.paired.cores import Cores
from llmbench.run.paired.evidence import SCHEMA as PAIRED_SCHEMA
from llmbench.run.paired.pair import Layout
from llmbench.run.paired.turns import SIDES

Schema = dict[str, Any]
KEPT = ("suite_resolved", "cases", "records", "losses")  # that gate.json has beside what --json prints
DOCUMENTS = {STORED_SCHEMA: "stored", PAIRED_SCHEMA: "paired"}
PLAIN: Mapping[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}
EXIT_CODES = sorted(MEANINGS)


def gate_schema() -> Schema:
    """The JSON Schema of the documents of `gate stored`, `gate paired` and `gate self-test`, and of a `gate.json`."""
    defs: dict[str, Schema] = {}
    defs |= {"stored": _closed(_stored(defs), TOP), "paired": _paired(defs)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llmbench gate",
        "description": "What `llmbench gate` prints with --json. SI units; a ratio above 1 is more.",
        "type": "object",
        "required": ["schema"],
        "properties": {"schema": {"enum": [*DOCUMENTS], "description": TOP["schema"]}},
        "allOf": [
            {
                "if": {"required": ["schema"], "properties": {"schema": {"const": schema}}},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for schema, name in DOCUMENTS.items()
        ],
        "$defs": defs,
    }


def _stored(defs: dict[str, Schema]) -> dict[str, Schema]:
    """The properties that both documents have."""
    detectable = {"cases": int, "median": float, "worst": float, "worst_case_id": str | None}
    return {
        "schema": {"const": STORED_SCHEMA},
        "exit_code": {"enum": EXIT_CODES},
        "summary": {"type": "string"},
        "counts": _map({"type": "integer", "minimum": 1}) | {"propertyNames": _of(Word, defs)},
        "run": _of(Side, defs),
        "baseline": _of(Side | None, defs),
        "inconclusive": _of(Inconclusive, defs),
        "limits": _map({"type": "number", "minimum": 0}),
        "history": _of(str | None, defs),
        "warnings": _of(list[str], defs),
        "detectable": _or_null(_closed({k: _of(kind, defs) for k, kind in detectable.items()}, DETECTABLE)),
        "verdicts": {"type": "array", "items": _of(Verdict, defs)},
    }


def _paired(defs: dict[str, Schema]) -> Schema:
    source = _closed({name: {"type": "string"} for name in ("module", "file", "sha256")}, SIDE)
    side = _closed({
        "revision": _of(str, defs), "commit": _of(str | None, defs), "dirty": _of(bool, defs), "python": _of(str, defs),
        "sources_hash": _of(str | None, defs), "sources": {"type": "array", "items": source},
        "versions": _map(_of(str | None, defs)),
    }, SIDE)  # fmt: skip
    kinds: dict[str, Any] = {
        "folder": str, "pairs": int, "pairs_s": float, "wall_s": float, "max_minutes": float | None,
        "budget_spent": bool, "layout": Layout | None, "seed": int, "cores": Cores, "same_code": bool,
        "self_test": bool, "rule": PairedRule | None, "components": Components | None, "systemic": Systemic | None,
    }  # fmt: skip
    told = {name: _of(kind, defs) for name, kind in kinds.items()}
    told |= {"sides": _closed(dict.fromkeys(SIDES, side), {}), "decisions": _map(_of(Decision, defs))}
    kept: dict[str, Schema] = {
        "suite_resolved": {"type": ["object", "null"]},
        "cases": {"type": "array", "items": {"type": "object"}},
        "records": _map({"type": "array", "items": {"type": "object"}}),
        "losses": {"type": "array", "items": {"type": "object"}},
    }
    more = {"schema": {"const": PAIRED_SCHEMA}, "paired": _closed(told, PAIRED), **kept}
    whole = _closed({**_stored(defs), **more}, {**PAIRED, **TOP})
    whole["required"] = [name for name in whole["required"] if name not in KEPT]
    whole["dependentRequired"] = {name: [other for other in KEPT if other != name] for name in KEPT}
    return whole


def _of(kind: Any, defs: dict[str, Schema]) -> Schema:
    """The schema of a value of that type; that of a class goes into `defs`."""
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": [*args]}
    if origin in (Union, types.UnionType):
        options = [_of(option, defs) for option in args]
        if all(set(option) == {"type"} for option in options):
            return {"type": [option["type"] for option in options]}
        return {"anyOf": options}
    if origin in (list, tuple):
        return {"type": "array", "items": _of(args[0], defs)}
    if origin is dict:
        return _map(_of(args[1], defs))
    assert is_dataclass(kind) and isinstance(kind, type)
    name = kind.__name__
    if name not in defs:
        defs[name] = {}  # a class within itself would be that
        own = _finding(defs) if kind is Finding else _verdict(defs) if kind is Verdict else _properties(kind, defs)
        defs[name] = _closed(own, FIELDS[name])
    return {"$ref": f"#/$defs/{name}"}


def _properties(kind: type, defs: dict[str, Schema]) -> dict[str, Schema]:
    hints = get_type_hints(kind)
    return {f.name: _of(hints[f.name], defs) for f in fields(kind)}


def _verdict(defs: dict[str, Schema]) -> dict[str, Schema]:
    """As `verdict_table.body` names its fields."""
    own = _properties(Verdict, defs)
    return {"verdict": own.pop("word"), **own}


def _finding(defs: dict[str, Schema]) -> dict[str, Schema]:
    """Likewise, with what it keeps of the change."""
    change, hints = _properties(Change, defs), get_type_hints(Finding)
    own = {f.name: _of(hints[f.name], defs) for f in fields(Finding) if f.name != "change"}
    pair = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2}
    kept = {name: change[name] for name in ("unit", "ratio", "low", "high", "basis")}
    return {"verdict": own.pop("word"), **own, "baseline": change["a"], "run": change["b"], **kept, "processes": pair}


def _closed(properties: Mapping[str, Schema], words: Mapping[str, str]) -> Schema:
    """An object with these keys, all of them and no other."""
    told = {name: {**kind, "description": words[name]} if name in words else kind for name, kind in properties.items()}
    return {"type": "object", "additionalProperties": False, "required": [*properties], "properties": told}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}
