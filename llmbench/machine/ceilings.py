"""Ceilings: what a device was measured to reach at best, beside what its datasheet says, and whether cold is cold.

Plain data, standard library only: a worker measures it, the parent keeps it, a run's header holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from llmbench.machine.finding import Finding, State
from llmbench.machine.peaks import peak_bytes_per_s, peak_flop_per_s

Verdict = Literal["verified", "not cold", "cannot be told"]

ABOVE = 1.05  # times the memory's bandwidth: what a cold copy may show; design, "How a number earns trust"
SLOWER = 1.10  # a warm copy is to be faster than a cold one by this factor before the two tell anything


@dataclass(frozen=True)
class Rate:
    """FLOP/s or B/s at the best of the sizes that were tried: the median of its samples, their quartiles, the best."""

    value: float
    low: float
    high: float
    best: float
    n: int
    size: str  # `2048 x 2048 x 2048`, `256 MiB`


@dataclass(frozen=True)
class CacheCheck:
    """A copy of a buffer well inside the last-level cache, in B/s read and written.

    `warm` runs again on the same buffer, `flushed` after the flush, `rotated` over clones in turn. `streamed` are reads
    of as many bytes, ever other ones out of 8 times the cache: what the memory gives to calls of that length. The last
    two are None on a GPU, which is flushed, and whose calls nobody interrupts.
    """

    warm: Rate
    flushed: Rate
    rotated: Rate | None
    streamed: Rate | None
    llc_bytes: int

    @property
    def cold(self) -> dict[str, float]:
        """Way to make the cache cold -> upper quartile of the copies after it, in B/s."""
        found = {"flushed": self.flushed.high}
        return found if self.rotated is None else {**found, "rotated": self.rotated.high}


@dataclass(frozen=True)
class Ceilings:
    """What a device reached. `copy` counts the bytes read and those written, `read` those read; SI units."""

    device: str
    device_name: str
    device_key: str
    host: str | None
    threads: int | None  # of torch, on a CPU
    measured: str  # UTC, ISO 8601
    torch: str
    flop_per_s: dict[str, Rate] = field(default_factory=dict)  # torch's name of a dtype, or tf32
    copy: Rate | None = None
    read: Rate | None = None
    cache: CacheCheck | None = None
    notes: tuple[str, ...] = ()  # what was left out, and why
    busy: str | None = None  # what other programs did meanwhile, where they did
    wall_s: float = 0.0


_NONE = Rate(0.0, 0.0, 0.0, 0.0, 0, "")


class Coldness(NamedTuple):
    """Whether what is called cold is cold, and the figures that say so."""

    verdict: Verdict
    why: str


def coldness(found: Ceilings) -> Coldness:
    """Cold is verified where a cold copy is no faster than 1.05 x the memory, and slower than a warm one.

    The memory's bandwidth is the datasheet's, else the best of what was copied and read from memory: a small copy after
    the flush leaves what it wrote in the cache, so it may pass a large copy, whose writes go out, but no read. Both
    tests take the upper quartile of the cold copies, so that those that were interrupted do not pass for cold ones.
    """
    if found.cache is None:
        return Coldness("cannot be told", next((n for n in found.notes if n.startswith("cold cache")), "not measured"))
    warm, cold = found.cache.warm.value, max(found.cache.cold.values())
    sheet = peak_bytes_per_s(found.device_name)
    memory = sheet or max(r.best for r in (found.copy, found.read, found.cache.streamed, _NONE) if r is not None)
    if not memory:
        return Coldness("cannot be told", "the memory's bandwidth is not known and could not be measured")
    ways = ", ".join(f"{_gb(rate)} {way}" for way, rate in found.cache.cold.items())
    told = f"{ways}, {_gb(warm)} warm; memory {_gb(memory)} ({'datasheet' if sheet else 'best copy or read'})"
    if cold > ABOVE * memory:
        if found.busy is None:
            return Coldness("not cold", told)
        return Coldness("cannot be told", f"{told}; not to be trusted, since {found.busy}")
    if warm < SLOWER * cold:
        why = "a warm copy is hardly faster: others fill the cache, or calls are too short to tell"
        return Coldness("cannot be told", f"{told}; {why}")
    return Coldness("verified", told)


def ceiling_findings(known: Sequence[Ceilings]) -> list[Finding]:
    """What doctor shows of ceilings, each with its share of the datasheet where there is one."""
    if not known:
        advice = "measure them with: llmbench doctor --ceilings; runs record them, and rooflines show them"
        return [Finding("ceilings", "measured", "info", "not yet", advice)]
    return [finding for one in known for finding in _findings(one)]


def _findings(found: Ceilings) -> list[Finding]:
    area = f"ceilings of {found.device}"
    threads = "" if found.threads is None else f", {found.threads} thread{'' if found.threads == 1 else 's'}"
    when = f"{found.measured[:16].replace('T', ' ')} UTC in {found.wall_s:.0f} s, torch {found.torch}{threads}"
    told = [Finding(area, "device", "ok", found.device_name)]
    if found.busy:
        again = f"llmbench doctor --ceilings --device {found.device}"
        again += f" --threads {found.threads}" if found.threads else ""
        advice = f"too low: {found.busy}; then again: {again}"
        told.append(Finding(area, "measured", "warn", when, advice))
    else:
        told.append(Finding(area, "measured", "ok", when))
    for dtype, rate in found.flop_per_s.items():
        sheet = peak_flop_per_s(found.device_name, dtype)
        told.append(Finding(area, f"{dtype} matmul", "ok", _text(rate, *_flop_unit(rate.value), sheet)))
    sheet = peak_bytes_per_s(found.device_name)
    for what, moved in (("copy", found.copy), ("read", found.read)):
        if moved is not None:
            label = f"{what}, read + write" if what == "copy" else what
            told.append(Finding(area, label, "ok", _text(moved, 1e9, "GB/s", sheet)))
    for note in found.notes:
        told.append(Finding(area, "left out", "info", note, "no measured roof is drawn there"))
    return [*told, _cold_finding(area, found)]


def _cold_finding(area: str, found: Ceilings) -> Finding:
    verdict, why = coldness(found)
    state, advice = _COLD[verdict]
    return Finding(area, "cold cache", state, f"{verdict}: {why}", advice, disturbs=True)


_COLD: dict[Verdict, tuple[State, str]] = {
    "verified": ("ok", ""),
    "not cold": ("warn", "times of cache: cold are too short on this machine; trust cache: warm, and report this"),
    "cannot be told": ("info", "measure again on a quiet machine; until then that cold is cold is an assumption"),
}
"""What a verdict is to doctor, and what to do about it."""


def _text(rate: Rate, size: float, unit: str, sheet: float | None) -> str:
    """`92.1 GFLOP/s (90.2 to 93.0, 12 times 2048 x 2048 x 2048), 93% of the datasheet's`."""
    value, low, high = (_figures(v / size) for v in (rate.value, rate.low, rate.high))
    share = "" if sheet is None else f", {rate.value / sheet:.0%} of the datasheet's"
    return f"{value} {unit} ({low} to {high}, {rate.n} times {rate.size}){share}"


def _flop_unit(value: float) -> tuple[float, str]:
    return (1e12, "TFLOP/s") if value >= 1e12 else (1e9, "GFLOP/s")


def _gb(value: float) -> str:
    return f"{_figures(value / 1e9)} GB/s"


def _figures(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
