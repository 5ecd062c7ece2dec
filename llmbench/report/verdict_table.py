"""What a gate found, for the terminal, for pull requests and for machines: worst first, what passed as a count."""

import json
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from llmbench.analyze.stored import Outcome
from llmbench.analyze.verdict import Verdict
from llmbench.codec import to_plain
from llmbench.report.compare_table import put_indented, side_text
from llmbench.report.escape import markdown, one_line

SCHEMA = "llmbench.gate/1"
STYLES: dict[str, str] = {
    "ENV_ERROR": "bold red", "BROKEN": "bold red", "REGRESSED": "bold red", "MISSING": "red", "INCONCLUSIVE": "yellow",
    "IMPROVED": "green", "FIXED": "green", "PASS": "green",
}  # fmt: skip
MEANINGS = {
    0: "pass", 1: "regression, or a case broken", 3: "another device", 4: "a case or the baseline is missing",
    5: "inconclusive",
}  # fmt: skip
SHOWN = 300  # characters of a label in markdown; three times as many of a reason


def show(outcome: Outcome, console: Console, *, everything: bool = False) -> None:
    """Prints every verdict with its reason, those that passed as a count unless `everything`."""
    for name, side in (("run", outcome.head), ("baseline", outcome.base)):
        console.print(Text(f"{name:<8}  {one_line(side_text(side))}"), overflow="fold")
    for text in outcome.warnings:
        console.print(Text(f"warning: {one_line(text)}", style="yellow"), overflow="fold")
    console.print(Text(f"limits    {limits_text(outcome)}"), overflow="fold")
    console.print()
    for verdict in shown(outcome, everything=everything):
        head = Text.assemble((verdict.word, STYLES.get(verdict.word, "")), "  ", (one_line(verdict.label), "bold"))
        console.print(head, no_wrap=True, overflow="ellipsis")
        put_indented(console, verdict.reason)
    console.print(Text(summary(outcome), style="bold"), overflow="fold")


def render(outcome: Outcome, *, everything: bool = False) -> str:
    """The verdicts as markdown, ending in a newline."""
    lines = [f"# Gate: {markdown(summary(outcome))}", ""]
    for name, side in (("run", outcome.head), ("baseline", outcome.base)):
        lines.append(f"- **{name}**: {markdown(side_text(side))}")
    lines += [f"- **warning**: {markdown(text)}" for text in outcome.warnings]
    lines += [f"- **limits**: {markdown(limits_text(outcome))}"]
    verdicts = list(shown(outcome, everything=everything))
    if verdicts:
        lines += ["", "| verdict | case | reason |", "|---|---|---|"]
    lines += [f"| {v.word} | {_short(v.label, SHOWN)} | {_short(v.reason, 3 * SHOWN)} |" for v in verdicts]
    return "\n".join(lines) + "\n"


def document(outcome: Outcome) -> str:
    """The verdicts as JSON text, SI units, what is unknown null, ending in a newline."""
    plain = to_plain(outcome)
    for verdict in plain["verdicts"]:
        verdict["verdict"] = verdict.pop("word")
        for finding in verdict["findings"]:
            finding["verdict"] = finding.pop("word")
            change = finding.pop("change")
            finding |= {"baseline": change["a"], "run": change["b"]}
            finding |= {k: change[k] for k in ("unit", "ratio", "low", "high", "basis")}
            finding["processes"] = [change["processes_a"], change["processes_b"]]
    body = {"schema": SCHEMA, "exit_code": outcome.exit_code, "summary": summary(outcome), "counts": outcome.counts}
    body |= {"run": plain["head"], "baseline": plain["base"]}
    body |= {k: plain[k] for k in ("inconclusive", "limits", "warnings", "verdicts")}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def shown(outcome: Outcome, *, everything: bool) -> Iterator[Verdict]:
    """The verdicts that are told one by one."""
    return (v for v in outcome.verdicts if everything or v.word != "PASS")


def summary(outcome: Outcome) -> str:
    """`1 REGRESSED, 3 PASS: exit 1, regression, or a case broken`."""
    counts = ", ".join(f"{n} {word}" for word, n in outcome.counts.items()) or "no case"
    passed = ", inconclusive counts as pass" if outcome.inconclusive == "pass" else ""
    return f"{counts}: exit {outcome.exit_code}, {MEANINGS[outcome.exit_code]}{passed}"


def limits_text(outcome: Outcome) -> str:
    """`time +3 %, peak_memory exact`."""
    return ", ".join(f"{k} exact" if v == 0 else f"{k} +{v * 100:.3g} %" for k, v in outcome.limits.items())


def _short(text: str, characters: int) -> str:
    return markdown(text if len(text) <= characters else text[: characters - 1] + "…")
