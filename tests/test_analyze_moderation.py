"""Moderated variances against what limma computes, and at the ends of what may come."""

import numpy as np
import pytest
from scipy.special import polygamma

from llmbench.analyze.moderation import inverse_trigamma, moderated, prior_of


def test_equal_spreads_are_pooled() -> None:
    rng = np.random.default_rng(0)
    seen_C = rng.chisquare(9, 200) / 9
    found = moderated(seen_C, np.full(200, 9.0))
    assert np.ptp(found.variances) < 0.5 * np.ptp(seen_C) and found.variances.mean() == pytest.approx(1, rel=0.1)
    assert (found.freedoms > 40).all()


def test_unequal_spreads_stay_apart_and_gain_little() -> None:
    rng = np.random.default_rng(0)
    true_C = np.exp(1.5 * rng.standard_normal(200))
    seen_C = true_C * rng.chisquare(9, 200) / 9
    found = moderated(seen_C, np.full(200, 9.0))
    assert np.corrcoef(np.log(found.variances), np.log(seen_C))[0, 1] > 0.99
    assert (found.freedoms < 12).all() and (found.freedoms > 9).all()


def test_moderation_estimates_its_prior() -> None:
    """Variances drawn from the model, s0^2 = 4 and d0 = 8: what comes back is near."""
    rng = np.random.default_rng(1)
    true_C = 4 * 8 / rng.chisquare(8, 20_000)
    found = moderated(true_C * rng.chisquare(5, 20_000) / 5, np.full(20_000, 5.0))
    assert found.freedoms[0] - 5 == pytest.approx(8, rel=0.1)


def test_one_case_and_cases_that_never_moved_are_left_as_they_are() -> None:
    for seen_C in (np.array([2.0]), np.zeros(5)):
        found = moderated(seen_C, np.full(len(seen_C), 9.0))
        assert (found.variances == seen_C).all() and (found.freedoms == 9).all()
    found = moderated(np.array([0.0, 1.0, 1.0, 1.0]), np.full(4, 9.0))
    assert np.isfinite(found.variances).all() and (found.variances > 0).all()


@pytest.mark.parametrize("value", [1e-8, 0.01, 1.0, 50.0, 1e8])
def test_the_inverse_of_trigamma_is_one(value: float) -> None:
    assert float(polygamma(1, inverse_trigamma(value))) == pytest.approx(value, rel=1e-6)


def test_the_prior_of_variances_is_found_again() -> None:
    rng = np.random.default_rng(3)
    true = 1e-4 * 10 / rng.chisquare(10, 20_000)
    seen = true * rng.chisquare(7, 20_000) / 7
    prior = prior_of(seen, np.full(20_000, 7.0))
    assert prior.variance == pytest.approx(1e-4, rel=0.03) and prior.df == pytest.approx(10, rel=0.1)
