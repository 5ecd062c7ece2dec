"""The paired gate between two environments, each with its own version of a package that adds an op by entry point."""

import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from paired_repository import write
from user_repository import KERNELS, OPS, OWN_SUITE, PROJECT, SLOWER

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.slow


class Environment(NamedTuple):
    """Its interpreter, and where its packages are."""

    python: Path
    site: Path


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Environment]:
    """By version: 1.0, and 1.1 that is slower. llmbench itself is in neither: it comes from the gate."""
    folder = tmp_path_factory.mktemp("environments")
    return {version: installed(folder / version, version) for version in ("1.0", "1.1")}


def installed(folder: Path, version: str) -> Environment:
    """A fresh environment with the toy package in that version, and with what this one has behind it."""
    source, env = folder / "source", folder / "env"
    kernels = KERNELS if version == "1.0" else SLOWER
    project = PROJECT.replace('version = "1.0"', f'version = "{version}"')
    package = {"__init__.py": "", "ops.py": OPS, "kernels.py": kernels}
    write(source, {"pyproject.toml": project, **{f"src/toy_scale/{name}": text for name, text in package.items()}})
    venv.create(env, with_pip=False, symlinks=True)
    (site,) = (env / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(env / "bin" / "python"), "install", "-q"]
    options = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, *options, str(source)], check=True, capture_output=True, timeout=300)
    return Environment(env / "bin" / "python", site)


@pytest.fixture
def judged(llmbench: Llmbench, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The document of a gate between the interpreters of two environments, called where no repository is."""
    write(tmp_path, {"scale.yaml": OWN_SUITE})

    def run(base: Environment, head: Environment, *, rc: int) -> dict[str, Any]:
        sides = ("--base-python", base.python, "--head-python", head.python)
        more = ("--device", "simulated", "--only", "size=1000", "--pairs", "5", "--json")
        document: dict[str, Any] = json.loads(llmbench("gate", "paired", "scale.yaml", *sides, *more, rc=rc).stdout)
        return document

    return run


def test_two_versions_of_a_package_are_told_apart(
    judged: Callable[..., dict[str, Any]], environments: dict[str, Environment]
) -> None:
    base, head = environments["1.0"], environments["1.1"]
    write(head.site, {"numpy-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: numpy\nVersion: 9.9\n"})
    document = judged(base, head, rc=1)
    assert [w for w in document["warnings"] if w.startswith("different numpy: base ") and ", head 9.9; " in w]
    words = {v["label"]: v["verdict"] for v in document["verdicts"]}
    assert words == {"fused infer size=1000": "REGRESSED", "plain infer size=1000": "PASS"}
    sides = document["paired"]["sides"]
    for own, side in ((base, sides["base"]), (head, sides["head"])):
        found = {s["module"]: s["file"] for s in side["sources"]}
        assert found["toy_scale.kernels"] == str(own.site.resolve() / "toy_scale" / "kernels.py") and len(found) == 3
        assert side["python"] == str(own.python)
    digests = [{s["module"]: s["sha256"] for s in side["sources"]} for side in sides.values()]
    assert [name for name in digests[0] if digests[0][name] != digests[1][name]] == ["toy_scale.kernels"]


def test_a_package_that_the_heads_environment_cannot_import_breaks_the_head(
    judged: Callable[..., dict[str, Any]], environments: dict[str, Environment]
) -> None:
    base, head = environments["1.0"], environments["1.1"]
    write(head.site, {"toy_scale/kernels.py": "import nothing_here\n"})
    try:
        (verdict,) = judged(base, head, rc=1)["verdicts"]
    finally:
        write(head.site, {"toy_scale/kernels.py": SLOWER})
    assert (verdict["label"], verdict["verdict"]) == ("head", "BROKEN")
    assert f"{head.python} does not import: plugin 'toy_scale.ops' cannot be loaded: Module" in verdict["reason"]
