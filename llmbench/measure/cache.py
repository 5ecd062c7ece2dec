"""Cold and warm caches: what runs before each timed call."""

from collections.abc import Callable

import torch

FLUSH_FACTOR = 2  # of the last-level cache; measured practice, see README "How far to trust a number"
UNKNOWN_LLC_BYTES = 128 * 2**20  # flushed where the size is not known: larger than the L2 of any current GPU


def flusher(*, device: torch.device, llc_bytes: int) -> Callable[[], object]:
    """Evicts the last-level cache by going through a buffer of twice its size.

    On a CPU the buffer is only read (by its norm, at memory speed; an integer sum takes fifty times as long):
    dirty lines would be written back within the timed call. On a GPU it is overwritten, as the other harnesses do, so
    that figures compare.
    """
    size_bytes = FLUSH_FACTOR * (llc_bytes or UNKNOWN_LLC_BYTES)
    buffer = torch.ones(size_bytes // 4, device=device)
    return buffer.zero_ if device.type == "cuda" else lambda: torch.linalg.vector_norm(buffer)
