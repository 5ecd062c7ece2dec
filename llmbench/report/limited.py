"""A markdown table that stays below a size: its head and its worst rows, and what is cut is counted."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

MOST_BYTES = 900_000
"""Of UTF-8. GitHub shows nothing of a step's summary over 1 MiB (`AttachmentSizeLimit` in actions/runner,
FileCommandManager.cs); this leaves room for what else the step has to say."""


class Row(NamedTuple):
    """A line of the table, which tells so many cases of a verdict."""

    word: str
    cases: int
    text: str


def limited(head: Sequence[str], table: Sequence[str], rows: Sequence[Row], *, most_bytes: int = MOST_BYTES) -> str:
    """The document, ending in a newline, in at most so many bytes: `head`, then the first rows below `table`.

    `rows` come worst first. What is cut is said in the head, by verdict. A head that does not fit loses its last lines,
    the title at last: then nothing is left.
    """
    whole = _joined([*head, *(["", *table] if rows else []), *(row.text for row in rows)])
    if len(whole.encode()) <= most_bytes:
        return whole
    longest = _cut(rows, most_bytes)  # that of fewer rows is no longer
    top = _first(head, most_bytes - _size([longest]))
    if len(top) < len(head):
        return _joined([*top, longest]) if top else ""
    kept = len(_first([row.text for row in rows], most_bytes - _size([*head, longest, "", *table])))
    below = ["", *table, *(row.text for row in rows[:kept])] if kept else []
    return _joined([*head, _cut(rows[kept:], most_bytes, among=rows), *below])


def _cut(rows: Sequence[Row], most_bytes: int, *, among: Sequence[Row] = ()) -> str:
    """`- **cut**: 20 of 5,000 cases (15 INCONCLUSIVE, 5 PASS) are not in this text, which …`."""
    cut: Counter[str] = Counter()
    for row in rows:
        cut[row.word] += row.cases
    words = f" ({', '.join(f'{n:,} {word}' for word, n in cut.items())})" if cut else ""
    seen = f"{cut.total():,} of {sum(row.cases for row in among or rows):,} cases{words} are not in this text"
    return f"- **cut**: {seen}, which ends at {most_bytes / 1000:,.0f} kB; `--json` and `--junit` have all"


def _first(lines: Sequence[str], room: int) -> Sequence[str]:
    """As many as fit."""
    ends = list(accumulate(len(line.encode()) + 1 for line in lines))
    return lines[: bisect_right(ends, room)]


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
