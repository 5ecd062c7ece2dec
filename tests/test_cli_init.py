"""`init` writes a suite that works under the name that it was given, or nothing."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from llmbench.cli import init
from llmbench.errors import UsageError

Command = Callable[..., "CompletedProcess[str]"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("suite.yaml", "./suite.yaml"), ("sub/x.yaml", "sub/x.yaml"), ("my suite.yaml", "'./my suite.yaml'"),
        ("é{0}.yaml", "'./é{0}.yaml'"),
    ],
)  # fmt: skip
def test_its_comments_name_the_file_as_run_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    init.command(Path(name))
    lines = Path(name).read_text(encoding="utf-8").splitlines()
    assert [ln.split("  ")[1].strip() for ln in lines[2:5]] == [
        f"llmbench plan {shown}", f"llmbench run {shown}", "llmbench report latest --open",
    ]  # fmt: skip
    assert len({ln.rindex("     ") for ln in lines[2:5]}) == 1 and lines[5] == ""
    assert capsys.readouterr().err == f"llmbench: wrote {name}; measure it with: llmbench run {shown}\n"


@pytest.mark.parametrize("name", ["\udcff.yaml", "a\nb.yaml", "a\x1b[31m.yaml", "a\u2028b.yaml"])
def test_a_name_that_cannot_be_printed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as told:
        init.command(Path(name))
    assert str(told.value) == f"{name!r}: not a name for a suite; wanted: one that can be printed, without line breaks"
    assert list(tmp_path.iterdir()) == []


def test_odd_names_end_in_one_message(llmbench: Command, tmp_path: Path) -> None:
    (tmp_path / "run" / "run.json").mkdir(parents=True)
    for args in (["init", "\udcff.yaml"], ["report", "latest:/tmp"], ["report", "x" * 5000], ["report", "run"]):
        said = llmbench(*args, rc=2).stderr
        assert said.startswith("llmbench: ") and said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
