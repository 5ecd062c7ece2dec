"""Chromium for the tests of pages: fixtures that conftest gives to all, and questions to ask a page.

Imports what a page needs only when one is shown: conftest is there for tests on a bare machine too.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llmbench.report.drawn import Drawn

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--no-first-run", "--disable-sync",
)  # fmt: skip
Open = Callable[..., None]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all tests of a file, without anything to remember."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (os.path.exists(CHROMIUM) and os.path.exists(DRIVER)):
        pytest.skip(f"{CHROMIUM} or {DRIVER} is missing")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page of these panels on a screen of that width; afterwards its logs must hold nothing."""
    from example_panels import make_facts

    from llmbench.report.page import render_page

    def call(panels: "list[Drawn]", *, width: int = 1280, scheme: str = "light", draw: bool = True) -> None:
        page = tmp_path / "page.html"
        page.write_text(render_page(title="Attention", facts=[make_facts()], panels=panels))
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        emulate(browser, scheme)
        browser.get(page.as_uri())
        if draw:
            browser.execute_script("window.llmbench.drawAll()")

    browser.get_log("browser"), browser.get_log("performance")
    yield call
    assert browser.get_log("browser") == []
    assert outside(requests_of(browser)) == []


def emulate(browser: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def requests_of(browser: Any) -> list[str]:
    """The address of every request so far."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def outside(urls: list[str]) -> list[str]:
    """Those that leave the file; the browser's own pages, such as its empty tab, are not of our making."""
    return [url for url in urls if not url.startswith(("file://", "data:", "blob:", "chrome"))]


def states(browser: Any) -> dict[str, str]:
    script = "return Object.fromEntries([...document.querySelectorAll('.panel')].map(p => [p.id, p.dataset.state]))"
    found: dict[str, str] = browser.execute_script(script)
    return found


def series(browser: Any, anchor: str) -> list[str]:
    """The names of what a plot shows, without what its legend hides."""
    script = """
        const data = document.querySelector(`#${arguments[0]} .plot`)._fullData ?? [];
        return [...new Set(data.filter(t => t.visible === true).map(t => t.legendgroup || t.name))]"""
    found: list[str] = browser.execute_script(script, anchor)
    return found


def rows(browser: Any, anchor: str) -> int:
    script = "return document.querySelectorAll(`#${arguments[0]} tbody tr:not([hidden])`).length"
    return int(browser.execute_script(script, anchor))


def tick(browser: Any, value: str) -> None:
    browser.execute_script("document.querySelector(`.filters input[value=${arguments[0]}]`).click()", value)


def wait(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
