"""Repositories for tests of the paired gate: a plugin of its own, a suite, commits that differ in what a test says."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

SIMULATED = '''\
"""Kernels on the simulated device, as fast as this commit has them."""

import torch

from llmbench.ops.simulated import SimulatedKernel, simulated

TIMES = {"mine": 1.0, "other": 1.0, "third": 1.0}
MORE_BYTES = 0


def made(name):
    def setup(p):
        """A kernel of this repository."""
        return SimulatedKernel(p, times=TIMES[name], more_bytes=MORE_BYTES if name == "mine" else 0)

    return setup


for name in TIMES:
    simulated.impl(name, needs=["simulated"])(made(name))
'''
SIMULATED_SUITE = """\
# How fast are the kernels of this repository?
op: simulated
plugins: [sim_kernels]
impls: [mine, other]
phases: [infer]
axes: {level: [0.001, 0.002]}
fixed: {sigma: 0.005, process_sigma: 0.002}
measure: {cache: warm}
"""
REAL = '''\
"""An op that doubles a vector."""

from dataclasses import dataclass

import torch

from llmbench.ops import Op, register

from . import kernels


@dataclass(frozen=True)
class DoubleParams:
    size: int


double = register(
    Op(
        "double", version=1, params=DoubleParams, phases=("infer",), doc="Doubles a vector.",
        inputs=lambda p, generator: [torch.randn(p.size, generator=generator)],
        reference=lambda p: lambda x: x * 2,
    )
)
double.impl("mul")(kernels.mul)
double.impl("add")(kernels.add)
'''
REAL_KERNELS = '''\
"""The kernels of the op."""

import torch

REPEATS = 1
MORE_BYTES = 0


def mul(p):
    """x * 2, as often as this commit likes."""

    def call(x):
        more = torch.empty(MORE_BYTES, dtype=torch.uint8)
        for _ in range(REPEATS):
            out = x * 2
        del more
        return out

    return call


def add(p):
    """x + x"""
    return lambda x: x + x
'''
REAL_SUITE = """\
op: double
plugins: [double_op]
impls: [mul, add]
axes: {size: [30000]}
measure: {cache: warm}
"""


def git(folder: Path, *args: str) -> str:
    """What git prints, by an author of its own and without the user's settings."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    named = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *args], cwd=folder, check=True, capture_output=True, text=True, env={**os.environ, **own, **named}
    )  # fmt: skip
    return done.stdout.strip()


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Writes files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def commit(folder: Path, files: Mapping[str, str], message: str = "change") -> str:
    """A commit of these files; its id."""
    write(folder, files)
    git(folder, "add", "-A", *files)
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """A repository whose first commit, `main`, holds these files."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main", ".")
    commit(folder, files, "first")
    git(folder, "checkout", "-q", "-b", "feature")
    return folder


def simulated_repository(folder: Path) -> Path:
    """One with kernels on the simulated device in `sim_kernels.py`, and `suite.yaml`."""
    return repository(folder, {"sim_kernels.py": SIMULATED, "suite.yaml": SIMULATED_SUITE})


def real_repository(folder: Path) -> Path:
    """One with an op of its own in the package `src/double_op`, and `bench/double.yaml`."""
    files = {"src/double_op/__init__.py": REAL, "src/double_op/kernels.py": REAL_KERNELS}
    return repository(folder, {**files, "bench/double.yaml": REAL_SUITE})
