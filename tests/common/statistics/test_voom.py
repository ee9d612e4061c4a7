"""common/statistics: size factors and limma-voom over sites: what R gives (see exactness), edges, and invariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.moderated import prior_of, trigamma_inverse
from common.statistics.size_factors import SizeFactors, size_factors
from common.statistics.voom import DifferentialExpression, differential_expression
from common.study.recipe import Recipe
from simulation.exactness.expression import genes_of
from simulation.exactness.measuring import Table
from simulation.exactness.tables import rna_counts
from simulation.views import COHORT, federation_of
from tests.public_data import public


def fitted(table: Table, design: tuple[str, ...] = ("group",)) -> DifferentialExpression:
    genes = genes_of(table)
    port = federation_of(table.columns, {}, table.site)
    found: DifferentialExpression = conclude(
        port, [differential_expression(COHORT, Recipe(), genes, design, "library")]
    )[0]
    return found


def scaled(counts: np.ndarray, site: np.ndarray) -> SizeFactors:
    genes = tuple(f"g{i}" for i in range(counts.shape[1]))
    port = federation_of(dict(zip(genes, counts.T, strict=True)), {}, site)
    found: SizeFactors = conclude(port, [size_factors(COHORT, Recipe(), genes)])[0]
    return found


def test_size_factors_of_the_reference_are_those_of_deseq2():
    """10 genes of 100 samples, as three uneven sites; the factors that R's DESeq2 gave."""
    folder = public("deseq2_reference")
    read = {"delimiter": ",", "skiprows": 1}
    counts = np.loadtxt(folder / "datasets/synthetic/test_counts.csv", usecols=range(1, 101), **read).T
    theirs = np.loadtxt(folder / "single_factor/r_test_size_factors.csv", usecols=1, **read)
    fit = scaled(counts, np.searchsorted([15, 45], np.arange(100), side="right"))
    assert fit.factors(counts) == pytest.approx(theirs, rel=1e-12)


def test_a_shift_of_every_library_of_a_site_is_the_site_and_no_gene():
    """Twice as deep sequencing at one site: counts of that site doubled, and their libraries; about the same answer."""
    table = rna_counts()
    deeper = np.where(table.site == 2, 2.0, 1.0)
    columns = {
        name: values * (deeper if name not in ("group", "age") else 1.0) for name, values in table.columns.items()
    }
    before, after = fitted(table), fitted(replace(table, columns=columns))
    frequent = before.mean_ > np.median(before.mean_)
    apart = np.abs(after.log2_fold_change_ - before.log2_fold_change_)[frequent]
    assert apart.max() < 0.2 and np.median(apart) < 0.02
    assert not np.array_equal(after.log2_fold_change_, before.log2_fold_change_)


def test_genes_that_some_site_never_found_are_left_out_and_others_are_as_they_were():
    table = rna_counts()
    lacking = {**table.columns, "gene000": np.where(table.site == 1, 0.0, table.columns["gene000"])}
    whole = fitted(table)
    fit = fitted(replace(table, columns=lacking))
    assert "gene000" in whole.genes
    assert "gene000" not in fit.genes
    assert set(fit.genes) == set(whole.genes) - {"gene000"}


def test_no_gene_differs_where_the_group_is_dealt_at_random():
    """p values of genes that do not differ are uniform: 400 genes, 20 dealings of the group within sites."""
    table, rng = rna_counts(), np.random.default_rng(11)
    shares = []
    for _ in range(20):
        group = np.empty(table.site.size)
        for site in range(4):
            rows = table.site == site
            group[rows] = rng.permutation(table.columns["group"][rows])
        shares.append(np.mean(fitted(replace(table, columns={**table.columns, "group": group})).p_ < 0.05))
    assert 0.02 < float(np.mean(shares)) < 0.08


@pytest.mark.parametrize(("number", "design"), [(603, ("constant",)), (603, ("group", "age", "both"))])
def test_columns_that_say_nothing_of_their_own_are_an_error(number: int, design: tuple[str, ...]):
    table = rna_counts()
    columns = {
        **table.columns,
        "constant": np.asarray(table.site, dtype=np.float64),
        "both": table.columns["age"] + 2.0 * table.columns["group"],
    }
    with pytest.raises(FedmviError) as caught:
        fitted(replace(table, columns=columns), design)
    assert caught.value.number == number


def test_a_gene_in_every_patient_is_needed_for_size_factors():
    with pytest.raises(FedmviError) as caught:
        scaled(np.eye(9), np.repeat([0, 1, 2], 3))
    assert caught.value.number == 649


def test_variances_that_agree_are_all_replaced_by_one():
    """limma: infinitely many prior degrees of freedom, where variances scatter less than chance would have them."""
    prior = prior_of(np.full(50, 2.0), 20)
    assert np.isinf(prior.degrees)
    assert trigamma_inverse(1e-7) == pytest.approx(1e7)
    assert trigamma_inverse(1.6449340668482264) == pytest.approx(1.0, rel=1e-9)  # pi^2 / 6
