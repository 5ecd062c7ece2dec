"""What page.js draws from: panels, filters and colours as one JSON text that is harmless within HTML."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmbench.report.drawn import FILTERS, Drawn
from llmbench.report.escape import visible
from llmbench.report.palette import THEMES, colours, series_of, styled, template
from llmbench.suite.catalog import Scalar

FIGURES = 9  # significant digits of a number in a plot: more than a screen shows, half the size of all of them
LONGEST_NAME, LONGEST_TEXT = 90, 1000  # characters, entities spelled out, of a name or tick, and of any other text
MOST_TICKS = 32  # labels on an axis whose ticks are listed
LEAST_LABEL_PX, MOST_ROWS = 16, 200  # of a label's line on a y axis; labels of rows that the panel's height grows with
TEMPLATES = ("hovertemplate", "texttemplate")
_TAG = re.compile(r"<(?!/?(?:b|i|em|sub|sup|br|extra)\s*/?>)", re.I)  # what plotly would take for a tag, and eat
_CUT_ENTITY = re.compile(r"&#?\w*$")
_SLUG = re.compile(r"[^A-Za-z0-9_-]+")


def filters_of(panels: Iterable[Drawn]) -> dict[str, list[str]]:
    """The filters of the side bar: key -> its values, at least two, in order of their first appearance."""
    found: dict[str, dict[str, None]] = {key: {} for key in FILTERS}
    for panel in panels:
        for facts in _all_facts(panel):
            for key in FILTERS:
                if key in facts:
                    found[key][fact_text(facts[key])] = None
    return {key: list(values) for key, values in found.items() if len(values) > 1}


class RowFacts:
    """The facts of table rows, each combination once: rows refer to them by number."""

    def __init__(self, filters: Iterable[str]) -> None:
        self.filters = tuple(filters)
        self._numbers: dict[tuple[tuple[str, str], ...], int] = {}

    def number(self, facts: Mapping[str, Scalar]) -> int:
        """The number of these facts, as far as a filter looks at them."""
        return self._numbers.setdefault(tuple(filtered(facts, self.filters).items()), len(self._numbers))

    @property
    def known(self) -> list[dict[str, str]]:
        """The facts by number."""
        return [dict(facts) for facts in self._numbers]


def payload(panels: Sequence[Drawn], filters: Mapping[str, list[str]], facts: RowFacts) -> str:
    """The JSON text; `facts` learns those of points."""
    series = series_of(panels)
    found = {
        "filters": filters,
        "panels": [_panel(panel, series, facts) for panel in panels if panel.traces and not panel.why_empty],
        "facts": facts.known,
        "template": template(),
        "colours": {theme: colours(theme) for theme in THEMES},
    }
    return harmless_json(found)


def anchor_of(panel: Drawn) -> str:
    """The anchor as the id of an element and the name of a file."""
    return _SLUG.sub("-", panel.anchor).strip("-") or "panel"


def filtered(facts: Mapping[str, Scalar], filters: Iterable[str]) -> dict[str, str]:
    """Those facts that a filter looks at, as text."""
    return {key: fact_text(facts[key]) for key in filters if key in facts}


def fact_text(value: Scalar) -> str:
    """A fact as a filter shows it: `true`, `0.5`, `gqa`."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def harmless_json(value: object) -> str:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return re.sub(r"[\ud800-\udfff]", "\ufffd", text)


def plottable(value: Any, key: str = "") -> Any:
    """A part of a figure as plain JSON: numbers rounded, what is not finite null, texts short and free of tags."""
    if isinstance(value, str):
        return _text(value, key)
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f"{value:.{FIGURES}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_text(str(k), "name"): plottable(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plottable(v, key) for v in value]
    if hasattr(value, "tolist"):  # of numpy
        return plottable(value.tolist(), key)
    raise TypeError(f"{key}: a figure cannot hold {type(value).__name__}")


def layout_of(panel: Drawn) -> dict[str, Any]:
    """The layout as plain JSON, made readable: few tick labels, those of matching y axes in the first column alone.

    All labels of a y axis stay where the panel is high enough for each.
    """
    layout: dict[str, Any] = plottable(panel.layout)
    for name, axis in layout.items():
        if not name.startswith(("xaxis", "yaxis")):
            continue
        high = panel.height_px // LEAST_LABEL_PX if name == "yaxis" and "yaxis2" not in layout else 0
        step = -(-len(axis.get("tickvals") or ()) // max(MOST_TICKS, min(high, MOST_ROWS)))
        if step > 1:  # plotly compares every label with every other: 500 of them take a minute
            axis.update({key: axis[key][::step] for key in ("tickvals", "ticktext") if key in axis})
        if name.startswith("yaxis") and axis.get("matches"):
            beside = layout.get("xaxis" + str(axis.get("anchor", "x"))[1:], {})
            if beside.get("domain", [0, 1])[0] > 0:
                axis.setdefault("showticklabels", False)
    return layout


def _text(text: str, key: str) -> str:
    if key in TEMPLATES:
        return _TAG.sub("&lt;", text)
    longest = LONGEST_NAME if key in ("name", "x", "y", "ticktext", "tickvals", "categoryarray") else LONGEST_TEXT
    short = text if len(text) <= longest else _CUT_ENTITY.sub("", text[: longest - 1]) + "…"
    return _TAG.sub("&lt;", visible(short))


def _panel(panel: Drawn, series: list[str], facts: RowFacts) -> dict[str, Any]:
    traces = [
        {
            "data": plottable(styled(trace, series)),
            "facts": facts.number(trace.facts),
            "points": trace.point_facts and [facts.number(f) for f in trace.point_facts],
        }
        for trace in panel.traces
    ]
    return {"anchor": anchor_of(panel), "height": panel.height_px, "layout": layout_of(panel), "traces": traces}


def _all_facts(panel: Drawn) -> Iterable[Mapping[str, Scalar]]:
    for trace in panel.traces:
        yield trace.facts
        yield from trace.point_facts or ()
    yield from (row.facts for row in panel.rows)
