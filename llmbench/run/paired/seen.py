"""Everything that a paired gate has seen so far, as it is gathered."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from llmbench.analyze.limits import Limits
from llmbench.analyze.paired import Decision, Judged
from llmbench.analyze.stored import Inconclusive
from llmbench.analyze.verdict import Verdict
from llmbench.run.paired.cores import Cores
from llmbench.run.paired.pair import Layout, Loss
from llmbench.run.paired.subject import Asked, Sides
from llmbench.run.paired.tier import Tier
from llmbench.run.paired.turns import SIDES
from llmbench.run.paired.witness import strangers
from llmbench.run.protocol import Hello, Source
from llmbench.store.pairs import PairBlock
from llmbench.store.record import SideName
from llmbench.store.runs import Load
from llmbench.suite.case import Case
from llmbench.suite.suite import Suite


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass
class Seen:
    """What is known of the two sides; what was not reached is None or empty."""

    asked: Asked
    sides: Sides
    folder: Path
    suite_name: str
    inconclusive: Inconclusive
    max_minutes: float | None = None
    load: Load | None = None
    seed: int = 0  # of the order of starts and blocks
    started: str = field(default_factory=_now)
    notes: list[str] = field(default_factory=list)
    refused: list[Verdict] = field(default_factory=list)  # of a side as a whole
    hellos: dict[SideName, Hello] = field(default_factory=dict)
    suite: Suite | None = None
    limits: Limits = field(default_factory=lambda: Limits({}))
    cases: list[Case] = field(default_factory=list)
    gone: list[Case] = field(default_factory=list)  # of the base's suite alone
    tier: Tier | None = None
    cores: Cores = field(default_factory=Cores)
    layout: Layout | None = None
    judged: Judged | None = None
    decisions: dict[str, Decision] = field(default_factory=dict)
    blocks: list[PairBlock] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    pairs: int = 0
    pairs_s: float = 0.0
    wall_s: float = 0.0
    spent: bool = False  # the budget was

    def note(self, text: str) -> None:
        """Something that is said once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def packages(self) -> tuple[str, ...]:
        """The top-level names of what is under test."""
        plugins = [plugin.partition(":")[0].partition(".")[0] for plugin in self.sides.plugins]
        return tuple(dict.fromkeys([*plugins, *(p.module for p in self.sides.head.places)]))

    @property
    def suspects(self) -> tuple[Decision, ...]:
        """Cases that look like a regression, but for the number of their pairs."""
        return tuple(decision for decision in self.decisions.values() if decision.is_suspect)

    def sources(self, side: SideName) -> tuple[Source, ...]:
        """The files that a side's subject was loaded from."""
        return self.tier.sources.get(side, ()) if self.tier else ()

    @property
    def same_code(self) -> bool:
        """Whether both sides loaded the same modules with the same contents."""
        base, head = ([(s.module, s.digest) for s in self.sources(side)] for side in SIDES)
        return bool(base) and base == head

    def strangers(self) -> Iterator[tuple[SideName, str]]:
        """What of the subject came from elsewhere than its side's tree."""
        for side in SIDES if self.tier else ():
            yield from ((side, text) for text in strangers(self.sides.of(side), self.sides, self.sources(side)))
