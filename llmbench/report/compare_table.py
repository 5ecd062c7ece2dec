"""A comparison of two runs for the terminal, pull requests and machines: worst first, what stayed as a count."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import exp, fsum, inf, log
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmbench.analyze.change import Change
from llmbench.analyze.compare import CODE_CHANGED, WORST_FIRST, Comparison, Kind, Pair, Seen, Side, forest
from llmbench.codec import to_plain
from llmbench.report.escape import markdown, one_line
from llmbench.report.scale import MISSING, bytes_text, digits, time_text

SCHEMA = "llmbench.compare/1"
STYLES: dict[str, str] = {
    "broken": "bold red", "worse": "red", "only in A": "yellow", "unclear": "yellow", "better": "green",
    "fixed": "green",
}  # fmt: skip
HEADINGS = {
    "case": "case",
    "a": "A",
    "b": "B",
    "ratio": "B/A",
    "interval": "95 % CI",
    "effect": "change",
    "kind": "kind",
}
GIVEN_UP = ("a", "b")  # columns that a narrow terminal goes without
INDENT = " " * 4
ROOMY = 100  # cells of width from which all columns have room
LABEL_CELLS = 300  # of a label in markdown: a pull request's comment has little room


class Row(NamedTuple):
    """A metric of a case as texts, by column."""

    pair: Pair
    kind: Kind
    cells: dict[str, str]
    notes: list[str]


def show(comparison: Comparison, console: Console, *, everything: bool = False) -> None:
    """Prints the comparison as wide as the console is; `everything`: cases that did not change too."""
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        console.print(Text(one_line(f"{name}  {side_text(side)}")), overflow="fold")
    if comparison.code_changed:
        console.print(Text(f"code changed: {one_line(code_text(comparison))}"), overflow="fold")
    for text in comparison.warnings:
        console.print(Text(f"warning: {one_line(text)}", style="yellow"), overflow="fold")
    told = list(status_lines(comparison))
    if told:
        console.print()
    for pair, text in told:
        style = STYLES.get(pair.kind, "")
        console.print(Text.assemble((pair.kind, style), "  ", (one_line(pair.label), "bold")), overflow="ellipsis",
                      no_wrap=True)  # fmt: skip
        put_indented(console, text)
    for metric in comparison.metrics:
        console.print(Text.assemble("\n", (metric, "bold"), f"  {tally(comparison, metric)}"), overflow="fold")
        rows = rows_of(comparison, metric, everything=everything)
        if rows:
            console.print(_table(rows, console.width))
    console.print(Text(f"\n{legend(comparison)}", style="dim"), overflow="fold")


def render(comparison: Comparison, *, everything: bool = False) -> str:
    """The comparison as markdown, ending in a newline."""
    lines = [f"# {markdown(comparison.b.run_id)} (B) against {markdown(comparison.a.run_id)} (A)", ""]
    lines += [f"- **{n}**: {markdown(side_text(s))}" for n, s in (("A", comparison.a), ("B", comparison.b))]
    lines += [f"- **code changed**: {_short(code_text(comparison), 1000)}"] if comparison.code_changed else []
    lines += [f"- **warning**: {markdown(text)}" for text in comparison.warnings]
    told = [f"- **{p.kind}** {_short(p.label)}: {_short(text, 1000)}" for p, text in status_lines(comparison)]
    lines += ["", *told] if told else []
    for metric in comparison.metrics:
        lines += ["", f"## {markdown(metric)}", "", markdown(tally(comparison, metric))]
        rows = rows_of(comparison, metric, everything=everything)
        if rows:
            lines += ["", "| " + " | ".join(HEADINGS.values()) + " |", "|---|---:|---:|---:|---:|---:|---|"]
        for row in rows:
            cells = {**row.cells, "kind": "; ".join([row.cells["kind"], *row.notes])}
            texts = [_short(text) if key == "case" else markdown(text) for key, text in cells.items()]
            lines.append("| " + " | ".join(texts) + " |")
    return "\n".join([*lines, "", markdown(legend(comparison))]) + "\n"


def document(comparison: Comparison) -> str:
    """The comparison as JSON text, SI units, what is unknown null, ending in a newline; `forest` is of `time`."""
    plain = to_plain(comparison)
    for pair, found in zip(plain["pairs"], comparison.pairs, strict=True):
        pair["changes"] = [{**c, "kind": pair["kinds"][c["metric"]]} for c in pair["changes"]]
        for change, known in zip(pair["changes"], found.changes, strict=True):
            change["effect"] = known.effect
        del pair["kinds"]
    body = {"schema": SCHEMA, "a": plain["a"], "b": plain["b"], "warnings": plain["warnings"]}
    body |= {"code_changed": comparison.code_changed}
    body |= {"cases": plain["pairs"], "forest": to_plain(forest(comparison))}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def rows_of(comparison: Comparison, metric: str, *, everything: bool) -> list[Row]:
    """The rows of a metric, worst first, then furthest from 1."""
    notes_of = _noting(comparison)
    found = [
        Row(pair, pair.kinds[metric], _cells(pair, change, pair.kinds[metric]), notes_of(pair))
        for pair in comparison.pairs
        if (change := pair.change(metric)) is not None and (everything or pair.kinds[metric] != "same")
    ]
    return sorted(found, key=lambda row: (WORST_FIRST.index(row.kind), -_distance(row.pair.change(metric))))


def status_lines(comparison: Comparison) -> Iterator[tuple[Pair, str]]:
    """The cases that are not ok on both sides, and how they fared."""
    notes_of = _noting(comparison)
    for pair in comparison.pairs:
        if pair.a is None or pair.b is None or not pair.a.status == pair.b.status == "ok":
            yield pair, "; ".join([f"{_seen(pair.a)} → {_seen(pair.b)}", *notes_of(pair)])


def code_text(comparison: Comparison) -> str:
    """`flash, naive (the file that holds the implementation)`: whose code differs."""
    return f"{', '.join(comparison.code_changed)} (the file that holds the implementation)"


def tally(comparison: Comparison, metric: str) -> str:
    """`1 worse, 1 same; geometric mean of B/A 1.140`, and how many cases that leaves out."""
    counts = Counter(p.kinds[metric] for p in comparison.pairs if metric in p.kinds)
    changes = [c for p in comparison.pairs if (c := p.change(metric)) is not None]
    ratios = [c.ratio for c in changes if c.ratio]
    text = ", ".join(f"{counts[k]} {k}" for k in WORST_FIRST if counts[k])
    left = len(changes) - len(ratios)
    without = f"; {left} without a ratio, as a side has no value above zero" if left else ""
    if not ratios:
        return text + without
    among = f" over {len(ratios)} of them" if left else ""
    return f"{text}; geometric mean of B/A{among} {exp(fsum(map(log, ratios)) / len(ratios)):.4g}{without}"


def legend(comparison: Comparison) -> str:
    """What the intervals rest on and what the words mean, as far as they occur."""
    bases = {c.basis for p in comparison.pairs for c in p.changes}
    texts = ["B/A: ratio of the geometric means of process medians"]
    if "processes" in bases:
        texts.append("CI: Welch's t on the logs of process medians; worse or better: it excludes 1")
    if "within one process" in bases:
        texts.append("~ CI within one process, blind to what differs between processes")
    if any(p.kind == "unclear" for p in comparison.pairs):
        texts.append("unclear: moved, on too little evidence; measure both with --processes 3 or more")
    return "; ".join(texts)


def put_indented(console: Console, text: str) -> None:
    """Prints it below the line that it belongs to, wrapped, every line indented."""
    for line in Text(one_line(text)).wrap(console, max(20, console.width - len(INDENT)), overflow="fold"):
        line.rstrip()
        console.print(Text.assemble(INDENT, line))


def side_text(side: Side) -> str:
    """Which run it is, on one line."""
    code = f"commit {(side.commit or 'unknown')[:12]}{' with uncommitted changes' if side.dirty else ''}"
    versions = [f"{k} {v}" for k, v in (("torch", side.torch), ("triton", side.triton)) if v]
    return " · ".join([side.run_id, side.suite, side.device_name or "unknown device", code, *versions])


def _table(rows: Sequence[Row], width: int) -> Table:
    keys = [k for k in HEADINGS if width >= ROOMY or k not in GIVEN_UP]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for key in keys:
        case = key == "case"
        table.add_column(HEADINGS[key], justify="left" if case or key == "kind" else "right", no_wrap=True,
                         overflow="ellipsis", ratio=1 if case else None)  # fmt: skip
    for row in rows:
        style = STYLES.get(row.kind, "")
        table.add_row(*(Text(one_line(row.cells[k]), style=style if k in ("effect", "kind") else "") for k in keys))
        if row.notes:
            table.add_row(Text(f"  {one_line(', '.join(row.notes))}", style="yellow"))
    return table


def _noting(comparison: Comparison) -> Callable[[Pair], list[str]]:
    """The notes of a pair, less that its code changed where that is true of all that changed: the head says it once."""
    moved = [p for p in comparison.pairs if p.a and p.b and p.kind not in ("same", "no result")]
    once = all(p.code_changed for p in moved)
    return lambda pair: [note for note in pair.notes if not (once and note == CODE_CHANGED)]


def _cells(pair: Pair, change: Change, kind: Kind) -> dict[str, str]:
    mark = "~" if change.basis == "within one process" else ""
    return {
        "case": pair.label,
        "a": _value(change.a, change.unit),
        "b": _value(change.b, change.unit),
        "ratio": MISSING if change.ratio is None else _ratio(change.ratio),
        "interval": f"{mark}[{_ratio(change.low)}, {_ratio(change.high)}]"
        if change.low is not None and change.high is not None
        else change.basis,
        "effect": _effect(change),
        "kind": kind,
    }


def _ratio(ratio: float) -> str:
    """`1.300`; `3.62e+20` where that would be a row of digits."""
    return f"{ratio:.3f}" if 1e-3 <= ratio < 1e4 else f"{ratio:.3g}"


def _effect(change: Change) -> str:
    """`+30.0%`, or the bytes themselves of what is exact: half a KiB of a GiB would round to nothing."""
    if change.basis == "exact" and change.a is not None and change.b is not None:
        more = change.b - change.a
        return "0" if more == 0 else f"{'+' if more > 0 else '-'}{_value(abs(more), change.unit)}"
    if change.effect is None:
        return MISSING
    return f"{change.effect * 100:+.1f}%" if change.effect < 100 else f"×{_ratio(change.effect + 1)}"


def _value(value: float | None, unit: str | None) -> str:
    if value is None:
        return MISSING
    if unit == "s":
        return time_text(value)
    return bytes_text(value) if unit == "B" else f"{digits(value)} {unit or ''}".strip()


def _seen(seen: Seen | None) -> str:
    if seen is None:
        return "absent"
    return f"{seen.status} ({seen.why})" if seen.why else seen.status


def _distance(change: Change | None) -> float:
    """How far the ratio is from 1, on the log scale; without one, as far as can be if the sides differ."""
    if change is None or change.ratio is None:
        return 0.0 if change is None or change.a == change.b else inf
    return abs(log(change.ratio))


def _short(text: str, cells: int = LABEL_CELLS) -> str:
    return markdown(text if len(text) <= cells else text[: cells - 1] + "…")
