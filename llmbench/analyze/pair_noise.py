"""A model of the noise of benchmarks, and draws from it: single iterations, and the D of pairs without drawing those.

log time = case + [head] effect + R(run) + Q(case, run) + P(case, side, process) + iteration. R and Q are shared by both
sides of a pair and cancel; P is what a process draws; iterations are correlated (AR(1) within a block), a few of them
outliers to the slow side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtri
from scipy.stats import multivariate_normal, norm

Floats = NDArray[np.float64]

QUANTILE = 0.25  # of a side's iterations: the one with the least sigma on real processes, median and mean being worse
QUADS = 4
BLOCK = 20  # iterations of a side in a quad
SLOW_SHARE = 0.3  # of processes in the slow mode, where there are two
SLOW_PART = 0.81  # of the variance that the two modes make

Shape = Literal["normal", "heavy", "bimodal"]


@dataclass(frozen=True)
class Noise:
    """Sds on the log scale, and the shape of what a process draws: normal, Student's t with 3 df, or two modes.

    `unequal` is the sd of the log of the factor by which a case is noisier or quieter than these.
    """

    run: float = 0.010
    case_run: float = 0.008
    process: float = 0.0066
    """The three together are 1.4 % a run: a quarter of 1,260 recorded training runs are within 0.63 % of the run
    before, code changes and all. How they share it follows real pairs of processes, whose sigma was 0.76 to 1.0 %."""
    iteration: float = 0.013
    correlation: float = 0.3
    outliers: float = 0.05
    """Of 843 recorded training runs: robust sd 1.3 % (median run), lag-1 correlation 0.2, beyond 5 MAD 5.7 %."""
    outlier: float = 0.2
    """Mean of the exponential that an outlier adds; those runs have a median of 17 % and a mean of 31 %."""
    shape: Shape = "normal"
    unequal: float = 0.0

    def scales(self, rng: np.random.Generator, cases: int) -> Floats:
        """The factor of each case."""
        return np.exp(rng.normal(0.0, self.unequal, cases)) if self.unequal else np.ones(cases)

    def of_processes(self, rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
        """What processes draw, sd `process`."""
        if self.shape == "heavy":
            return np.asarray(rng.standard_t(3, size) * (self.process / np.sqrt(3.0)))
        if self.shape == "bimodal":
            mode = (rng.random(size) < SLOW_SHARE) - SLOW_SHARE
            unit = mode * np.sqrt(SLOW_PART / (SLOW_SHARE * (1 - SLOW_SHARE)))
            return np.asarray(self.process * (unit + np.sqrt(1 - SLOW_PART) * rng.standard_normal(size)))
        return np.asarray(self.process * rng.standard_normal(size))

    def of_iterations(self, rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
        """Deviations of iterations in a row; the last axis is time."""
        rho = self.correlation
        shocks = rng.standard_normal(size) * np.sqrt(1 - rho**2)
        shocks[..., 0] /= np.sqrt(1 - rho**2)
        found = np.asarray(lfilter([1.0], [1.0, -rho], shocks, axis=-1)) * self.iteration
        hit = rng.random(size) < self.outliers
        found[hit] += rng.exponential(self.outlier, int(hit.sum()))
        return found

    def pairs(self, rng: np.random.Generator, scales: Floats, pairs: int) -> Floats:
        """D[case, pair] of unchanged cases without drawing iterations; `quantile_sd` is what these come to."""
        size = (2, len(scales), pairs)
        sides = self.of_processes(rng, size) + self.quantile_sd * rng.standard_normal(size)
        return np.asarray((sides[1] - sides[0]) * scales[:, None])

    @property
    def mean_offset(self) -> float:
        """How far outliers lift the mean of a process's iterations, to first order."""
        return self.outliers * self.outlier

    def mean_sd(self, iterations: int) -> float:
        """The sd of that mean, to first order."""
        rho = self.correlation
        shocks = self.iteration**2 * (1 + rho) / (1 - rho)
        hits = self.outlier**2 * self.outliers * (2 - self.outliers)
        return float(np.sqrt((shocks + hits) / iterations))

    @property
    def sigma_pair(self) -> float:
        """The sd of D of a case whose factor is 1."""
        return float(np.sqrt(2 * (self.process**2 + self.quantile_sd**2)))

    @property
    def quantile_sd(self) -> float:
        """The sd of the 25 % quantile of a side's iterations in a pair, to first order in 1 / their number.

        A sample quantile moves by -(share below it - 1/4) / density. The share's variance is that of n indicators,
        whose covariance at lag k is the bivariate normal's; an outlier is never below, and comes independently.
        """
        return _quantile_sd(self.iteration, self.correlation, self.outliers)


@lru_cache
def _quantile_sd(iteration: float, correlation: float, outliers: float) -> float:
    z = float(ndtri(QUANTILE / (1 - outliers)))
    density = (1 - outliers) * float(norm.pdf(z)) / iteration
    total = QUANTILE * (1 - QUANTILE) * BLOCK
    for lag in range(1, BLOCK):
        rho = correlation**lag
        both = multivariate_normal.cdf([z, z], cov=[[1.0, rho], [rho, 1.0]]) if rho > 1e-9 else float(norm.cdf(z)) ** 2
        total += 2 * (BLOCK - lag) * ((1 - outliers) ** 2 * float(both) - QUANTILE**2)
    return float(np.sqrt(total / (BLOCK * BLOCK * QUADS)) / density)


def of_iterations(head_BI: Floats, base_BI: Floats) -> Floats:
    """D from iterations of both sides, in any shape whose last two axes are blocks and iterations of a block."""
    head, base = (np.quantile(x.reshape(*x.shape[:-2], -1), QUANTILE, axis=-1) for x in (head_BI, base_BI))
    return np.asarray(head - base)


class SimulatedPairs:
    """A `Take`: pairs of a suite whose cases carry these `effects` (logs), from a noise model or from a pool of D."""

    def __init__(
        self, keys: Sequence[str], source: "Noise | Floats", rng: np.random.Generator, *, effects: Floats | float = 0.0,
    ) -> None:  # fmt: skip
        self._places = {key: i for i, key in enumerate(keys)}
        self._rng, self._source = rng, source
        self._effects = np.broadcast_to(np.asarray(effects, np.float64), len(keys))
        self.asked: list[tuple[int, int]] = []  # cases and pairs of each request
        if isinstance(source, Noise):
            self._scales = source.scales(rng, len(keys))
        else:
            self._rows = rng.integers(0, len(source), len(keys))

    def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
        """D[case, pair], fresh."""
        places = np.fromiter((self._places[key] for key in cases), np.int64, len(cases))
        self.asked.append((len(cases), pairs))
        if isinstance(self._source, Noise):
            drawn = self._source.pairs(self._rng, self._scales[places], pairs)
        else:
            picks = self._rng.integers(0, self._source.shape[1], (len(cases), pairs))
            drawn = self._source[self._rows[places][:, None], picks]
        return drawn + self._effects[places][:, None]
