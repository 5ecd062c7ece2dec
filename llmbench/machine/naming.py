"""Names of devices, as torch writes them and as people do."""

import re

from llmbench.errors import UsageError, nearest
from llmbench.machine import simulated

SYNONYMS = {"gpu": "cuda", "nvidia": "cuda", "cpu:0": "cpu"}
"""Names that people use, whose nearest spelling would mislead."""


def gpu_index(device: str) -> int | None:
    """torch's index of a GPU, 1 of `cuda:1` and 0 of `cuda`; None of `cpu` and `simulated`.

    Raises: UsageError for any other name.
    """
    if device in ("cpu", simulated.NAME):
        return None
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if not match:
        meant = SYNONYMS.get(device.lower())
        hint = f"; did you mean {meant!r}?" if meant else nearest(device, ["cpu", "cuda", "cuda:0", simulated.NAME])
        raise UsageError(f"device {device!r} is none of cpu, cuda, cuda:<index>, simulated{hint}")
    return int(match[1] or 0)
