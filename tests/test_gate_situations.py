"""Every situation of the gate through the command line: its verdict, its exit code, the words of its reason."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from command_line import quick_llmbench
from example_histories import fill, usual
from example_runs import STEADY, stored_run
from gate_situations import ALL, KERNELS, PAGE, page
from paired_repository import SIMULATED, SIMULATED_SUITE, commit, git, plugin, repository, suite_of, write
from situation import PAIRED, Beside, Commits, Kernel, Run, Situation
from stored_situations import (
    ACCEPTED,
    ALL_SLOW,
    CLEANED,
    CREEPING,
    EMPTY,
    ITSELF,
    NOWHERE,
    RUN,
    SPOILT,
    STORE,
    UNDONE,
    YOUNG,
)

from llmbench.run.lock import device_lock

HALF = '{"type":"run","run_id":"run"}\n{"type":"rec'


class Told:
    """What a gate said and how it ended."""

    def __init__(self, folder: Path, *args: str | Path, **more: str) -> None:
        done = quick_llmbench(folder, *args, **more)
        self.code, self.stderr, self.stdout = done.returncode, done.stderr, done.stdout
        self.document: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        assert not done.stdout or self.document["exit_code"] == self.code

    def mistakes(self, row: Situation, about: str | None = None) -> list[str]:
        """How this differs from a row of the table; `about` a kernel, unless the row itself says what."""
        about = row.about or about
        if row.word is None:
            ok = row.says in self.stderr.splitlines()[-1] and not self.stdout
            return [] if ok else [f"{row.tells}: {self.stderr}{self.stdout}"]
        told = [v for v in self.document["verdicts"] if about is None or v["label"].startswith(about)]
        if not told:
            return [f"{row.tells}: no verdict on {about}\n{self.stderr}"]
        verdict, warnings = told[0], [*self.document["warnings"], self.document["summary"]]
        wrong = [] if verdict["verdict"] == row.word else [f"{row.tells}: {verdict['verdict']}, {verdict['reason']}"]
        if any(row.says in text for text in (verdict["reason"], *warnings)):
            return wrong
        return [*wrong, f"{row.tells}: {row.says!r} is neither in {verdict['reason']!r} nor in {warnings}"]


def gates(rows: list[Situation], key: Callable[[Situation], object]) -> dict[str, list[Situation]]:
    """Rows by the gate that they share, under the name of its first."""
    found: dict[str, list[Situation]] = defaultdict(list)
    names: dict[str, str] = {}
    for row in rows:
        found[names.setdefault(repr(key(row)), f"{len(names)} {row.tells}")].append(row)
    return found


BY_CODE = {row.code: row for row in ALL if isinstance(row.differs, Beside)}
COMMITS = gates([row for row in ALL if isinstance(row.differs, Commits)], lambda row: row.differs)
RUNS = gates([row for row in ALL if isinstance(row.differs, Run)], lambda row: (row.code, row.differs))


@pytest.mark.parametrize("code", BY_CODE)
def test_kernels_that_end_alike_are_told_apart_in_one_gate(tmp_path: Path, code: int) -> None:
    """All rows of one exit code, and one of the code that comes after it: theirs is the code of the whole."""
    mixed = BY_CODE[code]
    assert isinstance(mixed.differs, Beside)
    rows = {name: row for name, row in KERNELS.items() if row.code == code or name in mixed.differs.names}
    kernels = {name: row.differs for name, row in rows.items() if isinstance(row.differs, Kernel)}
    base = {name: kernel.base for name, kernel in kernels.items() if kernel.base is not None}
    head = {name: kernel.head for name, kernel in kernels.items() if kernel.head is not None}
    suites = [suite_of(side).replace("cache: warm", "cache: warm, timeout_s: 15") for side in (base, head)]
    folder = repository(tmp_path / "repo", {"sim_kernels.py": plugin(base), "suite.yaml": suites[0]})
    write(folder, {"sim_kernels.py": plugin(head), "suite.yaml": suites[1]})
    told = Told(folder, *PAIRED.split(), "--max-minutes", "60", "--json")  # noisy kernels take 176 s a pair
    mistakes = [text for name, row in rows.items() for text in told.mistakes(row, f"{name} ")]
    assert (mistakes, told.code) == ([], code), told.stderr
    assert mixed.says in told.document["summary"]
    assert len(git(folder, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize("name", COMMITS)
def test_two_commits_are_told_apart(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = COMMITS[name]
    differs, state = rows[0].differs, tmp_path / "state"
    assert isinstance(differs, Commits)
    folder = tmp_path / "repo"
    files = {"sim_kernels.py": SIMULATED, "suite.yaml": SIMULATED_SUITE, **differs.base}
    if differs.is_repository:
        repository(folder, {file: text for file, text in files.items() if text is not None})
    else:
        write(folder, files)
    if "--head" in differs.args or "self-test" in differs.args:
        commit(folder, differs.head)
        write(folder, {file: files[file] for file, text in differs.head.items() if text is None})
    else:
        write(folder, differs.head)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    arguments = differs.args.split() + ([] if "--json" in differs.args else ["--json"])
    with device_lock("simulated", run="another") if differs.device_taken else nullcontext():
        told = Told(folder, *arguments, XDG_STATE_HOME=str(state))
    assert ([text for row in rows for text in told.mistakes(row)], told.code) == ([], rows[0].code), told.stderr
    if differs.is_repository:
        assert len(git(folder, "worktree", "list").splitlines()) == 1
    assert "llmbench-gate-" not in told.stderr
    assert rows[0].word or not list(folder.glob("results/*/*/*"))


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The baseline of that name, made when it is first asked for."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = MAKE[name](tmp_path_factory.mktemp("baseline"))
        return made[name]

    return get


def spoilt(folder: Path) -> Path:
    store = fill(folder, 11)
    wrong = stored_run(folder / "wrong", usual(flash=3.0), started="2026-05-02T12:00:00Z")
    assert quick_llmbench(folder, "baseline", "add", wrong, "--store", store).returncode == 0
    return store


def cleaned(folder: Path) -> Path:
    store = spoilt(folder)
    args = ("baseline", "quarantine", "wrong", "--store", store, "--why", "a miner on the host")
    assert quick_llmbench(folder, *args).returncode == 0
    return store


def accepted(folder: Path) -> Path:
    store = fill(folder, 30, drift=0.08)
    run = stored_run(folder / "slower", usual(**ALL_SLOW))
    args = ("baseline", "accept", run, "--store", store, "--why", "slower, but right")
    assert quick_llmbench(folder, *args).returncode == 0
    return store


def undone(folder: Path) -> Path:
    store = fill(folder, 12)
    run = stored_run(folder / "slower", usual(**ALL_SLOW))
    for event in (("accept", run), ("quarantine", "slower")):
        args = ("baseline", *event, "--store", store, "--why", "by mistake")
        assert quick_llmbench(folder, *args).returncode == 0
    return store


def empty(folder: Path) -> Path:
    (folder / "store").mkdir()
    return folder / "store"


MAKE: Mapping[str, Callable[[Path], Path]] = {
    RUN: lambda folder: stored_run(folder / "base", dict.fromkeys(("naive", "flash", "flex"), STEADY)),
    STORE: lambda folder: fill(folder, 12), YOUNG: lambda folder: fill(folder, 4), EMPTY: empty,
    SPOILT: spoilt, CLEANED: cleaned, UNDONE: undone, ACCEPTED: accepted,
    CREEPING: lambda folder: fill(folder, 30, drift=0.08), NOWHERE: lambda folder: folder / "nowhere",
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_told_from_its_baseline(tmp_path: Path, baselines: Callable[[str], Path], name: str) -> None:
    (row,) = RUNS[name]
    assert isinstance(row.differs, Run)
    run = made(tmp_path / "run", row.differs)
    baseline = run if row.differs.by == ITSELF else baselines(row.differs.by)
    told = Told(tmp_path, "gate", "stored", run, "--baseline", baseline, "--json", *row.differs.args.split())
    assert (told.mistakes(row), told.code) == ([], row.code), told.stderr


def made(folder: Path, differs: Run) -> Path:
    """The run on disk."""
    times = dict.fromkeys(("naive", "flash", "flex"), STEADY) if differs.by in (RUN, NOWHERE, ITSELF) else usual()
    for impl, factor in differs.time.items():
        if factor is None:
            del times[impl]
        else:
            factors = (factor,) * 3 if isinstance(factor, (int, float)) else tuple(factor)
            times[impl] = tuple(f * t for f, t in zip(factors, times[impl], strict=False))
    times = {impl: own[: differs.processes] for impl, own in times.items() if impl not in differs.failed}
    whole = {key: value for key, value in differs.whole.items() if key != "journal"}
    memory = {impl: [2**20 + n for n in more] for impl, more in differs.more_bytes.items()}
    stored_run(folder, times, memory=memory, failed=differs.failed, throttled=differs.throttled, **whole)
    if "journal" in differs.whole:
        (folder / "run.json").unlink()
        (folder / "journal.jsonl").write_text(HALF)
    return folder


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == page(), "docs/gate-situations.md is old: write it with python tests/gate_situations.py"


def test_no_two_rows_are_the_same_and_every_kind_of_gate_is_there() -> None:
    assert len({repr(row[1:]) for row in ALL}) == len(ALL) >= 45
    assert {row.code for row in ALL} == {0, 1, 2, 3, 4, 5}
    words = {row.word for row in ALL}
    assert words >= {"PASS", "REGRESSED", "IMPROVED", "INCONCLUSIVE", "MISSING", "NEW", "BROKEN", "FIXED", "ENV_ERROR"}


def test_a_verdict_ends_as_it_does_in_every_row() -> None:
    """A row shares its gate with others of the same exit code, so no word may end in another code in one of them."""
    codes = defaultdict(set)
    for row in KERNELS.values():
        codes[row.word].add(row.code)
    assert all(len(own) == 1 for own in codes.values()), codes
