"""A git repository: which commit a revision names, and its files in a folder of their own while they are needed."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llmbench.errors import MachineError, UsageError, nearest

TIMEOUT_S = 300.0  # a checkout of a large repository from a slow disk takes a minute
PREFIX = "llmbench-gate-"  # of the folder that holds the trees of a gate
NONE, DUBIOUS = "not a git repository", "dubious ownership"  # how git says that there is none, or that it is another's
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

    def untracked(self) -> tuple[str, ...]:
        """Files that no commit holds and git does not ignore, relative to the root; a folder of them ends in `/`."""
        told = _git(self.root, "status", "--porcelain", "-z", "--untracked-files=normal") or ""
        return tuple(sorted(line[3:] for line in told.split("\0") if line.startswith("?? ")))

    @contextmanager
    def tree(self, commit: str, folder: Path) -> Iterator[Path]:
        """The files of a commit in `folder` while the block runs; no trace of it afterwards, whatever happens.

        Other worktrees stay as they are, those whose folder is not there now as well, so nothing is pruned: it may be
        on a disk that is not mounted. What a gate left behind that was killed is forgotten by the name of its folder.
        Raises: MachineError when git cannot write them.
        """
        self._forget_leftovers()
        try:
            _run(self.root, *NO_HOOKS, "worktree", "add", "--detach", "--quiet", "--force", str(folder), commit)
            yield folder
        except subprocess.CalledProcessError as e:
            raise MachineError(f"{folder}: git worktree add: {e.stderr.strip() or e}") from e
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._forget(folder)

    def _forget_leftovers(self) -> None:
        for line in (_git(self.root, "worktree", "list", "--porcelain") or "").splitlines():
            path = Path(line.removeprefix("worktree "))
            own = line.startswith("worktree ") and any(part.startswith(PREFIX) for part in path.parts)
            if own and not path.exists():
                self._forget(path)

    def _forget(self, folder: Path) -> None:
        _git(self.root, "worktree", "remove", "--force", "--force", str(folder))


def repository_of(folder: Path) -> Repository | None:
    """The repository that a folder is in; None where it is in none, or git cannot tell: see `why_none`."""
    with suppress(OSError):
        root = _git(folder, "rev-parse", "--show-toplevel")
        return Repository(Path(root).resolve()) if root else None
    return None


def why_none(folder: Path) -> str:
    """Why `repository_of` found none, and what helps. Raises: MachineError where git is missing."""
    try:
        return refusal(folder) or f"{folder}: not in a git repository"
    except OSError as e:
        raise MachineError(f"git cannot be started, and a gate of revisions needs it: {e.strerror}") from e


def refusal(folder: Path) -> str | None:
    """Why git does not say which repository a folder is in, and what helps; None where it says, even "none".

    Raises: OSError where git is missing.
    """
    try:
        _run(folder, "rev-parse", "--show-toplevel")
    except subprocess.CalledProcessError as e:
        said = e.stderr.strip()
        if DUBIOUS in said:
            path = next(iter(re.findall(r"repository at '(.+?)'", said)), str(folder))
            return f"{folder}: git refuses it: {said.splitlines()[0]}; git config --global --add safe.directory {path}"
        if NONE not in said:
            return f"{folder}: git does not say which repository it is in: {' '.join(said.split())}"
    return None


def _close(revision: str, names: list[str]) -> bool:
    return "did you mean" in nearest(revision[:60], names)


def _git(folder: Path, *args: str) -> str | None:
    """What git prints, without the space around it; None when it fails. Raises: MachineError when it takes too long."""
    try:
        return _run(folder, *args).strip()
    except subprocess.CalledProcessError:
        return None


def _run(folder: Path, *args: str) -> str:
    """Raises: CalledProcessError; OSError where there is no git; MachineError when it takes too long."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
            stdin=subprocess.DEVNULL, env=_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        asked = " ".join(arg for arg in args if arg not in NO_HOOKS)
        raise MachineError(f"{folder}: git {asked} took longer than {TIMEOUT_S:g} s") from e
    return done.stdout


def _environment() -> dict[str, str]:
    """Without what a hook of git, which may have started this, says of its own repository; whoever works in it now is
    not kept waiting by a lock that a mere look would take."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
    }
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
