"""Dashboards: what to look at, as data. `read` the text, then `check` its names against the runs that it shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmbench.errors import SuiteError, nearest
from llmbench.report.dashboard_form import Kind, parse_form
from llmbench.report.dashboard_names import ALL_METRICS, Names, names_of, problems
from llmbench.store.query import Run
from llmbench.suite.bundled import find, names
from llmbench.suite.document import Document, Place, dotted, parse_document, read_document
from llmbench.suite.suite import Match

DEFAULT = "default"  # the dashboard of a run whose suite and op have none: it names nothing that an op might lack


@dataclass(frozen=True)
class PanelSpec:
    """One panel of a dashboard; an option that its kind does not have, or that is not given, is None or empty."""

    kind: Kind
    title: str | None = None
    where: Match = field(default_factory=dict)  # only cases that have one of these values
    x: str | None = None
    y: str | None = None
    z: str | None = None
    color: str | None = None
    facet: str | None = None  # side by side
    row: str | None = None  # one below the other
    metric: str | None = None
    band: str | None = None  # ci or none
    log: tuple[str, ...] | None = None  # which of x and y are logarithmic; None: sizes, ratios and what spans decades
    theory: dict[str, float] = field(default_factory=dict)  # series -> exponent of the law it should follow
    diagonal: bool = False  # a line where y equals x
    front: str | None = None  # point or subplot: among which cases the best are looked for
    part: tuple[str, ...] = ()
    cases: int | None = None
    columns: tuple[str, ...] = ()
    reference: dict[str, float] = field(default_factory=dict)  # values of y that are known from elsewhere
    note: str = ""  # for the caption


@dataclass(frozen=True)
class Dashboard:
    """A page: its title and its panels, in order."""

    title: str  # empty until `load_dashboard` knows the suite
    panels: tuple[PanelSpec, ...]
    path: str
    document: Document = field(compare=False, repr=False)


def load_dashboard(source: str | Path | None, runs: Sequence[Run]) -> Dashboard:
    """The dashboard in that file or bundled under that name, or the one that fits the runs; they know its names.

    Without a title of its own it has that of their suite. A bundled one that is asked for by name goes without those
    axes that the runs do not have, and says so.
    Raises: SuiteError for the first mistake in it, UsageError for a name that is neither.
    """
    dashboard = read_dashboard(dashboard_for(runs) if source is None else source)
    if isinstance(source, str) and source in names(kind="dashboards") and not Path(source).is_file():
        dashboard = _fitted(dashboard, names_of(runs))
    check(dashboard, runs)
    suites = dict.fromkeys(run.manifest.header.suite.name for run in runs)
    return replace(dashboard, title=dashboard.title or " and ".join(suites))


def read_dashboard(source: str | Path) -> Dashboard:
    """The dashboard in that file or bundled under that name, its form checked. Raises: as `load_dashboard`."""
    return _dashboard(read_document(find(source, kind="dashboards")))


def parse_dashboard(text: str | bytes, *, path: str = "dashboard.yaml") -> Dashboard:
    """The dashboard in a text that is at hand; `path` names it in messages. Raises: SuiteError."""
    return _dashboard(parse_document(text, path=path))


def check(dashboard: Dashboard, runs: Sequence[Run]) -> None:
    """Raises: SuiteError for the first metric, parameter, axis or implementation that the runs do not have."""
    known = names_of(runs)
    found = [error for i, panel in enumerate(dashboard.panels) for error in _errors(dashboard, i, panel, known)]
    if found:
        raise min(found, key=lambda e: (e.line, e.column))


def dashboard_for(runs: Sequence[Run]) -> Path:
    """The bundled dashboard named like the suite of the runs, else like their op, else the default.

    One that names what the runs do not have, because a suite of somebody else's has the same name, is passed over.
    """
    suites = [run.manifest.header.suite for run in runs]
    for candidates in ({s.name for s in suites}, {s.op.name for s in suites}):
        if len(candidates) == 1 and (name := next(iter(candidates))) in names(kind="dashboards"):
            path = find(name, kind="dashboards")
            try:
                check(read_dashboard(path), runs)
            except SuiteError:
                continue
            return path
    return find(DEFAULT, kind="dashboards")


def _dashboard(document: Document) -> Dashboard:
    form = parse_form(document)
    panels = tuple(PanelSpec(**given) for given in form.panels)
    for i, panel in enumerate(panels):
        if (first := panels.index(panel)) != i:
            raise document.error(f"panels[{i}] repeats panels[{first}]", ("panels", i))
    return Dashboard(form.title, panels, document.path, document)


def _fitted(dashboard: Dashboard, known: Names) -> Dashboard:
    """The dashboard without axes and laws that the runs do not have."""
    return replace(dashboard, panels=tuple(_fitted_panel(panel, known) for panel in dashboard.panels))


def _fitted_panel(panel: PanelSpec, known: Names) -> PanelSpec:
    names = (*ALL_METRICS, *known.facts)
    lost = {o: name for o in ("x", "color", "facet", "row") if (name := getattr(panel, o)) and name not in names}
    told = [f"Without the dashboard's {option} {name}, which these runs do not have." for option, name in lost.items()]
    of_impls = panel.color in (None, "impl")
    theory = {name: power for name, power in panel.theory.items() if name in known.impls or not of_impls}
    without: dict[str, Any] = dict.fromkeys(lost)
    return replace(panel, theory=theory, note=" ".join([*filter(None, [panel.note]), *told]), **without)


def _errors(dashboard: Dashboard, index: int, panel: PanelSpec, known: Names) -> list[SuiteError]:
    found = []
    for problem in problems(panel.kind, vars(panel), known):
        place: Place = ("panels", index, *problem.place)
        if place not in dashboard.document.values:  # a value that stands alone, where a list may
            place = place[:-1]
        text = f"{dotted(place)} {problem.message}"
        text += nearest(problem.seen[:60], problem.known) if problem.known else ""
        found.append(dashboard.document.error(text, place, at="key" if problem.at_key else "value"))
    return found
