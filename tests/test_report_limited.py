"""Markdown that stays below a size: the verdict and the worst rows always, what is cut as counts."""

import re

import pytest
from gate_outcomes import LONG, many, outcome
from hypothesis import given
from hypothesis import strategies as st

from llmbench.report import verdict_table
from llmbench.report.limited import MOST_BYTES, Row, limited

TABLE = ["| a |", "|---|"]


def rows_of(text: str) -> list[str]:
    """The verdicts of the table's rows."""
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]


def test_what_fits_is_whole() -> None:
    rows = [Row("PASS", 1, "| one |")] * 40
    text = "# title\n\n| a |\n|---|\n" + "| one |\n" * 40
    assert limited(["# title"], TABLE, rows, most_bytes=len(text)) == text
    assert "**cut**" in limited(["# title"], TABLE, rows, most_bytes=len(text) - 1).splitlines()[1]


def test_what_is_cut_is_counted_by_verdict_above_the_table() -> None:
    rows = [Row("REGRESSED", 1, f"| {'x' * 96} |")] * 3 + [Row("NO_RESULT", 40, f"| {'y' * 96} |")] * 5
    lines = limited(["# title"], TABLE, rows, most_bytes=700).splitlines()
    assert lines[0] == "# title" and lines[2:5] == ["", *TABLE] and len(lines) == 10
    assert lines[1] == (
        "- **cut**: 120 of 203 cases (120 NO_RESULT) are not in this text, which ends at 1 kB; "
        "`--json` and `--junit` have all"
    )


def test_a_head_that_does_not_fit_keeps_its_title_and_says_that_the_rows_are_cut() -> None:
    rows = [Row("REGRESSED", 1, "| r |")] * 3
    text = limited(["# title", *["- a warning"] * 100], TABLE, rows, most_bytes=300)
    assert text.startswith("# title\n- a warning\n") and text.splitlines()[-1].startswith("- **cut**: 3 of 3 cases")
    assert limited(["# title"], TABLE, rows, most_bytes=20) == ""


LINES = st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=40)
ROWS = st.tuples(st.sampled_from(["REGRESSED", "PASS"]), st.integers(1, 10**6), st.text("é|x", max_size=90))


@given(head=st.lists(LINES, min_size=1), rows=st.lists(ROWS), most=st.integers(0, 3000))
def test_no_text_is_longer_than_asked_and_none_is_cut_in_silence(
    head: list[str], rows: list[tuple[str, int, str]], most: int
) -> None:
    given_rows = [Row(*row) for row in rows]
    text = limited(head, TABLE, given_rows, most_bytes=most)
    assert len(text.encode()) <= most
    whole = "\n".join([*head, *(["", *TABLE] if rows else []), *(text for _, _, text in rows)]) + "\n"
    assert text == whole or not text or "- **cut**: " in text


@pytest.mark.parametrize("everything", [False, True])
def test_five_thousand_cases_stay_under_what_github_shows_worst_first(everything: bool) -> None:
    found = many(5000, reason=LONG * 20, warnings=("one process on a side",))
    text = verdict_table.render(found, everything=everything)
    assert 0.98 * MOST_BYTES < len(text.encode()) <= MOST_BYTES
    lines, said = text.splitlines(), verdict_table.summary(found)
    assert lines[0] == f"# Gate: {said}"
    assert "625 BROKEN, 625 REGRESSED, 625 MISSING" in lines[0] and ": exit 1, regression" in lines[0]
    assert "- **warning**: one process on a side" in lines[:6]
    told = rows_of(text)
    assert told == ["BROKEN"] * min(len(told), 625) + ["REGRESSED"] * (len(told) - 625)
    (cut,) = re.findall(r"- \*\*cut\*\*: ([\d,]+) of ([\d,]+) cases \((.*)\) are not in this text", text)
    left, every = (int(n.replace(",", "")) for n in cut[:2])
    assert every == (5000 if everything else 5000 - 625) and left == every - len(told)
    counted = {word: int(n.replace(",", "")) for n, word in re.findall(r"([\d,]+) ([A-Z_]+)", cut[2])}
    assert sum(counted.values()) == left and counted["INCONCLUSIVE"] == 625
    assert ("PASS" in counted) == everything


def test_a_suite_of_usual_size_is_not_cut() -> None:
    text = verdict_table.render(many(400), everything=True)
    assert "**cut**" not in text and len(rows_of(text)) == 400


def test_a_hostile_reason_takes_no_more_room_than_the_limit() -> None:
    text = verdict_table.render(outcome(["REGRESSED"] * 200, reason="\U0010ffff\u2028<&" * 5000))
    assert len(text.encode()) <= MOST_BYTES and len(rows_of(text)) > 50
