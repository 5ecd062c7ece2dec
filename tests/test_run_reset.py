"""What an implementation keeps beside its inputs is put back with them: before checks, and before each timed call."""

import json
from pathlib import Path
from typing import Any

from llmbench.store.query import read_run

OP = """\
from dataclasses import dataclass

import torch
from llmbench.ops import Op, register


@dataclass(frozen=True)
class Params:
    size: int


op = register(
    Op(
        "counting", version=1, params=Params, inputs=lambda p, g: [torch.randn(p.size, generator=g)],
        reference=lambda p: lambda x: x + 1, phases=("step",), input_names=("x",),
    )
)


class Counting:
    "Adds how often it was called since it was reset, in place."

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x.add_(self.calls)

    def reset(self):
        if RESETS:
            self.calls = 0


RESETS = True
op.impl("counting", mutates=("x",))(lambda p: Counting())
"""
SUITE = """\
op: counting
plugins: [counting]
phases: [step]
axes: {size: [64]}
measure: {max_s: 0.02}
probes: [memory]
"""


def status(folder: Path, llmbench: Any, *, rc: int) -> tuple[str, str | None]:
    (folder / "counting.yaml").write_text(SUITE)
    done = json.loads(llmbench("run", "counting.yaml", "--json", rc=rc).stdout)
    row = read_run(folder / done["folder"]).rows[0]
    return row.status, row.why


def test_a_state_of_its_own_is_put_back_with_the_inputs(tmp_path: Path, llmbench: Any) -> None:
    (tmp_path / "counting.py").write_text(OP)
    assert status(tmp_path, llmbench, rc=0) == ("ok", None)


def test_one_that_is_not_is_wrong_after_timing(tmp_path: Path, llmbench: Any) -> None:
    (tmp_path / "counting.py").write_text(OP.replace("RESETS = True", "RESETS = False"))
    found, why = status(tmp_path, llmbench, rc=6)
    assert found == "wrong" and why is not None and why.startswith("after timing: out is off by")
