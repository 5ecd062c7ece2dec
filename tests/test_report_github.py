"""Workflow commands of a gate: what GitHub reads out of them is what was said, and never more than it shows."""

import re
from dataclasses import replace

import pytest
from gate_outcomes import many, outcome
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analyze.stored import Outcome
from llmbench.analyze.verdict import Verdict, Word
from llmbench.report import github
from llmbench.report.escape import one_line
from llmbench.report.verdict_table import summary

COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]*)")


def read(line: str) -> tuple[str, str, str]:
    """Kind, title and message, as the runner's ActionCommand.cs reads a line."""
    found = COMMAND.fullmatch(line)
    assert found is not None, line
    kind, title, message = found.groups()
    for escape, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        title = title.replace(escape, char)
    for escape, char in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        message = message.replace(escape, char)
    return kind, title, message


def told(found: Outcome) -> list[tuple[str, str, str]]:
    lines = github.commands(
        found.verdicts, title="llmbench gate attention", summary=summary(found), exit_code=found.exit_code,
        warnings=found.warnings,
    )  # fmt: skip
    return [read(line) for line in lines]


def test_the_verdict_comes_first_then_each_case_in_its_kind() -> None:
    found = outcome(["REGRESSED", "INCONCLUSIVE", "IMPROVED", "PASS", "NO_RESULT"], warnings=("another torch",))
    assert told(found) == [
        ("error", "llmbench gate attention", summary(found)),
        ("error", "REGRESSED i0 fwd seq_len=0: time 1.300 [1.287, 1.313], limit 1.03", "time ratio 1.3"),
        ("warning", "llmbench gate attention", "another torch"),
        ("warning", "INCONCLUSIVE i1 fwd seq_len=16: time 1.040 [1.030, 1.050], limit 1.03", "time ratio 1.04"),
        ("notice", "IMPROVED i2 fwd seq_len=32: time 0.800 [0.792, 0.808], limit 1.03", "time ratio 0.8"),
    ]


@pytest.mark.parametrize(
    ("words", "kind"),
    [(["PASS"], "notice"), (["INCONCLUSIVE"], "warning"), (["MISSING"], "error"), (["ENV_ERROR"], "error")],
)
def test_the_verdict_is_of_the_kind_of_its_exit_code(words: list[Word], kind: str) -> None:
    (first,) = [k for k, title, _ in told(outcome(words)) if title == "llmbench gate attention"]
    assert first == kind


def test_a_kind_has_ten_annotations_and_the_tenth_counts_the_rest() -> None:
    found = told(many(5000, warnings=("a warning",) * 3))
    kinds = [kind for kind, _, _ in found]
    assert [kinds.count(k) for k in ("error", "warning", "notice")] == [10, 10, 10]
    assert [message for kind, _, message in found if kind == "error"][-1] == (
        "1,867 more: 617 BROKEN, 625 REGRESSED, 625 MISSING; the job's summary and the files that the gate wrote tell "
        "them"
    )
    assert len(told(outcome(["REGRESSED"] * 9))) == 10 and "more" not in str(told(outcome(["REGRESSED"] * 9)))


@given(label=st.text(max_size=80), reason=st.text(max_size=200))
def test_what_github_reads_is_what_was_said(label: str, reason: str) -> None:
    verdict = Verdict("x", label, "REGRESSED", reason)
    lines = github.commands([verdict], title="t", summary="s", exit_code=1)
    assert [read(line) for line in lines] == [
        ("error", "t", "s"),
        ("error", one_line(f"REGRESSED {label}"), one_line(reason)),
    ]


@pytest.mark.parametrize("text", ["50 % %0A %25", "a::b, c=d", "::stop-commands::x\n::error::y", "##[error]z"])
def test_no_text_is_a_command_of_its_own(text: str) -> None:
    lines = github.commands([Verdict("x", text, "BROKEN", text)], title=text, summary=text, exit_code=1)
    assert len(lines) == 2 and all(line.count("\n") == 0 for line in lines)
    assert [read(line)[2] for line in lines] == [one_line(text)] * 2


def test_a_long_name_leaves_room_for_the_numbers_in_a_title() -> None:
    found = replace(outcome(["REGRESSED"]).verdicts[0], label="y" * 999)
    _, title, _ = read(github.commands([found], title="t", summary="s", exit_code=1)[1])
    assert len(title) == 200 and title.startswith("REGRESSED yyy")
    assert title.endswith("y…: time 1.300 [1.287, 1.313], limit 1.03")


def test_messages_are_no_longer_than_the_runner_passes_on() -> None:
    lines = github.commands([Verdict("x", "y" * 9999, "BROKEN", "z" * 9999)], title="t", summary="s", exit_code=1)
    _, title, message = read(lines[1])
    assert (len(title), len(message)) == (200, 4096) and title.endswith("…") and message.endswith("…")
