"""What a gate found as JUnit XML, for the test tab of a CI: a test case a case, its verdict as failure or error.

Fits the strict schema of Ant's JUnit task (every attribute, suites numbered) and Jenkins' lenient one alike.
"""

import xml.etree.ElementTree as ET

from llmbench.analyze.stored import Outcome
from llmbench.analyze.verdict import Verdict, Word
from llmbench.report.escape import one_line
from llmbench.report.verdict_table import limits_text, summary

FAILURES: frozenset[Word] = frozenset({"BROKEN", "REGRESSED"})
ERRORS: frozenset[Word] = frozenset({"ENV_ERROR", "MISSING", "INCONCLUSIVE"})
SKIPPED: frozenset[Word] = frozenset({"NEW", "NO_RESULT"})


def render(outcome: Outcome) -> str:
    """The whole file, ending in a newline."""
    head = outcome.head
    tags = [_tag(outcome, v) for v in outcome.verdicts]
    counts = {name: str(tags.count(tag)) for name, tag in (("failures", "failure"), ("errors", "error"))}
    totals = {"tests": str(len(tags)), **counts}
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", {
        "name": _named(f"llmbench gate {head.suite}"), "package": "llmbench.gate", "id": "0",
        "timestamp": head.started[:19], "hostname": _named(head.host or "localhost"),
        "skipped": str(tags.count("skipped")), "time": "0", **totals,
    })  # fmt: skip
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(outcome).items():
        ET.SubElement(properties, "property", {"name": name, "value": one_line(value)})
    for verdict, tag in zip(outcome.verdicts, tags, strict=True):
        _testcase(suite, head.suite, verdict, tag)
    told = [f"{v.word} {v.label}: {v.reason}" for v, tag in zip(outcome.verdicts, tags, strict=True) if tag is None]
    ET.SubElement(suite, "system-out").text = "\n".join(map(one_line, [*told, summary(outcome)]))
    ET.SubElement(suite, "system-err").text = "\n".join(map(one_line, outcome.warnings))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _testcase(suite: ET.Element, name: str, verdict: Verdict, tag: str | None) -> None:
    case = ET.SubElement(suite, "testcase", {
        "name": _named(verdict.label), "classname": _named(f"llmbench.{name}"), "time": "0",
    })  # fmt: skip
    if tag is None:
        return
    told = ET.SubElement(case, tag, {"message": one_line(verdict.reason), "type": verdict.word})
    told.text = "\n".join(one_line(f"{f.word} {f.reason}") for f in verdict.findings) or one_line(verdict.reason)


def _tag(outcome: Outcome, verdict: Verdict) -> str | None:
    """The element that tells a verdict; None for one that passed."""
    if verdict.word in FAILURES:
        return "failure"
    if verdict.word == "INCONCLUSIVE" and outcome.inconclusive == "pass":
        return "skipped"
    return "error" if verdict.word in ERRORS else "skipped" if verdict.word in SKIPPED else None


def _properties(outcome: Outcome) -> dict[str, str]:
    head, base = outcome.head, outcome.base
    limits = {f"limit_{name}": f"{limit:g}" for name, limit in outcome.limits.items()}
    return {
        "exit_code": str(outcome.exit_code), "device": str(head.device_name), "device_key": str(head.device_key),
        "run": head.run_id, "run_commit": str(head.commit), "baseline": base.run_id if base else "missing",
        "baseline_commit": str(base and base.commit), "limits": limits_text(outcome), **limits,
    }  # fmt: skip


def _named(text: str) -> str:
    return one_line(text) or "unnamed"
