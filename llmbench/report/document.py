"""The report as data: schema `llmbench.report/1`, every number in SI base units, what is unknown null."""

import json
import math
from dataclasses import fields

from llmbench.analyze.stats import Estimate, Ratio
from llmbench.analyze.summary import Line, Summary
from llmbench.codec import to_plain

SCHEMA = "llmbench.report/1"


def document(summary: Summary) -> dict[str, object]:
    """`{schema, run: the facts, lines: one a case}`, ready for `json.dumps(allow_nan=False)`.

    A line has the fields of `Line`, its rates and its flags; `further` has what `analyze.further` tells by name. `best`
    is true for every case that has the least time of its point or cannot be told from it, so several of a point may
    have it.
    """
    lines = [_line(line) for line in summary.lines]
    return {"schema": SCHEMA, "run": finite(to_plain(summary.facts)), "lines": lines}


def render(summary: Summary) -> str:
    """The document as JSON text, ending in a newline."""
    return json.dumps(document(summary), indent=1, allow_nan=False) + "\n"


def _line(line: Line) -> dict[str, object]:
    plain = {f.name: getattr(line, f.name) for f in fields(line) if f.name not in ("rates", "flags")}
    rates = {f.name: getattr(line.rates, f.name) for f in fields(line.rates)}
    flags = {"flags": [flag._asdict() for flag in line.flags]}
    return {name: finite(_named(value)) for name, value in {**plain, **rates, **flags}.items()}


def _named(value: object) -> object:
    return value._asdict() if isinstance(value, Estimate | Ratio) else value


def finite(value: object) -> object:
    """NaN and the infinities, which JSON cannot hold, as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value
