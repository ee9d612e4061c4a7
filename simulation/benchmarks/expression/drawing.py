"""simulation: benchmarks: expression: one drawn study: who has MVI, who is called so, and everybody's counts.

The count of gene g in patient i of hospital s is negative binomial, with the logarithm of its mean

    log(L_i p_g) + e_gs + log(2) (b_g v_i + c_g x_i) + block and common factors,

as in simulated hospitals (`simulation.cohorts.expression`), with two things more: a covariate x, which goes with MVI
and changes a tenth of the genes without a difference, and factors that make genes correlated. What does not differ
(b_g = 0) is independent of the grouping given hospital and covariate, whether patients are grouped by MVI or by a
predictor: it errs by chance and by the covariate, never by a gene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.study.table import FloatArray
from simulation.benchmarks.expression import scenarios as s
from simulation.cohorts.gene_sets import FALLING, GLUCOSE_METABOLISM, RISING

NAMES = GLUCOSE_METABOLISM + tuple(f"SIM{i:05d}" for i in range(1, s.GENES - len(GLUCOSE_METABOLISM) + 1))
"""Of all genes; those of a block follow each other."""
_TRIES = 10_000

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Patients:
    """Who is compared.

    Attributes
    ----------
    site
        (n,) hospital of each.
    covariate
        (n,) standardised.
    groups
        By name of the grouping: (n,) 0 or 1; the first is true MVI.
    """

    site: NDArray[np.int64]
    covariate: FloatArray
    groups: dict[str, FloatArray]

    @property
    def mvi(self) -> FloatArray:
        """(n,) 1 with MVI."""
        return self.groups[s.TRUE.name]


@dataclass(frozen=True)
class Drawn:
    """Counts, and what is true of the genes.

    Attributes
    ----------
    counts
        (n, genes).
    change
        (genes,) log2 fold change with MVI.
    zero_heavy
        (genes,) whether a gene is not found in many patients.
    """

    patients: Patients
    counts: FloatArray
    change: FloatArray
    zero_heavy: Flags


def stream(seed: int, patients: int, purpose: int) -> np.random.Generator:
    """The generator of one purpose in one study."""
    return np.random.default_rng([20261, seed, patients, purpose])


def draw_patients(seed: int, patients: int) -> Patients:
    """Groups in every hospital, drawn anew until each has enough of both."""
    draw, sizes = stream(seed, patients, 0), s.sites_of(patients)
    site = np.repeat(np.arange(len(sizes)), sizes)
    for _ in range(_TRIES):
        mvi = (draw.random(patients) < s.PREVALENCE).astype(np.float64)
        own = draw.standard_normal(patients)
        covariate = own + s.COVARIATE_DIFFERENCE * (mvi - s.PREVALENCE)
        groups = {g.name: mvi if g.auc is None else _called(mvi, own, g.auc, draw) for g in s.GROUPINGS}
        if all(_enough(group, site) for group in groups.values()):
            return Patients(site, covariate, groups)
    raise FedmviError(901, f"no groups of {patients} patients")


def _called(mvi: FloatArray, own: FloatArray, auc: float, draw: np.random.Generator) -> FloatArray:
    """(n,) 1 where a predictor of that area is above the middle of the two classes' means."""
    from scipy.special import ndtri

    apart = float(np.sqrt(2.0) * ndtri(auc))
    error = s.SCORE_COVARIATE * own + np.sqrt(1.0 - s.SCORE_COVARIATE**2) * draw.standard_normal(mvi.size)
    return np.asarray(apart * (mvi - 0.5) + error > 0, dtype=np.float64)


def _enough(group: FloatArray, site: NDArray[np.int64]) -> bool:
    ones, all_ = np.bincount(site, weights=group), np.bincount(site)
    return bool(np.minimum(ones, all_ - ones).min() >= s.LEAST_IN_GROUP)


def draw_counts(seed: int, patients: Patients, *, signal: bool, correlated: bool) -> Drawn:
    """Counts of everybody; the same seed has the same genes with and without a signal."""
    n = patients.site.size
    genes, rows = stream(seed, n, 1), stream(seed, n, 2 + 2 * signal + correlated)
    share = np.exp(s.SHARE_SPREAD * genes.standard_normal(s.GENES))
    zero_heavy = np.zeros(s.GENES, dtype=bool)
    zero_heavy[genes.choice(np.arange(len(GLUCOSE_METABOLISM), s.GENES), s.ZERO_HEAVY, replace=False)] = True
    share[zero_heavy] = 0.0
    share *= (1.0 - s.ZERO_HEAVY * s.ZERO_HEAVY_PER_MILLION / 1e6) / share.sum()
    share[zero_heavy] = s.ZERO_HEAVY_PER_MILLION / 1e6
    dispersion = (s.TREND_MEAN / (s.LIBRARY_SIZE * share) + 1.0) * np.exp(s.SCATTER * genes.standard_normal(s.GENES))
    dispersion *= s.DISPERSION / np.median(dispersion)
    dispersion[zero_heavy] = s.ZERO_HEAVY_DISPERSION
    change = _changes() if signal else np.zeros(s.GENES)
    with_covariate = (genes.random(s.GENES) < s.COVARIATE_SHARE) & (_changes() == 0)
    library = s.LIBRARY_SIZE * np.exp(s.LIBRARY_SPREAD * rows.standard_normal(n))
    effect = s.SITE_EFFECT * rows.standard_normal((int(patients.site.max()) + 1, s.GENES))
    log2 = np.outer(patients.mvi, change) + np.outer(patients.covariate, s.COVARIATE_CHANGE * with_covariate)
    logs = np.log(library)[:, np.newaxis] + np.log(share) + effect[patients.site] + np.log(2.0) * log2
    if correlated:
        logs += _factors(n, rows)
    mean = np.exp(logs)
    counts = rows.negative_binomial(1.0 / dispersion, 1.0 / (1.0 + dispersion * mean)).astype(np.float64)
    counts[:, zero_heavy] *= rows.random((n, s.ZERO_HEAVY)) >= s.ZERO_SHARE
    return Drawn(patients, counts, change, zero_heavy)


def _changes() -> FloatArray:
    """(genes,) log2 fold changes: the genes of the pathway that rise and fall most, each size in both directions."""
    half = s.PER_EFFECT * len(s.EFFECTS) // 2
    sizes = np.tile(s.EFFECTS, s.PER_EFFECT)[: 2 * half]
    known = dict(
        zip((*RISING[:half], *FALLING[:half]), np.where(np.arange(2 * half) < half, sizes, -sizes), strict=True)
    )
    return np.array([known.get(name, 0.0) for name in NAMES])


def _factors(n: int, draw: np.random.Generator) -> FloatArray:
    """(n, genes) what blocks of genes share, and what all share in either direction; mean 1 of its exponential."""
    block = np.repeat(draw.standard_normal((n, s.GENES // s.BLOCK)), s.BLOCK, axis=1)
    loading = s.COMMON_SPREAD * draw.standard_normal(s.GENES)
    shared = s.BLOCK_SPREAD * block + np.outer(draw.standard_normal(n), loading)
    return np.asarray(shared - (s.BLOCK_SPREAD**2 + loading**2) / 2.0)


def null_sets(seed: int) -> dict[str, dict[str, tuple[str, ...]]]:
    """Sets of genes that do not differ, by kind: drawn from all of them, and whole co-expressed blocks."""
    first = -(-len(GLUCOSE_METABOLISM) // s.BLOCK)
    null, draw = NAMES[len(GLUCOSE_METABOLISM) :], stream(seed, 0, 0)
    blocks = [NAMES[k * s.BLOCK : (k + 1) * s.BLOCK] for k in range(first, first + s.SETS)]
    drawn = [tuple(null[i] for i in draw.choice(len(null), s.RANDOM_SET, replace=False)) for _ in range(s.SETS)]
    return {
        "random": {f"random {k}": genes for k, genes in enumerate(drawn)},
        "co-expressed": {f"co-expressed {k}": genes for k, genes in enumerate(blocks)},
    }
