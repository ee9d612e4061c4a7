"""common/statistics: two steps of DESeq2 for all genes at once: dispersions, and coefficients of regressions of counts.

PyDESeq2 takes them gene by gene, which is most of its time. Counts are negative binomial, and the equations the same
(Love et al., Genome Biol 2014;15:550, equations 1 to 7; the adjustment of Cox & Reid, J R Stat Soc B 1987;49:1).
Arrays of counts and means are (patients, genes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.study.table import FloatArray

_HALVINGS = 40
"""Of the range of log dispersions, which spans some 20: to 2e-11."""
_RIDGE = 1e-6
_LARGEST, _STEPS = 30.0, 250
"""A gene whose coefficient grows beyond, or that needs as many steps, has not converged: DESeq2's limits."""


def dispersions(
    counts: FloatArray,
    design: FloatArray,
    mu: FloatArray,
    limits: tuple[float, float],
    prior: tuple[FloatArray, float] | None = None,
) -> FloatArray:
    """(genes,) where the adjusted profile likelihood of the logarithm of the dispersion is largest.

    Its slope is halved in: it rises below a maximum and falls above. Without one between the limits it is a limit.

    Parameters
    ----------
    design
        (patients, terms).
    mu
        Expected counts.
    limits
        The smallest and largest dispersion.
    prior
        Of the logarithm of the dispersion: e to the mean of each gene, and the variance.
    """
    low, high = (np.full(counts.shape[1], np.log(limit)) for limit in limits)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = _slope(counts, design, mu, np.exp(middle))
        if prior is not None:
            slope -= (middle - np.log(prior[0])) / prior[1]
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return np.asarray(np.exp((low + high) / 2))


def _slope(counts: FloatArray, design: FloatArray, mu: FloatArray, alpha: FloatArray) -> FloatArray:
    """(genes,) slope of the adjusted log likelihood along the logarithm of the dispersion."""
    from scipy import special

    size = 1.0 / alpha
    terms = special.digamma(size) - special.digamma(counts + size) + np.log1p(mu * alpha) + (counts - mu) / (mu + size)
    weights = mu / (1.0 + mu * alpha)
    information, change = _products(design, weights), _products(design, -(weights**2))
    adjusted = 0.5 * alpha * np.einsum("gij,gji->g", np.linalg.inv(information), change)
    return np.asarray(size * terms.sum(axis=0) - adjusted)


def _products(design: FloatArray, weights: FloatArray) -> FloatArray:
    """(genes, terms, terms) weighted products of the design."""
    p = design.shape[1]
    pairs = (design[:, :, None] * design[:, None, :]).reshape(len(design), p * p)
    return np.asarray((weights.T @ pairs).reshape(-1, p, p))


@dataclass(frozen=True)
class Coefficients:
    """What regressions of all genes ended with.

    Attributes
    ----------
    beta
        (genes, terms), natural logarithms.
    mu, leverage
        (patients, genes): expected counts, and the diagonals of the hat matrices.
    converged
        (genes,). Others are not to be used.
    """

    beta: FloatArray
    mu: FloatArray
    leverage: FloatArray
    converged: NDArray[np.bool_]


def coefficients(
    counts: FloatArray,
    factors: FloatArray,
    design: FloatArray,
    alpha: FloatArray,
    least: float,
    tolerance: float,
) -> Coefficients:
    """Negative binomial regressions with a logarithmic link by reweighted least squares, of a design of full rank.

    Parameters
    ----------
    factors
        (patients,) size factors.
    alpha
        (genes,) dispersions.
    least
        Smallest expected count while it is fitted.
    tolerance
        A gene has converged when its deviance changes by less than this part.
    """
    offset = np.log(factors)[:, None]
    ridge = _RIDGE * np.eye(design.shape[1])
    beta: FloatArray = np.linalg.lstsq(design, np.log(counts / factors[:, None] + 0.1), rcond=None)[0].astype(
        np.float64
    )

    def fitted(b: FloatArray) -> FloatArray:
        return np.asarray(np.exp(offset + design @ b))

    constant = _constant(counts, alpha)
    deviance, going = np.full(counts.shape[1], 1000.0), np.arange(counts.shape[1])
    converged = np.zeros(counts.shape[1], dtype=bool)
    for _ in range(_STEPS - 1):
        if not going.size:
            break
        own, a = counts[:, going], alpha[going]
        mu = np.maximum(fitted(beta[:, going]), least)
        weights = mu / (1.0 + mu * a)
        wanted = design.T @ (weights * (np.log(mu) - offset + (own - mu) / mu))
        steps = np.linalg.solve(_products(design, weights) + ridge, wanted.T[:, :, None])
        found: FloatArray = steps[:, :, 0].T.astype(np.float64)
        held = np.all(np.abs(found) <= _LARGEST, axis=0)
        going, own, a, found = going[held], own[:, held], a[held], found[:, held]
        beta[:, going] = found
        now = constant[going] + 2 * _varying(own, np.maximum(fitted(found), least), a)
        small = np.abs(now - deviance[going]) <= tolerance * (np.abs(now) + 0.1)
        deviance[going] = now
        converged[going[small]] = True
        going = going[~small]
    mu = np.maximum(fitted(beta), least)
    weights = mu / (1.0 + mu * alpha)
    inverse = np.linalg.inv(_products(design, weights) + ridge)
    leverage = weights * np.einsum("ij,gjk,ik->ig", design, inverse, design)
    return Coefficients(beta.T, fitted(beta), leverage, converged)


def _constant(counts: FloatArray, alpha: FloatArray) -> FloatArray:
    """(genes,) twice what of the log likelihood does not depend on the coefficients."""
    from scipy.special import gammaln

    size = 1.0 / alpha
    binomial = (gammaln(counts + size) - gammaln(counts + 1.0) - gammaln(size)).sum(axis=0)
    return np.asarray(2 * (binomial - len(counts) * size * np.log(alpha)))


def _varying(counts: FloatArray, mu: FloatArray, alpha: FloatArray) -> FloatArray:
    """(genes,) what of the log likelihood depends on the coefficients."""
    size = 1.0 / alpha
    return np.asarray((counts * np.log(mu) - (counts + size) * np.log(size + mu)).sum(axis=0))
