"""`llmbench audit` from end to end: timers with few tools and tiny budgets, gates with few suites."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import PROGRAM, environment, llmbench_in

from llmbench.store.timers import read_audit

TINY = ("audit", "timers", "--device", "cpu", "--budget", "0.02", "--repetitions", "2")
FEW = ("--only", "tool=llmbench,torch_adaptive,do_bench", "--only", "function=busy_100us")


class Audited(NamedTuple):
    """A folder with an audit in it, what was printed, and where the trials are."""

    folder: Path
    said: "subprocess.CompletedProcess[str]"
    file: Path


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder = tmp_path_factory.mktemp("audit")
    said = llmbench_in(folder, *TINY, *FEW)
    (file,) = folder.glob("results/audit/timers/*/*.json")
    return Audited(folder, said, file)


def test_every_trial_is_kept_and_said_where(audited: Audited) -> None:
    audit = read_audit(audited.file)
    assert audit.complete and audit.threads == 1 and audit.budget_s == 0.02
    assert sorted((t.repetition, t.tool) for t in audit.trials) == [
        (0, "llmbench"), (0, "torch_adaptive"), (1, "llmbench"), (1, "torch_adaptive")
    ]  # fmt: skip
    assert all(t.why is None and t.value_s and t.value_s >= 100e-6 for t in audit.trials)
    assert "4 trials, about" in audited.said.stderr
    assert f"every trial is in {audited.file.relative_to(audited.folder)}" in audited.said.stderr


def test_the_table_has_a_line_a_tool_and_what_could_not_be_run(audited: Audited) -> None:
    lines = audited.said.stdout.splitlines()
    (title,) = (line for line in lines if line.startswith("busy loop 100 µs"))
    assert "truth 100.0 µs; the loop itself is off by +" in title
    for tool in ("llmbench", "torch_adaptive"):
        (line,) = (ln for ln in lines if re.match(rf"[* ] {tool} {{2,}}", ln))
        assert line.split()[-1] == "–", "two repetitions carry no interval"
    assert "of the best other, torch_adaptive: " in audited.said.stdout
    assert "  do_bench: needs a CUDA device, this one is cpu" in lines


def test_a_stored_audit_is_shown_again_as_table_markdown_and_json(audited: Audited) -> None:
    def shown(*argv: str) -> str:
        return llmbench_in(audited.folder, "audit", "timers", "--from", audited.file, *argv).stdout

    assert shown() == audited.said.stdout
    document = json.loads(shown("--json"))
    assert document["schema"] == "llmbench.audit.timers/1" and document["file"] == str(audited.file)
    (found,) = document["findings"]
    assert [line["tool"] for line in found["lines"]] == ["llmbench", "torch_adaptive"]
    assert len(document["trials"]) == 4 and set(found["standing"]) >= {"other", "ratio", "at_or_below", "decided"}
    rows = [line for line in shown("--markdown").splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 2 and len({row.count("|") for row in rows}) == 1


@pytest.mark.slow
def test_an_interrupted_audit_keeps_and_shows_what_was_measured(tmp_path: Path) -> None:
    command = [*PROGRAM, *TINY, "--only", "tool=llmbench", "--repetitions", "1000"]
    child = subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("results/audit/timers/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(child.pid, signal.SIGINT)
    out, told = child.communicate(timeout=60)
    assert child.returncode == 130 and "Traceback" not in told, told
    (file,) = tmp_path.glob("results/audit/timers/*/*.json")
    audit = read_audit(file)
    assert audit.trials and not audit.complete
    assert f"stopped after {len(audit.trials)} trials" in out and str(file.relative_to(tmp_path)) in told


@pytest.mark.slow
def test_a_trial_that_fails_is_told_and_exits_6(tmp_path: Path) -> None:
    (tmp_path / "pyperf.py").write_text("raise ImportError('of no use')\n")
    only = ("--only", "tool=pyperf", "--only", "function=busy_10us")
    done = llmbench_in(tmp_path, *TINY, *only, rc=6, PYTHONPATH=os.pathsep.join([str(tmp_path), *_path()]))
    assert "llmbench: pyperf on busy_10us: ImportError: of no use" in done.stderr
    assert re.search(r"^  pyperf .* \(2 failed\)$", done.stdout, re.M)
    assert "pyperf, busy loop 10 µs: 2 of 2: ImportError: of no use" in done.stdout


def _path() -> list[str]:
    return list(filter(None, [os.environ.get("PYTHONPATH")]))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ("--budget 0", "--budget 0: wanted a number of seconds above 0"),
        ("--repetitions 1", "Invalid value for '--repetitions'"),
        ("--markdown --json", "--markdown and --json: choose one"),
        ("--from nowhere.json", "nowhere.json: No such file"),
        ("--from nowhere.json --device cpu", "--from shows what was stored, without --only and --device"),
        ("--device simulated", "a simulated device takes no time; wanted cpu or cuda"),
        ("--device cpu --only tool=pypref", "there is no tool 'pypref'; did you mean 'pyperf'?"),
    ],
)
def test_bad_usage_is_refused_and_measures_nothing(tmp_path: Path, argv: str, told: str) -> None:
    done = llmbench_in(tmp_path, "audit", "timers", *argv.split(), rc=2)
    assert told in " ".join(done.stderr.split()) and not done.stdout and not (tmp_path / "results").exists()


def test_tools_that_all_need_a_gpu_are_refused_on_a_cpu(tmp_path: Path) -> None:
    done = llmbench_in(tmp_path, *TINY, "--only", "tool=do_bench", rc=3)
    assert "do_bench: needs a CUDA device, this one is cpu" in done.stderr


# audit gate


def gate(folder: Path, *argv: str | Path) -> str:
    return llmbench_in(folder, "audit", "gate", "--suites", "6", "--cases", "60", *argv).stdout


def test_the_gate_audit_has_a_line_a_rule_and_tells_ours_from_theirs(tmp_path: Path) -> None:
    document = json.loads(gate(tmp_path, "--json"))
    assert document["schema"] == "llmbench.audit.gate/1" and document["source"] == "simulated"
    assert (document["suites"], document["cases"], document["effects"]) == (6, 60, [0.02, 0.03, 0.05])
    lines = {line["rule"]: line for line in document["lines"]}
    assert len(lines) == 12 and {line["suites"] for line in lines.values()} == {6}
    ours, theirs = lines["llmbench, limit 1%"], lines["google-benchmark"]
    assert ours["suites_red"] == 0 and theirs["suites_red"] >= 4, "iterations of one process are no draws of a commit"
    assert ours["power"][2] > 0.9 and lines["PyTorch HUD"]["power"] == [0, 0, 0]
    assert ours["iterations"] > theirs["iterations"] and ours["processes"] >= 16 and ours["history"] == 0
    assert lines["bencher"]["history"] == 64 and lines["bencher"]["undecided"] is None


def test_the_same_seed_draws_the_same_suites(tmp_path: Path) -> None:
    one, same, other = (gate(tmp_path, "--seed", seed, "--json") for seed in ("1", "1", "2"))
    assert one == same and json.loads(one)["lines"] != json.loads(other)["lines"]


def test_the_gate_audit_is_a_table_here_and_in_markdown(tmp_path: Path) -> None:
    lines = gate(tmp_path).splitlines()
    (ours,) = (line for line in lines if line.startswith("llmbench, limit 1%  "))
    assert ours.split()[3] == "0%" and ours.split()[-1] in ("s", "min")
    assert max(map(len, lines)) <= 120
    (head,) = (line for line in lines if line.startswith("rule "))
    assert head.split() == ["rule", "red", "red", "2%", "3%", "5%", "a", "case", "processes", "runs", "time"]
    narrow = llmbench_in(tmp_path, "audit", "gate", "--suites", "2", "--cases", "9", COLUMNS="80").stdout.splitlines()
    assert max(map(len, narrow)) <= 80 and not any(line.endswith("…") for line in narrow)
    rows = [line for line in gate(tmp_path, "--markdown").splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 12 and len({row.count("|") for row in rows}) == 1


def test_recorded_times_are_judged_by_the_rules_that_need_no_history(tmp_path: Path) -> None:
    recorded = Path(__file__).parent / "data" / "step_times.parquet"
    document = json.loads(gate(tmp_path, "--data", recorded, "--json"))
    assert document["source"] == "recorded" and "224 recorded runs" in document["told"]
    names = [line["rule"] for line in document["lines"]]
    assert "bencher" not in names and ["bencher", "needs 64 earlier runs of the same code"] in document["missing"]
    red = {line["rule"]: line["suites_red"] for line in document["lines"]}
    assert red["llmbench, limit 3%"] <= 1 < red["pytest-benchmark mean:5%"]
    assert "Not judged by this data" in gate(tmp_path, "--data", recorded)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: None, "no parquet file with a column 'step_s'"),
        (lambda path: path.write_text("text"), "no parquet file with a column 'step_s'"),
        (lambda path: _table(path, other=[[1.0] * 100]), "no parquet file with a column 'step_s'"),
        (lambda path: _table(path, step_s=[1.0, 2.0]), "holds double; wanted: lists of floating-point seconds"),
        (lambda path: _table(path, step_s=[[1.0] * 90, [1.0] * 89, None]), "1 runs of 90 or more positive step times"),
        (lambda path: _table(path, step_s=[[1.0] * 90, [0.0] * 90]), "1 runs of 90 or more positive step times"),
    ],
)
def test_a_file_without_recorded_times_is_refused(tmp_path: Path, write: Callable[[Path], None], told: str) -> None:
    write(tmp_path / "times.parquet")
    done = llmbench_in(tmp_path, "audit", "gate", "--data", "times.parquet", rc=2)
    assert told in " ".join(done.stderr.split()) and "times.parquet" in done.stderr and not done.stdout


def _table(path: Path, **columns: list[object]) -> None:
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("argv", ["--suites 0", "--cases 2", "--seed -1", "--markdown --json"])
def test_a_gate_audit_that_cannot_be_is_refused(tmp_path: Path, argv: str) -> None:
    assert not llmbench_in(tmp_path, "audit", "gate", *argv.split(), rc=2).stdout
