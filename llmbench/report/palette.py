"""Colours of a page and of pictures: the same series has the same colour everywhere, on light and on dark paper.

A styled trace names its colours (`@3`, `@ink`, `@3/0.16` with an opacity) and `coloured` or page.js puts them in.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from llmbench.report.drawn import Drawn, Trace

Theme = Literal["light", "dark"]

# Okabe and Ito 2008 without yellow and black, which vanish on one of the papers, with four hues of Tol 2021 between.
# The dark row has the same hues, lighter, but tan for wine, which would be a second pink. Against their paper the light
# ones are at least 3:1, which is what WCAG 2.2 (1.4.11) asks of graphics, the dark ones at least 6:1; text in a plot
# has the colour of ink.
SERIES: dict[Theme, tuple[str, ...]] = {
    "light": (
        "#0072b2", "#d55e00", "#009e73", "#b5508f", "#b97d00", "#3a97d4", "#882255", "#6b7a00", "#5b4fc4", "#6a7280",
    ),
    "dark": (
        "#4ba3e3", "#ff8a4c", "#2fc79a", "#e592c5", "#f0b53c", "#9ad4f5", "#cf9f7a", "#bfc94a", "#a79bff", "#a7b0bb",
    ),
}  # fmt: skip
PAPER: dict[Theme, dict[str, str]] = {
    "light": {
        "paper": "#ffffff", "raised": "#f6f7f9", "ink": "#1b2026", "muted": "#5a6472", "line": "#d6dbe1",
        "grid": "#e6e9ee", "link": "#0b62a8", "good": "#18794e", "warn": "#8a5a00", "warnpaper": "#fff6df",
        "bad": "#b3261e",
    },
    "dark": {
        "paper": "#14171b", "raised": "#1c2026", "ink": "#e4e7eb", "muted": "#9ba5b1", "line": "#363d46",
        "grid": "#2a3037", "link": "#7cc0ff", "good": "#5fd39a", "warn": "#f0c060", "warnpaper": "#2c2615",
        "bad": "#ff8f85",
    },
}  # fmt: skip
THEMES: tuple[Theme, ...] = ("light", "dark")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down", "pentagon", "hexagon", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
PATTERNS = ("", "/", "\\", "x", "-", "|", "+", ".")
STATUSES = {
    "ok": "@good", "wrong": "@bad", "error": "@bad", "crashed": "@bad", "timeout": "@bad", "oom": "@warn",
    "inferred": "@warn", "skipped": "@muted", "unavailable": "@muted",
}  # fmt: skip
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def colours(theme: Theme) -> dict[str, str]:
    """Every colour by its name: `0` to `9` for series, the rest as in PAPER."""
    return {**{str(i): colour for i, colour in enumerate(SERIES[theme])}, **PAPER[theme]}


def series_of(panels: Iterable[Drawn]) -> list[str]:
    """The series of all panels in order of their first appearance, which is the order of their colours.

    Those that are statuses have colours of their own.
    """
    found = dict.fromkeys(t.series for p in panels for t in p.traces if t.series is not None)
    return [name for name in found if name not in STATUSES]


def styled(trace: Trace, series: list[str]) -> dict[str, Any]:
    """The plotly trace with the colour, symbol and dash of its series, where it does not set them itself."""
    data = copy.deepcopy(trace.data)
    rank = series.index(trace.series) if trace.series in series else None
    colour = STATUSES.get(trace.series or "", "@muted") if rank is None else f"@{rank % len(SERIES['light'])}"
    again = 0 if rank is None else rank // len(SERIES["light"])
    for path, value in _defaults(data, colour, rank or 0, again):
        _set_default(data, path, value)
    return data


def template() -> dict[str, Any]:
    """The plotly template of every panel, with names of colours."""
    axis = {
        "gridcolor": "@grid", "linecolor": "@line", "zerolinecolor": "@line", "tickcolor": "@line", "automargin": True,
        "ticks": "outside", "ticklen": 4, "showline": True, "zeroline": False, "title": {"standoff": 8},
    }  # fmt: skip
    layout = {
        "font": {"family": FONT, "size": 12, "color": "@ink"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": axis,
        "yaxis": axis,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "@raised", "bordercolor": "@line", "font": {"color": "@ink"}, "align": "left"},
        "legend": {"bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}, "tracegroupgap": 0},
        "annotationdefaults": {"font": {"color": "@muted", "size": 12}, "arrowcolor": "@muted", "showarrow": False},
        "shapedefaults": {"line": {"color": "@muted", "width": 1}, "fillcolor": "@warn/0.14"},
        "coloraxis": {"colorscale": "Cividis", "colorbar": {"outlinewidth": 0, "thickness": 12}},
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
    }  # fmt: skip
    return {"layout": layout}


def coloured(value: Any, theme: Theme, *, key: str = "") -> Any:
    """`value` with the names of colours replaced; only where plotly wants a colour."""
    if isinstance(value, Mapping):
        return {k: coloured(v, theme, key=k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [coloured(v, theme, key=key) for v in value]
    if isinstance(value, str) and value.startswith("@") and key.endswith("color"):
        name, _, opacity = value[1:].partition("/")
        found = colours(theme)[name]
        red, green, blue = (int(found[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{opacity})" if opacity else found
    return value


def _defaults(data: Mapping[str, Any], colour: str, rank: int, again: int) -> Iterable[tuple[str, Any]]:
    """What a trace of its type gets: paths into the trace, and values."""
    kind, mode = data.get("type", "scatter"), str(data.get("mode", "lines+markers"))
    if kind == "scatter" and data.get("fill", "none") != "none":
        yield from {"fillcolor": f"{colour}/0.16", "line.color": colour, "line.width": 0}.items()
    elif kind == "scatter":
        yield from {"line.color": colour, "line.width": 2, "marker.color": colour, "marker.size": 7}.items()
        yield "marker.symbol", SYMBOLS[rank % len(SYMBOLS)]
        if "lines" in mode:
            yield "line.dash", DASHES[again % len(DASHES)]
        yield from (("error_y.color", f"{colour}/0.6"),) if "error_y" in data else ()
        yield from (("error_x.color", f"{colour}/0.6"),) if "error_x" in data else ()
    elif kind == "bar":
        yield "marker.color", colour
        yield from (("marker.pattern.shape", PATTERNS[again % len(PATTERNS)]),) if again else ()
        yield from (("error_y.color", "@ink/0.7"),) if "error_y" in data else ()
    elif kind == "heatmap" and "coloraxis" not in data:
        yield from {"colorscale": "Cividis", "colorbar.outlinewidth": 0, "colorbar.thickness": 12}.items()


def _set_default(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        data = data.setdefault(name, {})
    data.setdefault(last, value)
