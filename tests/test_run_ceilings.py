"""Ceilings from the command line to the header of a run."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from example_ceilings import ceilings

from llmbench.codec import to_plain
from llmbench.errors import MachineError
from llmbench.run.ask import ask_worker
from llmbench.run.ceilings import ceilings_here, kept_ceilings
from llmbench.run.lock import device_lock
from llmbench.store.runs import read_manifest

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platform.node", lambda: "vm")
    (tmp_path / "cache" / "llmbench").mkdir(parents=True)
    return tmp_path / "cache" / "llmbench"


def keep(folder: Path, **changes: object) -> None:
    found = ceilings(**changes)
    (folder / f"ceilings-{found.device_key}.json").write_text(json.dumps(to_plain(found)))


@pytest.mark.slow
def test_what_is_measured_is_shown_later_and_recorded_by_runs_of_that_device_key(
    llmbench: Llmbench, tiny: Path, tmp_path: Path
) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert json.loads(llmbench("doctor", "--json", **cache).stdout)["ceilings"] == []
    told = json.loads(llmbench("doctor", "--ceilings", "--device", "cpu", "--json", **cache).stdout)
    [found] = told["ceilings"]
    assert {"float32", "float64"} <= set(found["flop_per_s"])
    assert found["copy"]["value"] > 1e8 and found["read"]["value"] > 1e8
    assert found["cold"]["verdict"] in ("verified", "not cold", "cannot be told") and found["cold"]["why"]
    assert found["threads"] == 1
    later = json.loads(llmbench("doctor", "--json", **cache).stdout)
    assert later["ceilings"] == [found]
    assert any(f["area"] == "ceilings of cpu" and f["what"] == "cold cache" for f in later["findings"])
    ran = json.loads(llmbench("run", tiny, "--json", "--quick", **cache).stdout)
    header = read_manifest(tmp_path / ran["folder"]).header
    assert header.ceilings is not None and header.ceilings.device_key == header.machine.device_key
    assert to_plain(header.ceilings) == {k: v for k, v in found.items() if k != "cold"}


def test_a_run_on_a_device_without_ceilings_holds_none(llmbench: Llmbench, tiny: Path, tmp_path: Path) -> None:
    ran = json.loads(llmbench("run", tiny, "--json", "--quick", XDG_CACHE_HOME=str(tmp_path / "cache")).stdout)
    run = tmp_path / ran["folder"]
    assert read_manifest(run).header.ceilings is None
    body = json.loads((run / "run.json").read_text())
    del body["header"]["ceilings"]  # a run from before there were any
    (run / "run.json").write_text(json.dumps(body))
    assert read_manifest(run).header.ceilings is None


def test_a_device_that_a_run_uses_is_not_measured(
    llmbench: Llmbench, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", env["XDG_STATE_HOME"])
    with device_lock("cpu", run="another"):
        done = llmbench("doctor", "--ceilings", "--device", "cpu", rc=3)
    assert "device cpu is in use by the run" in done.stderr


def test_strict_exits_with_3_where_something_disturbs_and_says_what(llmbench: Llmbench) -> None:
    strict = ("doctor", "--strict", "--device", "cpu")
    done = llmbench(*strict, rc=3, OMP_NUM_THREADS="4096")
    assert "llmbench: unfit for measuring: " in done.stderr
    assert "cpu threads" in done.stderr
    told = json.loads(llmbench("doctor", "--json", OMP_NUM_THREADS="4096").stdout)
    assert told["fit"] is False


def test_ceilings_are_kept_by_device_key(kept: Path) -> None:
    keep(kept, device_key="a" * 12)
    assert kept_ceilings("a" * 12) == ceilings(device_key="a" * 12)
    assert kept_ceilings("b" * 12) is None


@pytest.mark.parametrize("text", ["", "{}", '{"device": 3}', "[]"])
def test_a_broken_file_is_no_ceilings(text: str, kept: Path) -> None:
    (kept / "ceilings-broken.json").write_text(text)
    assert kept_ceilings("broken") is None and ceilings_here() == []


def test_the_newest_of_each_device_and_number_of_threads_of_this_host_are_shown(kept: Path) -> None:
    keep(kept, device_key="a" * 12, measured="2026-01-01T00:00:00Z")
    keep(kept, device_key="b" * 12, measured="2026-02-01T00:00:00Z")
    keep(kept, device_key="c" * 12, threads=1)
    keep(kept, device_key="d" * 12, device="cuda:0", device_name="NVIDIA H100 80GB HBM3", threads=None)
    keep(kept, device_key="e" * 12, host="another", threads=8)
    assert {c.device_key[0] for c in ceilings_here()} == {"b", "c", "d"}
    assert {c.device_key[0] for c in ceilings_here("cuda")} == {"d"}
    new = ceilings(device_key="f" * 12, measured="2026-03-01T00:00:00Z")
    assert {c.device_key[0] for c in ceilings_here("cpu", new=new)} == {"c", "f"}


def test_a_worker_that_does_not_answer_in_time_is_given_up() -> None:
    with pytest.raises(MachineError, match=r"^the worker did not answer --ceilings within 0\.01 s$"):
        ask_worker("ceilings", device="cpu", timeout_s=0.01)
