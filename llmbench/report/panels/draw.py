"""Panels by their kind: every one of a dashboard, drawn from the same points."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from llmbench.report.dashboard import Dashboard, PanelSpec
from llmbench.report.dashboard_form import Kind
from llmbench.report.drawn import Drawn
from llmbench.report.panels.bars import bars, stacked
from llmbench.report.panels.complexity import complexity
from llmbench.report.panels.data import PageData
from llmbench.report.panels.distribution import distribution
from llmbench.report.panels.fit import fit
from llmbench.report.panels.heatmap import heatmap
from llmbench.report.panels.label import joined
from llmbench.report.panels.pareto import pareto
from llmbench.report.panels.roofline import roofline
from llmbench.report.panels.status import status, table
from llmbench.report.panels.sweep import speedup, sweep
from llmbench.report.panels.timeline import timeline

DRAW: Mapping[Kind, Callable[[PanelSpec, PageData], Drawn]] = MappingProxyType(
    {
        "sweep": sweep, "bars": bars, "speedup": speedup, "roofline": roofline, "complexity": complexity,
        "fit": fit,
        "heatmap": heatmap, "pareto": pareto, "stacked": stacked, "distribution": distribution, "timeline": timeline,
        "table": table, "status": status,
    }
)  # fmt: skip


def draw(spec: PanelSpec, data: PageData) -> Drawn:
    """The panel, with data or with the sentence that says why there is none."""
    found = DRAW[spec.kind](spec, data)
    return replace(found, caption=joined([found.caption, spec.note]))


def draw_all(dashboard: Dashboard, data: PageData) -> tuple[Drawn, ...]:
    """Every panel of the dashboard in its order, each with an anchor of its own."""
    found: list[Drawn] = []
    for spec in dashboard.panels:
        drawn = draw(spec, data)
        same = sum(d.anchor == drawn.anchor or d.anchor.startswith(f"{drawn.anchor}--") for d in found)
        found.append(replace(drawn, anchor=f"{drawn.anchor}--{same + 1}") if same else drawn)
    return tuple(found)
