"""What a gate found, for the terminal, for pull requests and for machines: worst first, in short what presses least."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from llmbench.analyze.compare import Side
from llmbench.analyze.stored import NO_BASELINE, Outcome, Sight
from llmbench.analyze.verdict import Verdict, percent
from llmbench.codec import to_plain
from llmbench.report.compare_table import put_indented, side_text
from llmbench.report.escape import markdown, one_line
from llmbench.report.limited import MOST_BYTES, Row, limited
from llmbench.report.verdict_cells import HEADINGS, Cells, cells_of
from llmbench.report.words import alike, which
from llmbench.suite.catalog import Scalar

SCHEMA = "llmbench.gate/1"
STYLES: dict[str, str] = {
    "ENV_ERROR": "bold red", "BROKEN": "bold red", "REGRESSED": "bold red", "MISSING": "red", "INCONCLUSIVE": "yellow",
    "IMPROVED": "green", "FIXED": "green", "PASS": "green",
}  # fmt: skip
MEANINGS = {
    0: "pass", 1: "regression, or a case broken", 3: "another device, or a disturbed one",
    4: "a case or the baseline is missing", 5: "inconclusive",
}  # fmt: skip
UNTIMED = 5  # with `--inconclusive pass`, which makes 0 of every other
Facts = dict[str, Scalar]
SHOWN = 300  # characters of a label in markdown; three times as many of a reason
FEW = 50  # cases that passed, up to which each has a line of its own
GAP = "  "
LEAST_LABEL = 20  # cells that a label has, however narrow the terminal


class Group(NamedTuple):
    """Cases without a result that share a reason."""

    size: int
    cases: str
    reason: str


def show(outcome: Outcome, console: Console, *, everything: bool = False) -> None:
    """Prints every verdict with its reason; what passed without, or not at all where that is many cases, and what has
    no result in groups, unless `everything`."""
    for name, side in _sides(outcome):
        console.print(Text(f"{name:<8}  {one_line(side_text(side))}"), overflow="fold")
    if outcome.history:
        console.print(Text(f"history   {one_line(outcome.history)}"), overflow="fold")
    for text in outcome.warnings:
        console.print(Text(f"warning: {one_line(text)}", style="yellow"), overflow="fold")
    if limits := limits_text(outcome):
        console.print(Text(f"limits    {limits}"), overflow="fold")
    console.print()
    _put_rows([*shown(outcome, everything=everything)], console, everything=everything)
    for group in groups(outcome) if not everything else ():
        console.print(Text.assemble("NO_RESULT", "  ", one_line(_group_text(group))), overflow="fold")
        put_indented(console, group.reason)
    if outcome.sight:
        console.print(Text(f"passed    {one_line(sight_text(outcome.sight))}"), overflow="fold")
    console.print(Text(summary(outcome), style="bold"), overflow="fold")


def render(outcome: Outcome, *, everything: bool = False, most_bytes: int = MOST_BYTES) -> str:
    """The verdicts as markdown, ending in a newline, in at most so many bytes: worst first, what is cut is counted."""
    head = [f"# Gate: {markdown(summary(outcome))}", ""]
    for name, side in _sides(outcome):
        head.append(f"- **{name}**: {_short(side_text(side), 3 * SHOWN)}")
    head += [f"- **history**: {_short(outcome.history, 3 * SHOWN)}"] if outcome.history else []
    head += [f"- **warning**: {_short(text, 3 * SHOWN)}" for text in outcome.warnings]
    limits = limits_text(outcome)
    head += [f"- **limits**: {_short(limits, 3 * SHOWN)}"] if limits else []
    head += [f"- **passed**: {_short(sight_text(outcome.sight), 2 * SHOWN)}"] if outcome.sight else []
    told = [(cells_of(v), 1, _reason(v, everything=everything)) for v in shown(outcome, everything=everything)]
    if not everything:
        told += [(Cells("NO_RESULT", _group_text(g), "", "", "", ""), g.size, g.reason) for g in groups(outcome)]
    rows = [
        Row(own.word, cases, f"| {' | '.join(_short(cell, SHOWN) for cell in own)} | {_short(reason, 3 * SHOWN)} |")
        for own, cases, reason in told
    ]
    table = [f"| {' | '.join(HEADINGS)} | reason |", "|---|---|---|---:|---:|---:|---|"]
    return limited(head, table, rows, most_bytes=most_bytes)


def document(outcome: Outcome) -> str:
    """The verdicts as JSON text, SI units, what is unknown null, ending in a newline."""
    return json.dumps(body(outcome), indent=1, allow_nan=False) + "\n"


def body(outcome: Outcome) -> dict[str, Any]:
    """The verdicts as plain data. `detectable`: minimum detectable effects of times that passed, as shares, or null."""
    plain = to_plain(outcome)
    for verdict in plain["verdicts"]:
        verdict["verdict"] = verdict.pop("word")
        for finding in verdict["findings"]:
            finding["verdict"] = finding.pop("word")
            change = finding.pop("change")
            finding |= {"baseline": change["a"], "run": change["b"]}
            finding |= {k: change[k] for k in ("unit", "ratio", "low", "high", "basis")}
            finding["processes"] = [change["processes_a"], change["processes_b"]]
    found: dict[str, Any] = {"schema": SCHEMA, "exit_code": outcome.exit_code, "summary": summary(outcome)}
    found |= {"counts": outcome.counts, "run": plain["head"], "baseline": plain["base"]}
    found |= {k: plain[k] for k in ("inconclusive", "limits", "history", "warnings")}
    return {**found, "detectable": _sight(outcome.sight), "verdicts": plain["verdicts"]}


def shown(outcome: Outcome, *, everything: bool) -> Iterator[Verdict]:
    """The verdicts that are told one by one; cases that passed are among them where they are few."""
    few = outcome.counts.get("PASS", 0) <= FEW
    return (v for v in outcome.verdicts if everything or (few if v.word == "PASS" else v.word != "NO_RESULT"))


def groups(outcome: Outcome) -> list[Group]:
    """The cases without a result by reason, most of them first. Reasons that differ in their numbers alone are one."""
    found: dict[str, list[Verdict]] = {}
    for verdict in outcome.verdicts:
        if verdict.word == "NO_RESULT":
            found.setdefault(alike(verdict.reason), []).append(verdict)
    among = _by_impl(outcome.verdicts)
    every = [Group(len(own), _cases(_by_impl(own), among), own[0].reason) for own in found.values()]
    return sorted(every, key=lambda group: -group.size)


def summary(outcome: Outcome) -> str:
    """`1 REGRESSED, 3 PASS: exit 1, regression, or a case broken`."""
    counts = ", ".join(f"{n} {word}" for word, n in outcome.counts.items()) or "no case"
    return f"{counts}: exit {outcome.exit_code}, {meaning(outcome)}"


def meaning(outcome: Outcome) -> str:
    """`regression, or a case broken`: what the exit code says."""
    forgiven = outcome.inconclusive == "pass"
    if forgiven and outcome.exit_code == UNTIMED:
        timed = any(f.metric == "time" and f.change.ratio is not None for v in outcome.verdicts for f in v.findings)
        return "slower by more than the limit, over too few pairs" if timed else "nothing was timed"
    passed = ", inconclusive counts as pass" if forgiven else ""
    nothing = outcome.exit_code == NO_BASELINE and not any(v.word == "MISSING" for v in outcome.verdicts)
    if outcome.itself and outcome.exit_code == 1:
        return "a false alarm" + passed
    return ("nothing to judge by" if nothing else MEANINGS[outcome.exit_code]) + passed


def _put_rows(verdicts: Sequence[Verdict], console: Console, *, everything: bool) -> None:
    """Prints a line of columns a verdict, its reason below; a label that has no room stands whole there too."""
    rows = [Cells(*(one_line(cell) for cell in cells_of(v))) for v in verdicts]
    table = [HEADINGS, *rows] if any(row.metric for row in rows) else rows
    widths = [max((cell_len(row[i]) for row in table), default=0) for i in range(len(HEADINGS))]
    around = sum(width + len(GAP) for width in widths) - widths[1] - len(GAP)
    room = min(widths[1], max(LEAST_LABEL, console.width - around))
    if table is not rows:
        _put_row(HEADINGS, widths, room, console, "dim", "dim")
    for verdict, row in zip(verdicts, rows, strict=True):
        _put_row(row, widths, room, console, STYLES.get(row.word, ""), "bold")
        for text in (row.label if cell_len(row.label) > room else "", _reason(verdict, everything=everything)):
            if text:
                put_indented(console, text)


def _put_row(row: Cells, widths: Sequence[int], room: int, console: Console, word: str, label: str) -> None:
    name = row.label if cell_len(row.label) <= room else f"{set_cell_size(row.label, room - 1)}…"
    numbers = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
    told = Text.assemble(
        (row.word.ljust(widths[0]), word), GAP, (set_cell_size(name, room), label), GAP,
        GAP.join([row.metric.ljust(widths[2]), *numbers]), style="" if label == "bold" else label,
    )  # fmt: skip
    told.rstrip()
    console.print(told, no_wrap=True, overflow="ellipsis")


def _reason(verdict: Verdict, *, everything: bool) -> str:
    """Empty for what passed, whose columns say it, unless all is asked for."""
    return verdict.reason if everything or verdict.word != "PASS" else ""


def _sides(outcome: Outcome) -> list[tuple[str, Side]]:
    sides = (("run", outcome.head), ("baseline", outcome.base))
    return [(name, side) for name, side in sides if side is not None]


def limits_text(outcome: Outcome) -> str:
    """`time +3 % (+10 % in 2 cases, not gated in 1 case), peak_memory exact`: of all cases, then those of some."""
    some: dict[str, Counter[float]] = {}
    for verdict in outcome.verdicts:
        for finding in verdict.findings:
            if finding.limit_of is not None:
                some.setdefault(finding.metric, Counter())[finding.limit] += 1
        for metric in verdict.not_gated:
            some.setdefault(metric, Counter())[inf] += 1
    told = []
    for metric in dict.fromkeys([*outcome.gated, *some]):
        counts = sorted(some.get(metric, Counter()).items())
        own = ", ".join(f"{_limit(limit)} in {n} case{'s' if n > 1 else ''}" for limit, n in counts)
        general = f" {_limit(outcome.limits[metric])}" if metric in outcome.limits else ""
        told.append(f"{metric}{general}{f' ({own})' if own else ''}")
    return ", ".join(told)


def _limit(share: float) -> str:
    return "not gated" if share == inf else "exact" if share == 0 else f"+{share * 100:.3g} %"


def sight_text(sight: Sight) -> str:
    """`time in 3 cases; minimum detectable effect 3.79 % (median), at worst 12 % (flash fwd heads=gqa)`."""
    cases = f"{sight.cases} case{'s' if sight.cases > 1 else ''}"
    effects = f"{percent(sight.median)} (median), at worst {percent(sight.worst)} ({sight.worst_case.label})"
    return f"time in {cases}; minimum detectable effect {effects}"


def _sight(sight: Sight | None) -> dict[str, object] | None:
    if sight is None:
        return None
    case = sight.worst_case
    return {"cases": sight.cases, "median": sight.median, "worst": sight.worst, "worst_case_id": case.case_id}


def _group_text(group: Group) -> str:
    return f"{group.size} case{'s' if group.size > 1 else ''}: {group.cases}"


def _by_impl(verdicts: Sequence[Verdict]) -> dict[str, list[Facts]]:
    """Implementation -> what else tells its cases apart."""
    found: dict[str, list[Facts]] = {}
    for v in verdicts:
        found.setdefault(str(v.facts.get("impl")), []).append({k: f for k, f in v.facts.items() if k != "impl"})
    return found


def _cases(own: Mapping[str, Sequence[Facts]], among: Mapping[str, Sequence[Facts]]) -> str:
    """`naive, tiled (seq_len=4096), flex`: implementations, and where not all their cases are among `own`."""
    impls: dict[str, list[str]] = {}
    for impl, chosen in own.items():
        impls.setdefault(which(chosen, among[impl]), []).append(impl)
    return ", ".join(", ".join(names) + (f" ({where})" if where else "") for where, names in impls.items())


def _short(text: str, characters: int) -> str:
    return markdown(text if len(text) <= characters else text[: characters - 1] + "…")
