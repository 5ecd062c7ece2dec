"""The two sides: revisions and their trees, where the subject lies, and what the messages say."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from paired_repository import REAL_SUITE, SIMULATED, SIMULATED_SUITE, commit, git, real_repository, repository, write
from paired_repository import simulated_repository as simulated

from llmbench.errors import MachineError, UsageError
from llmbench.run.paired.folder import gate_folder
from llmbench.run.paired.loaded import loaded_sources
from llmbench.run.paired.repository import PREFIX, Repository, repository_of
from llmbench.run.paired.seen import Seen
from llmbench.run.paired.subject import KERNELS, Asked, Place, open_sides
from llmbench.run.paired.verdicts import broken, found_of
from llmbench.run.paired.witness import changed_since, fingerprint, strangers
from llmbench.run.protocol import Source


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is a repository with kernels on the simulated device."""
    folder = simulated(tmp_path / "repo")
    monkeypatch.chdir(folder)
    return folder


def worktrees(folder: Path) -> int:
    return len(git(folder, "worktree", "list").splitlines())


def test_an_unknown_revision_names_the_nearest(here: Path) -> None:
    found = Repository(here)
    with pytest.raises(UsageError, match=r"--base mian: no revision of .*did you mean 'main'\?"):
        found.commit("mian", option="--base")
    with pytest.raises(UsageError, match="--head --output=x: no revision"):
        found.commit("--output=x", option="--head")
    assert found.commit("main", option="--base") == git(here, "rev-parse", "main") == found.head()


def test_a_shallow_clone_says_that_it_is_one(here: Path, tmp_path: Path) -> None:
    commit(here, {"more.txt": "1"})
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{here}", "shallow")
    with pytest.raises(UsageError, match="this clone is shallow: git fetch --unshallow"):
        Repository(tmp_path / "shallow").commit("main~1", option="--base")


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, RuntimeError])
def test_a_tree_holds_the_commit_and_leaves_no_trace(
    here: Path, tmp_path: Path, error: type[BaseException] | None
) -> None:
    commit(here, {"sim_kernels.py": "changed = True\n"})

    def use() -> None:
        with Repository(here).tree(git(here, "rev-parse", "main"), tmp_path / "tree") as tree:
            assert (tree / "sim_kernels.py").read_text() == SIMULATED and worktrees(here) == 2
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert not (tmp_path / "tree").exists() and worktrees(here) == 1


def test_a_worktree_of_the_users_own_whose_folder_is_absent_stays(here: Path, tmp_path: Path) -> None:
    """As on a disk that is not mounted now."""
    git(here, "worktree", "add", "-q", "--detach", str(tmp_path / "mine"), "main")
    (tmp_path / "mine").rename(tmp_path / "elsewhere")
    with Repository(here).tree(git(here, "rev-parse", "main"), tmp_path / "tree"):
        assert worktrees(here) == 3
    assert worktrees(here) == 2
    (tmp_path / "elsewhere").rename(tmp_path / "mine")
    assert git(tmp_path / "mine", "status", "--porcelain") == ""


def test_the_tree_of_a_gate_that_was_killed_is_forgotten_by_the_next(here: Path, tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}abc" / "base" / "tree"
    git(here, "worktree", "add", "-q", "--detach", str(left), "main")
    shutil.rmtree(tmp_path / f"{PREFIX}abc")
    with Repository(here).tree(git(here, "rev-parse", "main"), tmp_path / "tree"):
        assert worktrees(here) == 2
    assert worktrees(here) == 1


def test_a_look_takes_no_lock(here: Path) -> None:
    """Who works in the repository meanwhile would find index.lock."""
    write(here, {"sim_kernels.py": SIMULATED})  # the same, but newer: a status would like to note that
    index = here / ".git" / "index"
    before = index.read_bytes()
    os.utime(here / "sim_kernels.py", (1e9, 1e9))
    assert not Repository(here).is_dirty() and index.read_bytes() == before


@pytest.mark.parametrize("asked", [Asked("suite.yaml", base="main"), Asked("suite.yaml", itself=True)], ids=str)
def test_a_repository_of_another_user_is_told_with_what_helps(
    here: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    """A self-test as well: it would try what is installed, not the commit that is checked out."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    helps = rf"dubious ownership in repository at '{here}'; git config --global --add safe\.directory {here}"
    with pytest.raises(UsageError, match=helps), open_sides(asked):
        pass


def test_a_machine_without_git_is_told_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(MachineError, match="git cannot be started"), open_sides(Asked("suite.yaml", base="main")):
        pass
    with open_sides(Asked("suite.yaml", itself=True)) as sides:
        assert sides.base.path is sides.head.path is None, "what is installed is tried against itself"


def test_a_git_that_takes_too_long_is_one_message(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmbench.run.paired.repository.TIMEOUT_S", 1e-6)
    with pytest.raises(MachineError, match=r"git rev-parse .* took longer than 1e-06 s"):
        Repository(here).head()


def test_files_that_no_commit_holds_are_known_for_the_head_alone(here: Path) -> None:
    write(here, {"helper.py": "", "more/a.py": ""})
    with open_sides(Asked("suite.yaml", base="main")) as sides:
        assert sides.head.untracked == ("helper.py", "more/") and sides.head.path is not None
        assert (sides.head.path / "helper.py").exists()
    with open_sides(Asked("suite.yaml", base="main", head="feature")) as sides:
        assert sides.head.untracked == ("helper.py", "more/") and sides.head.path is not None
        assert not (sides.head.path / "helper.py").exists()


def test_a_side_with_submodules_that_does_not_import_is_told_that_a_worktree_has_none(here: Path) -> None:
    commit(here, {".gitmodules": ""})
    write(here, {"helper.py": ""})
    for head, revision, measured in (("feature", "feature", "not in feature, so it is not"), (None, "working", "with")):
        with open_sides(Asked("suite.yaml", base="main", head=head)) as sides:
            seen = Seen(Asked("suite.yaml"), sides, here / "results", "suite", "fail")
            broken(seen, {"head": "no module"})
            (verdict,) = seen.refused
            assert verdict.word == "BROKEN" and verdict.reason.startswith(revision)
            told = "no module; it has submodules (.gitmodules), whose files a worktree of git does not hold"
            assert verdict.reason.endswith(told if head else ": no module")
            (warning,) = (w for w in found_of(seen).outcome.warnings if "no commit holds" in w)
            assert f"helper.py: {measured}" in warning.replace("measured with", "with")


def test_hooks_do_not_run_for_a_tree(here: Path, tmp_path: Path) -> None:
    hook = here / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with Repository(here).tree(git(here, "rev-parse", "main"), tmp_path / "tree"):
        pass
    assert not (tmp_path / "ran").exists()


def test_a_tree_that_cannot_be_made_is_told(here: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="git worktree add"), Repository(here).tree("0" * 40, tmp_path / "other"):
        pass


def test_a_folder_outside_of_any_repository_has_none(tmp_path: Path) -> None:
    assert repository_of(tmp_path) is None


def test_the_head_is_the_working_tree_unless_it_is_named(here: Path) -> None:
    write(here, {"sim_kernels.py": SIMULATED + "# not committed\n"})
    with open_sides(Asked("suite.yaml", base="main")) as sides:
        base, head = sides.base, sides.head
        assert (base.revision, head.revision, head.dirty) == ("main", "working tree", True)
        assert base.path is not None and head.path is not None and len(str(base.path)) == len(str(head.path))
        assert (base.path / "sim_kernels.py").read_text() == SIMULATED
        assert (head.path / "sim_kernels.py").read_text().endswith("# not committed\n")
        assert head.path.resolve() == here and base.first == (base.path,) and head.first == (head.path,)
        assert base.places == head.places == (Place("sim_kernels", Path()),) and sides.plugins == ("sim_kernels",)
        kept = base.path
    assert not kept.exists() and worktrees(here) == 1 and (here / "suite.yaml").exists()


def test_the_suite_is_the_heads(here: Path) -> None:
    changed = commit(here, {"suite.yaml": SIMULATED_SUITE.replace("0.002]", "0.004]")})
    git(here, "checkout", "-q", "main")
    with open_sides(Asked("suite.yaml", base="main", head="feature")) as sides:
        assert "0.004" in sides.suite_path.read_text() and sides.head.commit == changed
        assert sides.base.suite_path is not None and "0.002]" in sides.base.suite_path.read_text()
    git(here, "rm", "-q", "suite.yaml")
    git(here, "commit", "-qm", "gone")
    write(here, {"suite.yaml": SIMULATED_SUITE})
    with (
        pytest.raises(UsageError, match=r"suite\.yaml: not in main; the suite is taken from the head"),
        open_sides(Asked("suite.yaml", base="feature", head="main")),
    ):
        pass


def test_a_plugin_is_found_in_a_src_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(real_repository(tmp_path / "repo"))
    with open_sides(Asked("bench/double.yaml", base="main")) as sides:
        assert sides.base.places == (Place("double_op", Path("src")),)
        assert sides.base.path is not None and sides.base.first == (sides.base.path / "src",)
        assert sides.base.plugin_path == sides.base.path / "bench"


def test_the_kernels_of_llmbench_are_linked_into_the_harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"llmbench/kernels/__init__.py": "", "llmbench/run/serve.py": "", "suites/s.yaml": "op: attention\n"}
    monkeypatch.chdir(repository(tmp_path / "repo", files))
    with open_sides(Asked("suites/s.yaml", base="main")) as sides:
        for side in (sides.base, sides.head):
            assert side.path is not None and side.first == () and side.places[0].module == KERNELS
            kernels = side.harness / "llmbench" / "kernels"
            assert kernels.resolve() == (side.path / "llmbench" / "kernels").resolve()
            measure = side.harness / "llmbench" / "measure"
            assert measure.resolve() == Path(__file__).parents[1] / "llmbench" / "measure"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked("suite.yaml"), "give --base REV, or --base-python"),
        (Asked("suite.yaml", base="nowhere"), "--base nowhere: no revision"),
        (Asked("suite.yaml", base="main", head="nowhere"), "--head nowhere: no revision"),
        (Asked("missing.yaml", base="main"), "missing.yaml: there is no such file"),
        (Asked("suite.yaml", base_python="/no/python"), "--base-python /no/python: there is no such file"),
        (Asked("attention", base="main"), "nothing that suite attention measures comes from"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_message(here: Path, asked: Asked, said: str) -> None:
    with pytest.raises(UsageError, match=said), open_sides(asked):
        pass
    assert worktrees(here) == 1


def test_a_suite_outside_of_the_repository_is_refused(here: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text(REAL_SUITE)
    with (
        pytest.raises(UsageError, match="outside of the repository"),
        open_sides(Asked(str(tmp_path / "outside.yaml"), base="main")),
    ):
        pass


def test_without_a_repository_there_are_no_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.yaml").write_text(SIMULATED_SUITE)
    with pytest.raises(UsageError, match="not in a git repository"), open_sides(Asked("suite.yaml", base="main")):
        pass
    with open_sides(Asked("suite.yaml", itself=True)) as sides:
        assert sides.base.path is None and sides.plugins == ("sim_kernels",)
        assert sides.base.harness != sides.head.harness


def test_a_self_test_has_two_trees_of_the_commit_that_is_checked_out(here: Path) -> None:
    with open_sides(Asked("suite.yaml", itself=True)) as sides:
        assert sides.base.commit == sides.head.commit == git(here, "rev-parse", "HEAD")
        assert sides.base.path != sides.head.path and worktrees(here) == 3


def test_what_was_loaded_from_elsewhere_is_a_stranger(here: Path) -> None:
    with open_sides(Asked("suite.yaml", base="main")) as sides:
        assert sides.base.path is not None
        own, theirs = str(sides.base.path.resolve() / "sim_kernels.py"), str(here / "sim_kernels.py")
        assert strangers(sides.base, sides, [Source("sim_kernels", own, "a")]) == []
        assert strangers(sides.base, sides, [Source("sim_kernels", theirs, "a")]) == [
            f"sim_kernels was loaded from {theirs}"
        ]
        helper = Source("helper", str(here / "helper.py"), "b")
        assert strangers(sides.base, sides, [Source("sim_kernels", own, "a"), helper]) == [
            f"helper was loaded from {here / 'helper.py'}"
        ]
        assert strangers(sides.base, sides, []) == ["sim_kernels was not loaded"]
        assert strangers(sides.head, sides, [Source("sim_kernels", theirs, "a"), helper]) == []


def test_the_fingerprint_is_that_of_contents_and_names_not_of_places() -> None:
    a, b = Source("m", "/one/m.py", "12"), Source("m", "/two/m.py", "12")
    assert fingerprint([a]) == fingerprint([b]) != fingerprint([Source("m", "/one/m.py", "13")])


def test_a_file_that_changed_since_it_was_loaded_is_told(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text("1")
    digest = hashlib.sha256(b"1").hexdigest()[:16]
    assert changed_since([Source("m", str(file), digest)]) == []
    file.write_text("2")
    assert changed_since([Source("m", str(file), digest)]) == [str(file)]


def test_the_worker_itself_is_no_source_under_whichever_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own, other = tmp_path / "serve.py", tmp_path / "kernel_under_test.py"
    for file, name in ((own, "__mp_main__"), (own, "__main__"), (other, "kernel_under_test")):
        file.write_text("")
        module = ModuleType(name)
        module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, name, module)
    assert [s.module for s in loaded_sources([str(tmp_path)], [])] == ["kernel_under_test"]


def test_what_a_killed_gate_left_is_taken_away_by_the_next(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import os; from llmbench.run.paired.subject import Asked, open_sides\n"
        "with open_sides(Asked('suite.yaml', base='main')) as sides: os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=here, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == -9 and worktrees(here) == 2
    (left,) = tmp_path.glob(f"{PREFIX}*")
    with gate_folder():
        assert left.exists(), "a folder so young may be about to get its lock"
    os.utime(left, (1e9, 1e9))
    with open_sides(Asked("suite.yaml", base="main")) as sides:
        assert not left.exists() and worktrees(here) == 2, "that of this gate, and the repository itself"
        assert sides.base.path is not None
        own = next(tmp_path.glob(f"{PREFIX}*"))
        os.utime(own, (1e9, 1e9))
        with gate_folder():
            assert sides.base.path.exists(), "a gate that lives keeps its own"
    assert worktrees(here) == 1 and not own.exists()
