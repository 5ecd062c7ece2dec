"""The stored gate through the command line: every reason, its exit code, its verdict and what is said."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from example_runs import STEADY, make_suite, stored_run
from gate_commands import Command, judged, of

from llmbench.store.query import read_run
from llmbench.suite.suite import GateCase

SLOW = tuple(1.3 * t for t in STEADY)
FAST = tuple(t / 1.3 for t in STEADY)
HOSTILE = "<script>alert(1)</script> \"'& \n\x1b[31m\x00]]> " + "x" * 10_000
BASE: dict[str, Any] = {"times": {"naive": STEADY, "flash": STEADY, "flex": STEADY}}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return stored_run(tmp_path / "base", **BASE)


def test_a_run_like_its_baseline_passes_and_says_what_it_could_have_found(
    llmbench: Command, tmp_path: Path, base: Path
) -> None:
    run = stored_run(tmp_path / "run", **BASE)
    document = judged(llmbench, run, base, rc=0)
    assert document["counts"] == {"PASS": 3}
    time = next(f for f in of(document, "flash")["findings"] if f["metric"] == "time")
    assert (time["ratio"], time["processes"], time["basis"], time["limit"]) == (1.0, [3, 3], "processes", 0.03)
    assert time["detectable"] == pytest.approx(0.0379, abs=1e-4)
    assert "minimum detectable effect 3.79 %" in of(document, "flash")["reason"]
    assert llmbench("gate", "stored", run, "--baseline", base).stdout.splitlines()[-1] == "3 PASS: exit 0, pass"


def test_a_run_that_would_be_judged_by_itself_is_refused(llmbench: Command, tmp_path: Path) -> None:
    run = stored_run(tmp_path / "results" / "attention" / "gpu" / "20260509T120000Z-abc", **BASE)
    for baseline in ("latest", "latest:attention", run):
        done = llmbench("gate", "stored", run, "--baseline", baseline, "--junit", "o.xml", rc=2)
        assert done.stderr == (
            f"llmbench: --baseline {baseline}: this is run {run.name}, the very run that is judged, so nothing could "
            "be found; wanted: a run that was measured before it, or a store of such runs "
            "(llmbench baseline add RUN --store STORE)\n"
        )
        assert not done.stdout and not (tmp_path / "o.xml").exists()


def test_the_limits_are_those_of_the_suite_of_the_run(llmbench: Command, tmp_path: Path) -> None:
    strict, loose = (make_suite(gate=gate) for gate in ({"time": 0.03}, {"time": 0.5, "peak_memory": 0.01}))
    base = stored_run(tmp_path / "base", {"flash": STEADY}, suite=strict)
    slow = {"times": {"flash": SLOW}, "memory": {"flash": [(1 << 20) + 512] * 3}}
    document = judged(llmbench, stored_run(tmp_path / "loose", **slow, suite=loose), base, rc=0)
    assert document["limits"] == {"time": 0.5, "peak_memory": 0.01}
    assert "below the limit 1.5" in of(document, "flash")["reason"]
    judged(llmbench, stored_run(tmp_path / "strict", **slow, suite=strict), base, rc=1)


def test_a_case_has_the_limit_that_its_suite_gives_it(llmbench: Command, tmp_path: Path) -> None:
    cases = (
        GateCase({"impl": ("naive",)}, {"time": 0.1}, "below 50 us, where launches decide"),
        GateCase({"impl": ("flex",)}, {"time": None}),
    )
    suite = make_suite(gate={"time": 0.03}, gate_cases=cases)
    base = stored_run(tmp_path / "base", **BASE, suite=suite)
    five = tuple(1.05 * t for t in STEADY)
    run = stored_run(tmp_path / "run", {"naive": five, "flash": five, "flex": SLOW}, suite=suite)
    document = judged(llmbench, run, base, rc=1)
    words = {impl: of(document, impl)["verdict"] for impl in BASE["times"]}
    assert words == {"naive": "PASS", "flash": "REGRESSED", "flex": "PASS"}
    times = {v["label"]: f for v in document["verdicts"] for f in v["findings"] if f["metric"] == "time"}
    assert {label: f["limit"] for label, f in times.items()} == {"naive fwd": 0.1, "flash fwd": 0.03}
    assert times["naive fwd"]["limit_of"] == "below 50 us, where launches decide" and not times["flash fwd"]["limit_of"]
    reason = times["naive fwd"]["reason"]
    assert "below the limit 1.1; " in reason
    assert reason.endswith("; its own limit of 10 %: below 50 us, where launches decide")
    assert of(document, "flex")["not_gated"] == {"time": "impl=flex"}
    assert of(document, "flex")["reason"].endswith("; time is not gated: impl=flex")
    args = ("gate", "stored", run, "--baseline", base)
    limits = "time +3 % (+10 % in 1 case, not gated in 1 case), peak_memory exact"
    shown = llmbench(*args, "--all", "--junit", "o.xml", "--html", "o.html", rc=1, COLUMNS="200").stdout
    text = " ".join(shown.split())
    assert f"limits {limits}" in text and "its own limit of 10 %: below 50 us, where launches decide" in text
    assert f"- **limits**: {limits}" in llmbench(*args, "--markdown", rc=1).stdout
    junit = (tmp_path / "o.xml").read_text()
    assert f'<property name="limits" value="{limits}" />' in junit and "its own limit of 10 %: below 50 us" in junit
    assert "1.1 (below 50 us, where launches decide)" in (tmp_path / "o.html").read_text()


def test_a_metric_may_be_gated_in_some_cases_alone(llmbench: Command, tmp_path: Path) -> None:
    suite = make_suite(gate_cases=(GateCase({"impl": ("flash",)}, {"launches": 0.0}),))
    counts = {"launches": dict.fromkeys(("flash", "naive"), [3] * 3)}
    base = stored_run(tmp_path / "base", {"flash": STEADY, "naive": STEADY}, counts=counts, suite=suite)
    more = {"launches": dict.fromkeys(("flash", "naive"), [4] * 3)}
    run = stored_run(tmp_path / "run", {"flash": STEADY, "naive": STEADY}, counts=more, suite=suite)
    document = judged(llmbench, run, base, rc=1)
    assert of(document, "flash")["verdict"] == "REGRESSED" and of(document, "naive")["verdict"] == "PASS"
    assert "launches 4 against 3 in the baseline" in of(document, "flash")["reason"]
    text = llmbench("gate", "stored", run, "--baseline", base, rc=1).stdout
    assert "peak_memory exact, launches (exact in 1 case)" in text


def test_where_everything_is_left_out_nothing_passes(llmbench: Command, tmp_path: Path) -> None:
    suite = make_suite(gate_cases=(GateCase({"phase": ("fwd",)}, {"time": None, "peak_memory": None}),))
    run = stored_run(tmp_path / "run", {"flash": STEADY}, suite=suite)
    base = stored_run(tmp_path / "base", {"flash": STEADY}, suite=suite)
    verdict = of(judged(llmbench, run, base, rc=4), "flash")
    assert verdict["verdict"] == "NO_RESULT"
    assert verdict["reason"].startswith("ok on both sides, but neither has a metric that is gated; time is not gated: ")


def test_what_is_only_in_the_run_is_said_and_passes(llmbench: Command, tmp_path: Path) -> None:
    base = stored_run(tmp_path / "base", {"naive": STEADY}, failed={"flex": ("error", "boom")})
    run = stored_run(tmp_path / "run", {"naive": STEADY, "flash": STEADY}, failed={"flex": ("oom", "80 GiB")})
    document = judged(llmbench, run, base, rc=0)
    assert document["counts"] == {"NEW": 1, "NO_RESULT": 1, "PASS": 1}
    assert of(document, "flash")["reason"] == "only in the run (ok)"
    assert of(document, "flex")["reason"] == "oom: 80 GiB; in the baseline error too, so there is nothing to judge"
    fixed = stored_run(tmp_path / "fixed", {"naive": STEADY, "flex": STEADY})
    assert of(judged(llmbench, fixed, base, rc=0), "flex")["verdict"] == "FIXED"


def test_a_baseline_that_is_not_there_is_missing_not_malformed(llmbench: Command, tmp_path: Path, base: Path) -> None:
    done = llmbench("gate", "stored", base, "--baseline", "nowhere", rc=4)
    assert done.stderr == (
        "llmbench: --baseline nowhere: neither a run nor a store of baselines is there; give a run's folder, latest or "
        "latest:SUITE, or a store, which is made with: llmbench baseline add RUN --store STORE\n"
    )
    document = judged(llmbench, base, tmp_path / "nowhere", rc=4)
    assert of(document, "")["verdict"] == "MISSING" and "nowhere: neither a run nor" in of(document, "")["reason"]
    assert document["baseline"] is None and document["run"]["run_id"] == "base"
    assert document["summary"] == "1 MISSING: exit 4, a case or the baseline is missing"
    text = llmbench("gate", "stored", base, "--baseline", "latest:nope", "--junit", "x.xml", "--markdown", rc=4).stdout
    assert "| MISSING | baseline |  |  |  |  | --baseline latest:nope: no run under results" in text
    assert '<error message="--baseline latest:nope: no run' in (tmp_path / "x.xml").read_text()
    empty = stored_run(tmp_path / "empty", {})
    assert "the baseline holds no records" in judged(llmbench, base, empty, rc=4)["warnings"]
    assert llmbench("gate", "stored", "nowhere", "--baseline", "nowhere", rc=2).stderr.startswith("llmbench: nowhere: ")


@pytest.mark.parametrize(
    ("harm", "side"),
    [
        ("garbage", "run"), ("garbage", "base"), ("empty", "run"), ("no columns", "base"), ("no manifest", "base"),
        ("no records", "run"), ("two devices", "base"),
    ],
)  # fmt: skip
def test_a_malformed_run_exits_2_and_names_the_file(
    llmbench: Command, tmp_path: Path, base: Path, harm: str, side: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    bad = tmp_path / "bad"
    shutil.copytree(base, bad)
    records = bad / "records.parquet"
    if harm in ("garbage", "empty"):
        records.write_bytes(b"PAR1 no parquet" if harm == "garbage" else b"")
    elif harm == "no columns":
        pq.write_table(pa.table({"case_id": ["a"]}), records)
    elif harm == "two devices":
        other = pq.read_table(stored_run(tmp_path / "other", **BASE, key="two") / "records.parquet")
        pq.write_table(pa.concat_tables([pq.read_table(records), other]), records)
    else:
        (bad / ("run.json" if harm == "no manifest" else "records.parquet")).unlink()
    run, baseline = (bad, base) if side == "run" else (base, bad)
    done = llmbench("gate", "stored", run, "--baseline", baseline, "--json", rc=2)
    assert str(bad) in done.stderr and done.stderr.count("\n") == 1 and not done.stdout


@pytest.mark.parametrize("side", ["run", "base"])
def test_a_quick_run_is_refused(llmbench: Command, tmp_path: Path, base: Path, side: str) -> None:
    quick = stored_run(tmp_path / "quick", **BASE, quick=True, key="two")  # the other device is not even told
    run, baseline = (quick, base) if side == "run" else (base, quick)
    said = llmbench("gate", "stored", run, "--baseline", baseline, rc=2).stderr
    assert (
        f"{quick}: a quick run, too short to decide anything; measure it in full with: llmbench run attention" in said
    )


def test_the_records_are_the_evidence_not_the_counts_of_the_manifest(
    llmbench: Command, tmp_path: Path, base: Path
) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    run = tmp_path / "run"
    shutil.copytree(base, run)
    table = pq.read_table(run / "records.parquet")
    pq.write_table(table.filter(pc.not_equal(table["impl"], "flash")), run / "records.parquet")
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "counts": {"ok": 99}}))
    assert len({r.case_id for r in read_run(run).rows}) == 2
    assert of(judged(llmbench, run, base, rc=4), "flash")["verdict"] == "MISSING"


def test_hostile_names_and_reasons_are_shown_as_text(llmbench: Command, tmp_path: Path) -> None:
    import xml.etree.ElementTree as ET
    from dataclasses import replace

    from example_runs import OP

    from llmbench.suite.catalog import ImplSpec

    op = replace(OP, impls=(ImplSpec("flash"), ImplSpec(HOSTILE)))
    suite = make_suite(op=op, impls=("flash", HOSTILE), name="<b>&suite")
    base = stored_run(tmp_path / "base", {"flash": STEADY, HOSTILE: STEADY}, suite=suite)
    run = stored_run(tmp_path / "run", {"flash": STEADY}, failed={HOSTILE: ("error", HOSTILE)}, suite=suite)
    args = ("gate", "stored", run, "--baseline", base)
    text = llmbench(*args, "--junit", "out.xml", rc=1).stdout
    assert "\x1b" not in text and "\x00" not in text and "<script>alert(1)</script> \"'& \\x1b[31m\\x00]]>" in text
    markdown = llmbench(*args, "--markdown", rc=1).stdout
    assert "<script>" not in markdown and "\x1b" not in markdown and len(markdown) < 4000
    assert len([line for line in markdown.splitlines() if line.startswith("| BROKEN")]) == 1
    verdict = json.loads(llmbench(*args, "--json", rc=1).stdout)["verdicts"][0]
    assert verdict["reason"] == f"ok in the baseline, error: {HOSTILE}"
    failure = ET.parse(tmp_path / "out.xml").find(".//failure")
    assert failure is not None and "<script>alert(1)</script>" in failure.attrib["message"]


def test_formats_exclude_each_other_and_a_junit_file_needs_its_folder(
    llmbench: Command, tmp_path: Path, base: Path
) -> None:
    args = ("gate", "stored", base, "--baseline", base)
    assert "choose one" in llmbench(*args, "--json", "--markdown", rc=2).stderr
    assert "--junit no/where.xml: cannot be written" in llmbench(*args, "--junit", "no/where.xml", rc=2).stderr
    assert "--baseline" in llmbench("gate", "stored", base, rc=2).stderr


@pytest.mark.parametrize("columns", ["60", "80", "160"])
def test_no_line_is_wider_than_the_terminal(llmbench: Command, tmp_path: Path, base: Path, columns: str) -> None:
    run = stored_run(tmp_path / "run", **{**BASE, "times": {"naive": SLOW, "flash": STEADY}})
    text = llmbench("gate", "stored", run, "--baseline", base, "--all", rc=1, COLUMNS=columns).stdout
    assert max(map(len, text.splitlines())) <= int(columns)


def test_help_names_the_kind_of_gate(llmbench: Command) -> None:
    assert "stored" in llmbench("gate", "--help").stdout
    text = " ".join(llmbench("gate", "stored", "-h").stdout.split())
    assert "--baseline" in text and "1 regression or a case broken" in text


def test_the_terminal_shows_what_did_not_pass_worst_first_and_all_when_asked(
    llmbench: Command, tmp_path: Path, base: Path
) -> None:
    run = stored_run(tmp_path / "run", {"naive": FAST, "flash": SLOW, "flex": STEADY})
    args = ("gate", "stored", run, "--baseline", base)
    lines = llmbench(*args, rc=1).stdout.splitlines()
    head = lines.index("verdict    case       metric  ratio         95 % CI  limit")
    assert [ln for ln in lines[head:] if " fwd " in ln] == [
        "REGRESSED  flash fwd  time    1.300  [1.271, 1.330]   1.03",
        "IMPROVED   naive fwd  time    0.769  [0.752, 0.787]   1.03",
        "PASS       flex fwd   time    1.000  [0.978, 1.023]   1.03",
    ]
    assert (
        "    time ratio 1.3, 95 % CI [1.271, 1.33] over 3 and 3 processes, excludes 1 and reaches the limit 1.03"
        in lines
    )
    assert lines[-1] == "1 REGRESSED, 1 IMPROVED, 1 PASS: exit 1, regression, or a case broken"
    assert "time ratio 1, " not in "".join(lines) and "    time ratio 1, " in llmbench(*args, "--all", rc=1).stdout
    table = [ln for ln in llmbench(*args, "--markdown", rc=1).stdout.splitlines() if ln.startswith("|")]
    assert [row.split("|")[1].strip() for row in table[2:]] == ["REGRESSED", "IMPROVED", "PASS"]
    assert r"| REGRESSED | flash fwd | time | 1.300 | \[1.271, 1.330\] | 1.03 | time ratio 1.3" in table[2]
    assert table[4].endswith(r"| \[0.978, 1.023\] | 1.03 |  |")
