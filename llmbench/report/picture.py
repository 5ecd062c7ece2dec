"""Panels as PNG, drawn by kaleido in a browser without a window: for documents, on light paper."""

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

from llmbench.errors import MachineError
from llmbench.report.drawn import Drawn
from llmbench.report.palette import PAPER, coloured, series_of, styled, template
from llmbench.report.payload import anchor_of, layout_of, plottable

WIDTH_PX, SCALE = 1000, 2
NEEDS = "--png needs kaleido and a Chromium or Chrome browser; install kaleido with: pip install 'kaleido>=1'"


def pictures(panels: Sequence[Drawn]) -> Iterator[tuple[str, bytes]]:
    """The anchor and the PNG of each panel that has a plot.

    Raises: MachineError if kaleido or a browser is missing, or they cannot draw.
    """
    if importlib.util.find_spec("kaleido") is None:
        raise MachineError(NEEDS)
    from plotly.io import to_image  # half a second, which every other command would pay

    series = series_of(panels)
    for panel in panels:
        if not panel.traces or panel.why_empty:
            continue
        try:  # one browser a picture: the server that kaleido can keep hangs for ever when its browser does not start
            png = to_image(figure_of(panel, series), format="png", scale=SCALE, validate=False)
        except Exception as e:  # every version of kaleido has errors of its own
            raise MachineError(f"{NEEDS}. It said: {type(e).__name__}: {e}") from e
        yield anchor_of(panel), png


def figure_of(panel: Drawn, series: list[str]) -> dict[str, Any]:
    """The panel as a plotly figure with its title and legend above, in the colours of light paper."""
    data = [plottable(styled(trace, series)) for trace in panel.traces]
    names = {t.get("legendgroup") or t.get("name") for t in data if t.get("showlegend") is not False and t.get("name")}
    rows = -(-sum(len(str(n)) * 7 + 46 for n in names) // WIDTH_PX) if len(names) > 1 else 0
    titles = [a["text"] for a in panel.layout.get("annotations", ()) if a.get("yanchor") == "bottom" and a["y"] >= 1]
    top = 40 + 20 * rows + 14 * max((title.count("<br>") + 1 for title in titles), default=1)
    layout = {
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1 - 30 / (panel.height_px + top),
            "yanchor": "top",
            "yref": "container",
        },
        **layout_of(panel),
        "template": template(),
        "width": WIDTH_PX,
        "height": panel.height_px + top,
        "paper_bgcolor": PAPER["light"]["paper"],
        "title": {
            "text": plottable(panel.title, "title"),
            "x": 0.01,
            "y": 0.99,
            "yanchor": "top",
            "font": {"size": 15},
        },
        "margin": {"t": top, **panel.layout.get("margin", {})},
    }
    figure: dict[str, Any] = coloured({"data": data, "layout": layout}, "light")
    return figure
