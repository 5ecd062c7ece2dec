"""What a gate found, for the terminal, for pull requests and for machines: worst first, in short what presses least."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from llmbench.analyze.compare import Side
from llmbench.analyze.stored import NO_BASELINE, Outcome, Sight
from llmbench.analyze.verdict import Verdict, percent
from llmbench.codec import to_plain
from llmbench.report.compare_table import put_indented, side_text
from llmbench.report.escape import markdown, one_line
from llmbench.report.words import alike, which

SCHEMA = "llmbench.gate/1"
STYLES: dict[str, str] = {
    "ENV_ERROR": "bold red", "BROKEN": "bold red", "REGRESSED": "bold red", "MISSING": "red", "INCONCLUSIVE": "yellow",
    "IMPROVED": "green", "FIXED": "green", "PASS": "green",
}  # fmt: skip
MEANINGS = {
    0: "pass", 1: "regression, or a case broken", 3: "another device, or a disturbed one",
    4: "a case or the baseline is missing", 5: "inconclusive",
}  # fmt: skip
SHOWN = 300  # characters of a label in markdown; three times as many of a reason


class Group(NamedTuple):
    """Cases without a result that share a reason."""

    size: int
    cases: str
    reason: str


def show(outcome: Outcome, console: Console, *, everything: bool = False) -> None:
    """Prints every verdict with its reason; what passed or has no result in short, unless `everything`."""
    for name, side in _sides(outcome):
        console.print(Text(f"{name:<8}  {one_line(side_text(side))}"), overflow="fold")
    for text in outcome.warnings:
        console.print(Text(f"warning: {one_line(text)}", style="yellow"), overflow="fold")
    console.print(Text(f"limits    {limits_text(outcome)}"), overflow="fold")
    console.print()
    for verdict in shown(outcome, everything=everything):
        head = Text.assemble((verdict.word, STYLES.get(verdict.word, "")), "  ", (one_line(verdict.label), "bold"))
        console.print(head, no_wrap=True, overflow="ellipsis")
        put_indented(console, verdict.reason)
    for group in groups(outcome) if not everything else ():
        console.print(Text.assemble("NO_RESULT", "  ", one_line(_group_text(group))), overflow="fold")
        put_indented(console, group.reason)
    if outcome.sight:
        console.print(Text(f"passed    {one_line(sight_text(outcome.sight))}"), overflow="fold")
    console.print(Text(summary(outcome), style="bold"), overflow="fold")


def render(outcome: Outcome, *, everything: bool = False) -> str:
    """The verdicts as markdown, ending in a newline."""
    lines = [f"# Gate: {markdown(summary(outcome))}", ""]
    for name, side in _sides(outcome):
        lines.append(f"- **{name}**: {markdown(side_text(side))}")
    lines += [f"- **warning**: {markdown(text)}" for text in outcome.warnings]
    lines += [f"- **limits**: {markdown(limits_text(outcome))}"]
    lines += [f"- **passed**: {_short(sight_text(outcome.sight), 2 * SHOWN)}"] if outcome.sight else []
    rows = [(v.word, v.label, v.reason) for v in shown(outcome, everything=everything)]
    rows += [("NO_RESULT", _group_text(g), g.reason) for g in groups(outcome) if not everything]
    if rows:
        lines += ["", "| verdict | case | reason |", "|---|---|---|"]
    lines += [f"| {word} | {_short(label, SHOWN)} | {_short(reason, 3 * SHOWN)} |" for word, label, reason in rows]
    return "\n".join(lines) + "\n"


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
    found |= {k: plain[k] for k in ("inconclusive", "limits", "warnings")}
    return {**found, "detectable": _sight(outcome.sight), "verdicts": plain["verdicts"]}


def shown(outcome: Outcome, *, everything: bool) -> Iterator[Verdict]:
    """The verdicts that are told one by one."""
    return (v for v in outcome.verdicts if everything or v.word not in ("NO_RESULT", "PASS"))


def groups(outcome: Outcome) -> list[Group]:
    """The cases without a result by reason, most of them first. Reasons that differ in their numbers alone are one."""
    found: dict[str, list[Verdict]] = {}
    for verdict in outcome.verdicts:
        if verdict.word == "NO_RESULT":
            found.setdefault(alike(verdict.reason), []).append(verdict)
    every = [Group(len(own), _cases(own, outcome.verdicts), own[0].reason) for own in found.values()]
    return sorted(every, key=lambda group: -group.size)


def summary(outcome: Outcome) -> str:
    """`1 REGRESSED, 3 PASS: exit 1, regression, or a case broken`."""
    counts = ", ".join(f"{n} {word}" for word, n in outcome.counts.items()) or "no case"
    passed = ", inconclusive counts as pass" if outcome.inconclusive == "pass" else ""
    nothing = outcome.exit_code == NO_BASELINE and not any(v.word == "MISSING" for v in outcome.verdicts)
    meaning = "nothing to judge by" if nothing else MEANINGS[outcome.exit_code]
    return f"{counts}: exit {outcome.exit_code}, {meaning}{passed}"


def _sides(outcome: Outcome) -> list[tuple[str, Side]]:
    sides = (("run", outcome.head), ("baseline", outcome.base))
    return [(name, side) for name, side in sides if side is not None]


def limits_text(outcome: Outcome) -> str:
    """`time +3 %, peak_memory exact`."""
    return ", ".join(f"{k} exact" if v == 0 else f"{k} +{v * 100:.3g} %" for k, v in outcome.limits.items())


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


def _cases(own: Sequence[Verdict], among: Sequence[Verdict]) -> str:
    """`naive, tiled (seq_len=4096), flex`: implementations, and where not all their cases are among `own`."""
    impls: dict[str, list[str]] = {}
    for impl in dict.fromkeys(v.facts.get("impl") for v in own):
        chosen, every = (
            [{k: f for k, f in v.facts.items() if k != "impl"} for v in some if v.facts.get("impl") == impl]
            for some in (own, among)
        )
        impls.setdefault(which(chosen, every), []).append(str(impl))
    return ", ".join(", ".join(names) + (f" ({where})" if where else "") for where, names in impls.items())


def _short(text: str, characters: int) -> str:
    return markdown(text if len(text) <= characters else text[: characters - 1] + "…")
