"""The arguments of a worker process. Standard library only, so that `llmbench worker --help` works without torch."""

import argparse
from collections.abc import Sequence


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of `llmbench worker`; exits with 2 for those that are none, with 0 after `--help`."""
    return _parser().parse_args(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmbench worker", description="Describe or measure in this very process.")
    parser.add_argument("--describe", action="store_true", help="print the catalog of this interpreter as JSON")
    parser.add_argument("--ceilings", action="store_true", help="measure what the device reaches at best, as JSON")
    parser.add_argument("--predict", metavar="FILE", help="memory and FLOP of the cases of a plan, not run, as JSON")
    parser.add_argument("--cases", metavar="FILE", help="a plan, as `llmbench plan SUITE --json` prints it")
    parser.add_argument("--out", metavar="FILE", help="results, one JSON line a message; an old file is continued")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the plan's, else a GPU if there is one)")
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE[:FUNCTION]", help="a plugin to load")
    parser.add_argument("--process", type=int, metavar="N", help="only the units of this process of the plan")
    parser.add_argument("--path", action="append", default=[], help=argparse.SUPPRESS)  # for plugins, last
    parser.add_argument("--first", action="append", default=[], help=argparse.SUPPRESS)  # for plugins, first
    parser.add_argument("--serve", metavar="IN,OUT", help=argparse.SUPPRESS)  # descriptors of a parent
    parser.add_argument("--forks", type=int, metavar="FD", help=argparse.SUPPRESS)  # a parent's socket
    return parser
