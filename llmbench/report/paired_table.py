"""What a paired gate found, for the terminal and for pull requests: how it was measured, then as the stored gate."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from llmbench.analyze.verdict import percent
from llmbench.report import verdict_table
from llmbench.report.escape import markdown, one_line
from llmbench.report.limited import MOST_BYTES
from llmbench.run.paired.turns import SIDES
from llmbench.run.paired.verdicts import Found
from llmbench.run.paired.witness import subject_text


def show(found: Found, console: Console, *, everything: bool = False) -> None:
    """Prints how it was measured, then every verdict with its reason."""
    for name, text in told(found):
        console.print(Text(f"{name:<9} {one_line(text)}"), overflow="fold")
    verdict_table.show(found.outcome, console, everything=everything)


def render(found: Found, *, everything: bool = False, most_bytes: int = MOST_BYTES) -> str:
    """The same as markdown, ending in a newline, in at most so many bytes."""
    more = "".join(f"\n- **{name}**: {markdown(text)}" for name, text in told(found)) + "\n"
    left = most_bytes - len(more.encode())
    text = verdict_table.render(found.outcome, everything=everything, most_bytes=left) if left > 0 else ""
    return text + more if text else ""


def told(found: Found) -> Iterator[tuple[str, str]]:
    """Name and text of each line about how it was measured."""
    seen = found.seen
    for side in SIDES:
        if seen.sources(side):
            yield f"{side} code", subject_text(seen.sides.of(side), seen.sources(side))
    if seen.layout is not None:
        up = "both sides up at once" if seen.layout == "both" else "one process at a time"
        took = f"{seen.pairs_s:.0f} of {seen.wall_s:.0f} s"
        yield "pairs", f"{seen.pairs} in {took}, {up}, {seen.cores.text}"
    if seen.judged is not None and (parts := seen.judged.components) is not None:
        own = f"{percent(parts.own)} in the median case ({percent(parts.own_tenth)} to {percent(parts.own_ninetieth)})"
        yield "noise", f"of a pair: {own} of its own, {percent(parts.shared)} shared by all cases"
    yield "evidence", str(seen.folder)
