"""A gate job of a CI: the shell lines of a repository's own workflow, run as GitHub's and GitLab's runners run them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from ci_workflows import load
from paired_repository import git
from user_repository import COPIES

TIMEOUT_S = 600


class Job(NamedTuple):
    """A job that ended: exit code and log, where it worked, its environment, and what GitHub shows on its page."""

    code: int
    log: str
    checkout: Path
    venv: Path
    summary: Path


def github_job(repository: Path, branch: str, folder: Path, env: Mapping[str, str]) -> Job:
    """The workflow's job on a pull request of `branch`: GitHub checks out what merging it into main gives."""
    checkout, files = folder / "checkout", {name: folder / name for name in ("path", "output", "env", "summary")}
    _clone(repository, checkout, "main")
    git(checkout, "merge", "-q", "--no-ff", "-m", "merge", f"origin/{branch}")
    for file in files.values():
        file.touch()
    (folder / "temp").mkdir()
    workflow = load(checkout / COPIES["github"])
    given = {
        "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_BASE_REF": "main",
        "GITHUB_HEAD_REF": branch, "GITHUB_SHA": git(checkout, "rev-parse", "HEAD"), "GITHUB_WORKSPACE": str(checkout),
        "GITHUB_PATH": str(files["path"]), "GITHUB_OUTPUT": str(files["output"]), "GITHUB_ENV": str(files["env"]),
        "GITHUB_STEP_SUMMARY": str(files["summary"]), "RUNNER_TEMP": str(folder / "temp"),
    }  # fmt: skip
    code, log = 0, ""
    for step in workflow["jobs"]["gate"]["steps"]:
        if "run" not in step or code != 0:
            continue
        added = reversed(files["path"].read_text().split())
        path = os.pathsep.join([*added, env["PATH"]])
        own = {**env, **given, **_texts(workflow["env"]), "PATH": path}
        script = folder / "step.sh"
        script.write_text(step["run"])
        code, said = _bash(["-e", str(script)], checkout, own)
        log += said
    return Job(code, log, checkout, folder / "temp" / "venv", files["summary"])


def gitlab_job(repository: Path, branch: str, folder: Path, env: Mapping[str, str]) -> Job:
    """The workflow's job on a merge request of `branch`: GitLab checks out the branch itself."""
    checkout = folder / "checkout"
    _clone(repository, checkout, branch)
    job = load(checkout / COPIES["gitlab"])["llmbench-gate"]
    given = {
        "CI": "true", "GITLAB_CI": "true", "CI_JOB_ID": f"{os.getpid()}{branch}", "CI_PROJECT_DIR": str(checkout),
        "CI_PIPELINE_SOURCE": "merge_request_event", "CI_COMMIT_SHA": git(checkout, "rev-parse", "HEAD"),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": git(checkout, "merge-base", "origin/main", "HEAD"),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }  # fmt: skip
    variables = {k: Template(v).safe_substitute(given) for k, v in _texts(job["variables"]).items()}
    own = {**env, **given, **variables}
    code, log = _bash(["-c", _script(job, "before_script", "script")], checkout, own)
    after, said = _bash(["-c", _script(job, "after_script")], checkout, own)
    assert after == 0, said
    return Job(code, log + said, checkout, Path(variables["VENV"]), folder / "summary")


def environment(folder: Path, wheels: Path) -> dict[str, str]:
    """What a runner has without a network: a python3 of this version, git, and pip that knows a folder of wheels."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    own = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    kept = {name: os.environ[name] for name in ("LANG", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    path = os.pathsep.join([str(programs), os.defpath])
    return {**kept, **nowhere, **own, **pip, "PATH": path, "OMP_NUM_THREADS": "1"}


def _clone(repository: Path, checkout: Path, branch: str) -> None:
    """The whole history, and no branch: a commit is checked out."""
    git(repository, "clone", "-q", "--no-local", str(repository), str(checkout))
    git(checkout, "checkout", "-q", "--detach", f"origin/{branch}")


def _script(job: Mapping[str, Any], *keys: str) -> str:
    return "\n".join(["set -eo pipefail", *(line for key in keys for line in job[key])])


def _bash(args: list[str], folder: Path, env: Mapping[str, str]) -> tuple[int, str]:
    """Exit code, and stdout and stderr as they come: a CI's log holds both."""
    done = subprocess.run(
        ["bash", *args], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        stdin=subprocess.DEVNULL, timeout=TIMEOUT_S,
    )  # fmt: skip
    return done.returncode, done.stdout


def _texts(variables: Mapping[str, Any]) -> dict[str, str]:
    """As a CI hands them over. None of them, and no step, holds an expression of GitHub's."""
    texts = {name: str(value) for name, value in variables.items()}
    assert not any("${{" in text for text in texts.values())
    return texts
