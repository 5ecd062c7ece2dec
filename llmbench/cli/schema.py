"""`llmbench schema`."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from llmbench.report.dashboard_schema import dashboard_schema
from llmbench.report.gate_schema import gate_schema
from llmbench.suite.spec import json_schema


class What(StrEnum):
    """What has a schema."""

    suite = "suite"
    dashboard = "dashboard"
    gate = "gate"


SCHEMAS = {What.suite: json_schema, What.dashboard: dashboard_schema, What.gate: gate_schema}


def command(what: Annotated[What, typer.Argument(help="Of what.")] = What.suite) -> None:
    """Print the JSON Schema of suites or dashboards, for editors, or of what a gate prints as JSON."""
    print(json.dumps(SCHEMAS[what](), indent=2))
