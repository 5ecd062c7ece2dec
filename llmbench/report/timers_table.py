"""An audit of timers for the terminal, for the README and for machines: a block a function, a line a tool."""

import json
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from llmbench.analyze.timers import OURS, Findings, Line, findings
from llmbench.codec import to_plain
from llmbench.report.escape import markdown, one_line
from llmbench.report.scale import MISSING, TIMES, digits, scale_of, scaled, time_text
from llmbench.store.timers import TimerAudit

SCHEMA = "llmbench.audit.timers/1"
HEADINGS = ("value", "error", "spread", "seconds", "score", "95 % CI")
GAP = "  "
FIGURES = 2  # of a spread, which ten repetitions tell to 25 %

Told = tuple[str, str]  # a name and what is said of it


def show(audit: TimerAudit, console: Console) -> None:
    """Prints every function as a block, then how each tool was asked, and what could not be run with its reason."""
    found = findings(audit)
    for label, told in heading(audit):
        _put(console, Text(f"{label:<9}", style="yellow" if label == "warning" else "dim"), told)
    names = max((cell_len(line.tool) for f in found for line in f.lines), default=0)
    cells = [cells_of(line, f) for f in found for line in f.lines]
    widths = [max([len(h), *(cell_len(c[i]) for c in cells)]) for i, h in enumerate(HEADINGS)]
    if len(GAP) + names + sum(len(GAP) + w for w in widths) > console.width:
        widths.pop()  # the interval, which the standing below has too
    for f in found:
        console.print()
        _put(console, Text(f.function.label + GAP, style="bold"), truth_text(f))
        for text in _block(f, names, widths):
            console.print(text, no_wrap=True, overflow="ellipsis")
        if f.standing is not None:
            _put(console, Text(GAP), standing_text(f))
    console.print()
    _put(console, Text(), legend(audit), style="dim")
    for title, lines in sections(audit, found):
        console.print(Text(f"\n{title}", style="bold"))
        for name, told in lines:
            _put(console, Text(f"{GAP}{name}: "), told)


def render(audit: TimerAudit) -> str:
    """The same as markdown, one table, ending in a newline."""
    found = findings(audit)
    lines = ["# Audit of timers", ""]
    lines += [f"- **{label}**: {markdown(told)}" for label, told in heading(audit)]
    lines += ["", "| function | tool | " + " | ".join(HEADINGS) + " |", "|---|---|" + "---:|" * len(HEADINGS)]
    for f in found:
        first = f"{markdown(f.function.label)}<br>{markdown(truth_text(f))}"
        for line in f.lines:
            name = markdown(line.tool + _failures(line))
            cells = [markdown(c) for c in cells_of(line, f)]
            lines.append("| " + " | ".join([first, f"**{name}**" if line.tool == f.best else name, *cells]) + " |")
            first = ""
    lines += ["", *(f"- **{markdown(f.function.label)}**: {markdown(standing_text(f))}" for f in found if f.standing)]
    lines += ["", markdown(legend(audit, best="bold:"))]
    for title, told in sections(audit, found):
        lines += ["", f"## {title}", "", *(f"- **{markdown(name)}**: {markdown(text)}" for name, text in told)]
    return "\n".join(lines) + "\n"


def document(audit: TimerAudit, *, path: str | None) -> str:
    """Findings and trials as JSON text, SI units, ratios as fractions, ending in a newline. `path`: of the trials."""
    found = findings(audit)
    plain = to_plain(found)
    for body, f in zip(plain, found, strict=True):
        if f.standing is not None:
            body["standing"] |= {"at_or_below": f.standing.at_or_below, "decided": f.standing.decided}
    whole = {"schema": SCHEMA, "file": path, "findings": plain, **to_plain(audit)}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def heading(audit: TimerAudit) -> Iterator[Told]:
    """What was audited where, as label and text."""
    machine, code = audit.machine, audit.code
    threads = f"{audit.threads} thread{'' if audit.threads == 1 else 's'}"
    yield "device", f"{machine.device_name} ({machine.device}), {threads}, torch {audit.versions.get('torch')}"
    yield "started", f"{audit.started} · commit {(code.commit or 'unknown')[:12]}{' (dirty)' if code.dirty else ''}"
    done = "" if audit.complete else f"; stopped after {len(audit.trials)} trials"
    yield "trials", f"{audit.repetitions} repetitions, {audit.budget_s:g} s for each measurement{done}"
    for text in audit.notes:
        yield "warning", text


def truth_text(f: Findings) -> str:
    """What the errors of a function are against."""
    if f.truth_s is None:
        return "no value"
    if not f.known:
        return f"no truth is known; errors are against the median over all tools, {time_text(f.truth_s)}"
    own = "" if f.loop_error is None else f"; the loop itself is off by {_signed(f.loop_error)}"
    return f"truth {time_text(f.truth_s)}{own}"


def cells_of(line: Line, f: Findings) -> list[str]:
    """The texts of a line, in the order of `HEADINGS`."""
    known = line.low is not None and line.high is not None
    return [
        scaled(line.value_s, scale_of(f.truth_s or 0.0, TIMES)),
        MISSING if line.error is None else _signed(line.error),
        MISSING if line.spread is None else f"{_percent(line.spread)}%",
        MISSING if line.seconds is None else f"{digits(line.seconds, FIGURES)} s",
        MISSING if line.score is None else _percent(line.score),
        f"[{_percent(line.low or 0)}, {_percent(line.high or 0)}]" if known else MISSING,
    ]


def standing_text(f: Findings) -> str:
    """`llmbench 0.71x [0.40, 1.30] of the best other, pyperf: at or below it, undecided`."""
    if f.standing is None:
        return ""
    s = f.standing
    interval = "" if s.low is None or s.high is None else f" [{s.low:.2f}, {s.high:.2f}]"
    word = "at or below it" if s.at_or_below else "above it"
    return f"{OURS} {s.ratio:.2f}x{interval} of the best other, {s.other}: {word}{'' if s.decided else ', undecided'}"


def legend(audit: TimerAudit, *, best: str = "*") -> str:
    """What the columns mean."""
    return (
        "value: median over repetitions, each a fresh process, functions and tools in a new random order; calling a "
        "Python function, some 0.1 to 0.2 µs, is in each; spread: sd "
        "of log(value); seconds: mean wall time from asking to the answer, without starting Python, importing torch "
        "and the tool, and the first call of the function; score: spread in % x sqrt(seconds), less is better. It does "
        "not see the error, and favours tools that stop early where processes differ more than samples do. 95 % CI: "
        f"bootstrap over the {audit.repetitions} repetitions; undecided: the ratio's interval holds 1, or is unknown. "
        "The best of several looks better than it is: against four equal tools 1.3x is to be expected after ten "
        f"repetitions, 1.2x after twenty; {best} least score"
    )


def sections(audit: TimerAudit, found: Sequence[Findings]) -> Iterator[tuple[str, list[Told]]]:
    """How each tool was asked, with its version; tools that could not be asked and trials that failed, with why."""
    asked = [(t.name, f"{t.how}{f' ({t.version})' if t.version else ''}") for t in audit.tools if t.why_not is None]
    missing = [(t.name, t.why_not) for t in audit.tools if t.why_not is not None]
    missing += [
        (f"{line.tool}, {f.function.label}", f"{line.failed} of {line.failed + line.n}: {line.why}")
        for f in found
        for line in f.lines
        if line.why is not None
    ]
    if asked:
        yield "How each was asked", asked
    if missing:
        yield "Without a result", missing


def _block(f: Findings, names: int, widths: Sequence[int]) -> Iterator[Text]:
    titles = "".join(GAP + h.rjust(w) for h, w in zip(HEADINGS, widths, strict=False))
    yield Text(" " * (len(GAP) + names) + titles, style="dim")
    for line in f.lines:
        text = Text(("* " if line.tool == f.best else GAP) + line.tool.ljust(names))
        for cell, width in zip(cells_of(line, f), widths, strict=False):
            text.append(GAP + " " * (width - cell_len(cell)) + cell)
        if line.tool == f.best:
            text.stylize("bold green")
        yield text.append(_failures(line), style="red")


def _failures(line: Line) -> str:
    return f" ({line.failed} failed)" if line.failed else ""


def _put(console: Console, lead: Text, body: str, style: str = "") -> None:
    """`body` beside `lead`, wrapped, further lines indented below the first."""
    indent = cell_len(lead.plain)
    for i, line in enumerate(Text(one_line(body), style=style).wrap(console, max(20, console.width - indent))):
        line.rstrip()
        console.print(Text.assemble(lead if i == 0 else " " * indent, line))


def _percent(fraction: float) -> str:
    return digits(fraction * 100, FIGURES)


def _signed(fraction: float) -> str:
    return f"{fraction * 100:+.2f}%"
