"""The page as text: self-contained, harmless whatever names hold, and its tables are the drawn rows."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import example_panels as made
import pytest
from large_run import large_run
from suite_catalog import H100

from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.page import MOST_ROWS, render_page
from llmbench.report.palette import DASHES, SERIES, coloured, colours, series_of, styled
from llmbench.report.panels.facet import MOST_LINES
from llmbench.report.payload import filters_of, harmless_json, layout_of, plottable
from llmbench.report.picture import figure_of
from llmbench.suite.case import expand
from llmbench.suite.load import load

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.S)


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the texts of the cells of each table."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


def page_of(*panels: Drawn, **more: Any) -> str:
    return render_page(title="Attention", facts=[made.make_facts()], panels=panels, **more)


def without_plotly(page: str) -> str:
    """The page less its longest script."""
    return page.replace(max(re.findall(r"<script>.*?</script>", page, re.S), key=len), "")


def data_of(page: str) -> Any:
    return json.loads(DATA.findall(page)[0])


def test_the_page_refers_to_nothing_outside_and_holds_plotly_once() -> None:
    page = page_of(*made.all_panels())
    assert page.count("plotly.js v") == 1
    assert not re.search(r"https?://|//cdn|@import|url\(", without_plotly(page))
    tags = Tags(without_plotly(page)).tags
    assert [a["href"] for tag, a in tags if tag == "link"] == ["data:,"]
    assert not [a for _, a in tags if "src" in a]
    assert len(page) < 6_000_000


def test_its_policy_forbids_every_network_and_every_script_but_its_own() -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page_of(made.bars()))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src" not in policy and "http" not in policy and "script-src 'unsafe-inline'" not in policy


def test_the_head_says_what_was_measured_where_and_what_weakens_it() -> None:
    page = without_plotly(page_of(made.bars()))
    for text in ("NVIDIA H100 80GB HBM3", "torch 2.13.0", "aa3d2fa0c1", "54 ok", "2 oom", "2026-05-09 12:33 UTC"):
        assert text in page
    assert '<li class="warning"><strong>warning</strong> uncommitted changes' in page
    assert '<li class="note"><strong>note</strong> clocks are not locked' in page


def test_several_runs_are_named_and_a_warning_says_whose_it_is() -> None:
    facts = [made.make_facts(), made.make_facts(run_id="other", warnings=("quick run",), notes=())]
    page = without_plotly(render_page(title="A", facts=facts, panels=[made.bars()], labels=["H100", "B200"]))
    assert "<h2>H100</h2>" in page and "<h2>B200</h2>" in page
    assert 'quick run <span class="where">B200</span>' in page


def test_what_means_harm_is_shown_as_text() -> None:
    page = without_plotly(page_of(made.nasty(), made.status()))
    tags = [tag for tag, _ in Tags(page).tags]
    assert tags.count("script") == 2 and "b" not in tags
    safe = ("alert(1)&lt;/script&gt;", "alert(1)\\u0026lt;/script", "alert(1)\\u003c/script")
    assert page.count("alert(1)") == sum(page.count(text) for text in safe) > 20
    rows = Tags(without_plotly(page_of(made.status()))).rows
    shown = made.NASTY.replace("\u2028", "\\u2028")
    assert rows[2] == [shown, "error", shown]


def test_no_text_ends_the_script_that_holds_it() -> None:
    text = harmless_json({"a": "</script><!--&\u2028\ud800"})
    assert not set("<>&\u2028\ud800") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028\ufffd"}


def test_texts_in_plots_keep_their_layout_tags_only_and_are_cut() -> None:
    said = plottable({"name": "<script>a</script>" + "x" * 200, "hovertemplate": "<b>%{y}</b><br><extra></extra>"})
    assert said["name"].startswith("&lt;script>a&lt;/script>xxx") and len(said["name"]) < 110
    assert said["hovertemplate"] == "<b>%{y}</b><br><extra></extra>"
    assert plottable("a" * 84 + "&lt;&lt;", "name") == "a" * 84 + "&lt;…"


def test_numbers_in_plots_are_short_and_finite() -> None:
    assert plottable([1.23456789012345, float("nan"), 2**60, True]) == [1.23456789, None, 2**60, True]
    with pytest.raises(TypeError, match="y: a figure cannot hold set"):
        plottable({"y": {1}})


def test_tables_are_the_drawn_rows_with_scopes_and_a_caption() -> None:
    panel = made.sweep()
    parsed = Tags(without_plotly(page_of(panel)))
    assert parsed.rows[0] == list(panel.columns)
    assert parsed.rows[1:] == [list(row.cells) for row in panel.rows]
    assert [a["scope"] for tag, a in parsed.tags if tag == "th"] == ["col"] * 5 + ["row"] * len(panel.rows)
    assert [tag for tag, _ in parsed.tags].count("caption") == 1


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = tuple(TableRow((str(i), "1.0"), {"impl": f"i{i % 2}"}) for i in range(MOST_ROWS + 5))
    page = page_of(Drawn("t", "table", "Cases", columns=("i", "x"), rows=rows))
    assert len(Tags(without_plotly(page)).rows) == MOST_ROWS + 1
    assert "the first 1,000 of 1,005 rows" in page


def test_anchors_are_those_of_the_panels_and_the_side_bar_links_them() -> None:
    parsed = Tags(without_plotly(page_of(*made.all_panels())))
    anchors = [a["id"] for tag, a in parsed.tags if tag == "section" and "id" in a]
    assert anchors == [p.anchor for p in made.all_panels()]
    links = [a["href"] for tag, a in parsed.tags if tag == "a" and not a.get("class")]
    assert links == [f"#{anchor}" for anchor in anchors]


def test_an_empty_panel_shows_its_sentence() -> None:
    page = without_plotly(page_of(made.empty()))
    assert "The datasheet of this device is not known: no roof to draw." in page
    assert data_of(page)["panels"] == []


def test_filters_are_facts_with_several_values() -> None:
    assert filters_of([made.sweep()]) == {
        "impl": list(made.IMPLS), "heads": list(made.HEADS), "phase": ["fwd", "bwd"],
    }  # fmt: skip
    assert filters_of([made.heat()]) == {}


def test_a_series_has_one_colour_in_all_panels() -> None:
    panels = [made.sweep(impls=("tiled", "naive")), made.sweep()]
    found: dict[str, set[str]] = {}
    for panel in panels:
        for trace in panel.traces:
            found.setdefault(str(trace.series), set()).add(styled(trace, series_of(panels))["line"]["color"])
    assert found == {"tiled": {"@0"}, "naive": {"@1"}, "sdpa_math": {"@2"}, "sdpa_flash": {"@3"}}


def test_once_colours_repeat_dashes_differ() -> None:
    names = [f"i{i}" for i in range(15)]
    looks = []
    for name in names:
        data = styled(Trace({"x": [1], "y": [1]}, name), names)
        looks.append((data["line"]["color"], data["line"]["dash"]))
    assert len(set(looks)) == 15


def test_every_type_of_trace_that_panels_make_has_its_colours() -> None:
    types = {"scatter": "line", "bar": "marker"}
    for kind, owner in types.items():
        assert styled(Trace({"type": kind, "x": [1], "y": [1]}, "a"), ["a"])[owner]["color"] == "@0"
    assert styled(Trace({"type": "heatmap", "z": [[1]]}, "a"), ["a"])["colorscale"] == "Cividis"
    assert len(DASHES) == MOST_LINES == 6


def test_a_trace_keeps_what_it_sets_itself() -> None:
    data = styled(Trace({"x": [1], "y": [1], "line": {"dash": "dot"}, "marker": {"symbol": "x"}}, "a"), ["a"])
    assert data["line"]["dash"] == "dot" and data["marker"]["symbol"] == "x"


def test_statuses_have_colours_of_their_own() -> None:
    panel = Drawn("s", "status", "S", traces=(Trace({"type": "bar", "x": [1], "y": [1]}, "ok"),))
    assert series_of([panel]) == []
    assert styled(panel.traces[0], [])["marker"]["color"] == "@good"


def test_listed_ticks_are_thinned() -> None:
    axis = {"tickvals": list(range(500)), "ticktext": [str(i) for i in range(500)]}
    layout = layout_of(Drawn("a", "heatmap", "A", layout={"xaxis": axis, "yaxis": {"tickvals": [1, 2]}}))
    assert layout["xaxis"]["tickvals"] == list(range(0, 500, 16)) and layout["yaxis"]["tickvals"] == [1, 2]
    assert layout["xaxis"]["ticktext"] == [str(i) for i in range(0, 500, 16)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_stands_out_from_its_paper(theme: Any) -> None:
    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts, strict=True))  # fmt: skip  # noqa: E501

    def contrast(one: str, other: str) -> float:
        high, low = sorted((light(one), light(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    known = colours(theme)
    assert min(contrast(c, known["paper"]) for c in SERIES[theme]) >= {"light": 3, "dark": 6}[theme]
    assert min(contrast(known[n], known["paper"]) for n in ("ink", "muted", "link", "good", "warn", "bad")) >= 4.5
    assert contrast(known["warn"], known["warnpaper"]) >= 4.5


def test_a_name_that_looks_like_a_colour_is_left_alone() -> None:
    assert coloured({"name": "@0", "color": "@0/0.5"}, "light") == {"name": "@0", "color": "rgba(0,114,178,0.5)"}


def test_pictures_have_a_title_and_every_colour() -> None:
    figure = figure_of(made.sweep(), list(made.IMPLS))
    assert figure["layout"]["title"]["text"] == "FLOP/s over seq_len"
    assert '"@' not in json.dumps(figure)


def test_inner_columns_of_matching_axes_have_no_tick_labels() -> None:
    layout = data_of(page_of(made.sweep()))["panels"][0]["layout"]
    assert layout["yaxis2"]["showticklabels"] is False and "showticklabels" not in layout["yaxis4"]


def test_the_report_is_written_where_asked_and_beside_the_run(
    llmbench: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    llmbench("run", tiny)
    (run,) = (tmp_path / "results").glob("*/*/*/run.json")
    done = llmbench("report", "--html", "page.html")
    assert done.stderr == "llmbench: wrote page.html\n" and "naive" in done.stdout
    done = llmbench("report", "latest", run.parent, "--html", "beside")
    assert (run.parent / "report.html").read_text().count('<section class="run"') == 2
    assert "report.html" in done.stderr and not list(tmp_path.glob("**/*.partial"))
    (tmp_path / "browser").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    (tmp_path / "browser").chmod(0o755)
    llmbench("report", "--open", BROWSER=str(tmp_path / "browser"))
    assert (tmp_path / "opened").read_text().strip().endswith("/report.html")


@pytest.mark.slow
def test_a_run_of_50_000_cases_is_a_page_below_8_mb(llmbench: Callable[..., Any], tmp_path: Path) -> None:
    llmbench("report", large_run(tmp_path / "large", rows=200_000), "--html", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert len(page.encode()) < 8_000_000
    assert "1,200 of 50,000 points are drawn, evenly taken." in page and "The table has 500 of 50,000 rows." in page


def test_mistakes_in_the_options_of_report_are_told(llmbench: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    llmbench("run", tiny)
    assert "--dashboard says what to plot" in llmbench("report", "--dashboard", "attention", rc=2).stderr
    assert "one run at a time" in llmbench("report", "latest", "latest", "--json", rc=2).stderr
    assert (
        "--html no/such/page.html: cannot be written: No such file"
        in llmbench("report", "--html", "no/such/page.html", rc=2).stderr
    )
    (tmp_path / "kaleido.py").write_text("raise ImportError")
    told = llmbench("report", "--png", "plots", "--html", "p.html", rc=3, PYTHONPATH=str(tmp_path)).stderr
    assert "wrote p.html" in told and "--png needs kaleido and a Chromium" in told


@pytest.mark.slow
def test_init_writes_a_suite_that_runs_and_never_overwrites(llmbench: Callable[..., Any], tmp_path: Path) -> None:
    assert "wrote suite.yaml" in llmbench("init").stderr
    before = (tmp_path / "suite.yaml").read_text()
    assert "exists already" in llmbench("init", rc=2).stderr
    assert (tmp_path / "suite.yaml").read_text() == before
    assert len(expand(load(tmp_path / "suite.yaml", H100))) == 6
    said = json.loads(llmbench("run", "./suite.yaml", "--quick", "--only", "seq_len=256", "--json").stdout)
    assert set(said["counts"]) == {"ok"}
