"""The workflows to copy: valid to their CI, pinned, one job a GPU, evidence kept, and read by what llmbench writes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ci_workflows import FOLDER, Workflow, load, workflows

from llmbench import __version__
from llmbench.analyze.stored import EXIT_CODES

ALL = workflows()


def check(schema: str, path: Path) -> "subprocess.CompletedProcess[str]":
    """check-jsonschema with a schema that it brings along: no network."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": os.defpath, **nowhere})


def test_every_workflow_is_checked() -> None:
    assert {w.path for w in ALL.values()} == set(FOLDER.iterdir())


@pytest.mark.parametrize("name", ALL)
def test_it_fits_the_schema_of_its_ci(name: str) -> None:
    done = check(ALL[name].schema, ALL[name].path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "seen", "wrong"),
    [
        ("github", "runs-on:", "run-on:"),
        ("github", "fetch-depth: 0", "fetch-depth: {}"),
        ("github", "queue: max", "queue: all"),
        ("gitlab", "tags: [gpu]", "tags: {}"),
        ("gitlab", "exit_codes: [5]", "exit_code: [5]"),
        ("gitlab", "when: always", "when: ever"),
    ],
)
def test_the_schema_refuses_what_it_should(tmp_path: Path, name: str, seen: str, wrong: str) -> None:
    text = ALL[name].path.read_text()
    assert text.count(seen) == 1
    (tmp_path / "bad.yml").write_text(text.replace(seen, wrong))
    assert check(ALL[name].schema, tmp_path / "bad.yml").returncode == 1


@pytest.mark.parametrize("workflow", ALL.values(), ids=ALL)
def test_llmbench_is_pinned_to_this_version(workflow: Workflow) -> None:
    assert re.findall(r"llmbench\[run\]==([\w.]+)", workflow.shell) == [__version__]


@pytest.mark.parametrize("workflow", ALL.values(), ids=ALL)
def test_what_the_command_writes_is_what_is_kept(workflow: Workflow) -> None:
    (command,) = workflow.commands
    text = workflow.path.read_text()
    for option, file in (("--junit", "gate.xml"), ("--html", "gate.html")):
        assert command[command.index(option) + 1] == file and text.count(file) >= 2
    assert "results/" in text and command[:2] == ["gate", "paired"]


def test_github_gets_the_whole_history_and_one_job_a_gpu() -> None:
    job = load(ALL["github"].path)["jobs"]["gate"]
    assert job["steps"][0]["with"]["fetch-depth"] == 0
    assert job["concurrency"] == {"group": "llmbench-gpu", "queue": "max", "cancel-in-progress": False}
    assert "self-hosted" in job["runs-on"] and "--github" in ALL["github"].commands[0]
    assert "${{" not in ALL["github"].shell, "an expression in a script is a way in for names of branches"


def test_gitlab_allows_what_is_inconclusive_and_nothing_else() -> None:
    job = load(ALL["gitlab"].path)["llmbench-gate"]
    inconclusive = [code for code, words in EXIT_CODES if "INCONCLUSIVE" in words]
    assert job["allow_failure"] == {"exit_codes": inconclusive} == {"exit_codes": [5]}
    assert job["variables"]["GIT_DEPTH"] == "0" and job["resource_group"] and job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"] == {"junit": "gate.xml"}
