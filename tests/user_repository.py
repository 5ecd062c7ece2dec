"""A repository as a user of llmbench has it: a package that pins it and adds an op by entry point, gated by a CI."""

import re
from collections.abc import Mapping
from pathlib import Path

from ci_workflows import workflows
from paired_repository import commit, git, repository

from llmbench import __version__

SUITE = "bench/scale.yaml"
SETTINGS = {"SUITE": SUITE, "DEVICE": "simulated"}  # what the user sets in the workflow
COPIES = {"github": ".github/workflows/llmbench-gate.yml", "gitlab": ".gitlab-ci.yml"}
PROJECT = f"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "toy-scale"
version = "1.0"
dependencies = ["llmbench=={__version__}"]

[project.entry-points."llmbench.plugins"]
scale = "toy_scale.ops"

[tool.hatch.build.targets.wheel]
packages = ["src/toy_scale"]
"""
KERNELS = '''\
"""Kernels that double a vector, in so many seconds of the simulated device."""

from llmbench.ops.simulated import SimulatedKernel, SimulatedParams

FUSED_S = 1e-3
PLAIN_S = 2e-3


def doubling(level, sigma):
    """Twice the input."""
    copy = SimulatedKernel(SimulatedParams(level=level, sigma=sigma, process_sigma=0.002))
    return lambda x: copy(x) * 2
'''
OPS = '''\
"""The op `toy_scale`."""

from dataclasses import dataclass

import torch

from llmbench.ops import Op, register

from . import kernels


@dataclass(frozen=True)
class ScaleParams:
    size: int
    sigma: float = 0.005


scale = register(
    Op(
        "toy_scale", version=1, params=ScaleParams, phases=("infer",), doc="Doubles a vector.",
        inputs=lambda p, generator: [torch.randn(p.size, generator=generator)],
        reference=lambda p: lambda x: x * 2,
    )
)


@scale.impl("fused", needs=["simulated"])
def fused(p):
    """In one pass."""
    return kernels.doubling(kernels.FUSED_S, p.sigma)


@scale.impl("plain", needs=["simulated"])
def plain(p):
    """In two."""
    return kernels.doubling(kernels.PLAIN_S, p.sigma)
'''
OWN_SUITE = """\
# How fast do we double a vector?
op: toy_scale
impls: [fused, plain]
phases: [infer]
axes: {size: [1000, 4000]}
measure: {cache: warm}
gate: {time: 0.03}
"""
SLOWER = KERNELS.replace("FUSED_S = 1e-3", "FUSED_S = 1.1e-3")  # the planted regression


def user_repository(folder: Path) -> Path:
    """`main`, and two branches of it: `slower` has a regression, `same` changes what no kernel reads."""
    copies = {COPIES[ci]: as_set(workflow.path.read_text(), SETTINGS) for ci, workflow in workflows().items()}
    package = {"src/toy_scale/__init__.py": '"""Doubles vectors."""\n', "src/toy_scale/kernels.py": KERNELS}
    files = {"pyproject.toml": PROJECT, "src/toy_scale/ops.py": OPS, SUITE: OWN_SUITE}
    repository(folder, {**files, **package, **copies})
    for branch, change in (("slower", {"src/toy_scale/kernels.py": SLOWER}), ("same", {"README.md": "Doubles.\n"})):
        git(folder, "checkout", "-q", "-b", branch, "main")
        commit(folder, change)
    git(folder, "checkout", "-q", "main")
    commit(folder, {"CHANGELOG.md": "Nothing yet.\n"}, "main went on")
    return folder


def as_set(text: str, settings: Mapping[str, str]) -> str:
    """A workflow with a user's values in place of its own. Raises: AssertionError for a name that it has not."""
    for name, value in settings.items():
        text, n = re.subn(rf"^( +{name}: )\S+", rf"\g<1>{value}", text, flags=re.MULTILINE)
        assert n == 1, f"{name} stands {n} times in the workflow"
    return text
