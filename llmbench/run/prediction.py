"""What cases will need, before they are run: in a worker, so that the parent stays without torch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from llmbench.ops.op import Impl, Op
from llmbench.ops.registry import OPS
from llmbench.run.limits import total_memory_bytes
from llmbench.run.protocol import Unit
from llmbench.suite.case import Case

GIB = 2**30


class Predicted(NamedTuple):
    """Bytes at the peak of a case, or why they are not known (None where the op predicts nothing); FLOP of a call."""

    memory_bytes: float | None = None
    why: str | None = None
    flop: float | None = None


def predicted(case: Case, op: Op, impl: Impl) -> Predicted:  # type: ignore[type-arg]  # of any parameters
    """What the op says of the case. What goes wrong meanwhile is why nothing is known."""
    if op.predicted_memory is None:
        return Predicted()
    try:
        p = op.params(**case.params)
        told, cost = op.predicted_memory(p, impl.name), op.cost(p, case.phase)
    except Exception as e:
        return Predicted(why=" ".join(f"{type(e).__name__}: {e}".split())[:300])
    return Predicted(why=told, flop=cost.flop) if isinstance(told, str) else Predicted(told, flop=cost.flop)


def why_too_large(found: Predicted, device: torch.device, *, limit_bytes: int | None = None) -> str | None:
    """Why the case cannot run on the device, or within `measure.memory_limit`, or None: `predicted 93.1 GiB, device has
    79.6 GiB`."""
    has, whose = total_memory_bytes(device), "device has"
    if limit_bytes is not None and limit_bytes < has:
        has, whose = limit_bytes, "memory_limit is"
    if found.memory_bytes is None or found.memory_bytes <= has:
        return None
    return f"predicted {found.memory_bytes / GIB:.3g} GiB, {whose} {has / GIB:.3g} GiB (--ignore-prediction runs it)"


def predictions(units: Sequence[Unit], *, tell: Callable[[int, int], object]) -> dict[str, Predicted]:
    """Case id -> what is predicted, of every case that is not skipped; `tell` hears how many are, of how many."""
    cases = {case.case_id: case for unit in units for case in unit.cases if case.skip is None}
    found: dict[str, Predicted] = {}
    for case_id, case in cases.items():
        found[case_id] = predicted(case, OPS[case.op], OPS[case.op].impls[case.impl])
        tell(len(found), len(cases))
    return found
