"""Python's garbage collector, kept out of what is measured."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """No collection while the block runs: it would take time, and free memory that was held before.

    Nothing is collected beforehand either: with torch.compile loaded that takes 0.3 s, longer than many a case.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
