"""`llmbench schema`."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from llmbench.report.dashboard_schema import dashboard_schema
from llmbench.suite.spec import json_schema


class What(StrEnum):
    """What has a schema."""

    suite = "suite"
    dashboard = "dashboard"


def command(what: Annotated[What, typer.Argument(help="Of what.")] = What.suite) -> None:
    """Print the JSON Schema of suites or dashboards, for editors."""
    print(json.dumps(json_schema() if what is What.suite else dashboard_schema(), indent=2))
