"""The wheel, built and installed: suites and dashboards come with it, and nothing is taken from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from wheelhouse import ROOT, build_wheel

from llmbench import __version__

pytestmark = pytest.mark.slow


class Installed(NamedTuple):
    """A fresh environment with the wheel in it, and a folder to work in that is not the checkout."""

    wheel: Path
    bin: Path
    site: Path
    work: Path

    def run(self, *command: str) -> str:
        """What a command of the environment says on stdout; it must exit with 0."""
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | {"OMP_NUM_THREADS": "1"}
        env |= {"XDG_STATE_HOME": str(self.work / "state"), "XDG_CACHE_HOME": str(self.work / "cache")}
        program = [str(self.bin / command[0]), *command[1:]]
        done = subprocess.run(program, cwd=self.work, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build_wheel(folder / "dist")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=300)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    # a path in a .pth file is only added: the .pth files in that folder, such as the editable install's, are not read
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    work = folder / "work"
    work.mkdir()
    return Installed(wheel, python.parent, site, work)


def test_the_package_is_imported_from_the_wheel(installed: Installed) -> None:
    code = "import llmbench, json, sys; print(json.dumps([llmbench.__file__, llmbench.__version__, sys.path]))"
    file, version, path = json.loads(installed.run("python", "-c", code))
    assert Path(file).is_relative_to(installed.site) and version == __version__
    assert str(ROOT) not in path
    assert installed.run("llmbench", "--version").strip() == f"llmbench {__version__}"


@pytest.mark.parametrize("kind", ["suites", "dashboards"])
def test_the_wheel_holds_what_is_bundled(installed: Installed, kind: str) -> None:
    wanted = {path.name for path in (ROOT / kind).glob("*.yaml")}
    assert wanted, f"the checkout has no {kind}"
    assert {path.name for path in (installed.site / "llmbench" / "_bundled" / kind).glob("*.yaml")} == wanted


def test_the_wheel_holds_the_package_and_nothing_else(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"llmbench", f"llmbench-{__version__}.dist-info"}
    assert "llmbench/py.typed" in names and not [n for n in names if "__pycache__" in n or "/tests/" in n]


def test_a_bundled_suite_is_found_run_and_reported(installed: Installed) -> None:
    suites = json.loads(installed.run("llmbench", "list", "suites", "--json"))["suites"]
    bundled = installed.site / "llmbench" / "_bundled" / "suites"
    assert {Path(s["path"]).resolve().parent for s in suites} == {bundled.resolve()}
    assert "smoke" in installed.run("llmbench", "list", "suites")
    said = json.loads(installed.run("llmbench", "run", "smoke", "--json", "--device", "cpu"))
    assert said["complete"] and said["counts"] == {"ok": 8}
    run = installed.work / said["folder"]
    header = json.loads((run / "run.json").read_text())["header"]
    assert Path(header["suite_path"]) == bundled.resolve() / "smoke.yaml"
    assert "sdpa_flash" in installed.run("llmbench", "report")
    assert len(json.loads(installed.run("llmbench", "report", "--json"))["lines"]) == 8
