"""Moderated variances: few values a case say little of its spread, all cases together say what spreads are usual."""

# C cases

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma

_Reals = npt.NDArray[np.float64]

OFFSET = 1e-5  # of the median variance, in place of less: a case that never moved has no logarithm (limma's fitFDist)


class Prior(NamedTuple):
    """A scaled inverse chi-square: what the cases of a suite say of each other's variance. df 0 is nothing."""

    variance: float
    df: float


class Moderated(NamedTuple):
    """Variances and their degrees of freedom, by case."""

    variances: _Reals
    freedoms: _Reals


def prior_of(variance_C: _Reals, freedom_C: _Reals, *, least: float = 0.0) -> Prior:
    """The prior under which such variances, each with its degrees of freedom, are to be expected.

    By the moments of log variance, as limma's fitFDist does it; none below `least` are believed. What is not finite, or
    has no degree of freedom, is left out. Source: Smyth 2004, Linear models and empirical Bayes methods for assessing
    differential expression, section 6.2.
    """
    known_C = np.isfinite(variance_C) & (freedom_C > 0)
    seen, freedom = variance_C[known_C], freedom_C[known_C]
    floor = max(OFFSET * float(np.median(seen)), least) if len(seen) > 1 else 0.0
    if floor <= 0:
        return Prior(0.0, 0.0)
    seen = np.maximum(seen, floor)
    logs = np.log(seen) - digamma(freedom / 2) + np.log(freedom / 2)
    excess = float(np.var(logs, ddof=1) - np.mean(polygamma(1, freedom / 2)))
    if excess <= 0:  # no more unlike than chance makes equal ones
        return Prior(float(np.average(seen, weights=freedom)), np.inf)
    df = 2 * inverse_trigamma(excess)
    return Prior(float(np.exp(logs.mean() + digamma(df / 2) - np.log(df / 2))), df)


def moderated(variance_C: _Reals, freedom_C: _Reals, *, least: float = 0.0) -> Moderated:
    """Each variance drawn towards what is usual, the more the fewer its degrees of freedom and the more alike all are.

    Cases must be independent of each other: what moves all of them together is not to be in here. A case alone keeps
    its own; one without a variance takes the usual one. Degrees of freedom are at most those of all cases together.
    Source: Smyth 2004, section 4; limma's squeezeVar and eBayes.
    """
    prior = prior_of(variance_C, freedom_C, least=least)
    if prior.df == 0:
        return Moderated(variance_C, freedom_C)
    known_C = np.isfinite(variance_C) & (freedom_C > 0)
    own_C, freedom_C = np.where(known_C, variance_C, 0.0), np.where(known_C, freedom_C, 0.0)
    drawn_C = np.full_like(own_C, prior.variance)
    if np.isfinite(prior.df):
        drawn_C = (prior.df * prior.variance + freedom_C * own_C) / (prior.df + freedom_C)
    return Moderated(drawn_C, np.minimum(prior.df + freedom_C, max(float(freedom_C.sum()), 1.0)))


def inverse_trigamma(value: float) -> float:
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
