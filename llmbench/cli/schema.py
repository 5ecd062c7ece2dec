"""`llmbench schema`."""

import json
from enum import StrEnum
from typing import Annotated

import typer


class What(StrEnum):
    """What has a schema."""

    suite = "suite"
    dashboard = "dashboard"


def command(what: Annotated[What, typer.Argument(help="Of what.")] = What.suite) -> None:
    """Print the JSON Schema of suites or dashboards, for editors."""
    print(json.dumps(_suite() if what is What.suite else _dashboard(), indent=2))


def _suite() -> dict[str, object]:
    from llmbench.suite.spec import json_schema

    return json_schema()


def _dashboard() -> dict[str, object]:
    from llmbench.report.dashboard_schema import dashboard_schema

    return dashboard_schema()
