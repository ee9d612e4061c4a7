"""common/study: location and scale of one site's standardised features, shrunk towards each other (ComBat).

(Johnson, Li & Rabinovic, Biostatistics 2007;8:118, sections 3.2 and appendix.) All of it is local: priors are fitted
across the features of one site. Their centres are the site's own means over features, so that nothing draws a site
which does not differ at all towards "no difference"; `towards_training` does that for a site that took no part.
"""

from __future__ import annotations

import numpy as np

from common.errors import FedmviError
from common.study.table import FloatArray

_TOLERANCE = 1e-13
_MAX_ITERATIONS = 10_000
NO_VARIANCE = 1e-20
"""A variance of standardised values up to this is rounding."""
CHANCE = 0.95
"""The share of sites at which nothing differs that are found to have no location of their own; with few patients and
heavy tails somewhat fewer have no scale (0.87 of 60 patients, in a test)."""


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


def towards_training(values: FloatArray, gamma: FloatArray, delta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What is left of a site's location and scale when so much of them is taken off as chance alone makes, (p,) each.

    By estimation alone, a site that is as those of training has some location other than 0 and some variance other
    than 1; to remove them disturbs its features for nothing. Both are multiplied by 1 - c / Q, or by 0 where that is
    negative (positive-part shrinkage: Baranchik, Stanford technical report 51, 1964; James & Stein, 4th Berkeley
    Symposium 1961;1:361), the variance in its logarithm. Q is the sum over features of squares of the raw estimates in
    standard errors. c, the `CHANCE` quantile of Q where nothing differs, is larger than the number of features less 2
    of James and Stein: they ask for the smallest error, here nothing is to be moved without need. Features are
    correlated, so Q is a multiple of a chi-square with fewer degrees of freedom (Satterthwaite, Biometrics 1946;2:110).
    Standard errors are those of any distribution. The part of a site that differs by far is nearly 1.

    Parameters
    ----------
    values
        (n, p) as of `location_and_scale`.
    gamma, delta
        What that gave.
    """
    known = ~np.isnan(values)
    n = known.sum(axis=0).astype(np.float64)
    mean = np.where(known, values, 0.0).sum(axis=0) / n
    away = np.where(known, values - mean, 0.0)
    variance = np.square(away).sum(axis=0) / n
    varies = variance > NO_VARIANCE
    n, mean, away, variance, known = n[varies], mean[varies], away[:, varies], variance[varies], known[:, varies]
    location = _beyond_chance(mean, away / n)
    level = np.log(variance * n / (n - 1.0))
    scale = _beyond_chance(level, np.where(known, np.square(away) / variance - 1.0, 0.0) / n)
    return location * gamma, np.power(delta, scale)


def _beyond_chance(estimates: FloatArray, influences: FloatArray) -> float:
    """The part of estimates that chance does not explain, by the (n, p) influence of each patient on each of them."""
    from scipy import special

    covariance = influences.T @ influences
    variance = np.diag(covariance)
    if not bool(np.any(variance > 0.0)):
        return 1.0
    estimates, covariance = estimates[variance > 0.0], covariance[np.ix_(variance > 0.0, variance > 0.0)]
    variance = variance[variance > 0.0]
    found = float(np.sum(np.square(estimates) / variance))
    factor = float(np.sum(np.square(covariance) / np.outer(variance, variance))) / variance.size
    by_chance = factor * 2.0 * float(special.gammaincinv(0.5 * variance.size / factor, CHANCE))
    return max(0.0, 1.0 - by_chance / found) if found > 0.0 else 0.0
