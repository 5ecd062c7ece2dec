"""Where the wall time of a run went, stage by stage: what was measuring, and what was the harness."""

import json
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from llmbench.report.scale import percent_text
from llmbench.store.runs import Manifest

SCHEMA = "llmbench.overhead/1"

STAGES = {
    "import": "starting and ending workers, which import torch",
    "sentinels": "kernels that never change, which say how fast the machine is",
    "inputs": "making inputs",
    "oracle": "computing what is right",
    "build": "setting up implementations, their first call and compilation included",
    "check": "comparing outputs with the oracle",
    "memory": "passes for peak memory",
    "kernels": "passes for what ran",
    "energy": "passes for energy",
    "warm-up": "calls until the time is flat",
    "time": "inside timed samples",
    "recheck": "checking once more after timing",
    "sampler": "around timed samples: loop, bookkeeping, when to stop",
    "flush": "between timed samples: flushing the cache",
    "idle": "the worker waiting for the parent, which journals",
    "unaccounted": "in no stage: the units of workers that died",
}
"""Stage of the ledger -> what it holds."""

HARNESS = ("sampler", "flush", "idle", "unaccounted")
"""Stages that measure nothing and check nothing."""


class Stage(NamedTuple):
    """A stage with its seconds and its share of the wall time."""

    name: str
    seconds: float
    share: float


def stages(manifest: Manifest) -> list[Stage]:
    """Every stage that took time, in the order of `STAGES`; they add up to the wall time."""
    wall_s = manifest.wall_s
    found = {**manifest.ledger_s, "unaccounted": wall_s - sum(manifest.ledger_s.values())}
    names = [*STAGES, *(n for n in found if n not in STAGES)]
    return [Stage(n, found[n], found[n] / wall_s if wall_s else 0.0) for n in names if abs(found.get(n, 0.0)) >= 5e-4]


def harness_share(manifest: Manifest) -> float:
    """The share of the wall time that went to the harness alone."""
    return sum(s.share for s in stages(manifest) if s.name in HARNESS)


def show(manifest: Manifest, console: Console) -> None:
    """Prints a line a stage."""
    found = stages(manifest)
    width = max((len(s.name) for s in found), default=0)
    console.print(Text.assemble(("run  ", "dim"), manifest.header.run_id), overflow="fold")
    for s in found:
        row = f"{s.name:<{width}}  {s.seconds:>9.2f} s  {percent_text(s.share, 1):>6}  "
        told = Text(STAGES.get(s.name, ""), style="dim")
        console.print(
            Text.assemble((row, "yellow" if s.name in HARNESS else ""), told), no_wrap=True, overflow="ellipsis"
        )
    console.print(f"{'wall':<{width}}  {manifest.wall_s:>9.2f} s")
    console.print(f"the harness itself ({', '.join(HARNESS)}): {percent_text(harness_share(manifest), 1)} of it")


def document(manifest: Manifest) -> str:
    """The same as JSON text, seconds and shares, ending in a newline."""
    body = {
        "schema": SCHEMA, "run": manifest.header.run_id, "wall_s": manifest.wall_s,
        "stages": [{"stage": s.name, "seconds": s.seconds, "share": s.share} for s in stages(manifest)],
        "harness_share": harness_share(manifest),
    }  # fmt: skip
    return json.dumps(body, indent=1, allow_nan=False) + "\n"
