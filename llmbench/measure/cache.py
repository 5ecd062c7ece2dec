"""Cold and warm caches: what runs before each timed call, and on how many inputs in turn."""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import torch

FLUSH_FACTOR = 2  # of the last-level cache; measured practice, see README "How far to trust a number"
ROTATE_FACTOR = 5  # of the last-level cache that goes by before an input comes round again
UNKNOWN_LLC_BYTES = 128 * 2**20  # assumed where the size is not known: larger than the L2 of any current GPU
MOST_CLONES = 1024  # of a set of inputs; what would need more is flushed
FLUSHED_CLONES = 64  # so that a sample of several short calls finds each of its inputs cold
FLUSHED_BYTES = 64 * 2**20  # that these clones may take


class Cold(NamedTuple):
    """How the cache is made cold: so many clones of the inputs in turn, and a flush before each sample or none."""

    clones: int
    flush: bool


def cold_by(*, inputs_bytes: int, llc_bytes: int, device: torch.device, free_bytes: float) -> Cold:
    """Rotation on a CPU where that is few clones, which costs nothing between samples; a flush everywhere else.

    A GPU is flushed, as the other harnesses do: the flush is queued, and its clones serve samples of several calls.
    """
    size = max(1, inputs_bytes)
    clones = ceil(ROTATE_FACTOR * (llc_bytes or UNKNOWN_LLC_BYTES) / size) + 1
    if device.type == "cpu" and clones <= MOST_CLONES and clones * size <= free_bytes:
        return Cold(clones, flush=False)
    return Cold(max(1, min(FLUSHED_CLONES, FLUSHED_BYTES // size)), flush=True)


def flusher(*, device: torch.device, llc_bytes: int) -> Callable[[], object]:
    """Evicts the last-level cache by going through a buffer of twice its size.

    On a CPU the buffer is only read (by its norm, at memory speed; an integer sum takes fifty times as long):
    dirty lines would be written back within the timed call. On a GPU it is overwritten, as the other harnesses do, so
    that figures compare.
    """
    size_bytes = FLUSH_FACTOR * (llc_bytes or UNKNOWN_LLC_BYTES)
    buffer = torch.ones(size_bytes // 4, device=device)
    return buffer.zero_ if device.type == "cuda" else lambda: torch.linalg.vector_norm(buffer)
