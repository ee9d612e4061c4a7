"""tests: comparisons of expression as they are published: all hospitals, each, a site alone, sets, what has failed."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from common.errors import FedmviError
from common.published.results import Estimate, Result
from common.study.coding import CodedColumn
from common.study.comparing import design_of, frozen_names, scored_groups
from common.study.recipe import Complete, Cut, Recipe, Score, Select
from common.study.scoring import Parts
from server.study.compared_genes import ComparedGenes
from server.study.expression import Grouped, frozen_groups, level_genes
from server.study.expression_results import publish_expression
from tests.server.study.expressed_study import GENES, SETS, SITES, expressed, expressed_study, frames


@cache
def published(scale: str = "counts", sites: tuple[str, ...] = SITES) -> dict[str, Result]:
    made = expressed(scale, sites)
    return {result.id: result for result in publish_expression(made.study, made.compare(), SETS)}


def numbers(result: Result, name: str) -> np.ndarray:
    assert result.genes is not None
    return np.array(result.genes.columns[name], dtype=float)


def value(result: Result, name: str, term: str = "") -> float | None:
    return next(e.value for e in result.estimates if (e.name, e.term) == (name, term))


def test_every_gene_is_told_and_those_that_differ_are_found() -> None:
    found = published()["expression.by-group"]
    assert found.genes is not None and found.status == "estimated" and found.n == 90
    assert value(found, "genes_absent") == 1.0 and value(found, "genes_rare") is not None
    assert "gene." not in json.dumps(found.model_dump())
    differing = {g for g, p in zip(found.genes.genes, numbers(found, "adjusted_p"), strict=True) if p < 0.05}
    truly = {*GENES[:30], *GENES[-31:]}
    assert len(differing & truly) > 50 and len(differing - truly) <= 6
    assert value(found, "differing") == len(differing)
    assert (value(found, "higher") or 0) + (value(found, "lower") or 0) == len(differing)
    change, low, high = (numbers(found, name) for name in ("log2_fold_change", "low", "high"))
    assert np.all((low < change) & (change < high))
    # The interval is that of the moderated t: it leaves out 0 where p is below 5 %.
    assert np.array_equal((low > 0) | (high < 0), numbers(found, "p") < 0.05)


def test_a_change_by_a_score_is_that_of_a_tenth_of_it() -> None:
    made = expressed()
    by_score = made.compare()[1]
    assert by_score.pooled is not None and not isinstance(by_score.pooled, FedmviError)
    result = published()["expression.by-score"]
    wanted = 0.1 * by_score.pooled.fit.log2_fold_change_
    assert numbers(result, "log2_fold_change") == pytest.approx(wanted)
    assert numbers(result, "t") == pytest.approx(numbers(result, "log2_fold_change") / numbers(result, "std_err"))
    assert not any(e.name == "patients" for e in result.estimates)


def test_each_hospital_tells_levels_of_few_genes_and_its_own_deseq() -> None:
    result = published()["expression.by-group.sites"]
    assert result.how == "site-alone" and result.genes is not None
    assert set(result.genes.columns) == {f"{part} {site}" for part in ("level", "low", "high") for site in SITES}
    for site in SITES:
        assert (value(result, "deseq2_correlation", site) or 0) > 0.6
        assert (value(result, "deseq2_same_sign", site) or 0) > 0.9
        assert (value(result, "deseq2_differing", site) or 0) > 5


def test_levels_of_the_same_groups_are_told_once() -> None:
    first, second = expressed().compare()
    assert first.levels and not second.levels and second.level_genes == ()
    result = published()["expression.by-score.sites"]
    assert result.genes is None and any(e.name == "deseq2_correlation" for e in result.estimates)


def test_components_are_those_of_the_levels() -> None:
    result = published()["expression.by-group.sites"]
    table = np.array([numbers(result, f"level {site}") for site in SITES])
    at = np.array([[value(result, f"component_{i}", site) for i in (1, 2)] for site in SITES], dtype=float)
    apart = np.linalg.norm(table[:, None] - table[None], axis=2)
    # Three places lie in a plane: two components keep all their distances.
    assert np.linalg.norm(at[:, None] - at[None], axis=2) == pytest.approx(apart, abs=1e-9)
    shares = [value(result, "share_of_variance", f"component {i}") or 0 for i in (1, 2)]
    assert sum(shares) == pytest.approx(1.0) and shares[0] >= shares[1]


def test_levels_are_asked_of_the_genes_with_the_smallest_p_first() -> None:
    compared = expressed().compare()[0]
    assert compared.pooled is not None and not isinstance(compared.pooled, FedmviError)
    fit = compared.pooled.fit
    genes = level_genes(fit)
    assert compared.level_genes == genes and len(set(genes)) == len(genes) == min(len(fit.genes), 500)
    assert set(genes[:50]) == {fit.genes[i] for i in np.argsort(fit.p_)[:50]}


def test_the_set_that_differs_is_the_strongest_either_way() -> None:
    ranked = published()["expression.by-group.gene-sets.preranked"]
    over = published()["expression.by-group.gene-sets.over-representation"]
    for result in (ranked, over):
        assert result.sets[0].name == "Glucose metabolism" and (result.sets[0].adjusted_p or 1) < 0.01
        assert len(result.sets) == value(result, "sets") == 10
        assert "Too small" not in {row.name for row in result.sets}
    assert [curve.name for curve in ranked.curves] == ["Glucose metabolism"]


def test_transcripts_per_million_are_compared_without_deseq() -> None:
    results = published("tpm")
    assert results["expression.by-group"].status == "estimated"
    assert "limma" in results["expression.by-group"].note and "voom" not in results["expression.by-group"].note
    assert not any(e.name.startswith("deseq2") for e in results["expression.by-group.sites"].estimates)


def test_two_hospitals_each_answer_alone_with_sets_of_their_own() -> None:
    results = published("counts", ("alpha", "beta"))
    assert "expression.by-group" not in results
    for site in ("alpha", "beta"):
        own = results[f"expression.by-group.{site}"]
        assert (own.how, own.sites, own.status) == ("site-alone", [site], "estimated")
        assert results[f"expression.by-group.{site}.gene-sets.preranked"].sets[0].name == "Glucose metabolism"
    assert (value(results["expression.by-group.sites"], "deseq2_same_sign", "alpha") or 0) > 0.9


def test_without_groups_or_sets_the_result_says_why_and_nothing_else_is_lost() -> None:
    made = expressed()
    groups = {"by-group": FedmviError(659, model="clinical"), "by-score": Grouped(Recipe(), "score.clinical")}
    results = {result.id: result for result in publish_expression(made.study, made.compare(groups), None)}
    lost = results["expression.by-group"]
    assert (lost.status, lost.genes) == ("not-estimable", None) and "FEDMVI-659" in lost.note
    assert results["expression.by-score"].status == "estimated"
    assert "FEDMVI-130" in results["expression.by-score.gene-sets.preranked"].note
    assert results["expression.by-score.gene-sets.preranked"].status == "not-estimable"


def test_few_patients_of_a_group_are_not_counted() -> None:
    result = published()["expression.by-group"]
    told = [e.value for e in result.estimates if e.name == "patients"]
    groups = np.concatenate([frame.columns["group"] for frame in frames().values()])
    assert told == [float(np.count_nonzero(groups == one)) for one in (0, 1)]
    genes = ComparedGenes(("A", "B"), *(np.array([1.0, -1.0]) for _ in range(4)), np.array([0.01, 0.2]),
                          np.zeros(2), float("inf"))  # fmt: skip
    assert genes.counted == [
        Estimate(name=name, value=count)
        for name, count in (("genes", 2.0), ("differing", 1.0), ("higher", 1.0), ("lower", 0.0))
    ]


def test_groups_by_a_score_are_of_patients_with_rna_and_known_covariates_and_frozen() -> None:
    study = expressed_study()
    assert study.genomics is not None
    first, second = study.genomics.comparisons
    score = Score("clinical", "mvi", ("afp>20",), (1.0,), 0.0)
    parts = Parts((CodedColumn("afp>20", "afp", "above", 20.0),), (), (), ("afp>20",), (score,))
    recipe = scored_groups(study, first, parts, "score.clinical", 0.4)
    select, genes, complete, scored, cut = recipe.steps
    assert isinstance(select, Select) and [one.name for one in select.columns] == ["afp>20", "age"]
    assert genes.step == "genes" and complete == Complete(("afp>20", "library", "age"), ())
    assert (scored, cut) == (score, Cut("score.clinical", "group", 0.4))
    assert design_of(study, first, "score.clinical") == ("group", "age")
    assert design_of(study, second, "score.clinical") == ("score.clinical",)
    digests = frozen_groups({"by-group": Grouped(recipe), "by-score": FedmviError(659, model="clinical")})
    assert digests == {recipe.digest, Recipe(recipe.steps[:-1]).digest}
    assert frozen_names(study) == ("expression.by-group", "expression.by-score")
