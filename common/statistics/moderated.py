"""common/statistics: moderated t statistics: variances of many genes, each shrunk towards what the others have.

The empirical Bayes method of limma (Smyth, Stat Appl Genet Mol Biol 2004;3:3): residual variances follow a scaled F
distribution, whose prior variance and degrees of freedom are estimated by the moments of their logarithms. It needs
the genes' fitted coefficients and variances only, so that nothing more leaves a hospital.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.study.table import FloatArray

_FLOOR = 1e-5
"""Variances below this share of their median are taken for it."""


@dataclass(frozen=True)
class Prior:
    """What the genes' variances have in common: `variance`, and `degrees` of freedom, infinite where all agree."""

    variance: float
    degrees: float


def prior_of(variances: FloatArray, degrees: int) -> Prior:
    """The prior of (genes,) residual variances with so many degrees of freedom each (Smyth 2004, section 6.2).

    Raises
    ------
    FedmviError
        601 fewer than two genes.
    """
    from scipy import special

    known = variances[np.isfinite(variances) & (variances >= 0)]
    if known.size < 2 or not float(np.median(known)) > 0:
        raise FedmviError(601, "fewer than two genes that vary")
    half = degrees / 2.0
    e = np.log(np.maximum(known, _FLOOR * np.median(known))) - special.digamma(half) + np.log(half)
    mean = float(e.mean())
    excess = float(e.var(ddof=1) - special.polygamma(1, half))
    if excess <= 0:
        return Prior(float(np.exp(mean)), float("inf"))
    prior_half = trigamma_inverse(excess)
    return Prior(float(np.exp(mean + special.digamma(prior_half) - np.log(prior_half))), 2.0 * prior_half)


def trigamma_inverse(value: float) -> float:
    """The x > 0 whose trigamma function is `value` > 0, by the Newton steps of Smyth 2004, appendix."""
    from scipy import special

    if value > 1e7:
        return float(1.0 / np.sqrt(value))
    if value < 1e-6:
        return 1.0 / value
    x = 0.5 + 1.0 / value
    for _ in range(50):
        now = float(special.polygamma(1, x))
        step = now * (1.0 - now / value) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            return x
    raise FedmviError(604, "the inverse of the trigamma function", model="moderated t")


def posterior(variances: FloatArray, degrees: int, prior: Prior) -> FloatArray:
    """(genes,) variances, shrunk towards the prior's."""
    if np.isinf(prior.degrees):
        return np.full(variances.shape, prior.variance)
    return (prior.degrees * prior.variance + degrees * variances) / (prior.degrees + degrees)


def two_sided(t: FloatArray, degrees: FloatArray) -> FloatArray:
    """(genes,) p values of t statistics; normal ones with infinitely many degrees of freedom."""
    from scipy import special

    normal = np.isinf(degrees)
    student = 2.0 * special.stdtr(np.where(normal, 1.0, degrees), -np.abs(t))
    return np.asarray(np.where(normal, special.erfc(np.abs(t) / np.sqrt(2.0)), student))
