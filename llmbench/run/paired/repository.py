"""A git repository: which commit a revision names, and its files in a folder of their own while they are needed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmbench.errors import MachineError, UsageError, nearest

TIMEOUT_S = 300.0  # a checkout of a large repository from a slow disk takes a minute
NO_HOOKS = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")  # a hook may build, or ask something


@dataclass(frozen=True)
class Repository:
    """The repository whose files are below `root`."""

    root: Path

    def commit(self, revision: str, *, option: str) -> str:
        """The full id of the commit that `revision` names. Raises: UsageError with the nearest name, and `option`."""
        found = _git(self.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if found is not None:
            return found
        names = (_git(self.root, "for-each-ref", "--format=%(refname:short)") or "").split()
        more = nearest(revision[:60], [*names, "HEAD"]) if len(names) < 20 or _close(revision, names) else ""
        if _git(self.root, "rev-parse", "--is-shallow-repository") == "true":
            more += "; this clone is shallow: git fetch --unshallow gets the rest"
        raise UsageError(f"{option} {revision}: no revision of {self.root}{more}")

    def head(self) -> str | None:
        """The commit that is checked out; None before the first."""
        return _git(self.root, "rev-parse", "--verify", "--quiet", "HEAD")

    def is_dirty(self) -> bool:
        """Whether tracked files were changed since the commit."""
        return bool(_git(self.root, "status", "--porcelain", "--untracked-files=no"))

    @contextmanager
    def tree(self, commit: str, folder: Path) -> Iterator[Path]:
        """The files of a commit in `folder` while the block runs; no trace of it afterwards, whatever happens.

        Raises: MachineError when git cannot write them.
        """
        try:
            _run(self.root, *NO_HOOKS, "worktree", "add", "--detach", "--quiet", "--force", str(folder), commit)
            yield folder
        except subprocess.CalledProcessError as e:
            raise MachineError(f"{folder}: git worktree add: {e.stderr.strip() or e}") from e
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _git(self.root, "worktree", "prune")


def repository_of(folder: Path) -> Repository | None:
    """The repository that a folder is in; None where it is in none, or git is not there."""
    root = _git(folder, "rev-parse", "--show-toplevel")
    return Repository(Path(root).resolve()) if root else None


def _close(revision: str, names: list[str]) -> bool:
    return "did you mean" in nearest(revision[:60], names)


def _git(folder: Path, *args: str) -> str | None:
    """What git prints, without the space around it; None when it fails."""
    try:
        return _run(folder, *args).strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _run(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
        stdin=subprocess.DEVNULL, env=_environment(),
    )  # fmt: skip
    return done.stdout


def _environment() -> dict[str, str]:
    """Without what a hook of git, which may have started this, says of its own repository."""
    return {
        k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
    }
