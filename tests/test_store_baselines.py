"""A store of baselines: nothing is lost, overwritten or deleted, in a folder and at a URL."""

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_runs import STEADY, make_suite, stored_run

from llmbench.errors import MachineError, RunError, UsageError
from llmbench.report import baseline_table
from llmbench.store.baselines import MARKER, Store, find_store, open_store
from llmbench.store.entry import folder_of, segments, void_acceptances
from llmbench.store.origin import read_evidence
from llmbench.store.past import FIRST, LATEST, Past, read_past

TIMES = {"naive": STEADY, "flash": STEADY}


@pytest.fixture(params=["folder", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return (tmp_path / "store").as_uri() if request.param == "file" else f"memory://{uuid.uuid4().hex}/store"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """A run on disk, each a minute after the one before."""
    made: list[Path] = []

    def make(**given: Any) -> Path:
        made.append(tmp_path / "runs" / f"r{len(made)}")
        given = {"times": TIMES, "started": f"2026-05-09T12:{len(made):02}:00Z", **given}
        return stored_run(made[-1], **given)

    return make


def add(store: Store, folder: Path) -> str:
    return store.add(folder, by="me@here", why=None).id


def test_arrow_is_given_no_file_object_of_python(
    url: str, run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    real = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda source: given.append(source) or real(source))
    folders = [run() for _ in range(3)]
    store = open_store(url)
    for folder in folders:
        add(store, folder)
    assert isinstance(read_past(store, read_evidence(folders[-1])), Past)
    assert len(given) > 6 and all(isinstance(source, (Path, pa.BufferReader)) for source in given)


def test_what_is_added_comes_back_without_raw_samples(url: str, run: Callable[..., Path]) -> None:
    folder = run(throttled={"flash": 3})
    entry = open_store(url).add(folder, by="me@here", why="first")
    (found,) = open_store(url).entries()
    assert found == entry and (found.run.run_id, found.by, found.why) == ("r0", "me@here", "first")
    assert (found.cases, found.processes, found.run.soft, found.run.op_version) == (2, 3, {"torch": "2.13.0"}, 1)
    before, after = read_evidence(folder), open_store(url).evidence(found)
    assert after.origin == before.origin and len(after.run.rows) == len(before.run.rows)
    for a, b in zip(before.run.rows, after.run.rows, strict=True):
        assert (a.case_id, a.process, a.metric, a.value, a.sample_flags) == (
            b.case_id, b.process, b.metric, b.value, b.sample_flags,
        )  # fmt: skip
        assert b.samples is None
    assert after.run.manifest.header == before.run.manifest.header


def test_two_writers_at_once_lose_nothing(url: str, run: Callable[..., Path]) -> None:
    folders = [run() for _ in range(12)]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda f: add(open_store(url), f), folders))
    found = open_store(url).entries()
    assert sorted(e.id for e in found) == sorted(ids) and len({*ids}) == 12
    (segment,) = segments(found)
    assert [e.run.run_id for e in segment.runs] == [f"r{i}" for i in range(12)]  # by their start


def test_a_run_that_two_writers_added_at_once_counts_once(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = run()
    for name in ("a", "b"):
        add(open_store(str(tmp_path / name)), folder)
    (file,) = (tmp_path / "b").rglob("*.parquet")
    file.rename(tmp_path / "a" / file.relative_to(tmp_path / "b"))
    entries = open_store(str(tmp_path / "a")).entries()
    assert len(entries) == 2 and len(segments(entries)[0].runs) == 1


def test_no_file_changes_whatever_is_done(tmp_path: Path, run: Callable[..., Path]) -> None:
    store = open_store(str(tmp_path / "store"))

    def files() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file()}

    seen: dict[Path, bytes] = {}
    steps = (
        lambda: store.add(run(), by="me", why=None), lambda: store.add(run(), by="me", why=None),
        lambda: store.accept(run(), by="me", why="new kernel"),
        lambda: store.quarantine("r1", tmp_path, by="me", why="a neighbour was loud"),
    )  # fmt: skip
    for step in steps:
        step()
        now = files()
        assert len(now) == len(seen) + (2 if not seen else 1)  # the first brings the marker
        assert {p: c for p, c in now.items() if p in seen} == seen
        seen = now


def test_segments_begin_at_acceptance_and_at_other_software(url: str, run: Callable[..., Path]) -> None:
    store = open_store(url)
    for given in ({}, {}, {"versions": {"torch": "2.14.0"}}, {"versions": {"torch": "2.14.0", "cudnn": "9.1.0"}}, {}):
        add(store, run(**given))
    store.accept(run(), by="me", why="release 1")
    add(store, run())
    found = [(s.soft, [e.run.run_id for e in s.runs], s.current) for s in segments(store.entries())]
    assert found == [
        ({"torch": "2.13.0"}, ["r0", "r1", "r4"], False),
        ({"torch": "2.14.0"}, ["r2"], True),
        ({"torch": "2.14.0", "cudnn": "9.1.0"}, ["r3"], True),
        ({"torch": "2.13.0"}, ["r5", "r6"], True),
    ]
    assert segments(store.entries())[3].accepted is not None


def test_a_run_of_the_store_can_be_accepted_and_is_then_the_first(url: str, run: Callable[..., Path]) -> None:
    store, folders = open_store(url), [run() for _ in range(3)]
    for folder in folders:
        add(store, folder)
    store.accept(folders[1], by="me", why="release 2")
    assert [[e.run.run_id for e in s.runs] for s in segments(store.entries())] == [["r0", "r1", "r2"], ["r1"]]
    with pytest.raises(RunError, match="r1 is the start of its segment already"):
        store.accept(folders[1], by="me", why="again")


def test_an_acceptance_whose_run_is_in_quarantine_does_not_count(
    url: str, tmp_path: Path, run: Callable[..., Path]
) -> None:
    store, folders = open_store(url), [run() for _ in range(6)]

    def history() -> list[tuple[str | None, list[str], bool]]:
        return [
            (s.accepted and s.accepted.why, [e.run.run_id for e in s.runs], s.current)
            for s in segments(store.entries())
        ]

    for folder in folders[:2]:
        add(store, folder)
    store.accept(folders[2], by="me", why="by mistake")
    add(store, folders[3])
    store.quarantine("r2", tmp_path, by="me", why="not meant")
    assert history() == [(None, ["r0", "r1", "r3"], True)]
    store.accept(folders[1], by="me", why="a run of the history")
    store.accept(folders[4], by="me", why="release")
    store.quarantine("r1", tmp_path, by="me", why="not meant either")
    assert history() == [(None, ["r0", "r3"], False), ("release", ["r4"], True)]
    store.quarantine("r4", tmp_path, by="me", why="nor that")
    assert history() == [(None, ["r0", "r3"], True)] and len(store.entries()) == 9
    assert [e.run.run_id for e in void_acceptances(store.entries())] == ["r2", "r1", "r4"]
    first = open_store(str(tmp_path / "fresh"))
    first.accept(folders[5], by="me", why="the first of all")
    first.quarantine("r5", tmp_path, by="me", why="wrong")
    assert [(s.accepted, s.runs, s.current) for s in segments(first.entries())] == [(None, (), True)]


def test_what_is_said_of_an_acceptance_that_a_newer_one_has_replaced(tmp_path: Path, run: Callable[..., Path]) -> None:
    store, folders = open_store(str(tmp_path / "store")), [run() for _ in range(3)]
    add(store, folders[0])
    for folder in folders[1:]:
        store.accept(folder, by="me", why="release")
    entry = store.quarantine("r1", tmp_path, by="me", why="not meant")
    told = baseline_table.quarantined(entry, store.entries())
    assert told.startswith("r1: in quarantine; its acceptance of 20") and told.endswith(" UTC does not count")


def test_another_op_version_starts_a_history_of_its_own(url: str, run: Callable[..., Path]) -> None:
    from dataclasses import replace

    from example_runs import OP

    store = open_store(url)
    add(store, run())
    newer = run(suite=make_suite(op=replace(OP, version=2)))
    said = read_past(store, read_evidence(newer))
    assert isinstance(said, str) and "beside this one with op attention 2" in said
    assert "there is: 1 of op attention 1, torch 2.13.0" in said
    add(store, newer)
    assert [s.op_version for s in segments(store.entries())] == [1, 2]


def test_quarantine_leaves_a_run_out_and_keeps_its_file(url: str, tmp_path: Path, run: Callable[..., Path]) -> None:
    store, folders = open_store(url), [run() for _ in range(4)]
    ids = [add(store, folder) for folder in folders]
    store.quarantine("r1", tmp_path, by="me", why="loud neighbour")  # by its id,
    store.quarantine(ids[2], tmp_path, by="me", why="wrong clock")  # that of its entry,
    store.quarantine(str(folders[3]), tmp_path, by="me", why="wrong cable")  # or its folder
    assert [e.run.run_id for e in segments(store.entries())[0].runs] == ["r0"] and len(store.entries()) == 7
    for again in (lambda: add(store, folders[1]), lambda: store.accept(folders[1], by="me", why="x"),
                  lambda: store.quarantine("r1", tmp_path, by="me", why="x")):  # fmt: skip
        with pytest.raises(RunError, match=r"r1 is in quarantine since .*: loud neighbour"):
            again()
    with pytest.raises(RunError, match="no run or entry named nowhere in this store"):
        store.quarantine("nowhere", tmp_path, by="me", why="x")
    with pytest.raises(RunError, match=r"run .*r4 is not in this store"):
        store.quarantine(str(run()), tmp_path, by="me", why="x")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quick": True}, "a quick run, too short to judge by; measure it in full with: llmbench run attention"),
        ({"complete": False}, "incomplete; go on with: llmbench run --resume"),
        ({"times": {"naive": STEADY}, "failed": {"flash": ("wrong", "off by 2")}},
         r"1 case failed \(flash fwd: wrong, off by 2\); a baseline holds what works"),
        ({"times": {}, "failed": {"flash": ("oom", "80 GiB")}}, "no case has a result"),
        ({"times": {}}, "no case has a result"),
    ],
)  # fmt: skip
def test_a_run_that_nothing_should_be_judged_by_is_refused(
    tmp_path: Path, run: Callable[..., Path], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(RunError, match=said):
        add(open_store(str(tmp_path / "store")), run(**given))
    assert not (tmp_path / "store").exists()


def test_a_run_beside_other_load_is_refused(tmp_path: Path, run: Callable[..., Path]) -> None:
    from llmbench.store.runs import Load

    with pytest.raises(RunError, match=r"other programs kept 1.3 of 2 cores busy"):
        add(open_store(str(tmp_path / "store")), run(load=Load(1.3, 2)))
    add(open_store(str(tmp_path / "store")), run(load=Load(0.1, 2)))


def test_what_ran_out_of_memory_is_a_fact_that_a_baseline_may_hold(tmp_path: Path, run: Callable[..., Path]) -> None:
    add(open_store(str(tmp_path / "store")), run(times={"naive": STEADY}, failed={"flash": ("oom", "80 GiB")}))


def test_the_same_run_is_added_once(url: str, run: Callable[..., Path]) -> None:
    folder = run()
    first = add(open_store(url), folder)
    with pytest.raises(RunError, match=f"run r0 is in this store already, as {first}"):
        add(open_store(url), folder)


def test_a_folder_with_something_else_is_no_store(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = run()
    with pytest.raises(RunError, match="no store of baselines, but not empty"):
        open_store(str(folder))
    with pytest.raises(RunError, match=r"no store of baselines, but not empty \(r0/"):
        add(open_store((tmp_path / "runs").as_uri()), folder)
    assert find_store(str(folder)) is None and find_store(str(tmp_path / "nowhere")) is None
    (tmp_path / "empty").mkdir()
    assert find_store(str(tmp_path / "empty")) is not None


@pytest.mark.parametrize("harm", ["garbage", "no entry", "newer"])
def test_a_damaged_entry_is_named(tmp_path: Path, run: Callable[..., Path], harm: str) -> None:
    store = open_store(str(tmp_path / "store"))
    add(store, run())
    (file,) = (tmp_path / "store").rglob("*.parquet")
    table = pq.read_table(file)
    if harm == "garbage":
        file.write_bytes(b"PAR1 no parquet")
    elif harm == "no entry":
        pq.write_table(table.replace_schema_metadata({}), file)
    else:
        file.with_suffix(".json").write_text(json.dumps({"schema": "llmbench.baseline/2"}))
    with pytest.raises(RunError, match=rf"{file.stem}\.(parquet|json): "):
        store.entries()


def test_any_name_of_a_suite_is_one_folder() -> None:
    assert folder_of("../../etc", "a/b") == "%2E%2E%2F%2E%2E%2Fetc/a%2Fb"
    assert len({folder_of(s, "k") for s in ("a.b", "a%2Eb", "a b", "a/b")}) == 4


def test_an_unknown_scheme_is_told() -> None:
    with pytest.raises(UsageError, match="nosuch://x: Protocol not known: nosuch"):
        open_store("nosuch://x")


def test_the_past_of_a_run_leaves_it_out_and_knows_cases_of_earlier_runs(url: str, run: Callable[..., Path]) -> None:
    store = open_store(url)
    folders = [run(), run(times={"naive": STEADY}), run()]
    for folder in folders[:2]:
        add(store, folder)
    past = read_past(store, read_evidence(folders[2]))
    assert isinstance(past, Past) and [e.run.run_id for e in past.runs] == ["r0", "r1"]
    assert {r.impl for r in past.last.run.rows} == {"naive", "flash"}
    add(store, folders[2])
    again = read_past(store, read_evidence(folders[2]))
    assert isinstance(again, Past) and [e.run.run_id for e in again.runs] == ["r0", "r1"]


def test_of_a_long_history_the_ends_are_read(tmp_path: Path, run: Callable[..., Path]) -> None:
    store = open_store(str(tmp_path / "store"))
    add(store, run())
    (file,) = (tmp_path / "store").rglob("*.parquet")
    table = pq.read_table(file)
    for i in range(1, 70):  # seventy runs by hand: adding them one by one would read the store seventy times
        entry = json.loads(table.schema.metadata[b"llmbench.baseline"])
        entry |= {"id": f"20270101T0000{i:02}.000000Z-{i:08}"}
        entry["run"] |= {"digest": str(i), "started": f"2027-01-01T00:00:{i:02}Z"}
        metadata = {**table.schema.metadata, b"llmbench.baseline": json.dumps(entry).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), file.with_name(f"{entry['id']}.parquet"))
    past = read_past(store, read_evidence(run()))
    assert isinstance(past, Past) and len(past.runs) == len(past.levels) == FIRST + LATEST
    assert [e.run.digest for e in past.runs[1:7]] == ["1", "2", "3", "4", "10", "11"]


def test_the_marker_says_what_the_folder_is(tmp_path: Path, run: Callable[..., Path]) -> None:
    add(open_store(str(tmp_path / "store")), run())
    assert json.loads((tmp_path / "store" / MARKER).read_text()) == {"schema": "llmbench.baselines/1"}


def test_a_place_that_breaks_off_while_an_entry_is_read_is_one_message(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store((tmp_path / "store").as_uri())
    entry = store.add(run(), by="me", why=None)

    def broken(*args: Any, **more: Any) -> bytes:
        raise RuntimeError("the endpoint went away")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileOpener.read", broken)
    for read in (store.entries, lambda: store.evidence(entry)):
        with pytest.raises(MachineError, match=r"\.parquet: cannot be read: the endpoint went away"):
            read()
