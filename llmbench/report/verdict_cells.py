"""The columns of a verdict: its word, its case, the metric that decides, its ratio with an interval, and the limit."""

from typing import NamedTuple

from llmbench.analyze.change import Change
from llmbench.analyze.verdict import Verdict
from llmbench.report.scale import MISSING


class Cells(NamedTuple):
    """A verdict as texts, by column; empty where no metric decided."""

    word: str
    label: str
    metric: str
    ratio: str
    interval: str
    limit: str


HEADINGS = Cells("verdict", "case", "metric", "ratio", "95 % CI", "limit")


def cells_of(verdict: Verdict) -> Cells:
    """Those of the finding that decides: `REGRESSED, flash fwd, time, 1.300, [1.271, 1.330], 1.03`."""
    found = verdict.deciding
    if found is None:
        return Cells(verdict.word, verdict.label, "", "", "", "")
    change = found.change
    told = _exact_text if change.basis == "exact" else ratio_text
    ratio = MISSING if change.ratio is None else told(change.ratio)
    return Cells(verdict.word, verdict.label, found.metric, ratio, interval_text(change), limit_text(found.limit))


def figures(verdict: Verdict) -> str:
    """`time 1.300 [1.271, 1.330], limit 1.03`: the same in a line; empty where no ratio decides."""
    found = verdict.deciding
    if found is None or found.change.ratio is None:
        return ""
    cells = cells_of(verdict)
    between = f" {cells.interval}" if found.change.low is not None else ""
    return f"{cells.metric} {cells.ratio}{between}, limit {cells.limit}"


def interval_text(change: Change) -> str:
    """`[1.271, 1.330]`; `~[0.984, 1.021]` within one process, `exact` where there is nothing to estimate."""
    if change.low is None or change.high is None:
        return "exact" if change.basis == "exact" else MISSING
    mark = "~" if change.basis == "within one process" else ""
    return f"{mark}[{ratio_text(change.low)}, {ratio_text(change.high)}]"


def limit_text(share: float) -> str:
    """`1.03`, of a metric that may grow by 0.03: the ratio that is too much."""
    return f"{1 + share:.4g}"


def ratio_text(ratio: float) -> str:
    """`1.300`; `4097` and `3.62e+20` where that would be a row of digits."""
    return f"{ratio:.3f}" if 1e-2 <= ratio < 100 else f"{ratio:.4g}"


def _exact_text(ratio: float) -> str:
    """As `ratio_text`, but `1+4.8e-07` where half a KiB more of a GiB would look like 1."""
    return f"1{ratio - 1:+.2g}" if 0 < abs(ratio - 1) < 5e-4 else ratio_text(ratio)
