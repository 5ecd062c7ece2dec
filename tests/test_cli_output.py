"""Files that commands write: a target that cannot be is told before anything else, and nothing is half-written."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import STEADY, stored_run

from llmbench.cli import output
from llmbench.errors import UsageError

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TIMES = {"naive": STEADY, "flash": STEADY}
COMMANDS = {
    "--html": ("report", "run", "--html"),
    "--png": ("report", "run", "--png"),
    "compare --html": ("compare", "run", "run", "--html"),
    "--junit": ("gate", "stored", "run", "--baseline", "base", "--junit"),
    "gate --html": ("gate", "stored", "run", "--baseline", "base", "--html"),
}
BAD = {
    "--html": ("no/p.html", "No such file or directory"),
    "--png": ("file/plots", "Not a directory"),
    "compare --html": ("folder", "Is a directory"),
    "--junit": ("file/gate.xml", "Not a directory"),
    "gate --html": ("no/gate.html", "No such file or directory"),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    stored_run(tmp_path / "base", TIMES)
    return stored_run(tmp_path / "run", TIMES)


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if "state" not in path.parts}


@pytest.mark.parametrize("name", COMMANDS)
def test_where_nothing_can_be_written_the_error_is_all_that_is_printed(
    llmbench: Command, tmp_path: Path, run: Path, name: str
) -> None:
    (target, why), before = BAD[name], files_of(tmp_path)
    done = llmbench(*COMMANDS[name], target, rc=2)
    assert done.stderr == f"llmbench: {name.split()[-1]} {target}: cannot be written: {why}\n"
    assert not done.stdout and files_of(tmp_path) == before


@pytest.mark.parametrize("dashboard", ["nosuch", "./bad.yaml"])
def test_a_dashboard_that_is_wrong_is_all_that_is_printed(
    llmbench: Command, tmp_path: Path, run: Path, dashboard: str
) -> None:
    (tmp_path / "bad.yaml").write_text("title: T\npanels:\n  - {kind: swep, y: time}\n")
    before = files_of(tmp_path)
    args = ("report", "run", "--dashboard", dashboard, "--html", "p.html", "--png", "plots")
    done = llmbench(*args, rc=2)
    assert done.stderr.count("\n") == 1 and dashboard.removeprefix("./") in done.stderr
    assert not done.stdout and files_of(tmp_path) == before


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "--png"])
def test_a_file_is_written_whole_and_nothing_stays_beside_it(
    llmbench: Command, tmp_path: Path, run: Path, name: str
) -> None:
    before = files_of(tmp_path)
    assert llmbench(*COMMANDS[name], "file").stdout
    assert (tmp_path / "file").read_text().rstrip().endswith(("</html>", "</testsuites>"))
    assert files_of(tmp_path) == before


def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    (tmp_path / "page").write_text("before")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UsageError, match=r"^--html .*page: cannot be written: No space left on device$"):
        output.save("--html", tmp_path / "page", "after")
    assert (tmp_path / "page").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_link_stays_a_link_and_a_device_a_device(llmbench: Command, tmp_path: Path, run: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    output.check_file("--junit", tmp_path / "link")
    output.save("--junit", tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"
    told = llmbench(*COMMANDS["--junit"], "/dev/stdout").stdout
    assert told.startswith("<?xml") and told.endswith("2 PASS: exit 0, pass\n")


def test_the_check_leaves_a_file_that_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("before")
    output.check_file("--html", tmp_path / "page")
    output.check_file("--html", tmp_path / "new")
    output.check_folder("--png", tmp_path / "a" / "b")
    assert (tmp_path / "page").read_text() == "before"
    assert files_of(tmp_path) == {Path("page"), Path("a"), Path("a/b")}
