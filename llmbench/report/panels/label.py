"""Texts within a chart: plotly reads tags and entities in them, and people read little."""

from collections.abc import Mapping

from llmbench.analyze.stats import Estimate
from llmbench.report.escape import one_line
from llmbench.report.scale import MISSING, Scale, scaled
from llmbench.suite.catalog import Scalar

LONGEST = 60  # characters of a name in a legend, on an axis or in a hover box
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "%": "&#37;", "$": "&#36;"})


def plain(text: object, longest: int = LONGEST) -> str:
    """`text` on one line, cut to a length, so that plotly shows exactly it: no tag, no %{template}, no $formula$."""
    line = one_line(value_text(text) if isinstance(text, bool | int | float) else str(text))
    return (line if len(line) <= longest else line[: longest - 1] + "…").translate(_ENTITIES)


def value_text(value: Scalar | None) -> str:
    """A fact as tables show it: `true`, `0.1`, `16384`."""
    if value is None:
        return MISSING
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def tick_text(value: Scalar) -> str:
    """A number on an axis: `16k` for 16384, as the field writes sizes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1024 and value % 1024 == 0:
        return tick_text(value // 1024) + "k" if value < 1 << 20 else f"{value / (1 << 20):g}M"
    return value_text(value)


def facts_text(facts: Mapping[str, Scalar]) -> str:
    """`seq_len=512 heads=gqa fwd` for a hover box or a caption, each plain."""
    return " ".join(
        plain(v) if k in ("impl", "phase", "run", "device") else f"{plain(k)}={plain(v)}" for k, v in facts.items()
    )


def interval_text(found: Estimate, scale: Scale) -> str:
    """`[1.21, 1.25]` in that unit, empty without an interval."""
    if found.low is None or found.high is None:
        return ""
    return f"[{scaled(found.low, scale, unit=False)}, {scaled(found.high, scale, unit=False)}]"


def estimate_text(found: Estimate, scale: Scale) -> str:
    """`1.234 ms [1.21, 1.25]`."""
    return " ".join(filter(None, [scaled(found.value, scale), interval_text(found, scale)])).strip()


BASES = {
    "samples": "95 % CI over the samples of one process",
    "processes": "95 % CI over processes",
    "range": "range of the CIs of two to five processes, no CI itself",
}


def bases_text(found: list[Estimate]) -> str:
    """What the intervals shown rest on, as a sentence; empty where there are none."""
    known = [BASES[b] for b in BASES if any(e.basis == b for e in found)]
    return f"Intervals: {'; '.join(known)}." if known else ""


def joined(sentences: list[str]) -> str:
    """A caption of those sentences that say something."""
    return " ".join(s for s in sentences if s)
