"""JUnit XML of a gate: it fits the schema that readers share, whatever the names and reasons hold."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from example_runs import OP, STEADY, make_suite, stored_run
from lxml import etree

from llmbench.analyze.stored import Inconclusive, Outcome, gate
from llmbench.report import junit
from llmbench.store.origin import read_evidence
from llmbench.suite.catalog import ImplSpec

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent / "data" / "junit.xsd"))
HOSTILE = "<script>\"'&\x00\x1b[2J\ufffe]]>\n\t" + "x" * 10_000
IMPLS = ("same", "slow", "gone", "new", HOSTILE, "short", "dead")


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    return judged(tmp_path, "fail")


def judged(folder: Path, inconclusive: Inconclusive) -> Outcome:
    """A gate with a case of every kind of element."""
    suite = make_suite(op=replace(OP, impls=tuple(map(ImplSpec, IMPLS))), impls=IMPLS)
    failed = {"dead": ("error", "no kernel"), HOSTILE: ("crashed", HOSTILE)}
    base = {k: STEADY for k in IMPLS if k not in ("new", "dead")}
    slow = [1.3 * t for t in STEADY]
    run = {"same": STEADY, "slow": slow, "new": STEADY, "short": STEADY[:1]}
    stored_run(folder / "base", base, failed={"dead": ("error", "no kernel")}, suite=suite)
    stored_run(folder / "run", run, failed=failed, suite=suite)
    return gate(read_evidence(folder / "base"), read_evidence(folder / "run"), inconclusive=inconclusive)


def elements(text: str) -> dict[str, tuple[str, str]]:
    """Name of a test case -> its element and the type of it."""
    root = ET.fromstring(text)
    return {
        case.attrib["name"].split()[0]: next(((e.tag, e.attrib["type"]) for e in case), ("", ""))
        for case in root.iter("testcase")
    }


def test_it_fits_the_schema(outcome: Outcome) -> None:
    SCHEMA.assertValid(etree.fromstring(junit.render(outcome).encode()))


def test_the_schema_refuses_what_it_should(outcome: Outcome) -> None:
    for seen, wrong in (
        (' id="0"', ""),
        (' type="REGRESSED"', ""),
        ("<system-err", "<system"),
        ('time="12.500"', 'time="?"'),
    ):
        text = junit.render(outcome, whole_s=12.5)
        assert seen in text
        broken = text.replace(seen, wrong).replace("</system-err", "</system-err" if wrong != "<system" else "</system")
        assert not SCHEMA.validate(etree.fromstring(broken.encode()))


def test_each_verdict_is_the_element_that_a_ci_understands(outcome: Outcome) -> None:
    found = elements(junit.render(outcome))
    assert found.pop(next(name for name in found if name.startswith("<script>"))) == ("failure", "BROKEN")
    assert found == {
        "same": ("", ""), "slow": ("failure", "REGRESSED"), "gone": ("error", "MISSING"), "new": ("skipped", "NEW"),
        "short": ("error", "INCONCLUSIVE"), "dead": ("skipped", "NO_RESULT"),
    }  # fmt: skip
    suite = ET.fromstring(junit.render(outcome))[0]
    counts = {k: int(suite.attrib[k]) for k in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 7, "failures": 2, "errors": 2, "skipped": 2}


def test_a_case_has_the_seconds_that_this_gate_measured_it(outcome: Outcome) -> None:
    slow = next(v.case_id for v in outcome.verdicts if v.label.startswith("slow"))
    assert slow is not None
    text = junit.render(outcome, case_s={slow: 1.23456}, whole_s=60)
    SCHEMA.assertValid(etree.fromstring(text.encode()))
    suite = ET.fromstring(text)[0]
    times = {c.attrib["name"].split()[0]: c.attrib["time"] for c in suite.iter("testcase")}
    assert times.pop("slow") == "1.235" and {*times.values()} == {"0.000"} and suite.attrib["time"] == "60.000"


def test_what_a_gate_does_not_know_is_left_out_of_its_properties(outcome: Outcome) -> None:
    unknown = replace(outcome.head, device_name=None, device_key=None, commit=None)
    text = junit.render(replace(outcome, head=unknown, base=None, limits={}, verdicts=()))
    names = {p.attrib["name"]: p.attrib["value"] for p in ET.fromstring(text).iter("property")}
    assert names == {"exit_code": "1", "run": "run", "baseline": "missing"}
    assert names.keys() < {p.attrib["name"] for p in ET.fromstring(junit.render(outcome)).iter("property")}


def test_inconclusive_that_counts_as_a_pass_is_skipped(tmp_path: Path) -> None:
    assert elements(junit.render(judged(tmp_path, "pass")))["short"] == ("skipped", "INCONCLUSIVE")


def test_hostile_text_is_text_without_control_characters(outcome: Outcome) -> None:
    text = junit.render(outcome)
    assert "<script>" not in text and not set(text) & {chr(i) for i in range(32) if chr(i) not in "\n\t"}
    message = next(e.attrib["message"] for e in ET.fromstring(text).iter("failure") if e.attrib["type"] == "BROKEN")
    assert message.startswith("ok in the baseline, crashed: <script>\"'&\\x00\\x1b[2J\\ufffe]]> xxx")
    assert message.endswith("x" * 10_000)


def test_another_device_is_one_error_of_the_whole_run(tmp_path: Path) -> None:
    evidence = [read_evidence(stored_run(tmp_path / key, {"flash": STEADY}, key=key)) for key in ("one", "two")]
    text = junit.render(gate(*evidence))
    assert elements(text) == {"device": ("error", "ENV_ERROR")}
    SCHEMA.assertValid(etree.fromstring(text.encode()))
