"""The page in Chromium: it draws, asks no network, filters, fits its screen, and can be used from a keyboard."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import example_panels as made
import pytest
from chromium import Open, emulate, outside, requests_of, rows, series, states, tick, wait

from llmbench.report.drawn import Drawn, TableRow, Trace

PLOTS = ("rate", "memory", "heat", "many")


def test_every_panel_is_drawn_or_says_why_not(show: Open, browser: Any) -> None:
    show(made.all_panels())
    drawn = dict.fromkeys(PLOTS, "drawn")
    assert states(browser) == {**drawn, "roofline": "empty", "status": "table"}
    assert browser.execute_script("return document.querySelectorAll('.plot svg.main-svg').length") >= len(PLOTS)
    asked = requests_of(browser)
    assert any(url.startswith("file://") for url in asked) and outside(asked) == []


def test_the_page_of_a_run_is_drawn(
    browser: Any, llmbench: Callable[..., Any], tiny: Path, tmp_path: Path, show: Open
) -> None:
    llmbench("run", tiny)
    llmbench("report", "--html", "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    browser.execute_script("window.llmbench.drawAll()")
    found = states(browser)
    assert "drawn" in found.values() and set(found.values()) <= {"drawn", "empty", "table"}
    empty = "return [...document.querySelectorAll('[data-state=empty] .empty')].map(p => p.textContent.length)"
    assert len(browser.execute_script(empty)) == list(found.values()).count("empty")
    assert browser.execute_script(
        "return [...document.querySelectorAll('[data-state=drawn] .plot')].every(p => p._fullData.length)"
    )


def test_panels_are_drawn_when_they_come_near(show: Open, browser: Any) -> None:
    show(made.all_panels(), draw=False)
    wait(lambda: states(browser)["rate"] == "drawn")
    assert states(browser)["many"] == "waiting"
    browser.execute_script("document.getElementById('many').scrollIntoView()")
    wait(lambda: states(browser)["many"] == "drawn")


def test_a_click_in_the_legend_hides_a_trace_and_a_filter_does_not_bring_it_back(show: Open, browser: Any) -> None:
    show(made.all_panels())
    click = "document.querySelector('#rate .legendtoggle').dispatchEvent(new MouseEvent(arguments[0], {bubbles: true}))"
    for event in ("mousedown", "mouseup"):
        browser.execute_script(click, event)
    wait(lambda: series(browser, "rate") == ["tiled", "sdpa_math", "sdpa_flash"])
    tick(browser, "mqa")
    assert series(browser, "rate") == ["tiled", "sdpa_math", "sdpa_flash"]


def test_a_filter_narrows_every_plot_and_table(show: Open, browser: Any) -> None:
    show(made.all_panels())
    before = rows(browser, "rate")
    tick(browser, "naive")
    assert "naive" not in series(browser, "rate") and "naive" not in series(browser, "many")
    assert browser.execute_script("return document.querySelector('#memory .plot')._fullData[0].x") == [*made.IMPLS[1:]]
    assert browser.execute_script("return document.querySelector('#memory .plot')._fullData[0].customdata.length") == 3
    assert rows(browser, "rate") == before * 3 / 4 and rows(browser, "memory") == 3 and rows(browser, "status") == 1
    legend = browser.execute_script("return document.querySelector('#rate .legend').textContent")
    assert "tiled" in legend and "naive" not in legend
    tick(browser, "tiled")
    assert states(browser)["heat"] == "nothing"
    assert "leave nothing" in browser.execute_script("return document.querySelector('#heat').innerText")
    browser.execute_script("document.querySelector('[data-all=impl]').click()")
    assert states(browser)["heat"] == "drawn" and rows(browser, "rate") == before


def test_a_legend_survives_the_facet_that_held_it(show: Open, browser: Any) -> None:
    show([made.sweep()])
    tick(browser, "mha")
    assert browser.execute_script("return document.querySelectorAll('#rate .legend .traces').length") == 4
    assert browser.execute_script("return document.querySelectorAll('#rate .subplot').length") == 4


def test_facets_that_are_left_fill_the_panel_and_are_titled(show: Open, browser: Any) -> None:
    show([made.sweep()])
    layout = "document.querySelector('#rate .plot')._fullLayout"
    tick(browser, "mha")
    assert browser.execute_script(f"return [{layout}.xaxis2.domain[0], {layout}.xaxis3.domain[1]]") == [0, 1]
    assert browser.execute_script(f"return {layout}.yaxis2.title.text") == "FLOP/s"
    assert browser.execute_script(f"return [{layout}.yaxis2, {layout}.yaxis3].map(a => a.showticklabels)") == [
        True,
        False,
    ]
    assert browser.execute_script(f"return {layout}.annotations.map(a => a.text)[0]") == "heads=gqa fwd"
    tick(browser, "bwd")
    assert browser.execute_script(f"return {layout}.xaxis2.title.text") == "seq_len"
    assert browser.execute_script(f"return {layout}.annotations.length") == 2


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_the_legend_stands_above_the_titles_of_facets(show: Open, browser: Any, lines: int) -> None:
    panel = made.sweep()
    titles = [{**a, "text": "<br>".join([a["text"]] * lines)} for a in panel.layout["annotations"]]
    show([replace(panel, layout={**panel.layout, "annotations": titles})])
    edges = "[...document.querySelectorAll('#rate ' + arguments[0])].map(e => e.getBoundingClientRect()[arguments[1]])"
    (bottom,) = browser.execute_script(f"return {edges}", ".legend .scrollbox", "bottom")
    tops = browser.execute_script(f"return {edges}", ".annotation-text", "top")
    assert len(tops) >= 4 and bottom <= min(tops) + 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_its_screen_in_both_themes(show: Open, browser: Any, scheme: str, width: int) -> None:
    show([*made.all_panels(), made.nasty()], width=width, scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return document.getElementById('side').open") is (width > 700)
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]


def test_narrow_screens_stack_the_facets(show: Open, browser: Any) -> None:
    show([made.sweep()], width=400)
    layout = "document.querySelector('#rate .plot')._fullLayout"
    domains = browser.execute_script(f"return [1,2,3,4,5,6].map(i => {layout}['xaxis' + (i > 1 ? i : '')].domain)")
    assert domains == [[0, 1]] * 6


def test_the_theme_follows_the_system_at_once(show: Open, browser: Any) -> None:
    show([made.sweep()])
    colour = "return document.querySelector('#rate .plot')._fullData[1].line.color"
    assert browser.execute_script(colour) == "#0072b2"
    emulate(browser, "dark")
    wait(lambda: browser.execute_script(colour) == "#4ba3e3")


def test_tab_reaches_the_filters_and_space_switches_them(show: Open, browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    show([made.sweep()])
    focused = "return document.activeElement.matches('.filters input') ? document.activeElement.value : ''"
    for _ in range(8):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        if browser.execute_script(focused):
            break
    assert browser.execute_script(focused) == "naive"
    ActionChains(browser).send_keys(Keys.SPACE).perform()
    assert series(browser, "rate") == ["tiled", "sdpa_math", "sdpa_flash"]


def test_the_legend_can_be_used_from_a_keyboard(show: Open, browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    show([made.sweep()])
    pressed = "return [...document.querySelectorAll('#rate .keys button')].map(b => [b.textContent, b.ariaPressed])"
    assert browser.execute_script(pressed) == [[impl, "true"] for impl in made.IMPLS]
    width = "return document.querySelector('#rate .keys').getBoundingClientRect().width"
    assert browser.execute_script(width) <= 1  # however long the names are, nothing is seen of them
    browser.execute_script("document.querySelectorAll('#rate .keys button')[1].focus()")
    assert browser.execute_script(width) > 100
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    wait(lambda: series(browser, "rate") == ["naive", "sdpa_math", "sdpa_flash"])
    assert [state for _, state in browser.execute_script(pressed)] == ["true", "false", "true", "true"]
    assert browser.execute_script("return document.activeElement.textContent") == "tiled"


def test_a_name_with_a_line_end_can_be_filtered(show: Open, browser: Any) -> None:
    show([made.sweep(impls=("a\rb", "c"))])
    browser.execute_script("document.querySelector('.filters input[data-key=impl]').click()")
    assert series(browser, "rate") == ["c"] and rows(browser, "rate") == 30


def test_plots_are_described_and_their_tables_marked_up(show: Open, browser: Any) -> None:
    show([made.sweep()])
    label = browser.execute_script("return document.querySelector('#rate .plot').getAttribute('aria-label')")
    assert label.startswith("FLOP/s over seq_len. Rate of the arithmetic") and label.endswith("the table below.")


@pytest.mark.parametrize(("kind", "starts"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_a_panel_is_saved_as_a_picture(show: Open, browser: Any, kind: str, starts: bytes) -> None:
    show([made.sweep(), made.bars()], scheme="dark")
    browser.execute_script(f"document.querySelector('#rate [data-save={kind}]').click()")
    path = browser.downloads / f"rate.{kind}"
    wait(path.exists)
    content = path.read_bytes()
    assert content.startswith(starts)
    assert kind == "png" or (b"rgb(255, 255, 255)" in content and b"FLOP/s over seq_len" in content)


def test_names_that_mean_harm_are_text_in_plots_too(show: Open, browser: Any) -> None:
    show([made.nasty(), made.sweep(impls=("<script>a</script>", "b"))])
    assert "<script>a</script>" in browser.execute_script("return document.querySelector('#rate .legend').textContent")
    assert browser.execute_script("return document.querySelectorAll('main script').length") == 0


def test_paper_gets_every_panel_and_light_colours(show: Open, browser: Any) -> None:
    show(made.all_panels(), scheme="dark", draw=False)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert {states(browser)[name] for name in PLOTS} == {"drawn"}
    assert browser.execute_script("return document.querySelector('#rate .plot')._fullData[1].line.color") == "#0072b2"
    assert browser.execute_script("return document.querySelector('#memory details').open") is True
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script("return document.querySelector('#memory details').open") is False


def test_a_large_page_is_drawn(show: Open, browser: Any) -> None:
    panels = [_large(i) for i in range(10)]
    show(panels)
    assert set(states(browser).values()) == {"drawn"}
    assert rows(browser, "large-3") == 1000
    tick(browser, "i0")
    assert rows(browser, "large-3") == 900


def _large(number: int) -> Drawn:
    count = 2000
    table = tuple(TableRow((f"i{i % 10}", str(i), "1.0"), {"impl": f"i{i % 10}"}) for i in range(count))
    traces = tuple(
        Trace(
            {"x": list(range(count)), "y": [j + i % 7 for i in range(count)], "name": f"i{j}"},
            f"i{j}",
            {"impl": f"i{j}"},
        )
        for j in range(10)
    )
    return Drawn(f"large-{number}", "sweep", "Large", "", None, traces, {}, 320, ("impl", "i", "x"), table)
