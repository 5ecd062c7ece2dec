"""A summary in words, the same for terminal and markdown: titles, cells, notes, reasons. Nothing is escaped yet."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from llmbench.analyze.facts import Facts
from llmbench.analyze.stats import Estimate
from llmbench.analyze.summary import Line, Summary, counted
from llmbench.orderstat import MIN_SAMPLES
from llmbench.report.scale import (
    BYTE_RATES,
    FLOP_RATES,
    TIMES,
    WIDE,
    Scale,
    bytes_text,
    digits,
    percent_text,
    scale_of,
    scaled,
    spread_text,
)
from llmbench.suite.catalog import Scalar

COMPUTE_INTENSITY = 40.0
"""FLOP/B from which an op is shown in FLOP/s and below in B/s: decode with 32 query heads a kv head in bf16 has 32,
causal attention over 512 tokens has 64 or more, optimizers and losses less than 10."""

SHOWN_CASES = 3  # of those that share a reason, named one by one


class Columns(NamedTuple):
    """The columns of a report, those that no line fills left out: key -> heading."""

    headings: dict[str, str]
    rate: Scale
    by_flop: bool


@dataclass(frozen=True)
class Aside:
    """A reason and the cases that share it; `where` is empty when it holds for all of `name`."""

    name: str
    status: str
    where: str
    why: str
    told: frozenset[str]  # the case ids whose reason is `why` to the letter; others differ from it in numbers


def named(facts: Mapping[str, Scalar]) -> str:
    """`seq_len=512 heads=gqa`; implementation and phase by their value alone."""
    return " ".join(_value(v) if k in ("impl", "phase") else f"{k}={_value(v)}" for k, v in facts.items())


def title_of(line: Line) -> str:
    """What tells the point of this line from the others: `fwd seq_len=512 heads=gqa`."""
    return named(line.point) or line.op


def name_of(line: Line) -> str:
    """What tells this line from the rest of its point: the implementation, or what the baseline names."""
    own = named(line.variant)
    return own if "impl" in line.point and own else f"{line.impl} {own}".strip()


def columns_of(summary: Summary) -> Columns:
    """Which columns the lines can fill, in which unit of rate."""
    timed = [line for line in summary.lines if line.time is not None]
    intensities = [line.rates.intensity for line in timed if line.rates.intensity is not None]
    has_flop = any(line.rates.flop_per_s for line in timed)
    has_bytes = any(line.rates.bytes_per_s for line in timed)
    by_flop = has_flop and not (has_bytes and intensities and median(intensities) < COMPUTE_INTENSITY)
    rates = [r.value for line in timed if (r := rate_of(line, by_flop=by_flop)) is not None]
    scale = scale_of(median(rates) if rates else 1.0, FLOP_RATES if by_flop else BYTE_RATES)
    training = any(line.phase == "step" for line in timed)
    candidates = {
        "time": ("time", bool(timed)),
        "spread": ("±", any(line.time and line.time.half_width is not None for line in timed)),
        "rate": (scale.unit, bool(rates)),
        "peak": ("% peak", any(peak_of(line, by_flop=by_flop) is not None for line in timed)),
        "tokens": ("tokens/s", training and any(line.rates.tokens_per_s for line in timed)),
        "error": ("rel error", not summary.facts.baseline and any(line.rel_error for line in timed)),
        "memory": ("peak mem", any(line.peak_memory for line in timed)),
        "speedup": ("speed-up", any(line.speedup for line in timed)),
        "interval": ("95 % CI", any(line.speedup and line.speedup.low is not None for line in timed)),
    }
    return Columns({k: heading for k, (heading, filled) in candidates.items() if filled}, scale, by_flop)


def cells_of(line: Line, columns: Columns, *, time_unit: Scale) -> dict[str, str]:
    """The cells of a line that is `ok`, by column; the same keys as the headings."""
    ratio, tokens = line.speedup, line.rates.tokens_per_s
    rate = rate_of(line, by_flop=columns.by_flop)
    cells = {
        "time": scaled(line.time and line.time.value, time_unit),
        "spread": _spread(line.time),
        "rate": "" if rate is None else scaled(rate.value, columns.rate, 3, unit=False),
        "peak": percent_text(peak_of(line, by_flop=columns.by_flop), 1),
        "tokens": "" if tokens is None else digits(tokens.value),
        "error": "" if line.rel_error is None else f"{line.rel_error:.1e}",
        "memory": bytes_text(line.peak_memory and line.peak_memory.value),
        "speedup": ("baseline" if line.is_baseline else "") if ratio is None else _ratio(ratio.value, ratio.paired),
        "interval": ""
        if ratio is None or ratio.low is None
        else f"[{digits(ratio.low, 3)}, {digits(ratio.high or 0, 3)}]",
    }
    return {key: cells[key] for key in columns.headings}


def time_unit_of(lines: Iterable[Line]) -> Scale:
    """One unit of time for a point, so that its column can be compared by eye: that of its fastest line."""
    return scale_of(min((line.time.value for line in lines if line.time), default=0.0), TIMES)


def rate_of(line: Line, *, by_flop: bool) -> Estimate | None:
    """FLOP/s or B/s of the line."""
    return line.rates.flop_per_s if by_flop else line.rates.bytes_per_s


def peak_of(line: Line, *, by_flop: bool) -> float | None:
    """The share of the device's peak that goes with the rate."""
    return line.rates.flop_peak_fraction if by_flop else line.rates.bytes_peak_fraction


def notes_of(line: Line) -> list[str]:
    """What weakens the numbers of a line, in a word or two each."""
    return [f"{word} {_size(word, share)}".rstrip() for word, share in _weak(line)] if _is_weak(line) else []


def letters_of(line: Line) -> str:
    """The same, a letter each, for where there is no room: `np`."""
    return "".join(word[0] for word, _ in _weak(line)) if _is_weak(line) else ""


def letters_legend(lines: Iterable[Line]) -> str:
    """`n noisy, p processes differ (up to 30%)`: the letters of these lines."""
    found: dict[str, float] = {}
    for word, share in (weak for line in lines for weak in _weak(line)):
        found[word] = max(found.get(word, 0.0), share or 0.0, key=abs)
    return ", ".join(
        f"{w[0]} {w}" + (f" (up to {size})" if (size := _size(w, most)) else "") for w, most in found.items()
    )


def _is_weak(line: Line) -> bool:
    return bool(line.flags) or line.grad == "off"


def _weak(line: Line) -> Iterator[tuple[str, float | None]]:
    """Each flag as a word, no two with the same first letter, and its share."""
    words = {"host_bound": "host-bound", "autocorrelated": "correlated", "skipped_steps": "steps skipped"}
    for flag in line.flags:
        yield words.get(flag.name, flag.name.replace("_", " ")), flag.share
    if line.grad == "off" and line.phase != "infer":
        yield "grad off", None


def _size(word: str, share: float | None) -> str:
    """How large that is: `40%` as a rule, `+5%` a drift, `0.48` a correlation; `noisy` has its own column."""
    if not share or word == "noisy":
        return ""
    forms = {"correlated": ".2f", "drift": "+.0%", "steps skipped": ".0f"}
    return format(share, forms[word]) if word in forms else percent_text(share)


def set_aside(summary: Summary) -> set[str]:
    """The case ids of lines that a table leaves out: an implementation unavailable for one reason in a whole phase."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in summary.lines:
        groups.setdefault((name_of(line), line.phase), []).append(line)
    hidden = [g for g in groups.values() if {(x.status, x.why) for x in g} == {("unavailable", g[0].why)}]
    return {line.case_id for group in hidden for line in group}


def asides(summary: Summary) -> list[Aside]:
    """Every reason once, with the cases that share it. Reasons that differ in their numbers alone are one."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in summary.lines:
        if line.status != "ok":
            groups.setdefault((name_of(line), line.status, alike(line.why or "")), []).append(line)
    return [
        Aside(
            name,
            status,
            where=which([x.point for x in lines], [x.point for x in summary.lines if name_of(x) == name]),
            why=lines[0].why or "no reason",
            told=frozenset(x.case_id for x in lines if x.why == lines[0].why),
        )
        for (name, status, _), lines in groups.items()
    ]


def choices(summary: Summary) -> list[tuple[str, str]]:
    """What implementations chose, each choice once: the name, with the cases that share it, and the choice."""
    groups: dict[tuple[str, str], list[Mapping[str, Scalar]]] = {}
    cases: dict[str, list[Mapping[str, Scalar]]] = {}
    for line in summary.lines:
        if line.config:
            facts = {k: v for k, v in {**line.point, **line.variant}.items() if k != "impl"}
            groups.setdefault((line.impl, line.config), []).append(facts)
            cases.setdefault(line.impl, []).append(facts)
    wheres = (which(found, cases[impl]) if len(found) < len(cases[impl]) else "" for (impl, _), found in groups.items())
    return [
        (f"{impl} ({where})" if where else impl, config) for (impl, config), where in zip(groups, wheres, strict=True)
    ]


def alike(reason: str) -> str:
    """The reason without its numbers: reasons that differ in these alone are one."""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", reason)


def which(chosen: Sequence[Mapping[str, Scalar]], among: Sequence[Mapping[str, Scalar]]) -> str:
    """The fewest facts that name exactly the `chosen` cases among all; else the first few of them, one by one."""

    def count(facts: Mapping[str, Scalar]) -> int:
        return sum(all(case.get(k) == v for k, v in facts.items()) for case in among)

    shared = {k: v for k, v in chosen[0].items() if all(case.get(k) == v for case in chosen)}
    for key in list(shared):
        fewer = {k: v for k, v in shared.items() if k != key}
        if count(fewer) == len(chosen):
            shared = fewer
    if count(shared) == len(chosen):
        return named(shared)
    more = len(chosen) - SHOWN_CASES
    return "; ".join(map(named, chosen[:SHOWN_CASES])) + (f"; and {more} more" if more > 0 else "")


def status_of(line: Line, told: Collection[str]) -> str:
    """The status of a line, with its reason unless the line is one of the `told`, whose reason is below the table."""
    return line.status if line.why is None or line.case_id in told else f"{line.status}: {line.why}"


def told_below(found: Iterable[Aside]) -> set[str]:
    """The case ids whose reason these asides tell to the letter."""
    return {case_id for aside in found for case_id in aside.told}


def heading(facts: Facts) -> list[tuple[str, str]]:
    """The head of a report as pairs of a label and what it says."""
    versions = [f"{k} {v}" for k, v in facts.versions.items() if k in ("torch", "triton", "driver", "cuda")]
    measured = [f"cache {facts.cache}", facts.order, *([f"{facts.processes} processes"] if facts.processes > 1 else [])]
    baseline = [f"baseline {named(facts.baseline)}"] if facts.baseline else []
    told = named({k: facts.constants[k] for k in facts.told})
    dirty = " with uncommitted changes" if facts.dirty else ""
    pairs = [
        ("suite", f"{facts.suite} ({facts.op})" if facts.suite != facts.op else facts.suite),
        ("device", f"{facts.device_name} ({facts.device}, {facts.arch})"),
        ("run", " · ".join(filter(None, [facts.run_id, _minute(facts.started), _wall_text(facts.wall_s)]))),
        ("code", " · ".join([f"commit {(facts.commit or 'unknown')[:12]}{dirty}", *versions])),
        ("measured", " · ".join([*measured, *baseline])),
        ("all cases", told),
        *((axis, _bundle(labels, facts.constants)) for axis, labels in facts.bundles.items()),
        ("cases", counted(facts.counts) or "none"),
    ]
    return [(label, text) for label, text in pairs if text]


def legend(summary: Summary, columns: Columns, *, best: str = "*") -> list[str]:
    """How to read the table: only what it shows. `best` is how the fastest lines of a point are marked."""
    timed = [line for line in summary.lines if line.time is not None]
    bases = {line.time.basis for line in timed if line.time is not None}
    texts = ["time: median of one call"]
    if "samples" in bases:
        texts.append("± half its 95 % CI over the samples of one process")
    if "processes" in bases:
        texts.append("± half its 95 % CI over processes")
    if "range" in bases:
        texts.append("± half the range of the CIs of its processes, too few for a CI over processes")
    if any(_spread(line.time).startswith("-") for line in timed):
        texts.append(f"-5/+40%: the two sides of one that is ±{percent_text(WIDE)} or wider")
    if "speedup" in columns.headings:
        paired = any(line.speedup and line.speedup.paired for line in timed)
        texts.append("speed-up: time of the baseline over that of the case" + (", paired by block" if paired else ""))
    if "interval" in columns.headings and 1 < summary.facts.processes < MIN_SAMPLES:
        few = summary.facts.processes
        texts.append(f"its CI: bootstrap over {few} processes and their blocks, too narrow where processes differ most")
    if any(line.speedup and not line.speedup.paired for line in timed):
        texts.append("~ not paired, so drift between the two is in it")
    if any(line.best for line in timed):
        texts.append(f"{best} fastest of its point, or not told from it")
    return texts


def _wall_text(wall_s: float) -> str:
    """How long a run took: `95 s`, `12 min`; nothing where it is unknown."""
    return "" if wall_s <= 0 else f"{wall_s:.0f} s" if wall_s < 120 else f"{wall_s / 60:.0f} min"


def _bundle(labels: Mapping[str, Mapping[str, Scalar]], constants: Mapping[str, Scalar]) -> str:
    """What each label stands for, less what all cases share, unless that is all that it sets."""
    return " · ".join(
        f"{label}: {named({k: v for k, v in sets.items() if k not in constants} or sets)}"
        for label, sets in labels.items()
    )


def _spread(time_s: Estimate | None) -> str:
    if time_s is None or time_s.low is None or time_s.high is None or time_s.half_width is None:
        return ""
    return spread_text(time_s.value, time_s.low, time_s.high)


def _ratio(value: float, paired: bool) -> str:
    return f"{'' if paired else '~'}{digits(value, 3)}x"


def _value(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _minute(started: str) -> str:
    return started[:16].replace("T", " ") + " UTC"
