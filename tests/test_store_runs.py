"""Names of runs: what they stand for, and that a name that can stand for nothing is one message."""

from pathlib import Path

import pytest
from example_runs import STEADY, stored_run

from llmbench.errors import RunError
from llmbench.store.runs import Load, find_run, read_manifest


def test_latest_is_the_newest_of_all_suites_or_of_one(tmp_path: Path) -> None:
    for name in ("tiny/cpu/20260101T000000Z-a", "attention/cpu/20260102T000000Z-a", "tiny/gpu/20260101T000001Z-a"):
        stored_run(tmp_path / name, {"flash": STEADY})
    stored_run(tmp_path / "reference/h100/20270101T000000Z-a", {"flash": STEADY})
    assert find_run("latest", tmp_path).parent.parent.name == "attention"
    assert find_run("latest:tiny", tmp_path) == tmp_path / "tiny/gpu/20260101T000001Z-a"
    with pytest.raises(RunError, match=r"no run of suite 'tinny' under .*; did you mean 'tiny'"):
        find_run("latest:tinny", tmp_path)
    with pytest.raises(RunError, match="no run of suite 'reference'"):
        find_run("latest:reference", tmp_path)
    with pytest.raises(RunError, match=r"no run under .*; measure one with: llmbench run attention"):
        find_run("latest", tmp_path, closed=False)


@pytest.mark.parametrize("suite", ["/tmp", "../..", "*", "[", "**", "\udcff", "a\nb", "x" * 5000, "tiny/"])
def test_the_name_of_a_suite_is_no_pattern_and_no_path(tmp_path: Path, suite: str) -> None:
    stored_run(tmp_path / "tiny/cpu/a", {"flash": STEADY})
    with pytest.raises(RunError, match=r"^latest:.*no run of suite") as told:
        find_run(f"latest:{suite}", tmp_path)
    assert len(str(told.value)) < 800


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "^nowhere: no such run; give a folder, latest or latest:SUITE$"),
        ("x" * 5000, "^x{200}…: no run can be there: File name too long; give"),
        ("a\0b", "no run can be there: embedded null byte; give"),
        (f"{__file__}/x", "no such run; give"),
    ],
)
def test_a_name_that_no_folder_has(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(RunError, match=said):
        find_run(name, tmp_path)


def test_a_folder_of_results_that_cannot_be_searched(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^--results .*…: cannot be searched: File name too long$"):
        find_run("latest", tmp_path / ("x" * 5000))


def test_a_manifest_that_is_a_folder_or_too_deep_is_none(tmp_path: Path) -> None:
    (tmp_path / "run" / "run.json").mkdir(parents=True)
    with pytest.raises(RunError, match=r"run/run\.json: cannot be read: Is a directory$"):
        read_manifest(tmp_path / "run")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "run.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match=r"deep/run\.json: not a manifest: "):
        read_manifest(tmp_path / "deep")


def test_a_manifest_of_before_the_load_was_noted_reads(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run", {"flash": STEADY}, load=Load(0.3, 2))
    assert read_manifest(run).header.load == Load(0.3, 2)
    text = (run / "run.json").read_text()
    assert '"load"' in text
    (run / "run.json").write_text(text.replace('"load"', '"unknown"'))
    assert read_manifest(run).header.load is None


@pytest.mark.parametrize(
    ("busy_cores", "cores", "heavy"),
    [(0.2, 1, False), (0.25, 2, False), (0.26, 2, True), (2.0, 2, True), (0.8, 64, False), (6.5, 64, True)],
)
def test_load_is_heavy_by_cores_and_by_its_share_of_them(busy_cores: float, cores: int, heavy: bool) -> None:
    assert Load(busy_cores, cores).heavy is heavy
