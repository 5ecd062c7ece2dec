"""A gate as one self-contained HTML page: its verdict and counts on top, then what they rest on."""

from llmbench.report.escape import html_text, one_line
from llmbench.report.gate_evidence import GateEvidence
from llmbench.report.gate_panels import COLOURS, panels_of
from llmbench.report.page import notices, page_around


def render(evidence: GateEvidence) -> str:
    """The whole document; it works offline and asks nothing of any network, as a report does."""
    named = f"{one_line(evidence.title)} · exit {evidence.exit_code} · llmbench"
    return page_around(_header(evidence), name=named, panels=panels_of(evidence))


def _header(evidence: GateEvidence) -> str:
    kind = {0: "good", 5: "warn"}.get(evidence.exit_code, "bad")
    counts = " ".join(
        f'<span class="count {COLOURS[word].removeprefix("@").replace("muted", "plain")}">{n:,} {word}</span>'
        for word, n in evidence.counts.items()
    )
    told = "".join(f"<div><dt>{html_text(label)}</dt><dd>{html_text(text)}</dd></div>" for label, text in evidence.told)
    return (
        f"<header><h1>{html_text(evidence.title)}</h1>"
        f'<p class="verdict {kind}"><strong>exit {evidence.exit_code}</strong> {html_text(evidence.meaning)}</p>'
        f'<p class="counts">{counts or "no case"}</p>'
        f"{notices([('warning', text, '') for text in evidence.warnings])}"
        f'<div class="runs"><section class="run" aria-label="What was judged"><dl>{told}</dl></section></div></header>'
    )
