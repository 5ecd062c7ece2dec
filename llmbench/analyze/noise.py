"""Noise between runs: how levels of unchanged code vary from run to run, of all cases together and of each."""

# R runs, C cases; NaN where a run lacks a case

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llmbench.analyze.moderation import moderated

_Reals = npt.NDArray[np.float64]

POOLED_FROM = 10  # cases; of fewer, what moves all of them cannot be told from what moves each
LEAST_ERROR = 1e-9  # of a log: values that are the same to the last bit differ by rounding, and by nothing else


class Noise(NamedTuple):
    """The variance between runs of unchanged code and its degrees of freedom, by case.

    `farthest`: that any of the `values`, of all cases and runs, was from where its other runs put it, in their error.
    """

    variances: _Reals
    freedoms: _Reals
    farthest: float
    values: int

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Noise":
        """That of the cases that are chosen, as it is among all of them."""
        return self._replace(variances=self.variances[chosen], freedoms=self.freedoms[chosen])


def noise_of(log_RC: _Reals, *, line: bool) -> Noise:
    """How runs vary around their mean, or around a `line` through them.

    What moves all cases of a run together (its machine, its clock) is estimated from runs, and what moves each alone
    is moderated across cases: a common move seen in 500 cases is still one draw a run.
    """
    log_RC = log_RC[~np.isnan(log_RC).all(axis=1)]
    fitted = 2.0 if line else 1.0
    rest_RC = _rest(log_RC, line=line)
    counts_C = np.sum(~np.isnan(log_RC), axis=0)
    freedom_C, share_C = counts_C - fitted, 1 - fitted / counts_C
    seen_RC, values = rest_RC / np.sqrt(share_C), int(counts_C.sum())
    if log_RC.shape[1] < POOLED_FROM:
        variance_C = np.nansum(rest_RC**2, axis=0) / freedom_C
        others_RC = _others(rest_RC, variance_C, freedom_C)
        return Noise(variance_C, freedom_C, _farthest(seen_RC, others_RC), values)
    common_R1 = np.nanmedian(rest_RC, axis=1, keepdims=True)
    runs = len(log_RC) - fitted
    common = float(np.sum(common_R1**2)) / runs
    own_RC = rest_RC - common_R1
    own = moderated(np.nansum(own_RC**2, axis=0) / freedom_C, freedom_C)
    variance_C = common + own.variances
    parts_C = common**2 / runs + own.variances**2 / own.freedoms
    known_C = parts_C > 0
    freedom = np.where(known_C, variance_C**2 / np.where(known_C, parts_C, 1.0), freedom_C)  # Satterthwaite 1946
    others_RC = _others(common_R1, common, runs) + _others(own_RC, own.variances, own.freedoms)
    return Noise(variance_C, freedom, _farthest(seen_RC, others_RC), values)


def steadiness(log_RC: _Reals) -> float:
    """By how much means of several runs vary more than of independent ones: runs resemble the ones before.

    (1 + r) / (1 - r) of the autocorrelation r at lag 1 around a line, all cases together, its bias of some
    (2 + 4 r) / R added (Marriott & Pope 1954), at least 0 and at most 0.8.
    """
    rest_RC = np.nan_to_num(_rest(log_RC, line=True))
    square, runs = float(np.sum(rest_RC**2)), len(rest_RC)
    seen = float(np.sum(rest_RC[1:] * rest_RC[:-1])) / square if square > 0 else 0.0
    r = min(0.8, max(0.0, (seen + 2 / runs) / (1 - 4 / runs)))
    return (1 + r) / (1 - r)


def _others(rest: _Reals, variance: _Reals | float, freedom: _Reals | float) -> _Reals:
    """The variance without each of its values in turn."""
    share = 1 - 1 / len(rest)
    left = np.maximum(variance * freedom - rest**2 / share, 0) / np.maximum(freedom - 1, 1)
    return np.asarray(np.maximum(left, 1e-3 * variance))


def _farthest(rest_RC: _Reals, others_RC: _Reals) -> float:
    return float(np.nanmax(np.abs(rest_RC) / np.sqrt(np.maximum(others_RC, LEAST_ERROR**2)), initial=0.0))


def _rest(log_RC: _Reals, *, line: bool) -> _Reals:
    """What is left of each case without its mean, or without the straight line that fits it best."""
    rest_RC = log_RC - np.nanmean(log_RC, axis=0)
    if not line:
        return np.asarray(rest_RC)
    known_RC = ~np.isnan(log_RC)
    place_RC = np.where(known_RC, np.arange(len(log_RC), dtype=np.float64)[:, None], np.nan)
    place_RC = place_RC - np.nanmean(place_RC, axis=0)
    slope_C = np.nansum(place_RC * rest_RC, axis=0) / np.nansum(place_RC**2, axis=0)
    return np.asarray(rest_RC - slope_C * place_RC)
