"""tests/simulation: counts follow the declared distribution, and only the declared genes differ with MVI."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats

from simulation.cohorts.consortium import Consortium, Expression, Group, Site
from simulation.cohorts.expression import (
    FILE,
    ExpressionTable,
    GeneTruth,
    draw_expression,
    gene_truth,
    write_expression,
)
from simulation.cohorts.gene_sets import FALLING, GLUCOSE_METABOLISM, RISING
from simulation.cohorts.patients import Patients

SEED = 3
ALMOST_NEVER = 1e-3
"""A p-value below it says that a claim is wrong; seeds are fixed, so a pass stays a pass."""


def consortium(**expression: object) -> Consortium:
    site = Site(name="a", groups=(Group(label="genomics", patients=1),))
    return Consortium(name="c", title="C", sites=(site,), expression=Expression.model_validate(expression))


def patients(n: int, site: str = "a", label: str = "") -> Patients:
    """Every third without MVI, every third M1, every third M2."""
    ids = tuple(f"{site}-{i:04d}" for i in range(n))
    return Patients(site, ids, (label,) * n, np.arange(n) % 3, {}, {}, {})


def means(truth: GeneTruth, table: ExpressionTable, present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(g, n) expected counts, from the formula."""
    at_site = truth.share * np.exp(table.site_effect)
    fold = 2.0 ** np.outer(truth.log2_fold_change, present)
    return at_site[:, None] * table.library_size * fold


def normalised(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(g, n) counts over the median-of-ratios size factors, which know nothing of the truth."""
    everywhere = (counts > 0).all(axis=1)
    logs = np.log(counts[everywhere])
    return counts / np.exp(np.median(logs - logs.mean(axis=1, keepdims=True), axis=0))


@pytest.fixture(scope="module")
def many() -> tuple[GeneTruth, ExpressionTable, Patients]:
    """Few genes of many patients, some of them rare."""
    declared, cohort = consortium(genes=200, library_size=1e5), patients(6000)
    return gene_truth(declared, SEED), draw_expression(declared, cohort, SEED), cohort


@pytest.fixture(scope="module")
def usual() -> tuple[GeneTruth, ExpressionTable, Patients]:
    """A usual study: many genes of some hundred patients."""
    declared, cohort = consortium(genes=2000), patients(300)
    return gene_truth(declared, SEED), draw_expression(declared, cohort, SEED), cohort


def test_means_are_the_declared_ones(many: tuple[GeneTruth, ExpressionTable, Patients]) -> None:
    truth, table, cohort = many
    expected = means(truth, table, cohort.present)
    variance = expected + truth.dispersion[:, None] * expected**2
    z = (table.counts - expected).sum(axis=1) / np.sqrt(variance.sum(axis=1))
    assert stats.kstest(z, "norm").pvalue > ALMOST_NEVER


def test_variances_are_those_of_the_negative_binomial(many: tuple[GeneTruth, ExpressionTable, Patients]) -> None:
    truth, table, cohort = many
    expected = means(truth, table, cohort.present)
    squares = (table.counts - expected) ** 2 / (expected + truth.dispersion[:, None] * expected**2)
    z = (squares.mean(axis=1) - 1) / (squares.std(axis=1, ddof=1) / np.sqrt(len(cohort)))
    # The mean of squares is skewed even in 6000 patients, so its z is judged by its spread, not by its shape.
    assert abs(z.mean()) < 0.4
    assert 0.8 < z.std() < 1.3


def test_every_count_has_the_distribution_of_the_negative_binomial() -> None:
    """One site, one gene, no effects but library sizes: counts through their own distribution are uniform."""
    declared, cohort = consortium(genes=200, library_size=1e5, associated=0), patients(3000)
    truth, table = gene_truth(declared, SEED), draw_expression(declared, cohort, SEED)
    expected = means(truth, table, cohort.present)
    rng = np.random.default_rng(0)
    for gene in np.argsort(truth.share)[[5, 100, 195]]:
        size = 1 / truth.dispersion[gene]
        law = stats.nbinom(size, size / (size + expected[gene]))
        below, here = law.cdf(table.counts[gene] - 1), law.pmf(table.counts[gene])
        assert stats.kstest(below + rng.random(len(cohort)) * here, "uniform").pvalue > ALMOST_NEVER


def test_genes_that_are_not_associated_have_uniform_p_values(
    usual: tuple[GeneTruth, ExpressionTable, Patients],
) -> None:
    truth, table, cohort = usual
    values = normalised(table.counts)[truth.log2_fold_change == 0]
    p = stats.mannwhitneyu(values[:, cohort.present], values[:, ~cohort.present], axis=1).pvalue
    assert len(p) == 1970
    # All genes share one estimate of each patient's size; a shuffled MVI shows how far that alone moves the p-values.
    shuffled = np.random.default_rng(1).permutation(cohort.present)
    q = stats.mannwhitneyu(values[:, shuffled], values[:, ~shuffled], axis=1).pvalue
    assert stats.kstest(p, "uniform").pvalue > ALMOST_NEVER
    assert stats.ks_2samp(p, q).pvalue > ALMOST_NEVER


def test_associated_genes_have_the_declared_fold_change_within_its_error(
    usual: tuple[GeneTruth, ExpressionTable, Patients],
) -> None:
    truth, table, cohort = usual
    values = normalised(table.counts)[truth.log2_fold_change != 0]
    with_mvi, without = values[:, cohort.present], values[:, ~cohort.present]
    found = np.log2(with_mvi.mean(axis=1) / without.mean(axis=1))
    error = sum(stats.variation(v, axis=1, ddof=1) ** 2 / v.shape[1] for v in (with_mvi, without))
    z = (found - truth.log2_fold_change[truth.log2_fold_change != 0]) * np.log(2) / np.sqrt(error)
    assert stats.chi2.sf(np.sum(z**2), len(z)) > ALMOST_NEVER
    assert np.sqrt(np.mean(error)) / np.log(2) < 0.15  # the errors are small enough to mean something


def test_an_independent_regression_finds_fold_change_and_dispersion() -> None:
    """Maximum likelihood of statsmodels on the raw counts of one gene, with the known library sizes as offset."""
    declared, cohort = consortium(genes=200), patients(600)
    truth, table = gene_truth(declared, SEED), draw_expression(declared, cohort, SEED)
    design = sm.add_constant(cohort.present.astype(float))
    for gene in np.flatnonzero(truth.log2_fold_change)[:6]:
        start = [np.log(table.counts[gene].mean() / table.library_size.mean()), 0.0, 0.2]
        model = sm.NegativeBinomial(table.counts[gene], design, offset=np.log(table.library_size))
        fit = model.fit(start_params=start, disp=False)
        wanted = np.array([truth.log2_fold_change[gene] * np.log(2), truth.dispersion[gene]])
        assert np.abs((fit.params[1:] - wanted) / fit.bse[1:]).max() < 4


def test_both_grades_of_invasion_have_one_effect(usual: tuple[GeneTruth, ExpressionTable, Patients]) -> None:
    truth, table, cohort = usual
    up = normalised(table.counts)[truth.log2_fold_change > 0]
    ratio = np.log2(up[:, cohort.grade == 2].mean(axis=1) / up[:, cohort.grade == 1].mean(axis=1))
    assert abs(ratio.mean()) < 4 * ratio.std(ddof=1) / np.sqrt(len(ratio))


def test_half_of_the_associated_genes_rise_and_half_fall() -> None:
    truth = gene_truth(consortium(associated=30, log2_fold_change=1.5), SEED)
    changes = dict(zip(truth.genes, truth.log2_fold_change, strict=True))
    assert {gene for gene, change in changes.items() if change == 1.5} == set(RISING[:15])
    assert {gene for gene, change in changes.items() if change == -1.5} == set(FALLING[:15])
    assert not any(changes[gene] for gene in truth.genes if gene.startswith("SIM"))
    odd = gene_truth(consortium(associated=3), SEED).log2_fold_change
    assert sorted(odd[odd != 0]) == [-1, 1, 1]


def test_the_truth_names_every_gene_once() -> None:
    truth = gene_truth(consortium(associated=30), SEED)
    record = truth.as_json()
    associated, nulls = record["associated"], record["nulls"]
    assert isinstance(associated, dict) and isinstance(nulls, list)
    assert associated["G6PC1"] == -1 and associated["ALDOA"] == 1
    assert sorted([*associated, *nulls]) == sorted(truth.genes)
    assert len(associated) == 30


def test_without_associated_genes_all_are_null() -> None:
    assert gene_truth(consortium(associated=0), SEED).as_json()["associated"] == {}


def test_all_genes_of_the_set_may_be_associated() -> None:
    assert np.count_nonzero(gene_truth(consortium(associated=85), SEED).log2_fold_change) == 85


def test_dispersions_have_the_declared_median_and_fall_with_the_mean() -> None:
    truth = gene_truth(consortium(genes=5000, dispersion=0.3, library_size=2e5), SEED)
    assert np.median(truth.dispersion) == pytest.approx(0.3)
    assert stats.spearmanr(truth.share, truth.dispersion).statistic < -0.3
    # In deep libraries the trend is flat, and only the scatter about it is left.
    deep = gene_truth(consortium(genes=5000, dispersion=0.3, library_size=1e9), SEED)
    assert np.std(np.log(deep.dispersion)) == pytest.approx(0.5, rel=0.05)


def test_library_sizes_have_the_declared_median_at_every_site() -> None:
    declared = consortium(genes=2000, site_effect=0.6, library_size=5e6, associated=0)
    for site in ("a", "b"):
        table = draw_expression(declared, patients(400, site), SEED)
        totals = table.counts.sum(axis=0)
        assert np.median(totals) == pytest.approx(5e6, rel=4 * 1.25 * 0.3 / np.sqrt(400))
        assert np.std(np.log(totals)) == pytest.approx(0.3, rel=0.15)
        assert totals.mean() == pytest.approx(table.library_size.mean(), rel=0.01)


def test_site_effects_are_found_again_and_have_the_declared_size() -> None:
    declared = consortium(genes=2000, site_effect=0.4, associated=0)
    one, two = (draw_expression(declared, patients(150, site), SEED) for site in ("a", "b"))
    found = np.log((one.counts / one.library_size).mean(axis=1) / (two.counts / two.library_size).mean(axis=1))
    wanted = one.site_effect - two.site_effect
    assert np.std(wanted) == pytest.approx(0.4 * np.sqrt(2), rel=0.06)
    assert np.corrcoef(found, wanted)[0, 1] > 0.99
    assert stats.linregress(wanted, found).slope == pytest.approx(1, abs=0.02)


def test_no_site_effect_means_none() -> None:
    table = draw_expression(consortium(genes=200, site_effect=0), patients(3), SEED)
    assert table.site_effect == pytest.approx(np.zeros(200), abs=1e-12)


def test_the_same_seed_gives_the_same_counts_and_another_does_not() -> None:
    declared, cohort = consortium(genes=200), patients(5)
    first, again, other = (draw_expression(declared, cohort, seed).counts for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).mean() > 0.9


def test_sites_are_independent_but_share_their_genes() -> None:
    declared = consortium(genes=200)
    one, two = (draw_expression(declared, patients(40, site), SEED) for site in ("a", "b"))
    assert one.genes == two.genes
    assert abs(np.corrcoef(one.site_effect, two.site_effect)[0, 1]) < 4 / np.sqrt(200)
    assert abs(np.corrcoef(one.library_size, two.library_size)[0, 1]) < 4 / np.sqrt(40)


def test_patients_who_are_added_change_nothing_for_the_others() -> None:
    declared = consortium(genes=200)
    few, more = (draw_expression(declared, patients(n), SEED) for n in (4, 9))
    assert (more.counts[:, :4] == few.counts).all()


def test_only_the_named_groups_are_sequenced() -> None:
    declared = consortium(genes=200, labels=["genomics"])
    assert draw_expression(declared, patients(3, label="genomics"), SEED).patients == ("a-0000", "a-0001", "a-0002")
    none = draw_expression(declared, patients(3, label="train"), SEED)
    assert none.patients == () and none.counts.shape == (200, 0)


def test_the_file_has_a_row_a_gene_and_whole_numbers(tmp_path: Path) -> None:
    table = draw_expression(consortium(genes=200), patients(3), SEED)
    write_expression(tmp_path, table)
    rows = list(csv.reader((tmp_path / FILE).read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["gene", "a-0000", "a-0001", "a-0002"]
    assert tuple(row[0] for row in rows[1:]) == table.genes
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == table.counts.tolist()


def test_the_set_is_that_of_reactome(public_data: Callable[[str], Path]) -> None:
    text = (public_data("genesets") / "ReactomePathways_2024-09-18.gmt").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.split("\t")[1] == "R-HSA-70326"]
    assert tuple(sorted(line.split("\t")[2:])) == GLUCOSE_METABOLISM


def test_the_first_genes_of_each_direction_take_it_in_real_tumours(public_data: Callable[[str], Path]) -> None:
    earlier = {"G6PC1": "G6PC", "PKM": "PKM2", "NUP42": "NUPL2"}
    wanted = {earlier.get(gene, gene): gene for gene in RISING[:29] + FALLING[:16]}
    changes = {}
    with gzip.open(public_data("tcga_lihc") / "LIHC_tpm_5pairs.csv.gz", "rt", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
        tumours = [i for i, name in enumerate(header) if name.endswith("01A")]
        normals = [header.index(header[i].replace("01A", "11A")) for i in tumours]
        for row in rows:
            gene = wanted.get(row[0].partition("|")[0])
            if gene is not None:
                logs = [np.mean([np.log2(float(row[i]) + 1) for i in side]) for side in (tumours, normals)]
                changes[gene] = float(logs[0] - logs[1])
    assert len(changes) == 45
    assert min(changes[gene] for gene in RISING[:29]) > 0.85
    assert max(changes[gene] for gene in FALLING[:16]) < 0
