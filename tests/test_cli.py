"""The command line: what it says, what it exits with, and what it must not import."""

import csv
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from command_line import PROGRAM, environment, llmbench_in

from llmbench import __version__
from llmbench.cli import app
from llmbench.cli.app import COMMANDS, build
from llmbench.files import write_whole

TINY = """\
# Tiny shapes, for tests of the command line.
op: attention
impls: [naive, sdpa_flash]
baseline: {impl: sdpa_flash}
phases: [infer]
axes: {seq_len: [16, 32]}
fixed: {num_heads: 2, num_kv_heads: 1, head_dim: 16}
measure: {max_s: 0.01}
"""
WITHOUT = """\
import sys
for name in {blocked}:
    sys.modules[name] = None
from llmbench.cli import main
sys.argv = ["llmbench", *{argv}]
try:
    main()
finally:
    print("\\nMODULES", *(name for name, module in sys.modules.items() if module is not None), file=sys.stderr)
"""


class Stored(NamedTuple):
    """A folder with a suite and a closed run of it."""

    folder: Path
    run: Path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(TINY)
    said = json.loads(llmbench_in(folder, "run", "tiny.yaml", "--json").stdout)
    assert said["counts"] == {"ok": 4}
    return Stored(folder, folder / said["folder"])


def modules_of(folder: Path, *argv: str, blocked: tuple[str, ...]) -> set[str]:
    """Top-level modules that a command imports in a process where `blocked` cannot be imported."""
    code = WITHOUT.format(blocked=blocked, argv=list(argv))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    listed = done.stderr.rpartition("MODULES ")[2].split()
    return {name.partition(".")[0] for name in listed}


@pytest.mark.parametrize("argv", ["--help", "list suites", "report", "plan tiny.yaml", "schema", "doctor"])
def test_works_without_torch(stored: Stored, argv: str) -> None:
    imported = modules_of(stored.folder, *argv.split(), blocked=("torch",))
    assert "typer" in imported and not imported & {"torch", "triton", "pynvml" if argv != "doctor" else "triton"}


@pytest.mark.parametrize("argv", ["--help", "--version", "list suites"])
def test_is_quick_since_it_imports_little(stored: Stored, argv: str) -> None:
    heavy = {"torch", "numpy", "pandas", "pyarrow", "scipy", "plotly", "ruamel"}
    if argv == "--help":  # typer itself imports pydantic to read the value of an option (since 0.29)
        heavy.add("pydantic")
    assert not modules_of(stored.folder, *argv.split(), blocked=tuple(heavy)) & heavy


@pytest.mark.parametrize("argv", ["gate --help", "gate stored --help", "compare --help", "report --help"])
def test_is_quick_since_it_imports_no_scipy_stats(stored: Stored, argv: str) -> None:
    assert "scipy" in modules_of(stored.folder, *argv.split(), blocked=("scipy.stats", "scipy.signal"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_the_list_of_commands_says(name: str) -> None:
    function = getattr(importlib.import_module(f"llmbench.cli.{name}"), "worker" if name == "worker" else "command")
    first = (function.__doc__ or "").split("\n")[0]
    assert first.rstrip(".").startswith(COMMANDS[name].rstrip("."))
    if name != "worker":
        assert first == COMMANDS[name]


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "worker"])
def test_every_option_has_help(name: str) -> None:
    command = typer.main.get_command(build([name])).commands[name]  # type: ignore[attr-defined]
    assert [p.name for p in command.params if not (getattr(p, "help", None) or "").strip()] == []


def test_every_visible_option_of_a_worker_has_help(tmp_path: Path) -> None:
    text = llmbench_in(tmp_path, "worker", "--help").stdout
    assert {"--describe", "--cases", "--out", "--device", "--plugin"} <= set(text.split())


def test_help_lists_every_command(tmp_path: Path) -> None:
    text = llmbench_in(tmp_path, "--help").stdout
    for name, line in COMMANDS.items():
        assert name in text and line in " ".join(text.split())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("nosuch", "No such command 'nosuch'"),
        ("run tiny.yaml --nosuch", "No such option"),
        ("list", "Missing argument"),
        ("list nonsense", "'nonsense' is not one of"),
        ("plan", "Missing argument"),
        ("run", "give a SUITE to run, or --resume RUN"),
        ("run tiny.yaml --resume latest", "and not both"),
        ("run --resume latest --quick", "--resume goes on with the run as it was"),
        ("run tiny.yaml --processes 0", "Invalid value for '--processes'"),
        ("report nowhere", "llmbench: nowhere: no such run"),
        ("report latest:nosuch", "no run of suite 'nosuch'"),
        ("report --json --csv", "llmbench: --markdown, --json and --csv: choose one"),
        ("report --markdown --csv", "choose one"),
        ("worker --nosuch", "unrecognized arguments: --nosuch"),
        ("worker", "give --describe, --ceilings, --predict FILE, or --cases FILE --out FILE"),
    ],
)
def test_bad_usage_exits_2_and_says_what_is_wanted(stored: Stored, argv: str, said: str) -> None:
    done = llmbench_in(stored.folder, *argv.split(), rc=2)
    assert said in " ".join(done.stderr.split()) and not done.stdout


def test_a_malformed_suite_is_one_line_with_its_place_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(TINY.replace("seq_len:", "seqlen:"))
    for command in ("run", "plan"):
        done = llmbench_in(tmp_path, command, "bad.yaml", rc=2)
        assert done.stderr.startswith("llmbench: bad.yaml:6:8: ") and "did you mean 'seq_len'?" in done.stderr
        assert done.stderr.count("\n") == 1 and not done.stdout
    assert not (tmp_path / "results").exists()


def test_an_unknown_suite_names_the_nearest_bundled_one(tmp_path: Path) -> None:
    done = llmbench_in(tmp_path, "run", "atention", rc=2)
    assert done.stderr == ("llmbench: 'atention' is neither a file nor a bundled suite; did you mean 'attention'?\n")
    assert "known: alignment, attention" in llmbench_in(tmp_path, "run", "nosuch", rc=2).stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("what", "known"), [("ops", "attention"), ("impls", "naive"), ("suites", "smoke"), ("metrics", "peak_memory")]
)
def test_a_list_is_for_people_and_for_machines(tmp_path: Path, what: str, known: str) -> None:
    document = json.loads(llmbench_in(tmp_path, "list", what, "--json").stdout)
    assert document["schema"] == f"llmbench.{what}/1" and set(document) == {"schema", what}
    names = [row["name"] for row in document[what]]
    assert known in names
    lines = llmbench_in(tmp_path, "list", what).stdout
    assert all(name in lines for name in names)


def test_an_implementation_that_cannot_run_here_says_why(tmp_path: Path) -> None:
    impls = json.loads(llmbench_in(tmp_path, "list", "impls", "--json", "--device", "cpu").stdout)["impls"]
    assert all(row["available"] == (row["why"] is None) for row in impls)
    cudnn = next(row for row in impls if row["name"] == "sdpa_cudnn")
    assert cudnn["why"] == "needs a CUDA device, this one is cpu"


def test_documents_for_machines_are_one_json_document_with_a_schema(stored: Stored) -> None:
    def document(*argv: str) -> Any:
        return json.loads(llmbench_in(stored.folder, *argv).stdout)

    plan = document("plan", "tiny.yaml", "--json")
    assert plan["schema"] == "llmbench.plan/1" and plan["cases"] == 4
    assert document("run", "tiny.yaml", "--dry-run", "--json")["units"] == plan["units"]
    assert document("schema")["type"] == "object" and "axes" in document("schema")["properties"]
    assert document("schema", "suite") == document("schema")
    assert "panels" in document("schema", "dashboard")["properties"]
    doctor = document("doctor", "--json")
    assert doctor["schema"] == "llmbench.doctor/1" and {"state", "what", "seen"} <= set(doctor["findings"][0])
    assert doctor["fit"] == (not [f for f in doctor["findings"] if f["disturbs"] and f["state"] == "warn"])


def test_a_plan_for_people_names_every_case_once(stored: Stored) -> None:
    lines = llmbench_in(stored.folder, "plan", "tiny.yaml").stdout.splitlines()
    plan = json.loads(llmbench_in(stored.folder, "plan", "tiny.yaml", "--json").stdout)
    ids = [c["case_id"] for unit in plan["units"] for c in unit["cases"]]
    assert [line.split()[0] for line in lines[:-1]] == ids
    assert lines[-1].startswith("4 cases at 2 points, about ")


def test_a_report_is_a_table_markdown_json_or_csv(stored: Stored) -> None:
    json_ = json.loads(llmbench_in(stored.folder, "report", "--json").stdout)
    assert json_["schema"] == "llmbench.report/1" and len(json_["lines"]) == 4
    rows = list(csv.DictReader(llmbench_in(stored.folder, "report", "--csv").stdout.splitlines()))
    assert len(rows) == 4 and {row["impl"] for row in rows} == {"naive", "sdpa_flash"}
    assert all(float(row["time"]) > 0 for row in rows)
    table = [ln for ln in llmbench_in(stored.folder, "report", "--markdown").stdout.splitlines() if ln.startswith("|")]
    assert len(table) >= 2 + 4 and len({line.count("|") for line in table}) == 1 and set(table[1]) <= set("|-: ")
    plain = llmbench_in(stored.folder, "report", stored.run).stdout
    assert "naive" in plain and "sdpa_flash" in plain


def test_a_report_of_a_run_that_was_not_closed_says_how_to_close_it(stored: Stored, tmp_path: Path) -> None:
    run = tmp_path / "open"
    shutil.copytree(stored.run, run)
    (run / "run.json").unlink()
    done = llmbench_in(tmp_path, "report", run, rc=2)
    assert done.stderr == f"llmbench: {run}: the run was not closed; close it with: llmbench run --resume {run}\n"
    closed = json.loads(llmbench_in(tmp_path, "run", "--resume", run, "--json").stdout)
    assert closed["complete"] and closed["counts"] == {"ok": 4}
    assert (run / "run.json").exists()


def test_the_version_is_told(tmp_path: Path) -> None:
    assert llmbench_in(tmp_path, "--version").stdout == f"llmbench {__version__}\n"


@pytest.mark.parametrize("argv", ["schema", "list metrics", "report --csv"])
def test_a_reader_that_closes_early_gets_no_traceback(stored: Stored, argv: str) -> None:
    command = " ".join([*PROGRAM, argv])
    done = subprocess.run(
        f"{command} | true", shell=True, executable="/bin/bash", cwd=stored.folder,
        env=environment(stored.folder), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert not done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(27, "File too large", "results/pairs.parquet"), "llmbench: results/pairs.parquet: File too large\n"),
        (TimeoutError("nobody answered"), "llmbench: nobody answered\n"),
        (ZeroDivisionError("division"), "llmbench: an error that was not foreseen, so nothing is judged\n"),
        (subprocess.TimeoutExpired("git", 300), "llmbench: an error that was not foreseen, so nothing is judged\n"),
    ],
)
def test_an_error_that_nobody_foresaw_is_no_regression(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    """Exit code 1 says that code is slower, or broken."""

    def fails() -> None:
        raise error

    monkeypatch.setattr(app, "build", lambda argv: fails)
    with pytest.raises(SystemExit) as ended:
        app.run_app(["gate"])
    told = capsys.readouterr().err
    assert ended.value.code == 3 and told.endswith(said)
    assert ("Traceback" in told) == (not isinstance(error, OSError))


def test_a_disk_that_is_full_is_told_with_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_whole(tmp_path / "gate.json", "{}", sync=True)
    assert raised.value.filename == str(tmp_path / "gate.json") and not list(tmp_path.iterdir())
