"""common/study: location and scale of one site's standardised features, shrunk towards each other (ComBat).

(Johnson, Li & Rabinovic, Biostatistics 2007;8:118, sections 3.2 and appendix.) All of it is local: priors are fitted
across the features of one site.
"""

from __future__ import annotations

import numpy as np

from common.errors import FedmviError
from common.study.table import FloatArray

_TOLERANCE = 1e-13
_MAX_ITERATIONS = 10_000
NO_VARIANCE = 1e-20
"""A variance of standardised values up to this is rounding."""


def location_and_scale(
    values: FloatArray, *, eb: bool, parametric: bool, mean_only: bool
) -> tuple[FloatArray, FloatArray]:
    """Location gamma and variance delta of each feature, (p,) each.

    Parameters
    ----------
    values
        (n, p) standardised features of one site, NaN where missing; at least two known values in each column.
    eb
        Shrink towards the priors across features; else each feature has its own mean and variance (n - 1).
    parametric
        Normal and inverse gamma priors, of which the joint posterior mode equations are solved to the last digits
        (the R and Python implementations stop at a relative step of 1e-4); else the features' own distribution.
    mean_only
        Delta is 1.

    Raises
    ------
    FedmviError
        501 empirical Bayes over fewer than two features.
    """
    if eb and values.shape[1] < 2:
        raise FedmviError(501, "empirical Bayes needs two features")
    known = ~np.isnan(values)
    n = known.sum(axis=0).astype(np.float64)
    gamma = np.where(known, values, 0.0).sum(axis=0) / n
    square = np.square(np.where(known, values - gamma, 0.0)).sum(axis=0)
    delta = square / np.maximum(n - 1.0, 1.0)
    # A feature that is constant at the site has no scale to adjust.
    delta = np.ones_like(delta) if mean_only else np.where(delta > NO_VARIANCE, delta, 1.0)
    if not eb:
        return gamma, delta
    if not parametric:
        return _nonparametric(gamma, delta, square, n)
    if mean_only:
        return _posterior_mean(gamma, np.ones_like(n), delta), delta
    return _parametric(gamma, delta, square, n)


def _posterior_mean(gamma: FloatArray, n: FloatArray, delta: FloatArray) -> FloatArray:
    """E[gamma | delta] under the normal prior across features."""
    centre, spread = gamma.mean(), gamma.var(ddof=1)
    mean: FloatArray = (spread * n * gamma + delta * centre) / (spread * n + delta)
    return mean


def _parametric(
    gamma: FloatArray, delta: FloatArray, square: FloatArray, n: FloatArray
) -> tuple[FloatArray, FloatArray]:
    # Hyperparameters of the inverse gamma by moments: a = 2 + m^2 / s2 and b = m (1 + m^2 / s2), both times s2 here,
    # so that variances that are all alike divide nothing by zero.
    m, s2 = float(delta.mean()), float(delta.var(ddof=1))
    location, scale = gamma, delta
    for _ in range(_MAX_ITERATIONS):
        new_location = _posterior_mean(gamma, n, scale)
        about = square + n * np.square(gamma - new_location)
        new_scale = (s2 * (0.5 * about + m) + m**3) / (s2 * (0.5 * n + 1.0) + m**2)
        change = max(
            float(np.max(np.abs(new_location - location))), float(np.max(np.abs(new_scale - scale) / new_scale))
        )
        location, scale = new_location, new_scale
        if change < _TOLERANCE:
            return location, scale
    raise FedmviError(604, "empirical Bayes", model="combat")


def _nonparametric(
    gamma: FloatArray, delta: FloatArray, square: FloatArray, n: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Posterior means with all other features' estimates as the prior, by their likelihoods, in logarithms."""
    about = square[:, np.newaxis] + n[:, np.newaxis] * np.square(gamma[:, np.newaxis] - gamma)
    log_likelihood = -0.5 * (n[:, np.newaxis] * np.log(2.0 * np.pi * delta) + about / delta)
    np.fill_diagonal(log_likelihood, -np.inf)
    weight = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    return weight @ gamma, weight @ delta
