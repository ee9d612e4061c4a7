"""simulation: five real tumours and the liver beside each: genes of glucose metabolism change as is known."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from client.cohort.expression import read_expression
from client.cohort.problems import Problems
from client.cohort.site import load_site
from common.errors import Severity
from common.federation.runner import conclude
from common.statistics.voom import DifferentialExpression, differential_expression
from common.study.expressed import GeneTable
from common.study.genomics import SYMBOL, Genomics, gene_columns
from common.study.loader import load_study
from common.study.recipe import Recipe
from simulation.shipped import shipped_study
from simulation.views import COHORT, federation_of
from tests.public_data import public

FALLING, RISING = ("G6PC1", "PCK1", "FBP1"), ("ALDOA", "HK2", "SLC2A1")
"""Gluconeogenesis is lost in hepatocellular carcinoma, and glycolysis is switched on."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], GeneTable]:
    """Names of ten samples, and the genes as a hospital's own reader takes them from the file, under its symbols."""
    path = public("tcga_lihc/LIHC_tpm_5pairs.csv.gz")
    folder = tmp_path_factory.mktemp("hospital-a")
    (folder / "site.toml").write_text('[site]\nname = "hospital-a"\nsimulated = true\n', encoding="utf-8")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    # The file calls a gene SYMBOL|ENTREZ, and one symbol stands for two of its genes.
    for row in rows:
        row[0] = row[0].split("|")[0]
    rows[0] = ["gene", *(name.replace(".", "-") for name in rows[0][1:])]
    with (folder / "expression.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    symbols = [row[0] for row in rows[1:]]
    known = [s for s in symbols if SYMBOL.fullmatch(s) and symbols.count(s) == 1 and s != "G6PC"]
    study = load_study(shipped_study(Path("radiogenomics")))
    assert study.genomics is not None
    # The file has the former symbol of the gene that is called G6PC1 today, and the study knows both.
    genes = ("G6PC1 ENSG00000131482 G6PC", *known)
    genomics = Genomics(genes=genes, scale="tpm", comparisons=study.genomics.comparisons)
    problems = Problems()
    table = read_expression(load_site(folder), study.model_copy(update={"genomics": genomics}), rows[0][1:], problems)
    assert table is not None and table.values.shape == (10, len(genes))
    assert [error for error in problems.found if error.severity is Severity.ERROR] == []
    return rows[0][1:], table


@pytest.fixture(scope="module")
def fit(samples: tuple[list[str], GeneTable]) -> DifferentialExpression:
    """Tumour against liver, every pair with its own level, as if each were a hospital of two patients."""
    names, table = samples
    columns = dict(zip(gene_columns(table.genes), table.values.T, strict=True))
    patients = [name.split("-")[2] for name in names]
    columns |= {"tumour": np.array([float(name.endswith("01A")) for name in names]), "library": table.library}
    pair = np.array([sorted(set(patients)).index(patient) for patient in patients])
    genes = gene_columns(table.genes)
    asked = differential_expression(COHORT, Recipe(), genes, ("tumour",), "library", scale="tpm")
    found: DifferentialExpression = conclude(federation_of(columns, {}, pair), [asked])[0]
    return found


def test_glucose_metabolism_of_real_tumours_changes_as_is_known(fit: DifferentialExpression) -> None:
    place = {gene.removeprefix("gene."): i for i, gene in enumerate(fit.genes)}
    change = {symbol: fit.log2_fold_change_[place[symbol]] for symbol in (*FALLING, *RISING)}
    assert all(change[symbol] < -1.0 for symbol in FALLING), change
    assert all(change[symbol] > 1.0 for symbol in RISING), change
    beyond = [symbol for symbol in (*FALLING, *RISING) if fit.p_[place[symbol]] < 0.05]
    assert set(beyond) >= {*FALLING, "ALDOA", "SLC2A1"}, beyond


def test_five_pairs_are_too_few_to_name_a_gene_among_all(fit: DifferentialExpression) -> None:
    """Six genes that one asked for are seen; among sixteen thousand that nobody asked for, none stands out."""
    assert len(fit.genes) > 15_000 and fit.n_ == 10
    assert fit.adjusted_p_.min() > 0.05


def test_the_change_of_a_pair_level_design_is_the_mean_of_the_pairs_differences(
    fit: DifferentialExpression, samples: tuple[list[str], GeneTable]
) -> None:
    names, table = samples
    tumour = np.array([name.endswith("01A") for name in names])
    logs = np.log2(table.values + 1.0)
    order = np.argsort([name.split("-")[2] for name in names], kind="stable")
    pairs = (logs[order][tumour[order]] - logs[order][~tumour[order]]).mean(axis=0)
    ours = dict(zip(fit.genes, fit.log2_fold_change_, strict=True))
    for symbol, mean in zip(table.genes, pairs, strict=True):
        if f"gene.{symbol}" in ours:
            assert ours[f"gene.{symbol}"] == pytest.approx(mean, abs=1e-9), symbol
