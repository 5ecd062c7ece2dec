"""`llmbench list`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from llmbench.cli.options import AsJson, Device
from llmbench.metrics import METRICS
from llmbench.suite.bundled import bundled_suites
from llmbench.suite.catalog import Catalog


class What(StrEnum):
    """What can be listed."""

    ops = "ops"
    impls = "impls"
    suites = "suites"
    metrics = "metrics"


def command(
    what: Annotated[What, typer.Argument(help="What to list.")],
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """List ops, implementations, suites or metrics."""
    rows = {What.ops: _ops, What.impls: _impls, What.suites: _suites, What.metrics: _metrics}[what](device)
    if as_json:
        print(json.dumps({"schema": f"llmbench.{what.value}/1", what.value: rows}))
    else:
        _print(rows)


def _suites(_: str | None) -> list[dict[str, Any]]:
    return [{"name": s.name, "summary": s.summary, "path": str(s.path)} for s in bundled_suites()]


def _catalog(device: str | None) -> Catalog:
    from llmbench.run.describe import describe  # a fifth of a second, and `list suites` takes less

    return describe(device=device)


def _ops(device: str | None) -> list[dict[str, Any]]:
    return [
        {
            "name": op.name, "version": op.version, "phases": list(op.phases),
            "params": [asdict(p) for p in op.params], "impls": [i.name for i in op.impls], "summary": op.doc,
        }
        for op in _catalog(device).ops
    ]  # fmt: skip


def _impls(device: str | None) -> list[dict[str, Any]]:
    return [
        {"op": op.name, "name": i.name, "available": i.why_unavailable is None, "why": i.why_unavailable,
         "phases": list(i.phases), "summary": i.doc}
        for op in _catalog(device).ops
        for i in op.impls
    ]  # fmt: skip


def _metrics(_: str | None) -> list[dict[str, Any]]:
    from llmbench.analyze.derive import DERIVED  # brings pyarrow along

    stored = [{**asdict(m), "stored": True} for m in METRICS.values()]
    return stored + [{**asdict(m), "stored": False} for m in DERIVED.values()]


def _print(rows: Sequence[dict[str, Any]]) -> None:
    """Names in a column, then what they are; parameters of an op below it."""
    width = max((len(r["name"]) for r in rows), default=0)
    for row in rows:
        head = f"{row['op']}  " if "op" in row else ""
        text = row.get("summary") or row.get("doc") or ""
        unit = f"[{row['unit']}] " if "unit" in row else ""
        why = f"  (unavailable: {row['why']})" if row.get("why") else ""
        computed = "  (computed on read)" if row.get("stored") is False else ""
        print(f"{head}{row['name']:<{width}}  {unit}{text}{computed}{why}")
        for param in row.get("params", ()):
            print(f"{'':<{width}}    {_param(param)}")


def _param(param: dict[str, Any]) -> str:
    kind = " | ".join(param["choices"]) or param["type"]
    default = "required" if param["default"] is None else f"default {param['default']}"
    return f"{param['name']}: {kind}, {default}"
