"""What the cases of a plan will need: asked of a worker, and told in words."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llmbench.run.ask import ask_worker

GIB, TERA = 2**30, 1e12


@dataclass(frozen=True)
class Predictions:
    """Case id -> what a worker told (`memory_bytes`, `why`, `flop`); bytes of the device, None if it is not here, and
    of the suite's `measure.memory_limit`, which plans for a card that is elsewhere."""

    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    device_memory_bytes: float | None = None
    memory_limit: int | None = None

    @property
    def room_bytes(self) -> float | None:
        """What a case may need: the lesser of the two; None where neither is known."""
        return min((size for size in (self.device_memory_bytes, self.memory_limit) if size is not None), default=None)

    def text(self, case_id: str) -> str:
        """`12.3 GiB  45.6 TFLOP`, and whether it fits; a dash for what is not known."""
        found = self.cases.get(case_id, {})
        memory, flop = found.get("memory_bytes"), found.get("flop")
        size = "-" if memory is None else f"{memory / GIB:.3g} GiB"
        work = "-" if flop is None else f"{flop / TERA:.3g} TFLOP"
        return f"{size:>10}  {work:>12}{'  too large' if self.is_too_large(case_id) else ''}"

    def is_too_large(self, case_id: str) -> bool:
        """Whether there is less room than the case needs."""
        memory, has = self.cases.get(case_id, {}).get("memory_bytes"), self.room_bytes
        return memory is not None and has is not None and memory > has

    def summary(self, device: str) -> str:
        """How many were predicted, how many are too large, and why others are not known."""
        known = sum(c.get("memory_bytes") is not None for c in self.cases.values())
        reasons = dict.fromkeys(str(c["why"]) for c in self.cases.values() if c.get("why"))
        has = self.room_bytes
        whose = device if has == self.device_memory_bytes else "measure.memory_limit"
        lines = [f"peak memory predicted for {known} of {len(self.cases)} cases"]
        if has is not None:
            too_large = sum(map(self.is_too_large, self.cases))
            lines[0] += f"; {too_large} need more than the {has / GIB:.3g} GiB of {whose}"
        if known < len(self.cases) and not reasons:
            lines.append("others: their op predicts nothing")
        return "\n".join([*lines, *(f"not known: {why}" for why in reasons)])


def predictions_of(
    plan: dict[str, Any], plugin_path: Path, *, memory_limit: int | None = None,
    hear: Callable[[str], object] | None = None,
) -> Predictions:  # fmt: skip
    """By a worker, which imports torch and computes on tensors without data; `hear` is told how far it is.

    Raises: MachineError, UsageError.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        path.write_text(json.dumps(plan))
        answer = ask_worker("predict", str(path), "--path", str(plugin_path), hear=hear)
    assert isinstance(answer, dict)
    return Predictions(answer["cases"], answer["device_memory_bytes"], memory_limit)
