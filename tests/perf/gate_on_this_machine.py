"""How the paired gate does on this machine: `python tests/perf/gate_on_this_machine.py --runs 10 --minutes 5`.

A repository is made with an op of its own and twelve cases. In turns, unchanged code is gated against itself, and a
head in which one of the four implementations does 5 % more work (21 products in place of 20). Printed: exit codes,
verdicts, the sigma of a pair, what could be seen of cases that stay open, and alarms where nothing changed.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from paired_repository import commit, repository

OP = '''\
"""An op that scales a vector, many times over."""

from dataclasses import dataclass

import torch

from llmbench.ops import Op, register

PRODUCTS = {"one": 20, "two": 20, "three": 20, "four": 20}


@dataclass(frozen=True)
class ScaleParams:
    size: int


def made(name):
    def setup(p):
        """x scaled, the result of each product thrown away but for the last."""

        def call(x):
            for _ in range(PRODUCTS[name]):
                out = x * 1.5
            return out

        return call

    return setup


scale = register(
    Op(
        "scale", version=1, params=ScaleParams, phases=("infer",), doc="Scales a vector.",
        inputs=lambda p, generator: [torch.randn(p.size, generator=generator)],
        reference=lambda p: lambda x: x * 1.5,
    )
)
for name in PRODUCTS:
    scale.impl(name)(made(name))
'''
SUITE = """\
op: scale
plugins: [scale_op]
axes: {size: [20000, 40000, 80000]}
measure: {cache: warm}
gate: {time: 0.03, launches: 0.1}
"""
SLOWED = "four"


def gated(folder: Path, *args: str) -> tuple[int, float, dict[str, Any]]:
    """Exit code, seconds and document of a gate."""
    begin = monotonic()
    command = [sys.executable, "-m", "llmbench", "gate", *args, "--device", "cpu", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(done.stderr)
    return done.returncode, monotonic() - begin, json.loads(done.stdout)


def words(document: dict[str, Any], *, slowed: bool) -> Counter[str]:
    """The verdicts on time, of the cases that were slowed or of the others."""
    chosen = (v for v in document["verdicts"] if (v["facts"].get("impl") == SLOWED) == slowed)
    return Counter(f["verdict"] for v in chosen for f in v["findings"] if f["metric"] == "time")


def told(name: str, found: tuple[int, float, dict[str, Any]], *, slowed: bool) -> str:
    """A line about one gate."""
    code, seconds, document = found
    own = (document["paired"]["components"] or {}).get("own")
    sigma = "unknown" if own is None else f"{own:.2%}"
    parts = [f"{name}: exit {code}", f"{seconds:.0f} s", f"{document['paired']['pairs']} pairs", f"sigma {sigma}"]
    parts += [f"slowed {dict(words(document, slowed=True))}"] if slowed else []
    unchanged = words(document, slowed=False) + (Counter() if slowed else words(document, slowed=True))
    alarms = sum(unchanged[word] for word in ("REGRESSED", "BROKEN"))
    if still := [f["detectable"] for v in document["verdicts"] for f in v["findings"]
                 if (f["metric"], f["verdict"]) == ("time", "INCONCLUSIVE")]:  # fmt: skip
        parts += [f"detectable in open cases {', '.join('unknown' if d is None else f'{d:.1%}' for d in still)}"]
    return ", ".join([*parts, f"unchanged {dict(unchanged)}", f"{alarms} false alarms"])


def main(runs: int, minutes: float) -> None:
    with TemporaryDirectory() as folder:
        here = repository(Path(folder), {"scale_op.py": OP, "suite.yaml": SUITE})
        budget = ("--max-minutes", str(minutes))
        commit(here, {"scale_op.py": OP.replace(f'"{SLOWED}": 20', f'"{SLOWED}": 21')})
        for i in range(runs):
            found = gated(here, "self-test", "suite.yaml", *budget)
            print(told(f"unchanged {i + 1}", found, slowed=False), flush=True)
            found = gated(here, "paired", "suite.yaml", "--base", "main", "--head", "feature", *budget)
            print(told(f"slowed {i + 1}", found, slowed=True), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=5.0)
    given = parser.parse_args()
    main(given.runs, given.minutes)
