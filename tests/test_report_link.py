"""The address of a page in Chromium: it holds the filters, so that a filtered view can be sent and loaded again."""

from typing import Any
from urllib.parse import quote

import example_panels as made
import pytest
from chromium import Open, rows, series, tick, wait

LEFT = ["tiled", "sdpa_math", "sdpa_flash"]


def address(browser: Any) -> str:
    """What the address has after the file."""
    return str(browser.current_url.partition("page.html")[2])


def follow(browser: Any, hash_: str) -> None:
    """Opens the page again, from another one, at that place."""
    page = browser.current_url.partition("#")[0]
    browser.get("about:blank")
    browser.get(page + hash_)
    browser.execute_script("window.llmbench.drawAll()")


def top(browser: Any, anchor: str) -> float:
    script = "return document.getElementById(arguments[0]).getBoundingClientRect().top"
    return float(browser.execute_script(script, anchor))


def ticked(browser: Any) -> list[str]:
    return list(browser.execute_script("return [...document.querySelectorAll('input:checked')].map(b => b.value)"))


def test_the_address_has_what_is_switched_off_or_the_little_that_is_left(show: Open, browser: Any) -> None:
    show([made.sweep()])
    assert address(browser) == ""
    tick(browser, "naive")
    assert address(browser) == "#?-impl=naive"
    tick(browser, "fwd")
    assert address(browser) == "#?-impl=naive&-phase=fwd"
    browser.execute_script("document.querySelector('[data-none=heads]').click()")
    assert address(browser) == "#?-impl=naive&heads=&-phase=fwd"
    tick(browser, "mqa")
    assert address(browser) == "#?-impl=naive&heads=mqa&-phase=fwd"
    for key in ("impl", "heads", "phase"):
        browser.execute_script(f"document.querySelector('[data-all={key}]').click()")
    assert address(browser) == ""


def test_a_view_that_was_sent_opens_filtered_and_at_its_panel(show: Open, browser: Any) -> None:
    show(made.all_panels())
    follow(browser, "#many?-impl=naive&heads=mqa")
    assert series(browser, "rate") == LEFT and "naive" not in series(browser, "many")
    assert rows(browser, "rate") == 3 * len(made.LENGTHS) * 2
    assert ticked(browser)[-3:] == ["mqa", "fwd", "bwd"] and abs(top(browser, "many")) < 300
    told = browser.execute_script("return document.querySelector('form .filtered').textContent")
    assert told == "impl: 11 of 12, heads: 1 of 3"
    link = browser.execute_script("return document.querySelector('#rate a.anchor').getAttribute('href')")
    assert link == "#rate?-impl=naive&heads=mqa"


def test_filters_survive_loading_the_page_again(show: Open, browser: Any) -> None:
    show([made.sweep()])
    tick(browser, "naive")
    browser.refresh()
    browser.execute_script("window.llmbench.drawAll()")
    assert series(browser, "rate") == LEFT and address(browser) == "#?-impl=naive"


def test_anchors_still_lead_to_panels_and_keep_the_filters(show: Open, browser: Any) -> None:
    show(made.all_panels())
    tick(browser, "naive")
    browser.execute_script("document.querySelector('nav a[href=\"#many\"]').click()")
    wait(lambda: address(browser) == "#many?-impl=naive")
    wait(lambda: abs(top(browser, "many")) < 300)
    assert series(browser, "many")[0] == "tiled"
    browser.execute_script("document.querySelector('nav a[href=\"#rate\"]').click()")
    wait(lambda: address(browser) == "#rate?-impl=naive")
    browser.back()
    wait(lambda: abs(top(browser, "many")) < 300)
    follow(browser, "#heat")
    assert ticked(browser)[0] == "naive" and address(browser) == "#heat"


@pytest.mark.parametrize("hash_", ["#?impl=gone&-heads=gone&x=1", "#%3Fimpl=gone", "#?", "#%%%?=&=%zz"])
def test_an_address_of_another_page_hides_nothing(show: Open, browser: Any, hash_: str) -> None:
    show([made.sweep()])
    follow(browser, hash_)
    assert len(ticked(browser)) == 4 + 3 + 2


def test_names_with_signs_of_their_own_are_found_again(show: Open, browser: Any) -> None:
    names = ("a&b=c", "NVIDIA H100 · 2026?", "-x", "+")
    show([made.sweep(impls=names)])
    for name in names[:2]:
        script = "[...document.querySelectorAll('input')].find(b => b.value === arguments[0]).click()"
        browser.execute_script(script, name)
    assert address(browser) == "#?-impl=a%26b%3Dc&-impl=NVIDIA+H100+%C2%B7+2026%3F"
    follow(browser, address(browser))
    assert ticked(browser)[:2] == ["-x", "+"]
    follow(browser, "#%3F-impl=" + quote(names[0], safe=""))
    assert ticked(browser)[:3] == list(names[1:])


def test_a_narrow_screen_says_that_it_is_filtered(show: Open, browser: Any) -> None:
    show([made.sweep()], width=400)
    follow(browser, "#?phase=fwd")
    said = browser.execute_script("return document.querySelector('summary').innerText")
    assert said == "Filters and panels phase: 1 of 2"
