"""Pairs out of recorded series that were not measured as pairs: quads over single steps, ABBA or BAAB at random.

Both sides come from one process and the same code, so whatever differs is noise: that of iterations with its drift,
correlation, periods and outliers, but not what a process draws. Random order, because fixed turns alias with steps that
repeat: of 843 recorded training runs they made 7.1 % look changed, and random order 3.3 %.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUADS = 10  # of a pair, so that each side has 20 steps
QUANTILE = 0.25
OUTER, INNER = np.array([0, 3]), np.array([1, 2])  # places of the two sides in a quad


def pool(series: Sequence[Floats], rng: np.random.Generator, draws: int) -> Floats:
    """D[series, draw]: log of the 25 % quantile of one side over the other's, from a random window and random turns."""
    return np.stack([_draw(np.log(s), rng, draws) for s in series])


def _draw(log_S: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """D[draw] of one series."""
    starts = rng.integers(0, len(log_S) - 4 * QUADS + 1, draws)
    quads = starts[:, None] + 4 * np.arange(QUADS)
    turned = (rng.random((draws, QUADS)) < 0.5)[..., None]
    outer, inner = log_S[quads[..., None] + OUTER], log_S[quads[..., None] + INNER]
    head, base = np.where(turned, outer, inner), np.where(turned, inner, outer)
    sides = [np.quantile(x.reshape(draws, -1), QUANTILE, axis=1) for x in (head, base)]
    return np.asarray(sides[0] - sides[1])


def halves(series: Sequence[Floats], rng: np.random.Generator, steps: int) -> tuple[Floats, Floats]:
    """base[series, step] and head[series, step]: the two halves of a random window, as tools that measure one side
    after the other see them."""
    windows = np.stack([s[(a := int(rng.integers(0, len(s) - 2 * steps + 1))) : a + 2 * steps] for s in series])
    return windows[:, :steps], windows[:, steps:]
