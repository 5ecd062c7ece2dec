"""Whether other programs are at work: they put times on a shared CPU off by far, and each kernel by another factor."""

import psutil

from llmbench.store.runs import BUSY_CORES, Load

LOOK_S = 0.3


def load_now() -> Load:
    """What other programs do right now. Takes 0.3 s, in which llmbench does nothing."""
    cores = psutil.cpu_count() or 1
    return Load(psutil.cpu_percent(LOOK_S) / 100 * cores, cores)


def load_note(load: Load, *, in_turns: bool = False) -> str | None:
    """What to say when other programs keep more than a quarter of a core busy; None on a quiet machine. `in_turns`: of
    two sides that are compared by pairs of processes, which are disturbed alike."""
    if load.busy_cores <= BUSY_CORES:
        return None
    busy = f"other programs keep {load.busy_cores:.1f} of {load.cores} cores busy"
    if in_turns:
        return f"{busy}: both sides are disturbed alike, so verdicts hold, but pairs differ by more and less is seen"
    return (
        f"{busy}: times and speed-ups on the CPU are off, whatever their intervals say; wait until the machine is quiet"
    )
