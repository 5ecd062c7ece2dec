"""An audit of gates for the terminal, for the README and for machines: a line a rule."""

import json
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from llmbench.analyze.gate_audit import ITERATION_S, START_S, GateAudit, Line
from llmbench.codec import to_plain
from llmbench.report.escape import markdown
from llmbench.report.scale import digits

SCHEMA = "llmbench.audit.gate/1"
GAP = "  "
FIGURES = 3


def show(audit: GateAudit, console: Console) -> None:
    """Prints what was audited, a line a rule, how each decides, and what the columns mean."""
    for label, told in heading(audit):
        _put(console, Text(f"{label:<7}", style="dim"), told)
    rows = [cells_of(line) for line in audit.lines]
    titles = headings(audit)
    widths = [max(cell_len(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
    console.print()
    for row, style in [(titles, "dim"), *((r, _style(line)) for r, line in zip(rows, audit.lines, strict=True))]:
        text = row[0].ljust(widths[0]) + "".join(GAP + c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))
        console.print(Text(text, style=style), no_wrap=True, overflow="ellipsis")
    console.print()
    _put(console, Text(), legend(audit), style="dim")
    console.print(Text("\nHow each decides", style="bold"))
    for line in audit.lines:
        _put(console, Text(f"{GAP}{line.rule}: "), f"{line.told} ({line.source})")
    if audit.missing:
        console.print(Text("\nNot judged by this data", style="bold"))
        for name, why in audit.missing:
            _put(console, Text(f"{GAP}{name}: "), why)


def render(audit: GateAudit) -> str:
    """The same as markdown, ending in a newline."""
    titles = headings(audit)
    lines = [f"- **{label}**: {markdown(told)}" for label, told in heading(audit)]
    lines += ["", "| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    for line in audit.lines:
        name, *cells = (markdown(c) for c in cells_of(line))
        lines.append("| " + " | ".join([f"**{name}**" if line.undecided is not None else name, *cells]) + " |")
    lines += ["", markdown(legend(audit)), ""]
    lines += [f"- **{markdown(line.rule)}**: {markdown(f'{line.told} ({line.source})')}" for line in audit.lines]
    lines += [f"- **{markdown(name)}**: not judged: {markdown(why)}" for name, why in audit.missing]
    return "\n".join(lines) + "\n"


def document(audit: GateAudit) -> str:
    """The audit as JSON text, SI units, shares as fractions, ending in a newline."""
    return json.dumps({"schema": SCHEMA, **to_plain(audit)}, indent=1, allow_nan=False) + "\n"


def heading(audit: GateAudit) -> Iterator[tuple[str, str]]:
    """What was audited, as label and text."""
    yield "data", f"{audit.source}: {audit.told}"
    yield "suites", f"{audit.suites} of {audit.cases} cases, seed {audit.seed}"


def headings(audit: GateAudit) -> list[str]:
    """Titles of the columns."""
    found = [f"finds {effect * 100:g}%" for effect in audit.effects]
    return ["rule", "suites red", "cases red", *found, "iterations", "processes", "time"]


def cells_of(line: Line) -> list[str]:
    """The texts of a line, in the order of `headings`."""
    return [
        line.rule,
        _percent(line.suites_red / line.suites),
        _percent(line.cases_red),
        *(_percent(share) for share in line.power),
        f"{line.iterations:.0f}",
        f"{line.processes:.0f}" + (f" + {line.history} runs" if line.history else ""),
        _time(line.seconds),
    ]


def legend(audit: GateAudit) -> str:
    """What the columns mean."""
    undecided = [line.undecided for line in audit.lines if line.undecided is not None]
    said = " and ".join(f"{share * 100:.2g}%" for share in undecided)
    return (
        "suites red: unchanged suites in which any case is called a regression; cases red: unchanged cases that are; "
        "finds: cases slowed by that much that are. iterations: of a case, both sides; processes: of a suite; time: of "
        f"a suite at {ITERATION_S * 1e3:g} ms an iteration and {START_S:g} s to start a process, without what the "
        f"history ran. Ours, without left-over budget: {said} of the unchanged cases are INCONCLUSIVE; with a limit of "
        f"3% it finds 3% in half of the cases at most, as an estimate must reach the limit. asv by {audit.asv_by}"
    )


def _style(line: Line) -> str:
    return "bold" if line.undecided is not None else ""


def _put(console: Console, lead: Text, body: str, style: str = "") -> None:
    """`body` beside `lead`, wrapped, further lines indented below the first."""
    indent = cell_len(lead.plain)
    for i, line in enumerate(Text(body, style=style).wrap(console, max(20, console.width - indent))):
        line.rstrip()
        console.print(Text.assemble(lead if i == 0 else " " * indent, line))


def _percent(share: float) -> str:
    """`0`, `0.0012%`, `78%`: two figures, 100 and 0 as they are."""
    if share in (0.0, 1.0):
        return f"{share * 100:.0f}%"
    return f"{digits(share * 100, FIGURES if share > 0.1 else 2)}%"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
