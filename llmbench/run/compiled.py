"""What torch.compile did in this process so far: graphs, breaks with their reasons, compilations of each frame."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BROKE, GAVE_UP = "graph_break", "unimplemented"
"""torch._dynamo's counters of what it left to Python: parts of a function, or the rest of it (torch 2.13)."""


@dataclass(frozen=True)
class Compiled:
    """Counts of torch.compile. None, or empty, is what this version of torch does not tell."""

    graphs: int | None = None
    breaks: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (counter, reason) -> times
    frames: Mapping[Any, int] | None = None  # frame -> compilations

    def since(self, before: "Compiled") -> "Compiled":
        """What was added to `before`."""
        graphs = None if self.graphs is None else self.graphs - (before.graphs or 0)
        frames = None if self.frames is None else _added(self.frames, before.frames or {})
        return Compiled(graphs, _added(self.breaks, before.breaks), frames)

    @property
    def anything(self) -> bool:
        """Whether something was compiled or left to Python."""
        return bool(self.graphs or self.breaks)

    @property
    def graph_breaks(self) -> int:
        """Places that were left to Python; those where it gave up once a reason, as it counts them several times."""
        return sum(n if counter == BROKE else 1 for (counter, _), n in self.breaks.items())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why there were breaks, a line each."""
        return tuple(dict.fromkeys(reason for _, reason in self.breaks))

    @property
    def recompiles(self) -> int | None:
        """Compilations of a frame after its first; another implementation's of the same function are not among them."""
        return None if self.frames is None else sum(n - 1 for n in self.frames.values())


def compiled_so_far() -> Compiled:
    """The counts now. Nothing is imported for it."""
    counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", None)
    frames = getattr(sys.modules.get("torch._dynamo.convert_frame"), "FRAME_COMPILE_COUNTER", None)
    if not isinstance(counters, Mapping):
        return Compiled()
    breaks: dict[tuple[str, str], int] = {}
    for counter in (BROKE, GAVE_UP):
        for text, n in counters.get(counter, {}).items():
            key = (counter, str(text).strip().split("\n")[0])
            breaks[key] = breaks.get(key, 0) + n
    graphs = counters.get("stats", {}).get("unique_graphs", 0)
    return Compiled(graphs, breaks, dict(frames) if isinstance(frames, Mapping) else None)


def _added(now: Mapping[Any, int], before: Mapping[Any, int]) -> dict[Any, int]:
    return {key: n - before.get(key, 0) for key, n in now.items() if n > before.get(key, 0)}
