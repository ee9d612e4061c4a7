"""common/statistics: expression between groups, of all sites and of one: filter, libraries, levels, and DESeq2."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import HIDDEN, Query
from common.federation.runner import conclude
from common.statistics import deseq_alone, voom, voom_sums, voom_weights
from common.statistics.deseq_alone import DeseqAlone
from common.statistics.expression import MOST_ZEROS, Expression, expression
from common.statistics.expression_alone import ExpressionAlone, GenesTold, read_genes
from common.statistics.expression_levels import DECIMALS, MOST_GROUPED, ExpressionLevels
from common.statistics.size_factors import size_factors
from common.statistics.voom import differential_expression, trend
from common.statistics.voom_weights import singled_out, smooth
from common.study.genomics import LIBRARY
from common.study.recipe import Frame, Recipe
from simulation.exactness.expression import genes_of
from simulation.exactness.measuring import Table
from simulation.exactness.tables import rna_counts
from simulation.views import COHORT, ArrayView, federation_of, row_keys
from tests.public_data import public

OPTIONS: dict[str, Any] = {"scale": "counts", "least": 0.0, "min_class": 5, "min_cell": 5}


def of_sites(table: Table, design: tuple[str, ...] = ("group",), **options: Any) -> Expression:
    port = federation_of(table.columns, {}, table.site)
    found: Expression = conclude(port, [expression(COHORT, Recipe(), genes_of(table), design, **options)])[0]
    return found


def site_of(table: Table, site: int) -> ArrayView:
    rows = table.site == site
    columns = {name: values[rows] for name, values in table.columns.items()}
    return ArrayView(columns, {}, row_keys(int(rows.sum())))


def answer(query: Query, view: ArrayView) -> dict[str, NDArray[Any]]:
    assert query.consistent()
    told = query.respond(view)
    assert {name: block.shape for name, block in query.blocks().items()} == {n: a.shape for n, a in told.items()}
    assert query.plausible(told, 1)
    return told


def test_genes_are_compared_that_enough_patients_have_and_others_are_counted() -> None:
    table = rna_counts()
    genes, group = genes_of(table), table.columns["group"]
    counts = table.matrix(genes)
    found = np.array([[np.count_nonzero(counts[table.site == s, i]) for s in range(4)] for i in range(len(genes))])
    absent = (found < 5).any(axis=1)
    reached = np.count_nonzero(counts / table.columns["library"][:, None] * 1e6 >= 500.0, axis=0)
    fit = of_sites(table, least=500.0, found=5).fit
    smaller = int(min(group.sum(), (1 - group).sum()))
    rare = ~absent & (reached < smaller)
    assert (fit.n_, fit.high_) == (96, int(group.sum()))
    assert (fit.absent_, fit.rare_) == (absent.sum(), rare.sum()) and rare.sum() > 20
    assert fit.genes == tuple(name for name, out in zip(genes, absent | rare, strict=True) if not out)
    graded = of_sites(table, ("age",), least=500.0).fit
    assert graded.high_ == 0 and graded.rare_ == np.count_nonzero(~(found == 0).any(axis=1) & (reached < 48))


def test_genes_without_weights_have_an_ordinary_t_and_no_part_in_that_of_others() -> None:
    """Those that many patients lack, and those whose weights would single patients out; also see exactness."""
    table = rna_counts()
    whole = of_sites(table, ("group", "age"), found=5, libraries="total").fit
    lacking = np.mean(table.matrix(whole.genes) == 0, axis=0) > MOST_ZEROS
    apart = ~whole.weighted_ & ~lacking
    assert not whole.weighted_[lacking].any() and lacking.sum() == whole.sparse_ > 50
    assert apart.sum() == whole.apart_ > 5
    x = np.column_stack([table.columns["group"], table.columns["age"], *(table.site == s for s in range(4))])
    y = np.log2((table.matrix(whole.genes) + 0.5) / (table.columns["library"][:, None] + 1.0) * 1e6)
    fitted, squares = np.linalg.lstsq(x, y)[:2]
    t = fitted[0] / np.sqrt(np.linalg.inv(x.T @ x)[0, 0] * squares / 90.0)
    assert whole.t_[~whole.weighted_] == pytest.approx(t[~whole.weighted_], rel=1e-8)
    assert set(whole.degrees_[~whole.weighted_]) == {90.0} and whole.degrees_[whole.weighted_].min() > 90.0

    sparse = {gene for gene, one in zip(whole.genes, lacking.tolist(), strict=True) if one}

    def of(keep: bool) -> Table:
        names = [n for n in table.columns if not n.startswith("gene") or (n in sparse) == keep]
        return Table(table.key, table.title, {name: table.columns[name] for name in names}, {}, table.site)

    fit = of_sites(of(False), ("group", "age"), found=5, libraries="total").fit
    assert set(fit.genes) == set(whole.genes) - sparse and fit.sparse_ == 0
    assert fit.t_ == pytest.approx(whole.t_[~lacking], rel=1e-8)
    assert of_sites(table, found=5, scale="tpm").fit.weighted_.all()
    with pytest.raises(FedmviError) as caught:
        of_sites(of(True), found=5, libraries="total")
    assert caught.value.number == 649


def test_effective_libraries_are_those_of_size_factors_over_the_whole_library() -> None:
    table = rna_counts()
    genes = genes_of(table)
    whole = table.columns["library"] * 1.5  # genes that the study has not
    table = Table(table.key, table.title, {**table.columns, LIBRARY: whole}, {}, table.site)
    found = of_sites(table)
    port = federation_of(table.columns, {}, table.site)
    factors = conclude(port, [size_factors(COHORT, Recipe(), genes, LIBRARY)])[0]
    effective = factors.effective_library(table.matrix(genes))
    assert np.log(effective).mean() == pytest.approx(np.log(whole).mean(), rel=1e-12)
    frame = found.recipe.apply_to(Frame(table.columns, {}, 96))
    assert frame.columns[LIBRARY] == pytest.approx(effective, rel=1e-12)
    columns = {**table.columns, "effective": effective}
    direct = conclude(
        federation_of(columns, {}, table.site),
        [differential_expression(COHORT, Recipe(), genes, ("group",), "effective", zeros=MOST_ZEROS)],
    )[0]
    assert found.fit.genes == direct.genes
    assert found.fit.t_ == pytest.approx(direct.t_, abs=1e-9)
    plain = of_sites(table, libraries="total")
    assert plain.factors is None and plain.recipe == Recipe()


def test_genes_taken_a_block_at_a_time_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rna_counts()
    whole = of_sites(table, ("group", "age"), found=5)
    monkeypatch.setattr(voom_sums, "AT_ONCE", 7)
    assert of_sites(table, ("group", "age"), found=5).fit.t_ == pytest.approx(whole.fit.t_, rel=1e-10)


def test_transcripts_per_million_need_no_libraries() -> None:
    table = rna_counts()
    columns = {**table.columns, LIBRARY: np.zeros(96)}
    fit = of_sites(Table(table.key, table.title, columns, {}, table.site), scale="tpm", least=1.0).fit
    assert fit.mean_.min() >= 0 and np.isfinite(fit.t_).all()


def test_one_site_alone_finds_what_a_federation_of_it_finds() -> None:
    table = rna_counts()
    own = table.site == 3
    alone = Table(table.key, table.title, {k: v[own] for k, v in table.columns.items()}, {}, table.site[own])
    fit = of_sites(alone, ("group", "age"), least=100.0, found=5).fit
    query = ExpressionAlone(
        COHORT, Recipe(), genes_of(table), ("group", "age"), **(OPTIONS | {"least": 100.0}), libraries="effective"
    )
    told = read_genes(query, answer(query, site_of(table, 3)))
    assert isinstance(told, GenesTold) and told.genes == fit.genes
    assert told.classes == (36 - fit.high_, fit.high_)
    assert told.values["t"] == pytest.approx(fit.t_, abs=1e-5)
    assert told.values["p"] == pytest.approx(fit.p_, rel=1e-4)


def test_a_small_group_is_told_nothing_of_and_an_error_travels_by_its_number() -> None:
    table = rna_counts()
    view = site_of(table, 0)
    few = dict(view.columns) | {"group": np.array([1.0] * 3 + [0.0] * 11)}
    query = ExpressionAlone(COHORT, Recipe(), genes_of(table), ("group",), **OPTIONS, libraries="total")
    told = answer(query, ArrayView(few, {}, view.keys))
    error = read_genes(query, told)
    assert isinstance(error, FedmviError) and error.number == 405
    assert not told["kept"].any() and not told["change"].any() and HIDDEN in told["classes"]
    same = dict(view.columns) | {"age": np.full(14, 60.0)}
    query = ExpressionAlone(COHORT, Recipe(), genes_of(table), ("age",), **OPTIONS, libraries="total")
    constant = read_genes(query, answer(query, ArrayView(same, {}, view.keys)))
    assert isinstance(constant, FedmviError) and constant.number == 603


def test_levels_are_means_by_group_of_the_first_genes_and_small_groups_are_hidden() -> None:
    table = rna_counts()
    view, genes = site_of(table, 1), genes_of(table)[:60]
    frame = Frame(view.columns, {}, 20)
    y = np.log2((frame.matrix(genes) + 0.5) / (view.columns[LIBRARY] + 1.0)[:, None] * 1e6)
    group = view.columns["group"]
    query = ExpressionLevels(COHORT, Recipe(), genes, LIBRARY, "counts", "group", min_cell=5)
    told = answer(query, view)
    assert np.array_equal(told["level"], np.round(y.mean(axis=0), DECIMALS))
    assert told["groups"].shape == (2, MOST_GROUPED)
    assert np.array_equal(told["groups"][1], np.round(y[group == 1, :MOST_GROUPED].mean(axis=0), DECIMALS))
    assert told["patients"].tolist() == [int((group == 0).sum()), int(group.sum())]
    hidden = answer(query, ArrayView(dict(view.columns) | {"group": np.eye(20)[0]}, {}, view.keys))
    assert HIDDEN in hidden["patients"] and not hidden["groups"].any() and hidden["level"].any()


def reference() -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...], list[dict[str, str]]]:
    """The frame of DESeq2's own example, its genes, and what R's DESeq2 gave."""
    folder = public("deseq2_reference")

    def rows(path: str) -> list[dict[str, str]]:
        with (folder / path).open(newline="") as file:
            return list(csv.DictReader(file))

    table = rows("datasets/synthetic/test_counts.csv")
    patients = [name for name in table[0] if name.startswith("sample")]
    genes = tuple(next(iter(row.values())) for row in table)
    columns = {gene: np.array([float(row[p]) for p in patients]) for gene, row in zip(genes, table, strict=True)}
    of = {next(iter(row.values())): row for row in rows("datasets/synthetic/test_metadata.csv")}
    columns["group"] = np.array([float(of[p]["condition"] == "B") for p in patients])
    columns[LIBRARY] = np.sum([columns[gene] for gene in genes], axis=0)
    return columns, genes, rows("single_factor/r_test_res.csv")


def numbers(rows: Sequence[Mapping[str, str]], name: str) -> NDArray[np.float64]:
    return np.array([float(row[name]) for row in rows])


def test_deseq2_at_a_site_is_deseq2_of_r(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    """As far as PyDESeq2 and R agree: 2e-5 of changes, 3e-4 of standard errors and 0.3 % of p were measured."""
    pytest.importorskip("pydeseq2")
    columns, genes, theirs = reference()
    query = DeseqAlone(COHORT, Recipe(), genes, ("group",), **OPTIONS)
    view = ArrayView(columns, {}, row_keys(100))
    first, second = answer(query, view), answer(query, view)
    told = read_genes(query, first)
    assert isinstance(told, GenesTold) and told.genes == genes
    assert told.values["change"] == pytest.approx(numbers(theirs, "log2FoldChange"), rel=1e-4, abs=1e-6)
    assert told.values["std_err"] == pytest.approx(numbers(theirs, "lfcSE"), rel=1e-3)
    assert told.values["p"] == pytest.approx(numbers(theirs, "pvalue"), rel=5e-3)
    assert all(np.array_equal(first[name], second[name]) for name in first), "the same again, to the last bit"
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_where_deseq2_is_not_installed_or_not_meant_the_site_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, genes, _ = reference()
    view = ArrayView(columns, {}, row_keys(100))
    query = DeseqAlone(COHORT, Recipe(), genes, ("group",), **(OPTIONS | {"scale": "tpm"}))
    assert int(answer(query, view)["error"]) == deseq_alone.NOT_COUNTS
    monkeypatch.setitem(__import__("sys").modules, "pydeseq2.dds", None)
    query = DeseqAlone(COHORT, Recipe(), genes, ("group",), **OPTIONS)
    met = read_genes(query, answer(query, view))
    assert isinstance(met, FedmviError) and met.number == deseq_alone.NOT_INSTALLED


def test_trends_of_counts_are_smooth_and_one_that_is_not_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are far from what honest trends are: random drawing makes a slope of log(2) / 4."""
    table = rna_counts()
    y = np.log2((table.matrix(genes_of(table)) + 0.5) / (table.columns["library"][:, None] + 1.0) * 1e6)
    curve = trend(y.mean(axis=0), y.var(axis=0, ddof=1))
    assert smooth(curve)
    slope = np.abs(np.diff(np.log(curve[1])) / np.diff(curve[0])).max()
    assert slope < 0.5 * voom_weights.STEEPEST
    assert curve[1].max() < 0.5 * voom_weights.LARGEST_RATIO * curve[1].min()
    step = np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 1.0]])
    assert not smooth(step)
    monkeypatch.setattr(voom, "trend", lambda *_: step)
    with pytest.raises(FedmviError) as caught:
        of_sites(table, libraries="total")
    assert caught.value.number == 645


def test_weights_single_out_whoever_differs_alone_and_nobody_where_all_differ() -> None:
    rng = np.random.default_rng(3)
    weight = np.exp(rng.normal(0.0, 0.3, (30, 6)))
    weight[:, 1] = 2.0
    weight[:, 2] = np.where(np.arange(30) < 4, 0.5, 1.0)
    weight[:, 3] = np.where(np.arange(30) < 5, 0.5, 1.0)
    weight[:, 4] = np.where(np.arange(30) < 1, 1.0 - 1e-6, 1.0)
    weight[:, 5] = np.where(np.arange(30) < 2, 1e4, weight[:, 5])
    assert singled_out(weight, 5).tolist() == [False, False, True, False, True, True]
    assert not singled_out(weight, 1).any()
