"""Moderated variances: few values a case say little of its spread, all cases together say what spreads are usual."""

# C cases

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma

_Reals = npt.NDArray[np.float64]

LEAST = 1e-5  # of the median variance: a case that never moved has no logarithm (limma's own floor)


class Moderated(NamedTuple):
    """Variances and their degrees of freedom, by case."""

    variances: _Reals
    freedoms: _Reals


def moderated(variance_C: _Reals, freedom_C: _Reals) -> Moderated:
    """Each variance drawn towards what is usual, the more the fewer its degrees of freedom and the more alike all are.

    Cases must be independent of each other: what moves all of them together is not to be in here.
    Source: Smyth 2004, Linear models and empirical Bayes methods, section 6.2; limma's fitFDist and squeezeVar.
    """
    typical = float(np.median(variance_C))
    if len(variance_C) < 2 or typical <= 0:
        return Moderated(variance_C, freedom_C)
    logs = np.log(np.maximum(variance_C, LEAST * typical)) - digamma(freedom_C / 2) + np.log(freedom_C / 2)
    excess = float(np.var(logs, ddof=1) - np.mean(polygamma(1, freedom_C / 2)))
    total = float(np.sum(freedom_C))
    if excess <= 0:  # no more unlike than chance makes equal ones
        return Moderated(np.full_like(variance_C, np.exp(logs.mean())), np.full_like(freedom_C, total))
    prior_freedom = 2 * _inverse_trigamma(excess)
    prior = np.exp(logs.mean() + digamma(prior_freedom / 2) - np.log(prior_freedom / 2))
    weighed = (prior_freedom * prior + freedom_C * variance_C) / (prior_freedom + freedom_C)
    return Moderated(weighed, np.minimum(prior_freedom + freedom_C, total))


def _inverse_trigamma(value: float) -> float:
    """By Newton's method on its reciprocal, which converges from this start. Source: limma's trigammaInverse."""
    if value > 1e7:
        return float(value**-0.5)
    if value < 1e-6:
        return 1 / value
    found = 0.5 + 1 / value
    for _ in range(50):
        here = float(polygamma(1, found))
        step = here * (1 - here / value) / float(polygamma(2, found))
        found += step
        if -step / found < 1e-8:
            break
    return found
