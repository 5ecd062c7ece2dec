"""A gate as GitHub Actions reads it: workflow commands, of which the job's page makes annotations.

Source: docs.github.com, "Workflow commands for GitHub Actions"; what undoes the escapes is ActionCommand.cs of
actions/runner, which reads commands from stdout and stderr alike (ScriptHandler.cs).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from llmbench.analyze.verdict import Verdict, Word
from llmbench.report.escape import one_line
from llmbench.report.verdict_cells import figures

Kind = Literal["error", "warning", "notice"]

MOST = 10  # of a kind that a step shows, the first ones (actions/toolkit, docs/problem-matchers.md)
MOST_CHARACTERS = 4096  # of a message (`_maxIssueMessageLength`, actions/runner, ExecutionContext.cs)
TITLE_CHARACTERS = 200  # more than the page shows on a line
KINDS: dict[Word, Kind] = {
    "ENV_ERROR": "error", "BROKEN": "error", "REGRESSED": "error", "MISSING": "error", "INCONCLUSIVE": "warning",
    "IMPROVED": "notice", "FIXED": "notice", "NEW": "notice",
}  # fmt: skip
"""What is told of a case one by one; PASS and NO_RESULT are in the counts alone.

INCONCLUSIVE is a warning even where it fails the gate: nobody's change is blamed by it.
"""
INCONCLUSIVE = 5  # exit code


class Annotation(NamedTuple):
    """What an annotation says; `word` is what it is counted as where there are too many."""

    kind: Kind
    title: str
    message: str
    word: str


def commands(
    verdicts: Iterable[Verdict], *, title: str, summary: str, exit_code: int, warnings: Sequence[str] = ()
) -> list[str]:
    """A line an annotation, worst first: the whole verdict, then `warnings` and `verdicts` in their order.

    At most ten of a kind; where there are more, the tenth counts them.
    """
    whole: Kind = "notice" if exit_code == 0 else "warning" if exit_code == INCONCLUSIVE else "error"
    told = [Annotation(whole, title, summary, "verdict")]
    told += [Annotation("warning", title, text, "warning") for text in warnings]
    told += [Annotation(KINDS[v.word], _title(v), v.reason, v.word) for v in verdicts if v.word in KINDS]
    kinds: tuple[Kind, ...] = ("error", "warning", "notice")
    return [_command(a) for kind in kinds for a in _first([a for a in told if a.kind == kind], title)]


def _title(verdict: Verdict) -> str:
    """`REGRESSED flash fwd: time 1.300 [1.271, 1.330], limit 1.03`; a long name is cut before its numbers are."""
    numbers = figures(verdict)
    after = f": {numbers}" if numbers else ""
    return f"{_short(f'{verdict.word} {verdict.label}', TITLE_CHARACTERS - len(after))}{after}"


def _first(told: Sequence[Annotation], title: str) -> list[Annotation]:
    if len(told) <= MOST:
        return [*told]
    left = told[MOST - 1 :]
    counts = ", ".join(f"{n:,} {word}" for word, n in Counter(a.word for a in left).items())
    more = f"{len(left):,} more: {counts}; the job's summary and the files that the gate wrote tell them"
    return [*told[: MOST - 1], Annotation(left[0].kind, title, more, "more")]


def _command(told: Annotation) -> str:
    """`::error title=REGRESSED flash fwd::time ratio 1.3`."""
    title = _short(told.title, TITLE_CHARACTERS)
    return f"::{told.kind} title={_property(title)}::{_data(_short(told.message, MOST_CHARACTERS))}"


def _short(text: str, characters: int) -> str:
    line = one_line(text)
    return line if len(line) <= characters else line[: characters - 1] + "…"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
