"""The subject under test: two sides, each with its own files of the plugin or of llmbench.kernels; all else is shared.

The harness is the invoking install on both sides: a folder of links to it is first on PYTHONPATH, in which
`llmbench.kernels` may be another tree's. Plugins are found at the same place below each side's tree.
"""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import llmbench
from llmbench.errors import SuiteError, UsageError
from llmbench.run.paired.folder import gate_folder
from llmbench.run.paired.repository import Repository, refusal, repository_of, why_none
from llmbench.store.record import SideName
from llmbench.suite.bundled import find
from llmbench.suite.load import SuiteText, parse

KERNELS = "llmbench.kernels"
WORKING_TREE = "working tree"


@dataclass(frozen=True)
class Asked:
    """What of the two sides the command line names. A side without a revision is the working tree as it is."""

    suite: str
    base: str | None = None
    head: str | None = None
    base_python: str | None = None
    head_python: str | None = None
    itself: bool = False  # both sides are the commit that is checked out: what differs is noise


@dataclass(frozen=True)
class Place:
    """Where a part of the subject is below a tree: a plugin's folder for sys.path, or the package llmbench.kernels."""

    module: str  # its top-level name, or llmbench.kernels
    folder: Path


@dataclass(frozen=True)
class Side:
    """One of the two. `path` holds its files; None where it is what its interpreter has installed."""

    name: SideName
    revision: str
    commit: str | None
    dirty: bool
    path: Path | None
    python: str
    harness: Path
    suite_path: Path | None  # of its own suite; None where it has none
    plugin_path: Path  # last on sys.path
    places: tuple[Place, ...] = ()
    untracked: tuple[str, ...] = ()  # files of the working tree that no commit holds

    @property
    def extensions(self) -> Path:
        """Where torch.utils.cpp_extension builds what this side compiles, kept over all pairs.

        It finds what was built by its name alone, so that both sides would have the one's. The caches of Triton and of
        Inductor stay shared: their keys are hashes of the source and all that goes into a kernel (torch 2.13).
        """
        return self.harness.parent / "extensions"

    @property
    def first(self) -> tuple[Path, ...]:
        """What goes first on sys.path."""
        folders = [self.path / p.folder for p in self.places if p.module != KERNELS and self.path]
        return tuple(dict.fromkeys(folders))


@dataclass(frozen=True)
class Sides:
    """Both, and where their suite and their repository are. The suite is the head's."""

    base: Side
    head: Side
    suite_path: Path
    repository: Repository | None
    plugins: tuple[str, ...]  # of the suite, and installed ones whose source is in the repository

    def of(self, name: SideName) -> Side:
        """The side of that name."""
        return self.base if name == "base" else self.head


@contextmanager
def open_sides(asked: Asked) -> Iterator[Sides]:
    """The two sides while the block runs; their trees are gone afterwards.

    Raises: UsageError when a revision, the suite or the subject is not where it should be.
    """
    path = find(asked.suite)
    repository = repository_of(Path.cwd())
    by_revision = bool(asked.base or asked.head) or (asked.itself and _holds_a_commit(repository, path))
    if not (asked.base or asked.base_python or asked.itself):
        raise UsageError("what is it judged against? give --base REV, or --base-python for another environment")
    for name, python in (("base", asked.base_python), ("head", asked.head_python)):
        if python and not Path(python).is_file():
            raise UsageError(f"--{name}-python {python}: there is no such file")
    if by_revision and repository is None:
        raise UsageError(
            f"{why_none(Path.cwd())}, so there are no revisions; "
            "two environments are compared with --base-python and --head-python"
        )
    with suppress(OSError):  # without git, an installed environment is tried against itself
        refused = refusal(Path.cwd()) if asked.itself and repository is None else None
        if refused:
            raise UsageError(f"{refused}; or try what is installed against itself from a folder outside it")
    with ExitStack() as stack:
        folder = stack.enter_context(gate_folder())
        if repository is None or not by_revision:
            yield _installed(asked, path, folder)
            return
        yield _revisions(asked, repository, path, folder, stack)


def text_of(suite: str, path: Path) -> SuiteText:
    """The suite in the file at `path`, named in messages as on the command line. Raises: SuiteError."""
    shown = suite if Path(suite).suffix else path.name
    try:
        return parse(path.read_bytes(), path=shown)
    except OSError as e:
        raise SuiteError(f"cannot be read: {e.strerror}", path=shown) from e


@dataclass(frozen=True)
class _Revision:
    name: str
    commit: str | None
    dirty: bool
    checked_out: bool  # a tree is made of the commit; False: the working tree serves
    untracked: tuple[str, ...] = ()  # files of the working tree that no commit holds, where that is this revision's


def _revisions(asked: Asked, repository: Repository, path: Path, folder: Path, stack: ExitStack) -> Sides:
    """Two revisions, each with files of its own until the stack ends."""
    rel = _within(repository, asked.suite, path)
    itself = "HEAD" if asked.itself else None
    head, base = (
        _revision(asked.head or itself, "--head", repository),
        _revision(asked.base or itself, "--base", repository),
    )
    head_tree, base_tree = (
        _tree(stack, repository, own, folder / name) for name, own in (("head", head), ("base", base))
    )
    suite_path = head_tree / rel if rel else path
    if not suite_path.is_file():
        raise UsageError(f"{asked.suite}: not in {head.name}; the suite is taken from the head")
    plugins, places = _subject(repository, text_of(asked.suite, suite_path), rel)
    if not places and not asked.itself:
        raise UsageError(
            f"nothing that suite {asked.suite} measures comes from {repository.root}: neither a plugin that it names, "
            "nor an installed one, nor llmbench.kernels; both sides would be the same"
        )
    return Sides(
        _side("base", base, base_tree, folder, rel, path.parent, asked.base_python, places),
        _side("head", head, head_tree, folder, rel, path.parent, asked.head_python, places),
        suite_path, repository, plugins,
    )  # fmt: skip


def _revision(name: str | None, option: str, repository: Repository) -> _Revision:
    if name is None:
        return _Revision(WORKING_TREE, repository.head(), repository.is_dirty(), False, repository.untracked())
    commit = repository.commit(name, option=option)
    return _Revision(name, commit, False, True, repository.untracked() if commit == repository.head() else ())


def _tree(stack: ExitStack, repository: Repository, revision: _Revision, folder: Path) -> Path:
    """Where a side's files are. Both paths are of one length: a process lies in memory as its strings have it."""
    folder.mkdir(exist_ok=True)
    tree = folder / "tree"
    if revision.checked_out:
        assert revision.commit is not None
        return stack.enter_context(repository.tree(revision.commit, tree))
    tree.symlink_to(repository.root)
    return tree


def _side(
    name: SideName, revision: _Revision, tree: Path, folder: Path, rel: Path | None, suite_folder: Path,
    python: str | None, places: tuple[Place, ...],
) -> Side:  # fmt: skip
    kernels = next((tree / p.folder for p in places if p.module == KERNELS), None)
    own_suite = tree / rel if rel else None
    return Side(
        name, revision.name, revision.commit, revision.dirty, tree, python or sys.executable,
        _harness(folder / name, kernels),
        own_suite if own_suite and own_suite.is_file() else None,
        own_suite.parent if own_suite else suite_folder.resolve(), places, revision.untracked,
    )  # fmt: skip


def _installed(asked: Asked, suite: Path, folder: Path) -> Sides:
    """Two interpreters, each with what is installed in it."""
    plugins = tuple(text_of(asked.suite, suite).plugins)
    pythons = {"base": asked.base_python or sys.executable, "head": asked.head_python or sys.executable}

    def side(name: SideName) -> Side:
        (folder / name).mkdir()
        own = suite.resolve()
        harness = _harness(folder / name, None)
        return Side(name, pythons[name], None, False, None, pythons[name], harness, own, own.parent)

    return Sides(side("base"), side("head"), suite.resolve(), None, plugins)


def _harness(folder: Path, kernels: Path | None) -> Path:
    """A folder for PYTHONPATH with the invoking llmbench in it, its kernels those in `kernels` where that is given."""
    package = folder / "harness" / "llmbench"
    package.mkdir(parents=True)
    for entry in Path(llmbench.__file__).parent.iterdir():
        if entry.name != "__pycache__":
            own = kernels is not None and entry.name == "kernels"
            (package / entry.name).symlink_to(kernels.resolve() if own and kernels else entry.resolve())
    return package.parent


def _holds_a_commit(repository: Repository | None, suite: Path) -> bool:
    return repository is not None and repository.head() is not None and suite.resolve().is_relative_to(repository.root)


def _within(repository: Repository, suite: str, path: Path) -> Path | None:
    """The suite below the root; None for a bundled one that is elsewhere. Raises: UsageError for any other."""
    whole = path.resolve()
    if whole.is_relative_to(repository.root):
        return whole.relative_to(repository.root)
    if Path(suite).exists():
        raise UsageError(f"{suite}: outside of the repository {repository.root}, from whose head the suite is taken")
    return None


def _subject(repository: Repository, suite: SuiteText, rel: Path | None) -> tuple[tuple[str, ...], tuple[Place, ...]]:
    """The plugins to load, and where those are below a tree that the repository holds."""
    named = tuple(suite.plugins)
    installed = [entry.value for entry in entry_points(group="llmbench.plugins")]
    plugins, places = list(named), []
    for plugin in dict.fromkeys([*named, *installed]):
        top = plugin.partition(":")[0].partition(".")[0]
        folder = _folder_of(top, repository.root, rel.parent if rel else None)
        if folder is not None:
            places.append(Place(top, folder))
            plugins += [plugin] if plugin not in plugins else []
    package = repository.root / "llmbench"
    if (package / "kernels" / "__init__.py").is_file() and (package / "run" / "serve.py").is_file():
        places.append(Place(KERNELS, Path("llmbench", "kernels")))
    return tuple(plugins), tuple(places)


def _folder_of(top: str, root: Path, suite_folder: Path | None) -> Path | None:
    """The folder, relative to `root`, in which the package or module is: as Python finds it, or where one keeps it.

    The latter for a package that is installed as a copy, whose source the repository holds.
    """
    found = _found_folder(top, [root / suite_folder] if suite_folder else [])
    if found is not None and found.is_relative_to(root) and not _is_installed(found.relative_to(root)):
        return found.relative_to(root)
    for folder in (Path("src"), Path(), *([suite_folder] if suite_folder else [])):
        here = root / folder / top
        if (here / "__init__.py").is_file() or here.with_suffix(".py").is_file():
            return folder
    return None


def _found_folder(top: str, more: Sequence[Path]) -> Path | None:
    sys.path.extend(map(str, more))
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    finally:
        for folder in more:
            sys.path.remove(str(folder))
    if spec is None:
        return None
    packages = list(spec.submodule_search_locations or [])
    where = packages[0] if packages else spec.origin
    return Path(where).resolve().parent if where else None


def _is_installed(folder: Path) -> bool:
    """Whether that is a folder of an environment, which may lie within a repository."""
    return bool({"site-packages", "dist-packages"} & {*folder.parts})
