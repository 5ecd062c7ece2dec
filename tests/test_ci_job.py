"""The shipped workflows in a user's repository: their own commands, in environments that they make, on a branch with a
planted regression and on one without."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ci_job import Job, environment, github_job, gitlab_job
from ci_workflows import load
from lxml import etree
from paired_repository import commit, git
from user_repository import COPIES, PROJECT, user_repository
from wheelhouse import wheelhouse

pytestmark = pytest.mark.slow
SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent / "data" / "junit.xsd"))
SLOWED = {"fused infer size=1000", "fused infer size=4000"}
STEADY = {"plain infer size=1000", "plain infer size=4000"}


class Place(NamedTuple):
    """A user's repository, and the environment of a runner that works for it."""

    repository: Path
    env: Mapping[str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("user")
    return Place(user_repository(folder / "repository"), environment(folder, wheelhouse(folder / "wheels")))


def test_github_fails_a_pull_request_with_a_planted_regression(place: Place, tmp_path: Path) -> None:
    job = github_job(place.repository, "slower", tmp_path, place.env)
    is_slower(job)
    errors = [line for line in job.log.splitlines() if line.startswith("::error ")]
    assert len(errors) == 3 and all(any(f"REGRESSED {label}" in line for line in errors) for label in SLOWED)
    table = job.summary.read_text()
    assert table.startswith("# Gate: 2 REGRESSED") and all(f"| REGRESSED | {label} |" in table for label in SLOWED)
    is_kept(job, load(job.checkout / COPIES["github"])["jobs"]["gate"]["steps"][-1]["with"]["path"].split())


def test_github_passes_a_pull_request_that_is_as_fast(place: Place, tmp_path: Path) -> None:
    job = github_job(place.repository, "same", tmp_path, place.env)
    is_as_fast(job)
    assert "::error " not in job.log and "::notice title=llmbench gate scale::4 PASS" in job.log
    assert job.summary.read_text().startswith("# Gate: 4 PASS")


def test_gitlab_fails_a_merge_request_with_a_planted_regression(place: Place, tmp_path: Path) -> None:
    job = gitlab_job(place.repository, "slower", tmp_path, place.env)
    is_slower(job)
    assert not job.venv.exists()
    is_kept(job, load(job.checkout / COPIES["gitlab"])["llmbench-gate"]["artifacts"]["paths"])


def test_gitlab_passes_a_merge_request_that_is_as_fast(place: Place, tmp_path: Path) -> None:
    job = gitlab_job(place.repository, "same", tmp_path, place.env)
    is_as_fast(job)
    assert not job.venv.exists()


def test_a_branch_that_pins_another_llmbench_is_refused_before_anything_is_measured(
    place: Place, tmp_path: Path
) -> None:
    git(place.repository, "checkout", "-q", "-b", "other-pin", "main")
    commit(place.repository, {"pyproject.toml": PROJECT.replace("llmbench==", "llmbench!=")})
    job = github_job(place.repository, "other-pin", tmp_path, place.env)
    assert job.code == 1 and "toy-scale 1.0 depends on llmbench!=" in job.log
    assert not (job.checkout / "results").exists()


def is_slower(job: Job) -> None:
    """The job failed by its two slowed cases alone, which the user's own op and the job's own environment measured."""
    assert job.code == 1, job.log
    assert outcomes(job) == dict.fromkeys(SLOWED, "failure") | dict.fromkeys(STEADY, "passed")
    assert all(f"REGRESSED  {label}" in job.log for label in SLOWED)
    document = evidence(job)
    for verdict in document["verdicts"]:
        time = next(f for f in verdict["findings"] if f["metric"] == "time")
        assert time["ratio"] == pytest.approx(1.1 if verdict["label"] in SLOWED else 1.0, rel=0.02)
    sides = document["paired"]["sides"]
    for side in sides.values():
        assert [s["module"] for s in side["sources"]] == ["toy_scale", "toy_scale.kernels", "toy_scale.ops"]
        assert {Path(s["file"]).parent for s in side["sources"]} == {Path("src/toy_scale")}  # of the trees
        assert Path(side["python"]).parent == job.venv / "bin"
    assert sides["base"]["sources_hash"] != sides["head"]["sources_hash"]


def is_as_fast(job: Job) -> None:
    """The job passed by evidence in every case."""
    assert job.code == 0, job.log
    assert outcomes(job) == dict.fromkeys(SLOWED | STEADY, "passed")
    assert {verdict["verdict"] for verdict in evidence(job)["verdicts"]} == {"PASS"}
    assert "both sides are the same code" in job.log


def is_kept(job: Job, patterns: Iterable[str]) -> None:
    """What the CI is told to keep is there, and nothing of a worktree."""
    assert {*patterns} == {"gate.html", "gate.xml", "results/"}
    assert all(glob(pattern, root_dir=job.checkout) for pattern in patterns)
    assert git(job.checkout, "status", "--porcelain", "--untracked-files=no") == ""
    assert len(git(job.checkout, "worktree", "list").splitlines()) == 1


def outcomes(job: Job) -> dict[str, str]:
    """Case -> its element in the JUnit file, which fits the schema; `passed` where it has none."""
    SCHEMA.assertValid(etree.parse(job.checkout / "gate.xml"))
    root = ET.parse(job.checkout / "gate.xml").getroot()
    return {case.attrib["name"]: next((e.tag for e in case), "passed") for case in root.iter("testcase")}


def evidence(job: Job) -> dict[str, Any]:
    """The document of the gate that the job ran."""
    (file,) = job.checkout.glob("results/scale/*/*-paired/gate.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found
