"""Stores of runs whose times vary from run to run, for tests of the gate that judges by a history."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from example_runs import stored_run

from llmbench.store.baselines import open_store

IMPLS = {"naive": 2e-3, "flash": 1e-3, "flex": 1.5e-3}


def times(rng: np.random.Generator, *, sigma: float = 0.01, processes: int = 3, **factors: float) -> dict[str, Any]:
    """Process medians (s) of a run: `sigma` between runs, a tenth of it between processes; `factors` by impl."""
    return {
        impl: tuple(
            level * factors.get(impl, 1.0) * math.exp(sigma * moved + 0.1 * sigma * rng.standard_normal())
            for _ in range(processes)
        )
        for impl, level in IMPLS.items()
        for moved in [rng.standard_normal()]
    }


def usual(**factors: float) -> dict[str, Any]:
    """A run in the middle of its history."""
    return times(np.random.default_rng(0), sigma=1e-6, **factors)


def fill(folder: Path, runs: int, *, drift: float = 0.0, **given: Any) -> Path:
    """A store of that many runs, made without the command line, which takes a second each; `drift` over all of them."""
    rng = np.random.default_rng(1)
    store = open_store(str(folder / "store"))
    for i in range(runs):
        factors = dict.fromkeys(IMPLS, (1 + drift) ** (i / runs))
        own = {"times": times(rng, **factors), "started": f"2026-05-01T12:{i:02}:00Z", **given}
        own = {k: v(i) if callable(v) else v for k, v in own.items()}
        store.add(stored_run(folder / "history" / f"h{i}", **own), by="ci@runner", why=None)
    return folder / "store"
