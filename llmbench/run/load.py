"""Whether other programs are at work: they put times on a shared CPU off by far, and each kernel by another factor."""

import psutil

LOOK_S = 0.3
BUSY = 0.25  # of a core; above it a parallel kernel of all cores waits for the one that is taken


def load_note() -> str | None:
    """What to say when other programs keep more than a quarter of a core busy; None on a quiet machine."""
    cores = psutil.cpu_count() or 1
    busy = psutil.cpu_percent(LOOK_S) / 100 * cores
    if busy <= BUSY:
        return None
    return (
        f"other programs keep {busy:.1f} of {cores} cores busy: times and speed-ups on the CPU are off, whatever their "
        "intervals say; wait until the machine is quiet"
    )
