"""disclosure: attacks on gene expression, by a coordinator that sends well-formed questions of its choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.release.expression_scope import LARGEST_CHANGE
from common.federation.query import Ask, Query, each, total
from common.federation.runner import conclude
from common.statistics.deseq_alone import DeseqAlone
from common.statistics.expression import expression
from common.statistics.expression_alone import ExpressionAlone, read_genes
from common.statistics.expression_levels import MOST_LEVELS, ExpressionLevels
from common.statistics.moments import Deviations
from common.statistics.size_factors import LibraryLogs, LogCounts, ZeroCounts
from common.statistics.voom_sums import ExpressionCounts, ExpressionResiduals
from common.statistics.voom_weights import WeightCounts
from common.study.genomics import LIBRARY, gene_columns
from common.study.recipe import Complete, Cut, Genes, Recipe
from tests.disclosure.consortium import Consortium, Row
from tests.disclosure.expressed import (
    AGE,
    FOUND,
    GENES,
    GENOMIC,
    RARE,
    SEQUENCED,
    Counts,
    by_mvi,
    by_risk,
    freeze,
    products,
    scaled,
    sequenced,
    weighted,
)

ALL = gene_columns(GENES)
EFFECTIVE = GENOMIC.replace('libraries = "total"', 'libraries = "effective"')


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """Sites that have frozen; questions that are refused leave no trace."""
    return freeze(sequenced(tmp_path_factory.mktemp("sites")))


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return freeze(sequenced(tmp_path))


def counts(made: Consortium, recipe: Recipe | None = None, **changes: Any) -> Ask:
    known: dict[str, Any] = {"design": AGE, "library": LIBRARY, "least": 1.0, "found": 1, **changes}
    return total(ExpressionCounts("rna", recipe or by_mvi(made), ALL, **known))


def levels(made: Consortium, genes: tuple[str, ...] = FOUND, **changes: Any) -> Ask:
    known: dict[str, Any] = {"library": LIBRARY, "scale": "counts", "group": "group", "min_cell": 5, **changes}
    return each(ExpressionLevels("rna", by_mvi(made), genes, **known))


def alone(made: Consortium, kind: type[Query] = ExpressionAlone, **changes: Any) -> Ask:
    known: dict[str, Any] = {"scale": "counts", "least": 1.0, "min_class": 5, "min_cell": 5, **changes}
    known |= {"libraries": "total"} if kind is ExpressionAlone else {}
    return each(kind("rna", by_mvi(made), ALL, AGE, **known))


def told(made: Consortium, site: str, ask: Ask) -> dict[str, np.ndarray]:
    answer = made.put(site, ask)[0]
    assert not answer.error, answer.error
    return {name: np.asarray(block) for name, block in answer.blocks.items()}


def answer_of(made: Consortium, site: str, ask: Ask) -> dict[str, np.ndarray]:
    """What a site would answer without a gate."""
    assert isinstance(ask.question, Query)
    return ask.question.answer(made.frame(site, ask.question.recipe, "rna"))


def test_no_gene_is_told_in_any_form_before_the_freeze(tmp_path: Path) -> None:
    shut = sequenced(tmp_path)
    asks = [counts(shut), products(shut), weighted(shut), levels(shut), alone(shut), alone(shut, DeseqAlone)]
    assert [shut.number("d", ask) for ask in asks] == [407] * 6


@pytest.mark.parametrize("masked", [False, True])
def test_the_declared_comparisons_are_answered_and_are_those_of_the_tables(tmp_path: Path, masked: bool) -> None:
    made = freeze(sequenced(tmp_path, masked=masked, study=EFFECTIVE))
    asked = ((by_mvi(made), AGE), (by_risk(made), ("score.clinical",)))
    found = conclude(made.port(), [expression("rna", recipe, ALL, design, least=1.0) for recipe, design in asked])
    assert [one.fit.n_ for one in found] == [168, 168]
    assert all(one.fit.absent_ == 1 and gene_columns((RARE,))[0] not in one.fit.genes for one in found)
    frames = [made.frame(site, found[0].recipe, "rna") for site in SEQUENCED]
    whole = np.vstack(
        [np.log2((f.matrix(found[0].fit.genes) + 0.5) / (f.columns[LIBRARY] + 1)[:, None]) for f in frames]
    )
    assert found[0].fit.mean_ == pytest.approx(whole.mean(axis=0) + np.log2(1e6), abs=1e-9)


def other_questions(made: Consortium) -> dict[str, Ask]:
    """Questions that are nearly those of the study."""
    recipe = by_mvi(made)
    steps = recipe.steps
    return {
        "other covariates": products(made, design=("group",)),
        "other scale": products(made, scale="tpm"),
        "libraries of one gene": products(made, library="gene.G01", genes=FOUND[1:]),
        "scaled libraries": products(made, scaled(recipe)),
        "another filter": counts(made, least=2.0),
        "patients without RNA as well": products(made, Recipe((*steps[:-1], Complete(("group", "age"), ())))),
        "patients of whom a gene is known": products(made, recipe.then(Complete(("gene.G01",), ()))),
        "size factors that are not declared": total(ZeroCounts("rna", recipe, FOUND)),
        "another statistic of genes": total(Deviations("rna", recipe, FOUND, np.zeros(len(FOUND)))),
        "groups by a gene": products(made, recipe.then(Cut("gene.G01", "group", 0.5))),
        "endpoints beside genes": products(made, Recipe((*steps[:-1], Complete((*steps[-1].columns,), ("mvi",))))),
        "genes where nothing is compared": total(ZeroCounts("external", Recipe((Genes(),)), FOUND)),
        "a gene twice": products(made, genes=(FOUND[0], *FOUND)),
    }


def test_nothing_but_the_declared_comparison_is_answered(opened: Consortium) -> None:
    asks = other_questions(opened)
    met = {name: opened.number("d", ask) for name, ask in asks.items()}
    assert set(met.values()) <= {414, 407}, met
    assert opened.number("d", products(opened, by_risk(opened, (9.0, 0.1, 0.8, -0.5)), design=("score.clinical",))) in (
        407, 414,
    )  # fmt: skip


def test_a_gene_that_one_patient_has_is_no_sum_and_found_nowhere(made: Consortium) -> None:
    """Where all others have none, the sum of logarithms is one patient's count, and its products tell the group."""
    with_rare = (*FOUND, *gene_columns((RARE,)))
    sums = answer_of(made, "d", products(made, genes=with_rare))
    frame = made.frame("d", by_mvi(made), "rna")
    his = 2 ** (sums["level"][-1] + sums["depth"] - frame.n * np.log2(0.5e6)) / 2 - 0.5
    assert his == pytest.approx(900), "his count, of sums"
    absent = told(made, "d", counts(made))["absent"].reshape(-1)
    assert int(absent[GENES.index(RARE)]) == 1, "though the question takes one patient for enough"
    assert int(absent.sum()) == 1
    assert made.number("d", products(made, genes=with_rare)) == 409
    assert made.number("d", products(made)) == 0


def spread(made: Consortium) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and a trend under which all patients of a site have one weight but the one with the highest score.

    The trend is flat up to a level beyond everybody's counts but that patient's, and rises there as steeply as it may.
    """
    frame = made.frame("d", by_risk(made), "rna")
    score, y = frame.columns["score.clinical"], frame.matrix(FOUND)
    order = np.argsort(score)
    gap = score[order[-1]] - score[order[-2]]
    change = min(LARGEST_CHANGE, 6.0 / max(float(gap), 1e-3))
    level = np.log2(y.mean(axis=0) + 0.5).max() + change * (score[order[-2]] - score.mean()) + 1.0
    start = np.full((1, len(FOUND)), change)
    return start, np.array([[-150.0, level, level + 4.0, 150.0], [1.0, 1.0, np.exp(2.0), np.exp(2.0)]])


def outlier(rows: list[Row], _: Counts) -> None:
    """One patient of d is much older than the others, and so scored higher."""
    rows[5]["age"] = "95"


def test_a_trend_that_leaves_one_patient_out_tells_his_genes_no_more(tmp_path: Path) -> None:
    """All patients have the weight 1 but one, who has almost none: products less weighted products are his genes."""
    made = freeze(sequenced(tmp_path, {"d": outlier}))
    start, trend = spread(made)
    frame = made.frame("d", by_risk(made), "rna")
    design, who = ("score.clinical",), int(np.argmax(frame.columns["score.clinical"]))
    ask = weighted(made, start, trend, recipe=by_risk(made), design=design)
    assert isinstance(ask.question, Query)
    weight = ask.question.weights(frame, slice(0, len(FOUND)), ask.question.logs(frame, slice(0, len(FOUND))))
    alike = np.delete(weight, who, axis=0)
    singled = (np.ptp(alike, axis=0) == 0) & (weight[who] < 0.01 * alike[0])
    assert singled.any(), "the attack works on the statistic itself"
    y, x = ask.question.logs(frame, slice(0, len(FOUND))), frame.columns["score.clinical"]
    whole = ((x - x.mean())[:, None] * (y - y.mean(axis=0))).sum(axis=0)
    told_by = whole - answer_of(made, "d", ask)["cross"][:, 0]
    n = frame.n
    others = np.delete(y, who, axis=0).mean(axis=0)
    his = others + told_by / ((x[who] - np.delete(x, who).mean()) * (n - 1) / n)
    assert np.abs(his - y[who])[singled].max() < 0.1, "his log2 counts per million, gene by gene"
    check = WeightCounts("rna", by_risk(made), FOUND, design, LIBRARY, start, trend, 1)
    apart = told(made, "d", total(check))["apart"].reshape(-1)
    assert bool((apart[singled] == 1).all())
    assert made.number("d", ask) == 416


@pytest.mark.parametrize(
    ("level", "root"),
    [
        ([0.0, 8.0, 8.01, 16.0], [1.0, 1.0, 2.0, 2.0]),
        ([0.0, 8.0, 8.1, 8.2, 16.0], [1.0, 1.0, 0.3, 1.0, 1.0]),
        ([0.0, 16.0], [20.0, 0.05]),
        ([0.0, 16.0], [1e-3, 1e-3]),
        ([0.0, 1e4], [1.0, 1.0]),
        ([8.0, 8.0], [1.0, 1.0]),
    ],
    ids=["a step", "a spike", "steep", "no spread", "far away", "not rising"],
)
def test_a_curve_that_is_no_trend_of_variances_gives_no_weights(
    opened: Consortium, level: list[float], root: list[float]
) -> None:
    assert opened.number("d", weighted(opened, trend=np.array([level, root]))) == 414


def test_coefficients_that_no_gene_has_give_no_weights(opened: Consortium) -> None:
    start = np.zeros((2, len(FOUND)))
    start[0, 3] = LARGEST_CHANGE * 1.01
    assert opened.number("d", weighted(opened, start)) == 414
    assert opened.number("d", total(ExpressionResiduals("rna", by_mvi(opened), FOUND, AGE, LIBRARY, start))) == 414


def test_a_comparison_asks_once_at_one_trend_and_of_one_set_of_genes(made: Consortium) -> None:
    """A gene's sums at many trends would be more equations than there are patients."""
    assert made.number("d", weighted(made)) == 0
    again = [
        weighted(made, trend=np.array([[0.0, 16.0], [1.2, 0.7]])),
        weighted(made, genes=FOUND[1:]),
        weighted(made, genes=FOUND[::-1]),
        weighted(made, np.full((2, len(FOUND)), 1e-3)),
    ]
    assert [made.number("d", ask) for ask in again] == [414] * 4
    assert made.number("d", products(made)) == 0
    assert made.number("d", products(made, genes=FOUND[:2])) == 414
    assert made.number("d", weighted(made)) == 0, "the same answer again"


def test_libraries_are_scaled_once_and_by_genes_that_every_patient_has(tmp_path: Path) -> None:
    """Scaled by one gene, a library is that gene; by a gene that few have, whether there is a number tells who has."""
    made = freeze(sequenced(tmp_path, study=EFFECTIVE))
    recipe = by_mvi(made)
    assert made.number("d", products(made)) == 414, "without the declared scaling"
    assert made.number("d", products(made, scaled(recipe, gene_columns((RARE,))))) == 409
    assert made.number("d", products(made, scaled(recipe, mean=-1.0))) == 414
    assert made.number("d", products(made, scaled(recipe, scale=1e3))) == 414
    assert made.number("d", products(made, scaled(recipe, ("gene.G01", "gene.G01")))) == 414
    assert made.number("d", total(LogCounts("rna", recipe, ALL))) == 409, "a gene that not everybody has"
    few = np.full(1, 4.0)
    assert made.number("d", total(LibraryLogs("rna", recipe, ALL, gene_columns((RARE,)), few, LIBRARY))) == 409
    assert made.number("d", products(made, scaled(recipe))) == 0
    start = np.zeros((2, len(FOUND)))
    other = ExpressionResiduals("rna", scaled(recipe, FOUND[:1]), FOUND, AGE, LIBRARY, start)
    assert made.number("d", total(other)) == 414, "other libraries"
    assert made.number("d", total(replace(other, recipe=scaled(recipe)))) == 0


def test_two_comparisons_do_not_tell_the_one_patient_whom_they_tell_apart(tmp_path: Path) -> None:
    """The score is filled where the age is missing; the other comparison needs the age."""

    def lacking(rows: list[Row], _: Counts) -> None:
        rows[9]["age"] = ""

    made = freeze(sequenced(tmp_path, {"d": lacking}))
    both = (products(made), products(made, by_risk(made), design=("score.clinical",)))
    difference = answer_of(made, "d", both[1])["level"] - answer_of(made, "d", both[0])["level"]
    frame = made.frame("d", by_risk(made), "rna")
    his = both[0].question.logs(frame, slice(0, len(FOUND)))[9]  # type: ignore[union-attr]
    assert difference == pytest.approx(his), "all genes of one patient"
    assert [made.number("d", ask) for ask in both] == [0, 420]
    assert [made.number("e", ask) for ask in both] == [0, 0]
    again = made.with_ticket(run_id="run2").open(*SEQUENCED)
    freeze_again(again)
    assert [again.number("d", ask) for ask in reversed(both)] == [420, 0], "nor in another run"


def freeze_again(made: Consortium) -> None:
    freeze(made.open("a", "b", "c"))


def test_few_patients_with_rna_and_few_of_a_group_are_no_cohort(tmp_path: Path) -> None:
    def few(rows: list[Row], _: Counts) -> None:
        del rows[22:]

    def one_group(rows: list[Row], _: Counts) -> None:
        for i, row in enumerate(rows):
            row["mvi"] = str(int(i in (3, 4, 7, 8)))

    made = freeze(sequenced(tmp_path, {"d": few, "e": one_group}))
    assert made.number("d", products(made)) == 403, "18 of 22 have RNA"
    assert made.number("e", products(made)) in (405, 409)
    assert made.number("f", products(made)) == 0


def test_a_site_tells_levels_of_few_genes_once_and_only_if_it_tells_results_alone(tmp_path: Path) -> None:
    """Means of all genes of a hospital would tell whether a patient whose genes are known elsewhere is in it."""
    made = freeze(sequenced(tmp_path))
    toml = made.folders["e"] / "site.toml"
    toml.write_text(toml.read_text().replace("release_alone = true\n", ""))
    assert made.number("e", levels(made)) == 408
    answer = told(made, "d", levels(made))
    frame = made.frame("d", by_mvi(made), "rna")
    y = np.log2((frame.matrix(FOUND) + 0.5) / (frame.columns[LIBRARY] + 1)[:, None] * 1e6)
    assert np.array_equal(answer["level"], np.round(y.mean(axis=0), 2))
    assert answer["groups"].shape == (2, len(FOUND))
    assert made.number("d", levels(made, FOUND[1:])) == 414
    assert made.number("f", levels(made, ALL)) == 409, "a gene of one patient"
    assert MOST_LEVELS < 20_000


def test_what_a_site_finds_alone_is_of_large_enough_groups(made: Consortium) -> None:
    ask = alone(made)
    found = read_genes(ask.question, told(made, "d", ask))  # type: ignore[arg-type]
    assert len(found.genes) == len(FOUND) and min(found.classes) >= 5  # type: ignore[union-attr]
    assert made.number("d", alone(made, min_class=4)) == 402
    assert made.number("d", alone(made, min_cell=3)) == 402


def test_how_few_patients_of_a_hospital_have_a_gene_is_not_told_beside_that_they_are_few(tmp_path: Path) -> None:
    """A site takes its own smallest cell for `found`, whatever is asked, and then tells the count itself."""
    made = freeze(sequenced(tmp_path))
    answer = told(made, "d", counts(made, found=1))
    place = GENES.index(RARE)
    had = int(np.asarray(answer["had"]).reshape(-1)[place])
    assert int(np.asarray(answer["absent"]).reshape(-1)[place]) == 1
    assert had == 0 or had >= 5, f"{had} patient of d has {RARE}"
