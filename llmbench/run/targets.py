"""What of prepared cases is sampled: their calls, on inputs that are cold or warm."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from llmbench.measure.cache import Cold, cold_by
from llmbench.measure.clock import Call, Clock
from llmbench.measure.graph import captured
from llmbench.measure.memory import free_memory_bytes
from llmbench.measure.sampler import Target
from llmbench.run.failure import is_out_of_memory
from llmbench.run.prepared import Prepared

CLONES_SHARE = 0.2  # of the free memory, that clones of the inputs may take
ONE_FLUSHED = Cold(1, flush=True)
GRAPHED = ("infer", "fwd", "fwd_bwd")  # a backward alone runs on the stream of its forward, which no capture sees
REPEATED = 16  # calls in a graph of warm work


class Cache(NamedTuple):
    """The cache that a suite asks for, on this device."""

    cold: bool
    llc_bytes: int
    flush: Call


def cold_plan(group: Sequence[Prepared], cache: Cache, device: torch.device) -> Cold | None:
    """How the inputs of all of a group are made cold, the same for each; None where they are to be warm.

    A backward holds the activations of its forward, and what changes its inputs has them put back before each call:
    these are flushed, on one set of inputs.
    """
    if not cache.cold:
        return None
    if any(one.impl.mutates or one.case.phase in ("bwd", "step") for one in group):
        return ONE_FLUSHED
    free_bytes = CLONES_SHARE * free_memory_bytes(device)
    plans = [
        cold_by(inputs_bytes=one.problem.size_bytes, llc_bytes=cache.llc_bytes, device=device, free_bytes=free_bytes)
        for one in group
    ]
    flushed = [p for p in plans if p.flush]
    return min(flushed, key=lambda p: p.clones) if flushed else max(plans, key=lambda p: p.clones)


def target_of(one: Prepared, cold: Cold | None, cache: Cache, device: torch.device) -> Target:
    """The calls of a case, each on a clone of its inputs where the cache is cold. Where these find no memory: flushed.

    Raises: what the implementation raises.
    """
    call: Call = one.make_work(device).call
    reset: Call | None = one.restore if one.impl.mutates else None
    if cold is None:
        before, ring = reset, [call]
    else:
        ring = [call, *_on_clones(one, cold.clones - 1, device)]
        flush = cache.flush if cold.flush or len(ring) < cold.clones else None
        before = _both(reset, flush) if reset and flush else reset or flush
    one.record = replace(one.record, cold_by=None if cold is None else "rotation" if before is None else "flush")
    return Target(one.case.case_id, ring, one.case.is_baseline, before, repeats=cold is None and reset is None)


def _on_clones(one: Prepared, clones: int, device: torch.device) -> list[Call]:
    had = len(one.problem.clones)
    try:
        return [one.work_on(given, device).call for given in one.problem.cloned(clones)]
    except Exception as e:
        if not is_out_of_memory(e):
            raise
        del one.problem.clones[had:]  # others of the point may be using those that were there
        return []


def _both(first: Call, second: Call) -> Call:
    def run() -> None:
        first()
        second()

    return run


def in_graphs(
    targets: Sequence[Target], group: Sequence[Prepared], clock: Clock, note: Callable[[str], None]
) -> list[Target]:
    """Where a call takes the host longer to queue than the device to run, what can be captured is timed as a graph.

    One such target is enough for all that can be captured: implementations are compared on equal terms. What cannot be
    captured stays as it is, `note` is told why, and its samples say `host_bound`.
    """
    if clock.timer != "cuda_event" or not any(host_bound(t, clock) for t in targets):
        return list(targets)
    found = []
    for target, one in zip(targets, group, strict=True):
        graphed: Target | str = "not graphable"
        if one.impl.graphable and not one.impl.mutates and one.case.phase in GRAPHED:
            graphed = in_graph(target)
        if isinstance(graphed, str):
            note(f"{one.case.label} is not timed as a CUDA graph: {graphed}")
        found.append(target if isinstance(graphed, str) else graphed)
    return found


def host_bound(target: Target, clock: Clock) -> bool:
    """Whether each of three calls takes the host longer to queue than the device to run."""
    try:
        return all(r.flag == "host_bound" for r in clock.block([target.ring[:1]] * 3, before=target.before))
    except Exception:  # it raises again where it is sampled, and is told there
        return False


def in_graph(target: Target) -> Target | str:
    """The same calls replayed from one CUDA graph, or why they cannot be captured."""
    calls = [target.ring[0]] * REPEATED if target.repeats else target.ring
    graph = captured(calls)
    return graph if isinstance(graph, str) else replace(target, ring=[graph], work=len(calls), timer="cuda_graph")
