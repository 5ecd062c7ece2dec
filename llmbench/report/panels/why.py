"""Why a panel is empty or incomplete: sentences that say what was not there, and what would bring it."""

from collections import Counter
from collections.abc import Sequence

from llmbench.analyze.summary import counted
from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.label import value_text
from llmbench.report.scale import MISSING

_PROBES = {
    "peak_memory": "memory", "peak_reserved": "memory", "peak_rss": "memory",
    "power": "power", "sm_clock": "power", "memory_clock": "power", "temperature": "power", "energy": "energy",
    "launches": "kernels", "counted_flop": "kernels", "graphs": "kernels", "graph_breaks": "kernels",
    "recompiles": "kernels", "registers": "kernels", "spills": "kernels", "shared_memory": "kernels",
    "energy_per_token": "energy",
}  # fmt: skip
_COSTS = {"flop_per_s": "flop", "flop_peak_fraction": "flop", "bytes_per_s": "bytes", "tokens_per_s": "tokens"}
_COUNTS = {"flop": "FLOP counts", "bytes": "counts of bytes", "tokens": "counts of tokens"}


def empty(spec: PanelSpec, title: str, why: str) -> Drawn:
    """A panel without data; `why` is a sentence."""
    return Drawn(anchor_of(spec), spec.kind, spec.title or title, why_empty=why)


def anchor_of(spec: PanelSpec) -> str:
    """`sweep-flop_per_s-seq_len-heads-phase`: what the dashboard says of the panel, in a fixed order."""
    parts = [spec.z, spec.y, spec.x, spec.metric, spec.color, spec.facet, spec.row, *spec.part]
    where = [f"{k}-{'-'.join(value_text(v) for v in values)}" for k, values in spec.where.items()]
    text = "-".join([spec.kind, *(p for p in parts if p and not (p is spec.color and p == "impl")), *where])
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in text)[:120]


def why_none(name: str, points: Sequence[Point], data: PageData) -> str:
    """Why not one of these points has that metric."""
    if not points:
        return "No case of the run matches where." if data.points else "The run has no case."
    ok = [p for p in points if p.line.status == "ok"]
    if not ok:
        return f"No case has a result: {counted(Counter(p.line.status for p in points))}."
    if name in _COSTS and not any(getattr(p.rows[0], _COSTS[name]) for p in ok):
        return f"No case has {_COUNTS[_COSTS[name]]}."
    if name == "intensity":
        return "No case has counts of both FLOP and bytes."
    if name.startswith("hardware_") and not any(p.line.rates.hardware_flop_per_s for p in ok):
        return "No case says how much of its FLOP is computed again."
    if name == "bytes_peak_fraction" and all(p.rows[0].cache == "warm" for p in ok):
        return "The cache was warm: what a call reads need not come from the device's memory."
    if name.endswith("peak_fraction"):
        return f"The datasheet peak of {devices_text(data)} is not known."
    if name == "floor_time":
        return (
            f"How fast {devices_text(data)} moves bytes is not known: {data.ceilings_command} measures it, "
            "for later runs."
        )
    if name in ("speedup", "overhead"):
        what = {"speedup": "a speed-up", "overhead": "a time beyond a baseline's"}[name]
        return f"No case has {what}: {next((w for p in ok if (w := p.line.speedup_why)), 'no time')}."
    if name == "compile_time":
        return "No case was compiled."
    probe = _PROBES.get(name)
    if probe and not any(probe in run.manifest.header.suite.probes for run in data.runs):
        return f"No case has {name}: the suite does not ask for the probe {probe}."
    notes = [
        n
        for run in data.runs
        for n in run.manifest.notes
        if probe is not None and n.startswith({"power": "power and clocks", "energy": "energy"}.get(probe, "?"))
    ]
    return f"No case has {name}{': ' + notes[0] if notes else ''}."


def missing_text(points: Sequence[Point], placed: Sequence[Point]) -> str:
    """How many points a panel could not place, by status, as a sentence; empty when it has them all."""
    if len(placed) == len(points):
        return ""
    drawn = {id(p) for p in placed}
    lacking = [p for p in points if id(p) not in drawn]
    counts = counted(Counter(p.line.status for p in lacking))
    text = f"{len(lacking):,} of {len(points):,} cases are not drawn ({counts})"
    return f"{text}." if any(p.line.status != "ok" for p in lacking) else f"{text}: they do not have the metric."


def devices_text(data: PageData) -> str:
    """The devices of the runs."""
    return " and ".join(dict.fromkeys(r.manifest.header.machine.device_name for r in data.runs)) or MISSING
