"""What a gate found as JUnit XML, for the test tab of a CI: a test case a case, its verdict as failure or error.

Fits the strict schema of Ant's JUnit task (every attribute, suites numbered) and Jenkins' lenient one alike.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping

from llmbench.analyze.stored import Outcome
from llmbench.analyze.verdict import Verdict, Word
from llmbench.report.escape import one_line
from llmbench.report.verdict_table import limits_text, summary

FAILURES: frozenset[Word] = frozenset({"BROKEN", "REGRESSED"})
ERRORS: frozenset[Word] = frozenset({"ENV_ERROR", "MISSING", "INCONCLUSIVE"})
SKIPPED: frozenset[Word] = frozenset({"NEW", "NO_RESULT"})


def render(outcome: Outcome, *, case_s: Mapping[str, float] | None = None, whole_s: float = 0.0) -> str:
    """The whole file, ending in a newline. `case_s`: the seconds that this gate measured each case, by its id, and
    `whole_s` those of the gate; without them 0, as one that judges what was measured before takes no time of a case."""
    head = outcome.head
    tags = [_tag(outcome, v) for v in outcome.verdicts]
    counts = {name: str(tags.count(tag)) for name, tag in (("failures", "failure"), ("errors", "error"))}
    totals = {"tests": str(len(tags)), **counts}
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", {
        "name": _named(f"llmbench gate {head.suite}"), "package": "llmbench.gate", "id": "0",
        "timestamp": head.started[:19], "hostname": _named(head.host or "localhost"),
        "skipped": str(tags.count("skipped")), "time": f"{whole_s:.3f}", **totals,
    })  # fmt: skip
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(outcome).items():
        ET.SubElement(properties, "property", {"name": name, "value": one_line(value)})
    for verdict, tag in zip(outcome.verdicts, tags, strict=True):
        _testcase(suite, head.suite, verdict, tag, (case_s or {}).get(verdict.case_id or "", 0.0))
    told = [f"{v.word} {v.label}: {v.reason}" for v, tag in zip(outcome.verdicts, tags, strict=True) if tag is None]
    ET.SubElement(suite, "system-out").text = "\n".join(map(one_line, [*told, summary(outcome)]))
    ET.SubElement(suite, "system-err").text = "\n".join(map(one_line, outcome.warnings))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _testcase(suite: ET.Element, name: str, verdict: Verdict, tag: str | None, seconds: float) -> None:
    case = ET.SubElement(suite, "testcase", {
        "name": _named(verdict.label), "classname": _named(f"llmbench.{name}"), "time": f"{seconds:.3f}",
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
    """What is not known, such as the device of a gate that ended before it had one, is left out."""
    head, base = outcome.head, outcome.base
    known = {
        "exit_code": str(outcome.exit_code), "device": head.device_name, "device_key": head.device_key,
        "run": head.run_id, "run_commit": head.commit, "baseline": base.run_id if base else "missing",
        "baseline_commit": base.commit if base else None, "limits": limits_text(outcome) or None,
        **{f"limit_{name}": f"{limit:g}" for name, limit in outcome.limits.items()},
    }  # fmt: skip
    return {name: value for name, value in known.items() if value is not None}


def _named(text: str) -> str:
    return one_line(text) or "unnamed"
