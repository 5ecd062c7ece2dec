"""The page of a gate: verdict on top, every reason, forest plots with limits, pairs in time order, components."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import Open, emulate, outside, requests_of, rows, states
from example_runs import OP, STEADY, make_suite, stored_run
from gate_outcomes import many, outcome
from sized_runs import validate

from llmbench.analyze.stored import gate
from llmbench.analyze.verdict import Word
from llmbench.report import gate_page, stored_page
from llmbench.report.drawn import Drawn
from llmbench.report.gate_evidence import Bound, Component, Effect, GateEvidence, PairSeries, effects_of
from llmbench.report.gate_panels import MOST_DOTS, MOST_LINES, panels_of
from llmbench.report.whiskers import MOST
from llmbench.store.origin import read_evidence
from llmbench.suite.catalog import ImplSpec

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SLOW = tuple(1.3 * t for t in STEADY)
HOSTILE = "<script>alert(1)</script>\"'&|\n\x1b[31m"
COMPONENTS = (
    Component("pair", 0.004, 0.003, 0.006, "shared by all cases of a pair; cancels"),
    Component("process", 0.012, None, None, "what a process draws for a case"),
)


def effect(label: str, word: Word, ratio: float, *, metric: str = "time", limit: float = 1.03) -> Effect:
    return Effect(metric, label, word, ratio, ratio * 0.99, ratio * 1.01, limit, {"impl": label.split()[0]})


def series(number: int, word: Word = "PASS", pairs: int = 8, ratio: float = 1.0) -> PairSeries:
    """A case whose pairs go up and down by a percent; those from the ninth on are of the confirmation."""
    ratios = [ratio * (1 + 0.01 * (-1) ** (i + number)) for i in range(pairs)]
    stages = tuple("screen" if i < 8 else "confirm" for i in range(pairs))
    impl = f"i{number}"
    return PairSeries(f"{impl} fwd", word, tuple(4.0 * i for i in range(pairs)), tuple(ratios), stages, {"impl": impl})


def evidence(**changes: Any) -> GateEvidence:
    """A paired gate of two revisions with one regression."""
    found = outcome(["REGRESSED", "INCONCLUSIVE", "PASS"], warnings=("device busy at the start",))
    effects = [effect("i0 fwd", "REGRESSED", 1.3), effect("i1 fwd", "INCONCLUSIVE", 1.02, limit=1.1),
               effect("i2 fwd", "PASS", 1.001)]  # fmt: skip
    given: dict[str, Any] = {
        "title": "Gate: attention", "exit_code": found.exit_code, "meaning": "regression, or a case broken",
        "told": (("base", "main aa3d2fa"), ("head", "branch 0c1d2e3")), "warnings": found.warnings,
        "verdicts": found.verdicts, "effects": tuple(effects), "sides": ("base", "head"),
        "pairs": (series(0, "REGRESSED", 32, 1.3), series(1, "INCONCLUSIVE"), series(2)), "components": COMPONENTS,
    }  # fmt: skip
    return GateEvidence(**{**given, **changes})


def panel(anchor: str, **changes: Any) -> Drawn:
    (found,) = [p for p in panels_of(evidence(**changes)) if p.anchor == anchor]
    return found


def test_the_verdict_its_counts_and_what_weakens_it_stand_above_all() -> None:
    page = gate_page.render(evidence())
    head = page[page.index("<header>") : page.index("</header>")]
    assert '<p class="verdict bad"><strong>exit 1</strong> regression, or a case broken</p>' in head
    assert re.findall(r'count (\w+)">([^<]+)<', head) == [
        ("bad", "1 REGRESSED"), ("warn", "1 INCONCLUSIVE"), ("plain", "1 PASS"),
    ]  # fmt: skip
    assert '<li class="warning"><strong>warning</strong> device busy at the start</li>' in head
    assert "<dt>base</dt><dd>main aa3d2fa</dd>" in head
    assert "<title>Gate: attention · exit 1 · llmbench</title>" in page
    for code, kind in ((0, "good"), (5, "warn"), (3, "bad")):
        assert f'<p class="verdict {kind}"><strong>exit {code}</strong>' in gate_page.render(evidence(exit_code=code))


def test_plotly_takes_every_panel_and_all_facts_lie_beside_their_points() -> None:
    found = panels_of(evidence())
    assert [p.anchor for p in found] == ["verdicts", "forest-time", "pairs", "noise"]
    for one in found:
        drawn = replace(one, traces=tuple(replace(t, data=uncoloured(t.data)) for t in one.traces))
        validate(drawn)


def uncoloured(data: dict[str, Any]) -> dict[str, Any]:
    return {k: uncoloured(v) if isinstance(v, dict) else v for k, v in data.items() if not k.endswith("color")}


def test_a_page_without_pairs_and_components_has_no_panels_of_them() -> None:
    assert [p.anchor for p in panels_of(evidence(pairs=(), components=()))] == ["verdicts", "forest-time"]


def test_every_case_has_what_decides_its_ratio_its_limit_and_its_reason() -> None:
    reasons = panel("verdicts")
    assert [row.cells for row in reasons.rows] == [
        ("REGRESSED", "i0 fwd seq_len=0", "time", "1.300", "[1.287, 1.313]", "1.03", "time ratio 1.3"),
        ("INCONCLUSIVE", "i1 fwd seq_len=16", "time", "1.040", "[1.030, 1.050]", "1.03", "time ratio 1.04"),
        ("PASS", "i2 fwd seq_len=32", "time", "1.001", "[0.991, 1.011]", "1.03", "time ratio 1.001"),
    ]
    assert reasons.caption == "Worst first; 1 passed."
    passed = panel("verdicts", verdicts=outcome(["PASS", "PASS"]).verdicts)
    assert passed.caption == "All 2 cases passed." and len(passed.rows) == 2
    assert panel("verdicts", verdicts=()).why_empty == "There is no case."


def test_a_forest_plot_has_a_row_a_case_worst_first_and_a_stroke_at_its_limit() -> None:
    forest = panel("forest-time")
    assert forest.layout["yaxis"]["ticktext"] == ["i0 fwd", "i1 fwd", "i2 fwd"]
    traces = {t.data["name"]: t.data for t in forest.traces}
    assert list(traces) == ["REGRESSED", "INCONCLUSIVE", "PASS", "limit"]
    assert (traces["limit"]["x"], traces["limit"]["y"]) == ([1.03, 1.1, 1.03], [0, 1, 2])
    bar = traces["REGRESSED"]
    assert bar["x"] == [1.3] and bar["error_x"]["array"] == [pytest.approx(0.013)]
    assert forest.layout["xaxis"]["title"]["text"] == "head / base"
    assert forest.rows[1].cells == ("INCONCLUSIVE", "i1 fwd", "1.0200", "[1.0098, 1.0302]", "1.1")
    assert forest.caption == (
        "1 REGRESSED, 1 INCONCLUSIVE, 1 PASS. Above 1, the head needs more. Bars: 95 % CI. Upright strokes: the limits."
    )


def test_the_upper_limit_that_decides_is_drawn_beside_the_interval() -> None:
    """The bar of the second lies wholly left of its limit, and it is open: its upper limit does not."""
    passes = replace(effect("i0 fwd", "PASS", 1.001), upper=1.013)
    is_open = replace(effect("i1 fwd", "INCONCLUSIVE", 1.012), upper=1.034)
    forest = panel("forest-time", effects=(passes, is_open, effect("i2 fwd", "REGRESSED", 1.3)))
    mark = next(t.data for t in forest.traces if t.data["name"] == "upper limit")
    assert (mark["x"], mark["y"]) == ([1.034, 1.013], [1, 2])
    assert is_open.high is not None and is_open.high < 1.03
    assert mark["error_x"]["arrayminus"][0] == pytest.approx(1.034 - is_open.high)
    assert mark["text"] == [
        "i1 fwd<br>upper limit 1.0340, not below the limit", "i0 fwd<br>upper limit 1.0130, below the limit",
    ]  # fmt: skip
    assert "Thin ends with a mark: the one-sided upper limit, which a PASS has below its limit." in forest.caption
    assert forest.columns[4] == "upper limit" and [row.cells[4] for row in forest.rows] == ["–", "1.0340", "1.0130"]


def test_an_upper_limit_is_of_times_that_it_decides_on() -> None:
    found = outcome(["REGRESSED", "INCONCLUSIVE", "PASS"]).verdicts
    bounds = {v.case_id or "": Bound(1.2, 1.03) for v in found}
    effects = effects_of(found, ["time"], bounds)
    assert [(e.word, e.upper) for e in effects] == [("REGRESSED", None), ("INCONCLUSIVE", 1.2), ("PASS", 1.2)]
    assert all(e.upper is None for e in effects_of(found, ["time"]))


def test_of_very_many_cases_the_worst_are_drawn_and_the_rest_is_said() -> None:
    every = [effect(f"i{i} fwd", "PASS", 1 + i * 1e-5) for i in range(5000)]
    forest = panel("forest-time", effects=(*every, effect("bad fwd", "REGRESSED", 1.1)))
    assert forest.layout["yaxis"]["ticktext"][:2] == ["bad fwd", "i4999 fwd"]
    assert sum(len(t.data["x"]) for t in forest.traces if t.data["name"] != "limit") == MOST
    assert f"The {MOST} worst of 5,001 cases are drawn" in forest.caption and len(forest.rows) == 5001


def test_a_metric_that_no_case_changed_is_a_sentence() -> None:
    exact = [Effect("peak_memory", f"i{i} fwd", "PASS", 1.0, 1.0, 1.0, 1.0) for i in range(3)]
    memory = panel("forest-peak_memory", effects=tuple(exact))
    assert memory.why_empty == "peak_memory is the same on both sides in all 3 cases." and not memory.rows
    more = replace(exact[0], word="REGRESSED", ratio=1.5, low=1.5, high=1.5)
    changed = panel("forest-peak_memory", effects=(more, *exact))
    assert changed.why_empty is None and changed.layout["yaxis"]["ticktext"] == ["i0 fwd"] and len(changed.rows) == 4
    assert changed.caption.endswith("the head needs more. In 3 more it is the same on both sides.")


def test_pairs_stand_in_their_order_the_screen_hollow_and_cases_that_passed_as_dots() -> None:
    pairs = panel("pairs")
    lines = {t.data["name"]: t.data for t in pairs.traces}
    assert list(lines) == ["1 other case", "REGRESSED i0 fwd", "INCONCLUSIVE i1 fwd"]
    assert lines["REGRESSED i0 fwd"]["x"] == [4.0 * i for i in range(32)]
    assert lines["REGRESSED i0 fwd"]["marker"]["symbol"] == ["circle-open"] * 8 + ["circle"] * 24
    assert lines["1 other case"]["y"] == pytest.approx([1.01, 0.99] * 4)
    assert pairs.rows[0].cells[:4] == ("REGRESSED", "i0 fwd", "32", "1.3000")
    assert pairs.rows[2].cells[4] == "1.07 %" and "Hollow: screen" in pairs.caption


def test_where_all_pass_one_case_has_a_line_and_failed_pairs_are_counted() -> None:
    broken = replace(series(1), ratios=(1.0, None, *series(1).ratios[2:]))
    pairs = panel("pairs", pairs=(series(0), broken))
    assert [t.data["name"] for t in pairs.traces] == ["1 other case", "PASS i0 fwd"]
    assert "1 pair failed." in pairs.caption
    assert pairs.rows[1].cells[2] == "7" and "Hollow" not in pairs.caption


def test_of_very_many_pairs_a_browser_gets_what_it_can_draw_and_the_rest_is_said() -> None:
    pairs = panel("pairs", pairs=tuple(series(i, "REGRESSED" if i < 20 else "PASS") for i in range(1000)))
    assert len(pairs.traces) == MOST_LINES + 1
    assert len(pairs.traces[0].data["x"]) == MOST_DOTS and len(pairs.rows) == 1000
    assert f"{(1000 - MOST_LINES) * 8 - MOST_DOTS:,} pairs of other cases are not drawn." in pairs.caption


def test_components_are_bars_with_their_intervals_and_say_what_they_are() -> None:
    noise = panel("noise")
    bars = noise.traces[0].data
    assert bars["x"] == pytest.approx([0.4, 1.2]) and bars["y"] == ["pair", "process"]
    assert bars["error_x"]["array"] == pytest.approx([0.2, 0]) and bars["error_x"]["arrayminus"] == pytest.approx(
        [0.1, 0]
    )
    assert [row.cells for row in noise.rows] == [
        ("pair", "0.4 %", "[0.3, 0.6] %", "shared by all cases of a pair; cancels"),
        ("process", "1.2 %", "–", "what a process draws for a case"),
    ]


def test_the_page_of_a_stored_gate_is_of_its_evidence(tmp_path: Path) -> None:
    base = stored_run(tmp_path / "base", dict.fromkeys(("naive", "flash"), STEADY))
    run = stored_run(tmp_path / "run", {"naive": STEADY, "flash": SLOW}, memory={"naive": [(1 << 20) + 512] * 3})
    found = stored_page.evidence_of(gate(read_evidence(base), read_evidence(run)))
    assert (found.exit_code, found.meaning) == (1, "regression, or a case broken")
    assert (
        dict(found.told)["limits"] == "time +3 %, peak_memory exact"
        and "base · attention" in dict(found.told)["baseline"]
    )
    effects = {(e.metric, e.label): e for e in found.effects}
    slow = effects["time", "flash fwd"]
    assert (slow.word, slow.ratio, slow.limit) == ("REGRESSED", pytest.approx(1.3), pytest.approx(1.03))
    assert slow.low is not None and slow.low == pytest.approx(1.2708, abs=1e-4)
    more = effects["peak_memory", "naive fwd"]
    assert (more.word, more.low, more.high, more.limit) == ("REGRESSED", more.ratio, more.ratio, 1.0)
    assert effects["time", "naive fwd"].word == "PASS"


def test_names_that_mean_harm_are_text(llmbench: Command, tmp_path: Path) -> None:
    suite = make_suite(op=replace(OP, impls=(ImplSpec(HOSTILE), ImplSpec("b"))), impls=(HOSTILE, "b"), name=HOSTILE)
    stored_run(tmp_path / "base", {HOSTILE: STEADY, "b": STEADY}, suite=suite)
    stored_run(tmp_path / "run", {HOSTILE: SLOW}, failed={"b": ("error", HOSTILE)}, suite=suite)
    llmbench("gate", "stored", "run", "--baseline", "base", "--html", "gate.html", rc=1)
    page = (tmp_path / "gate.html").read_text()
    assert "<script>alert" not in page and page.count("alert(1)") > 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_drawn_whole_asks_no_network_and_fits_its_screen(
    browser: Any, tmp_path: Path, show: Open, scheme: str, width: int
) -> None:
    page = tmp_path / "gate.html"
    page.write_text(gate_page.render(evidence()))
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    emulate(browser, scheme)
    browser.get(page.as_uri())
    browser.execute_script("window.llmbench.drawAll()")
    assert states(browser) == {"verdicts": "table", "forest-time": "drawn", "pairs": "drawn", "noise": "drawn"}
    assert outside(requests_of(browser)) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    colour = browser.execute_script("return getComputedStyle(document.querySelector('.verdict')).color")
    assert colour == {"light": "rgb(179, 38, 30)", "dark": "rgb(255, 143, 133)"}[scheme]
    shown = browser.execute_script("return document.querySelector('#forest-time .plot')._fullData.map(t => t.name)")
    assert shown == ["REGRESSED", "INCONCLUSIVE", "PASS", "limit"]


def test_a_table_of_verdicts_stands_whole_without_a_box_that_scrolls(browser: Any, tmp_path: Path, show: Open) -> None:
    page = tmp_path / "gate.html"
    page.write_text(stored_page.render(many(60, reason="a reason that goes on and on " * 40)))
    browser.get(page.as_uri())
    boxes = "return [...document.querySelectorAll('#verdicts .scroll, #verdicts .long')]"
    assert len(browser.execute_script(boxes)) > 1
    assert browser.execute_script(f"{boxes}.every(box => box.scrollHeight <= box.clientHeight)")


def test_a_page_of_five_thousand_cases_is_drawn(browser: Any, tmp_path: Path, show: Open) -> None:
    page = tmp_path / "gate.html"
    page.write_text(stored_page.render(many(5000)))
    browser.get(page.as_uri())
    browser.execute_script("window.llmbench.drawAll()")
    assert states(browser) == {"verdicts": "table", "forest-time": "drawn"}
    assert rows(browser, "verdicts") == 1000
