"""tests: the steps of DESeq2 that are taken for all genes at once are those that PyDESeq2 takes gene by gene."""

from __future__ import annotations

import numpy as np
import pytest

from common.statistics.deseq_steps import coefficients, dispersions

utils = pytest.importorskip("pydeseq2.utils")

N, GENES = 24, 80
LIMITS = (1e-8, 24.0)
RNG = np.random.default_rng(6)
DESIGN = np.column_stack([np.ones(N), np.arange(N) % 2, RNG.normal(60, 9, N)])
FACTORS = np.exp(0.3 * RNG.standard_normal(N))
MEAN = FACTORS[:, None] * np.exp(RNG.uniform(1.5, 9.0, GENES)) * 2.0 ** (DESIGN[:, 1:2] * RNG.normal(0, 1, GENES))
TRUE = np.exp(RNG.normal(-1.6, 0.7, GENES))
COUNTS = RNG.negative_binomial(1 / TRUE, 1 / (1 + TRUE * MEAN)).astype(float)


def test_coefficients_are_those_of_pydeseq2_and_what_diverges_is_said() -> None:
    counts = COUNTS.copy()
    counts[:, 0] = 0.0
    counts[0, 0] = 3e9  # of one patient, whose coefficient runs away
    found = coefficients(counts, FACTORS, DESIGN, TRUE, 0.5, 1e-8)
    assert found.converged[1:].all()
    for gene in np.flatnonzero(found.converged).tolist():
        beta, mu, leverage, _ = utils.irls_solver(counts[:, gene], FACTORS, DESIGN, TRUE[gene])
        assert found.beta[gene] == pytest.approx(beta, rel=1e-6, abs=1e-8)
        assert found.mu[:, gene] == pytest.approx(mu, rel=1e-6)
        assert found.leverage[:, gene] == pytest.approx(leverage, rel=1e-6)


@pytest.mark.parametrize("variance", [None, 0.4])
def test_no_dispersion_of_pydeseq2_has_a_larger_likelihood(variance: float | None) -> None:
    start = np.full(GENES, 0.3)
    found = dispersions(COUNTS, DESIGN, MEAN, LIMITS, None if variance is None else (start, variance))

    def lost(gene: int, alpha: float) -> float:
        mu = MEAN[:, gene]
        information = (DESIGN.T * (mu / (1 + mu * alpha))) @ DESIGN
        own = 0.0 if variance is None else np.log(alpha / start[gene]) ** 2 / (2 * variance)
        return float(utils.nb_nll(COUNTS[:, gene], mu, alpha) + 0.5 * np.linalg.slogdet(information)[1] + own)

    for gene in range(GENES):
        theirs, done = utils.fit_alpha_mle(
            COUNTS[:, gene], DESIGN, MEAN[:, gene], start[gene], *LIMITS, variance, prior_reg=variance is not None
        )
        assert lost(gene, found[gene]) <= lost(gene, theirs) + 1e-9
        if done:
            assert found[gene] == pytest.approx(theirs, rel=2e-3)
