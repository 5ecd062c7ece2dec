"""`llmbench worker`: describe or measure in this very process. Without typer: torch is all that it needs."""

import importlib
from collections.abc import Sequence

from llmbench.run.arguments import parse


def worker(argv: Sequence[str]) -> int:
    """Describe or measure in this very process, without a parent; the exit code."""
    parse(argv)  # --help and bad usage end here, before torch is imported
    code: int = importlib.import_module("llmbench.run.serve").main(argv)
    return code
