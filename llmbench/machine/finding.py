"""A finding: one thing that doctor looked at, what it saw and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "missing", "info"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` says what to do; only `ok` has none."""

    area: str
    what: str
    state: State
    seen: str
    advice: str = ""
    disturbs: bool = False  # whether times suffer from it where it is a `warn`

    @property
    def name(self) -> str:
        """`cpu load`"""
        return f"{self.area} {self.what}"


def judged(area: str, what: str, good: bool, seen: str, advice: str, *, disturbs: bool = False) -> Finding:
    """`ok`, or a `warn` with advice."""
    return Finding(area, what, "ok" if good else "warn", seen, "" if good else advice, disturbs)


def unfit(findings: Iterable[Finding]) -> list[Finding]:
    """What makes a machine unfit for measuring: every `warn` about something that disturbs times."""
    return [f for f in findings if f.state == "warn" and f.disturbs]
