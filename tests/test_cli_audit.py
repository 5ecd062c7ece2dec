"""`llmbench audit timers` from end to end, with few tools and tiny budgets."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

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
