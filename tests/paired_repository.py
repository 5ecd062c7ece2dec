"""Repositories for tests of the paired gate: a plugin of its own, a suite, commits that differ in what a test says."""

import os
import subprocess
from collections.abc import Iterable, Mapping
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
OWN = '''\
"""An op of this repository, on the simulated device."""

from dataclasses import dataclass

import torch

from llmbench.ops import Op, register
from llmbench.ops.simulated import SimulatedKernel, SimulatedParams


@dataclass(frozen=True)
class WaveParams:
    length: float


wave = register(
    Op(
        "wave", version=1, params=WaveParams, phases=("infer",), doc="Copies a vector.",
        inputs=lambda p, generator: [torch.randn(64, generator=generator)],
        reference=lambda p: torch.clone,
    )
)
wave.impl("mine", needs=["simulated"])(lambda p: SimulatedKernel(SimulatedParams(level=p.length)))
'''
OWN_SUITE = """\
op: wave
plugins: [wave]
axes: {length: [0.001]}
measure: {cache: warm}
"""
PLUGIN = '''\
"""Kernels, one a behaviour."""

import ctypes
import time
from dataclasses import replace
from pathlib import Path

import torch

from llmbench.machine.simulated import DEVICE
from llmbench.ops.simulated import SimulatedKernel, candidate, simulated

def fails(why):
    """Fails when it is set up."""
    raise why


def choice(values):
    """Another value for each process."""
    return DEVICE.random.choice(values)


def once(first, then):
    """`first` when it is asked for the first time, `then` ever after."""
    asked = Path(__file__).with_name("asked")
    if asked.exists():
        return then
    asked.touch()
    return first


def edits(kernel):
    """Adds a line to this file."""
    with open(__file__, "a") as file:
        file.write("# a line more\\n")
    return kernel


def compiled(p, *, breaks):
    """Calls a compiled function that breaks its graph as often."""
    import torch._dynamo

    def call(x):
        for _ in range(breaks):
            torch._dynamo.graph_break()
        return x + 0

    kernel, call = SimulatedKernel(p), torch.compile(call, backend="eager", dynamic=False)
    return lambda x: kernel(call(x))
'''
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


def plugin(kernels: Mapping[str, str]) -> str:
    """A plugin with these implementations, each by the expression that makes its function of `p`."""
    made = (
        f'\n\ndef make_{name}(p):\n    return {of}\n\n\nsimulated.impl("{name}", needs=["simulated"])(make_{name})\n'
        for name, of in kernels.items()
    )
    return PLUGIN + "".join(made)


def suite_of(impls: Iterable[str]) -> str:
    """The suite with these implementations, at one level."""
    found = SIMULATED_SUITE.replace("impls: [mine, other]", f"impls: [{', '.join(impls)}]")
    return found.replace("[0.001, 0.002]", "[0.001]")


def git(folder: Path, *args: str) -> str:
    """What git prints, by an author of its own and without the user's settings."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    named = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *args], cwd=folder, check=True, capture_output=True, text=True, env={**os.environ, **own, **named}
    )  # fmt: skip
    return done.stdout.strip()


def write(folder: Path, files: Mapping[str, str | None]) -> None:
    """Writes files below a folder; where the text is None, the file is taken away."""
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def commit(folder: Path, files: Mapping[str, str | None], message: str = "change") -> str:
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
