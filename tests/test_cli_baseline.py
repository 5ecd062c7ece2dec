"""`llmbench baseline`, and the stored gate against a store: every reason, its exit code, its verdict, what is said."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import environment
from example_histories import IMPLS, fill, usual
from example_runs import make_suite, stored_run
from gate_commands import Command, judged, of

from llmbench.suite.suite import GateCase


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve runs of three implementations that differ by 1 % from run to run."""
    return fill(tmp_path_factory.mktemp("baselines"), 12)


def test_a_history_is_judged_by_the_limit_of_each_case(llmbench: Command, tmp_path: Path, store: Path) -> None:
    cases = (GateCase({"impl": ("naive",)}, {"time": 0.2}, "short"), GateCase({"impl": ("flex",)}, {"time": None}))
    run = stored_run(tmp_path / "run", usual(naive=1.1, flash=1.1, flex=1.3), suite=make_suite(gate_cases=cases))
    document = judged(llmbench, run, store, rc=1)
    words = {impl: of(document, impl)["verdict"] for impl in IMPLS}
    assert words == {"naive": "PASS", "flash": "REGRESSED", "flex": "PASS"}
    assert "below the limit 1.2" in of(document, "naive")["reason"]
    assert "; its own limit of 20 %: short; " in of(document, "naive")["reason"]
    assert "(one-sided, Holm over 4 tests)" in document["history"], "what is left out is no test"


def test_the_gate_says_by_what_it_judges_and_what_it_could_have_seen(
    llmbench: Command, tmp_path: Path, store: Path
) -> None:
    run = stored_run(tmp_path / "run", usual())
    text = " ".join(llmbench("gate", "stored", run, "--baseline", store).stdout.split())
    assert "12 runs with torch 2.13.0; unchanged code regresses in 0.5 % of runs (one-sided, Holm over 6 tests)" in text
    assert "passed time in 3 cases; minimum detectable effect " in text and text.endswith("3 PASS: exit 0, pass")
    assert "- **history**: 12 runs" in llmbench("gate", "stored", run, "--baseline", store, "--markdown").stdout
    document = judged(llmbench, run, store, rc=0)
    time = next(f for f in of(document, "flash")["findings"] if f["metric"] == "time")
    assert (time["basis"], time["runs"]) == ("history", 12) and time["low"] < 1 < time["high"]
    assert 0.03 < time["detectable"] < 0.08
    warned = judged(llmbench, stored_run(tmp_path / "near", usual(naive=1.033)), store, rc=0)["warnings"]
    assert "1 time above the limit but within what unchanged runs do: this history cannot settle them" in warned


def test_a_url_is_judged_as_the_folder_is(llmbench: Command, tmp_path: Path, store: Path) -> None:
    run = stored_run(tmp_path / "run", usual(flash=1.3))
    by_folder, by_url = (judged(llmbench, run, s, rc=1) for s in (store, store.as_uri()))
    assert by_folder["verdicts"] == by_url["verdicts"]


def test_a_young_store_judges_counts_and_says_how_many_runs_are_missing(llmbench: Command, tmp_path: Path) -> None:
    young = fill(tmp_path, 4)
    document = judged(llmbench, stored_run(tmp_path / "run", usual()), young, rc=5)
    assert document["counts"] == {"INCONCLUSIVE": 3}
    assert "baseline too young: 4 of 10 runs, 6 missing" in of(document, "flash")["reason"]
    assert "baseline too young in 3 of 3 times: 4 of 10 runs, 6 missing" in document["warnings"]
    more = stored_run(tmp_path / "more", usual(), memory={"flash": [(1 << 20) + 512] * 3})
    assert of(judged(llmbench, more, young, rc=1), "flash")["verdict"] == "REGRESSED"
    judged(llmbench, stored_run(tmp_path / "again", usual()), young, "--inconclusive", "pass", rc=0)


def test_a_store_without_a_run_is_a_missing_baseline(llmbench: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = stored_run(tmp_path / "run", usual())
    for url in (tmp_path / "empty", (tmp_path / "none").as_uri()):
        verdict = of(judged(llmbench, run, url, rc=4), "")
        assert verdict["verdict"] == "MISSING" and "there is: nothing yet; add the first with" in verdict["reason"]
    quick = stored_run(tmp_path / "quick", usual(), quick=True)
    assert "a quick run" in llmbench("gate", "stored", quick, "--baseline", tmp_path / "empty", rc=2).stderr


def test_times_that_creep_are_red_until_they_are_accepted(llmbench: Command, tmp_path: Path) -> None:
    crept = fill(tmp_path, 30, drift=0.08)
    run = stored_run(tmp_path / "run", usual(**dict.fromkeys(IMPLS, 1.075)))
    verdict = of(judged(llmbench, run, crept, rc=1), "flash")
    assert verdict["reason"].startswith("time has crept to 1.0") and "since acceptance" in verdict["reason"]
    said = llmbench("baseline", "accept", run, "--store", crept, "--why", "slower, but right").stdout
    assert said == "run: accepted, run 1 of its history (torch 2.13.0); 9 more until times are judged\n"
    later = stored_run(tmp_path / "later", usual(**dict.fromkeys(IMPLS, 1.075)))
    document = judged(llmbench, later, crept, rc=5)
    assert "1 run with torch 2.13.0 since run was accepted on" in document["history"]
    assert document["history"].endswith("UTC: slower, but right")


def test_memory_that_creeps_below_its_limit_is_red_by_the_first_run(llmbench: Command, tmp_path: Path) -> None:
    suite = make_suite(gate={"peak_memory": 0.01})
    crept = fill(tmp_path, 4, suite=suite, memory=lambda i: {"flash": [(1 << 20) + 4096 * i] * 3})
    run = stored_run(tmp_path / "run", usual(), suite=suite, memory={"flash": [(1 << 20) + 4096 * 3] * 3})
    reason = of(judged(llmbench, run, crept, rc=1), "flash")["reason"]
    assert "+12288 B (+1.17 %), more than the limit of 1 %" in reason and "in the first run since acceptance" in reason


def test_a_wrong_run_spoils_a_history_until_it_is_in_quarantine(llmbench: Command, tmp_path: Path) -> None:
    spoilt = fill(tmp_path, 11)
    wrong = stored_run(tmp_path / "wrong", usual(flash=3.0), started="2026-05-02T12:00:00Z")
    llmbench("baseline", "add", wrong, "--store", spoilt)
    run = stored_run(tmp_path / "run", usual(flash=1.3))
    assert of(judged(llmbench, run, spoilt, rc=0), "flash")["verdict"] == "PASS"
    said = llmbench("baseline", "quarantine", "wrong", "--store", spoilt, "--why", "a miner on the host").stdout
    assert said == "wrong: in quarantine\n"
    assert of(judged(llmbench, run, spoilt, rc=1), "flash")["verdict"] == "REGRESSED"


def test_a_wrong_acceptance_is_undone_by_quarantine(llmbench: Command, tmp_path: Path) -> None:
    place = fill(tmp_path, 10)
    slow = stored_run(tmp_path / "slow", usual(flash=1.3))
    llmbench("baseline", "accept", slow, "--store", place, "--why", "meant, I thought")
    later = stored_run(tmp_path / "later", usual(), started="2026-05-10T12:00:00Z")
    llmbench("baseline", "add", later, "--store", place)
    assert of(judged(llmbench, slow, place, rc=5), "flash")["verdict"] == "INCONCLUSIVE"
    said = llmbench("baseline", "quarantine", "slow", "--store", place, "--why", "not meant").stdout
    assert re.fullmatch(
        r"slow: in quarantine; its acceptance of 20.* UTC does not count: the history before it goes on, now with 11 "
        r"runs \(torch 2\.13\.0\)\n",
        said,
    )
    text = llmbench("baseline", "list", "--store", place, COLUMNS="400").stdout.splitlines()
    assert text[1] == "  11 runs · op version 1 · torch 2.13.0" and "later" in text[12]
    assert re.match(r"  quarantine slow · .*: not meant · its acceptance of 20.* UTC does not count$", text[13])
    assert of(judged(llmbench, slow, place, rc=1), "flash")["verdict"] == "REGRESSED"


def test_a_run_that_is_slower_than_its_history_allows_is_taken_and_that_is_said(
    llmbench: Command, tmp_path: Path
) -> None:
    place = fill(tmp_path, 11)
    slow, usual_run = stored_run(tmp_path / "slow", usual(flash=1.3, naive=1.2)), stored_run(tmp_path / "u", usual())
    done = llmbench("baseline", "add", usual_run, "--store", place)
    assert not done.stderr and "u: run 12 of its history" in done.stdout
    done = llmbench("baseline", "add", slow, "--store", place)
    assert "slow: run 13 of its history" in done.stdout
    assert done.stderr == (
        "llmbench: slow: up to 29.7 % slower than usual in 2 cases, more than its history allows; if it is wrong: "
        f"llmbench baseline quarantine RUN --store {place} --why TEXT; "
        f"if it is meant: llmbench baseline accept RUN --store {place} --why TEXT\n"
    )


@pytest.mark.parametrize("url", ["../nostore", "file://{}/nostore", "memory://nostore"])
def test_a_store_that_is_not_there_is_no_empty_one(llmbench: Command, tmp_path: Path, url: str) -> None:
    name = url.format(tmp_path)
    for command in (("list",), ("quarantine", "x", "--why", "y")):
        done = llmbench("baseline", *command, "--store", name, rc=2)
        assert done.stderr == (
            f"llmbench: {name}: there is no store here; make one with: llmbench baseline add RUN --store {name}\n"
        )
    (tmp_path / "empty").mkdir()
    for there in (tmp_path / "empty", (tmp_path / "empty").as_uri()):
        assert llmbench("baseline", "list", "--store", there).stdout == f"{there}: nothing yet\n"


def test_a_store_is_listed_for_people_and_for_machines(llmbench: Command, tmp_path: Path) -> None:
    place = tmp_path / "store"
    runs = [stored_run(tmp_path / f"r{i}", usual(), started=f"2026-05-0{i + 1}T12:00:00Z") for i in range(3)]
    said = llmbench("baseline", "add", runs[0], "--store", place, "--why", "first").stdout
    assert said == "r0: run 1 of its history (torch 2.13.0); 9 more until times are judged\n"
    llmbench("baseline", "add", runs[1], "--store", place)
    llmbench("baseline", "accept", runs[2], "--store", place, "--why", "release 1")
    llmbench("baseline", "quarantine", runs[0], "--store", place, "--why", "loud")
    text = llmbench("baseline", "list", "--store", place, COLUMNS="400").stdout.splitlines()
    assert text[0].startswith("attention on NVIDIA H100 80GB HBM3 (")
    assert text[1] == "  1 run · op version 1 · torch 2.13.0 · closed"
    assert text[2].startswith("    r1 · 2026-05-02T12:00")
    assert text[3].endswith(": release 1 · 9 missing") and text[4].startswith("    r2 · 2026-05-03T12:00")
    assert text[5].startswith("  quarantine r0 · ") and text[5].endswith(": loud")
    document = json.loads(llmbench("baseline", "list", "--store", place, "--json").stdout)
    assert document["schema"] == "llmbench.baselines/1" and len(document["entries"]) == 4
    (history,) = document["histories"]
    assert [(len(s["runs"]), s["current"], s["missing"]) for s in history["segments"]] == [(1, False, 9), (1, True, 9)]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("add quick --store store", "quick: a quick run, too short to judge by"),
        ("add partly --store store", "partly: incomplete; go on with: llmbench run --resume"),
        ("add failed --store store", "failed: 1 case failed (flash fwd: error, boom); a baseline holds what works"),
        ("add nowhere --store store", "nowhere: no such run"),
        ("add good --store good", "good: no store of baselines, but not empty; give a folder of its own"),
        ("add good --store nosuch://x", "Protocol not known"),
        ("accept good --store store --why=", "--why is empty"),
        ("accept good --store store", "Missing option '--why'"),
        (
            "quarantine good --store store --why x",
            "store: there is no store here; make one with: llmbench baseline add",
        ),
        ("quarantine good --store empty --why x", "run good is not in this store"),
        ("quarantine nowhere --store empty --why x", "no run or entry named nowhere in this store"),
        ("add good", "Missing option '--store'"),
    ],
)
def test_what_cannot_be_done_exits_2_and_says_why(llmbench: Command, tmp_path: Path, argv: str, said: str) -> None:
    made: dict[str, dict[str, Any]] = {
        "good": {}, "quick": {"quick": True}, "partly": {"complete": False},
        "failed": {"times": {"naive": (1.0,)}, "failed": {"flash": ("error", "boom")}},
    }  # fmt: skip
    (tmp_path / "empty").mkdir()
    for name in made.keys() & set(argv.split()):
        stored_run(tmp_path / name, **{"times": usual(), **made[name]})
    done = llmbench("baseline", *argv.split(), rc=2)
    assert said in " ".join(done.stderr.split()) and not done.stdout and not (tmp_path / "store").exists()


def test_the_same_run_twice_exits_2(llmbench: Command, tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run", usual())
    llmbench("baseline", "add", run, "--store", "store")
    said = llmbench("baseline", "add", run, "--store", "store", rc=2).stderr
    assert said.startswith("llmbench: store: run run is in this store already, as 20")


def test_without_fsspec_a_url_exits_3_and_a_folder_works(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run", usual())

    def call(store: str) -> "subprocess.CompletedProcess[str]":
        code = "import sys; sys.modules['fsspec'] = sys.modules['fsspec.core'] = None; from llmbench.cli import main; "
        code += f"sys.argv = ['llmbench', 'baseline', 'add', {str(run)!r}, '--store', {store!r}]; main()"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip

    remote, local = call("s3://bucket/baselines"), call("store")
    assert (remote.returncode, local.returncode) == (3, 0), remote.stderr + local.stderr
    assert remote.stderr == (
        "llmbench: s3://bucket/baselines: a store at a URL needs fsspec, which is not installed; "
        "pip install 'llmbench[store]'\n"
    )


SUITE = """\
op: simulated
impls: [base, candidate]
baseline: {impl: base}
phases: [infer]
measure: {cache: warm, max_s: 0.1}
gate: {time: 0.03}
"""


def test_what_was_measured_is_added_and_judged_under_the_name_of_latest(llmbench: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    first, second = (json.loads(llmbench("run", "s.yaml", "--json").stdout)["folder"] for _ in range(2))
    said = llmbench("baseline", "add", first, "--store", "store").stdout
    assert said.startswith(f"{first.removeprefix('results/')}: run 1 of its history (torch ")
    document = judged(llmbench, Path("latest:s"), "store", rc=5)
    assert document["run"]["run_id"] == second.removeprefix("results/")
    assert document["counts"] == {"INCONCLUSIVE": 2}
    assert "baseline too young in 2 of 2 times: 1 of 10 runs, 9 missing" in document["warnings"]
    assert llmbench("baseline", "quarantine", "latest", "--store", "store", "--why", "x", rc=2).stderr.endswith(
        f"{second.removeprefix('results/')} is not in this store\n"
    )
