"""`llmbench schema`."""

import json

from llmbench.suite.spec import json_schema


def command() -> None:
    """Print the JSON Schema of suites, for editors."""
    print(json.dumps(json_schema(), indent=2))
