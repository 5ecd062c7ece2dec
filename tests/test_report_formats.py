"""Markdown, JSON and CSV of a run: golden lines, hostile text, nothing that a parser refuses."""

import csv as stdlib_csv
import io
import json
import subprocess
import sys

import pytest
from example_runs import cases_of, make_row, make_run, make_suite, time_row

from llmbench.analyze.summary import summarise
from llmbench.report import csv, document, markdown
from llmbench.report.escape import markdown as escaped
from llmbench.report.escape import one_line

HOSTILE = "a|b `c` [bold]d[/bold] <script>\n\n# *e* \x1b[31m"


def example(**changes):
    """One point of two timed implementations and one that failed."""
    naive, flash, flex = cases_of(make_suite())[:3]
    rows = [
        time_row(naive, samples=[2e-3] * 10, flop=1e12),
        make_row(naive, metric="peak_memory", value=float(3 << 20), n=1, flop=1e12),
        time_row(flash, samples=[1e-3] * 10, flop=1e12),
        make_row(flex, status="error", why=HOSTILE, **changes),
    ]
    return summarise(make_run(rows))


def test_markdown_is_a_table_a_point():
    lines = markdown.render(example()).splitlines()
    assert "## fwd" in lines
    at = lines.index("## fwd") + 2
    assert lines[at : at + 5] == [
        "|  | time | ± | TFLOP/s | % peak | peak mem | speed-up | 95 % CI | status |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
        "| naive | 2.000 ms | ±0.00% | 500 | 50.6% | 3.00 MiB | 0.500x | [0.500, 0.500] | ok |",
        "| **flash** | 1.000 ms | ±0.00% | 1000 | 101.1% | – | baseline |  | ok |",
        "| flex |  |  |  |  |  |  |  | error |",
    ]
    assert lines[-1] == r"- **flex**: error: a\|b \`c\` \[bold\]d\[/bold\] &lt;script\> \# \*e\* \\x1b\[31m"


def test_markdown_escapes_names_and_keeps_words_readable():
    assert escaped("sdpa_flash _x_ a|b") == r"sdpa_flash \_x\_ a\|b"
    assert escaped("line\none") == "line one"


def test_one_line_spells_out_what_a_terminal_would_obey():
    assert one_line("a\x1b[2J\u202eb\tc\r\nd") == "a\\x1b[2J\\u202eb c d"


def test_the_document_holds_every_line_in_si():
    body = json.loads(document.render(example()))
    assert body["schema"] == "llmbench.report/1"
    assert body["run"]["counts"] == {"ok": 2, "error": 1}
    naive, _flash, flex = body["lines"]
    assert naive["time"] == {"value": 2e-3, "low": 2e-3, "high": 2e-3, "basis": "samples"}
    assert naive["speedup"] == {"value": 0.5, "low": 0.5, "high": 0.5, "pairs": 10, "paired": True}
    assert naive["flop_per_s"]["value"] == 5e14
    assert (flex["status"], flex["why"], flex["time"]) == ("error", HOSTILE, None)


def test_json_and_csv_hold_what_an_op_tells_and_parts_of_time_and_memory():
    told = [("time", None, 3.0), ("time", "forward", 1.0), ("peak_memory", "gradients", 8.0), ("loss_after", None, 5.5)]
    rows = [
        make_row(metric=metric, part=part, value=value + process, process=process)
        for process in range(3)
        for metric, part, value in [*told, ("launches", "aten::mm", 7.0)]
    ]
    summary = summarise(make_run(rows))
    (line,) = json.loads(document.render(summary))["lines"]
    assert line["further"] == {"time_forward": 2.0, "peak_memory_gradients": 9.0, "loss_after": 6.5}
    (cells,) = stdlib_csv.DictReader(io.StringIO(csv.render(summary)))
    assert (cells["time_forward"], cells["peak_memory_gradients"], cells["loss_after"]) == ("2.0", "9.0", "6.5")
    assert "launches_aten::mm" not in cells


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_and_csv_never_hold_nan(value):
    rows = [make_row(status="wrong", metric="max_error", value=value)]
    summary = summarise(make_run(rows))
    assert json.loads(document.render(summary), parse_constant=pytest.fail)["lines"][0]["max_error"] is None
    assert next(stdlib_csv.DictReader(io.StringIO(csv.render(summary))))["max_error"] == ""


def test_csv_reads_back_with_hostile_text_whole():
    rows = list(stdlib_csv.DictReader(io.StringIO(csv.render(example()), newline="")))
    assert [r["impl"] for r in rows] == ["naive", "flash", "flex"]
    assert rows[2]["why"] == HOSTILE
    assert (float(rows[0]["time"]), float(rows[0]["speedup"])) == (2e-3, pytest.approx(0.5))
    assert (rows[0]["p_seq_len"], rows[0]["axis_heads"], rows[0]["time_basis"]) == ("512", "mha", "samples")


def test_a_run_without_rows_is_still_a_report():
    summary = summarise(make_run([]))
    assert csv.render(summary) == "run_id,suite,device_name,started\n"
    assert "Nothing could be measured" in markdown.render(summary)
    assert json.loads(document.render(summary))["lines"] == []


def test_reporting_starts_without_torch_scipy_and_pandas():
    code = (
        "import sys, llmbench.report.table, llmbench.report.markdown, llmbench.report.csv, llmbench.report.document;"
        "print([m for m in ('torch', 'scipy', 'pandas', 'plotly') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
