"""`llmbench schema`."""

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from llmbench.report.dashboard_schema import dashboard_schema
from llmbench.suite.spec import json_schema


class What(StrEnum):
    """What has a schema."""

    suite = "suite"
    dashboard = "dashboard"
    gate = "gate"


def _gate_schema() -> dict[str, Any]:
    from llmbench.report.gate_schema import gate_schema  # its statistics import scipy, which takes half a second

    return gate_schema()


SCHEMAS: dict[What, Callable[[], dict[str, Any]]] = {
    What.suite: json_schema, What.dashboard: dashboard_schema, What.gate: _gate_schema,
}  # fmt: skip


def command(what: Annotated[What, typer.Argument(help="Of what.")] = What.suite) -> None:
    """Print the JSON Schema of suites, dashboards or gates."""
    print(json.dumps(SCHEMAS[what](), indent=2))
