"""The workflows that docs/ci holds, and the llmbench commands in them."""

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

FOLDER = Path(__file__).parent.parent / "docs" / "ci"


class Workflow(NamedTuple):
    """A workflow for a CI: its schema in check-jsonschema, its shell lines, and the variables that they use."""

    path: Path
    schema: str
    shell: str
    variables: dict[str, str]

    @property
    def commands(self) -> list[list[str]]:
        """The words of each llmbench command, without `llmbench`, the workflow's variables put in."""
        joined = self.shell.replace("\\\n", " ")
        filled = re.sub(r"\$\{?(\w+)\}?", lambda m: self.variables.get(m[1], m[0]), joined)
        found = [shlex.split(line) for line in filled.splitlines() if line.strip().startswith("llmbench ")]
        return [words[1:] for words in found]


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def workflows() -> dict[str, Workflow]:
    """By the name of the CI."""
    hub, lab = FOLDER / "github-gate.yml", FOLDER / "gitlab-gate.yml"
    actions, job = load(hub), load(lab)["llmbench-gate"]
    steps = actions["jobs"]["gate"]["steps"]
    runs = [step.get("run", "") for step in steps]
    scripts = [line for key in ("before_script", "script", "after_script") for line in job[key]]
    return {
        "github": Workflow(hub, "vendor.github-workflows", "\n".join(runs), _texts(actions["env"])),
        "gitlab": Workflow(lab, "vendor.gitlab-ci", "\n".join(scripts), _texts(job["variables"])),
    }


def _texts(variables: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in variables.items()}
