"""From the words of a command line to what is to be measured, and that as a plan for people or machines."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from llmbench.codec import to_plain
from llmbench.errors import MachineError
from llmbench.machine.simulated import NAME as SIMULATED
from llmbench.machine.simulated import slowed_by
from llmbench.run.describe import describe
from llmbench.run.foresight import Predictions, predictions_of
from llmbench.run.plan import estimate_s, units_of
from llmbench.run.session import Order, points_of
from llmbench.suite.bundled import find
from llmbench.suite.catalog import Catalog, DeviceSpec
from llmbench.suite.load import read, resolve
from llmbench.suite.narrow import quick as quickly
from llmbench.suite.narrow import suite_filter


def order_of(
    suite: str, *, results: Path, device: str | None, only: Sequence[str], quick: bool, processes: int | None,
    elsewhere: bool = False,
) -> Order:  # fmt: skip
    """What is asked for; `elsewhere` allows a GPU that is not here. Raises: SuiteError, UsageError, MachineError."""
    path = find(suite)
    text = read(path)
    device = device or (SIMULATED if text.spec.op == SIMULATED else None)  # the op of that device, which has no other
    if device == SIMULATED:
        slowed_by()  # what is no factor is told now, and not by a worker
    try:
        catalog = describe(device=device, plugins=text.plugins, plugin_path=path.parent)
    except MachineError:
        if not (elsewhere and device and device.startswith("cuda")):
            raise
        catalog = _elsewhere(device, describe(device="cpu", plugins=text.plugins, plugin_path=path.parent))
    resolved = resolve(text, catalog)
    if quick:
        resolved = quickly(resolved)
    if processes is not None:
        resolved = replace(resolved, measure=replace(resolved.measure, processes=processes))
    order = Order(resolved, path, catalog, results, only=suite_filter(list(only), resolved), quick=quick)
    points_of(resolved, order.only)  # a filter that leaves nothing is told before anything is written
    return order


def _elsewhere(device: str, catalog: Catalog) -> Catalog:
    """The catalog as a CUDA device of another machine has it: its architecture is not known, nor what runs there."""
    ops = tuple(replace(op, impls=tuple(replace(i, why_unavailable=None) for i in op.impls)) for op in catalog.ops)
    name = device if ":" in device else f"{device}:0"
    note = f"{name} is not on this machine: overlays of an architecture (sm90) are left out of the plan"
    return replace(catalog, device=DeviceSpec(name, "cuda", "a CUDA device elsewhere"), ops=ops, notes=(note,))


def print_plan(order: Order, *, as_json: bool, predict: bool = False) -> None:
    """The cases in order and the estimated wall time; as JSON it is what `llmbench worker --cases` takes.

    With `predict`, what each case will need, by a worker: nothing is run.
    """
    points = points_of(order.suite, order.only)
    units = units_of(order.suite, points)
    wall_s = estimate_s(order.suite, units, order.results)
    document: dict[str, Any] = {
        "schema": "llmbench.plan/1", "suite": order.suite.name, "device": order.suite.device,
        "plugins": list(order.suite.plugins), "estimated_wall_s": round(wall_s, 1),
        "cases": sum(len(p.cases) for p in points), "units": [to_plain(u) for u in units],
    }  # fmt: skip
    limit = order.suite.measure.memory_limit
    foreseen = Predictions()
    if predict:
        foreseen = predictions_of(document, order.suite_path.parent, memory_limit=limit, hear=_predicted)
    if as_json:
        told = {"predictions": foreseen.cases, "device_memory_bytes": foreseen.device_memory_bytes} if predict else {}
        print(json.dumps({**document, **told}))
        return
    console = Console(highlight=False, soft_wrap=True)
    why = {i.name: i.why_unavailable for i in order.suite.op.impls}
    for point in points:
        for case in point.cases:
            params = " ".join(f"{k}={v}" for k, v in case.told.items())
            reason = (case.skip and f"skipped: {case.skip}") or (why[case.impl] and f"unavailable: {why[case.impl]}")
            needs = f"{foreseen.text(case.case_id):<35}  " if predict else ""
            name = f"{case.case_id}  {case.impl:<16} {case.phase:<8}"
            console.print(f"{name}{needs}{escape(params)}  {escape(reason or '')}".rstrip())
    cases, processes = sum(len(p.cases) for p in points), order.suite.measure.processes
    several = f" in each of {processes} processes" if processes > 1 else ""
    console.print(
        f"{cases} cases at {len(points)} points{several}, about {wall_s / 60:.1f} minutes on {order.suite.device}"
    )
    if predict:
        console.print(foreseen.summary(order.suite.device))


def _predicted(how_far: str) -> None:
    print(f"llmbench: predicted {how_far}", file=sys.stderr, flush=True)
