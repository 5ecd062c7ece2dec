"""What a gate writes for a CI: annotations and step summary of GitHub, JUnit and a page, at any number of cases."""

import resource
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from example_runs import OP, STEADY, make_suite, stored_run
from gate_outcomes import LONG
from lxml import etree

from llmbench.cli import output
from llmbench.errors import UsageError
from llmbench.report.limited import MOST_BYTES
from llmbench.suite.catalog import ImplSpec

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SLOW = tuple(1.3 * t for t in STEADY)
SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent / "data" / "junit.xsd"))
GATE = ("gate", "stored", "run", "--baseline", "base")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A baseline and a run in which one of three is slower; the folder that holds them."""
    stored_run(tmp_path / "base", dict.fromkeys(("naive", "flash", "flex"), STEADY))
    stored_run(tmp_path / "run", {"naive": STEADY, "flash": SLOW, "flex": STEADY})
    return tmp_path


def test_github_reads_annotations_on_stderr_and_a_summary_in_its_file(llmbench: Command, runs: Path) -> None:
    (runs / "summary.md").write_text("what an earlier line of the step wrote\n")
    done = llmbench(*GATE, "--github", "--json", rc=1, GITHUB_STEP_SUMMARY=str(runs / "summary.md"))
    assert done.stderr.splitlines() == [
        "::error title=llmbench gate attention::1 REGRESSED, 2 PASS: exit 1, regression, or a case broken",
        "::error title=REGRESSED flash fwd%3A time 1.300 [1.271%2C 1.330]%2C limit 1.03::"
        "time ratio 1.3, 95 %25 CI [1.271, 1.33] over 3 and 3 processes, excludes 1 and reaches the limit 1.03",
        "::warning title=llmbench gate attention::baseline has 3 cases not checked",
        "::warning title=llmbench gate attention::run has 3 cases not checked",
    ]
    assert done.stdout == llmbench(*GATE, "--json", rc=1).stdout
    markdown = llmbench(*GATE, "--markdown", rc=1).stdout
    assert (runs / "summary.md").read_text() == f"what an earlier line of the step wrote\n{markdown}"


def test_without_the_option_nothing_is_told_to_github(llmbench: Command, runs: Path) -> None:
    done = llmbench(*GATE, rc=1, GITHUB_STEP_SUMMARY=str(runs / "summary.md"), GITHUB_ACTIONS="true")
    assert not done.stderr and not (runs / "summary.md").exists()
    assert "::error" in llmbench(*GATE, "--github", rc=1, GITHUB_STEP_SUMMARY="").stderr


def test_a_baseline_that_is_missing_is_told_in_every_form(llmbench: Command, runs: Path) -> None:
    args = ("gate", "stored", "run", "--baseline", "nowhere", "--github", "--html", "gate.html", "--junit", "gate.xml")
    done = llmbench(*args, rc=4, GITHUB_STEP_SUMMARY=str(runs / "summary.md"))
    wanted = "--baseline nowhere: neither a run nor a store of"
    assert f"::error title=MISSING baseline::{wanted}" in done.stderr
    assert f"| MISSING | baseline |  |  |  |  | {wanted}" in (runs / "summary.md").read_text()
    page = (runs / "gate.html").read_text()
    assert "<strong>exit 4</strong> a case or the baseline is missing" in page and wanted in page
    SCHEMA.assertValid(etree.parse(runs / "gate.xml"))


def test_a_summary_that_cannot_be_written_is_told_before_anything_else(llmbench: Command, runs: Path) -> None:
    done = llmbench(*GATE, "--github", "--junit", "gate.xml", rc=2, GITHUB_STEP_SUMMARY="no/summary.md")
    assert done.stderr == "llmbench: GITHUB_STEP_SUMMARY no/summary.md: cannot be written: No such file or directory\n"
    assert not done.stdout and not (runs / "gate.xml").exists()


def test_what_the_step_has_written_counts_towards_the_size_of_its_summary(llmbench: Command, runs: Path) -> None:
    summary = runs / "summary.md"
    summary.write_text("x" * (MOST_BYTES - 400))
    llmbench(*GATE, "--github", rc=1, GITHUB_STEP_SUMMARY=str(summary))
    text = summary.read_text()[MOST_BYTES - 400 :]
    assert text.startswith("# Gate: 1 REGRESSED, 2 PASS") and "- **cut**: " in text
    assert summary.stat().st_size <= MOST_BYTES
    summary.write_text("x" * MOST_BYTES)
    said = llmbench(*GATE, "--github", rc=1, GITHUB_STEP_SUMMARY=str(summary)).stderr
    assert said.splitlines()[-1] == (
        "llmbench: GITHUB_STEP_SUMMARY holds 900,000 bytes: the gate's table has no room in it"
    )
    assert summary.stat().st_size == MOST_BYTES


def test_text_is_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before\n")
    output.append("--x", path, "after\n")
    assert path.read_text() == "before\nafter\n"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the first write takes a part
    try:
        with pytest.raises(UsageError, match=r"^--x .*file: cannot be written: File too large$"):
            output.append("--x", path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "before\nafter\n"


def test_five_thousand_cases_are_told_within_every_limit(llmbench: Command, tmp_path: Path) -> None:
    names = tuple(f"i{k}" for k in range(5000))
    suite = make_suite(op=replace(OP, impls=tuple(map(ImplSpec, names))), impls=names)
    long = LONG * 10
    stored_run(tmp_path / "base", dict.fromkeys(names, STEADY[:1]), suite=suite)
    failed = dict.fromkeys(names[:2000], ("error", long))
    stored_run(tmp_path / "run", dict.fromkeys(names[2000:], STEADY[:1]), failed=failed, suite=suite)  # type: ignore[arg-type]
    args = ("--github", "--junit", "gate.xml", "--html", "gate.html", "--markdown")
    done = llmbench(*GATE, *args, rc=1, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    summary = (tmp_path / "summary.md").read_text()
    assert summary == done.stdout and 0.98 * MOST_BYTES < len(summary.encode()) <= MOST_BYTES
    assert summary.startswith("# Gate: 2000 BROKEN, 3000 INCONCLUSIVE: exit 1, ") and "- **cut**: " in summary
    assert done.stderr.count("::error ") == 10 and done.stderr.count("::warning ") == 10
    tree = etree.parse(tmp_path / "gate.xml")
    SCHEMA.assertValid(tree)
    (counted,) = tree.getroot()
    assert [counted.attrib[k] for k in ("tests", "failures", "errors")] == ["5000", "2000", "3000"]
    assert len(tree.findall(".//failure")) == 2000 and len(tree.findall(".//testcase")) == 5000
    page = (tmp_path / "gate.html").read_text()
    assert "2,000 BROKEN" in page and "the first 1,000 of 5,000 rows; --json has all" in page
    assert len(page) < 8_000_000
