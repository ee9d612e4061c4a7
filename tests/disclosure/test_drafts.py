"""disclosure: scores of the server's making while models are developed: what they may be, of whom, and how often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.approval.examples import _root
from common.federation.query import Ask, perform, total
from common.federation.tasks import Freeze
from common.statistics.life_table import LifeTable
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.refinement import ScoreCounts
from common.statistics.unfit_columns import UnfitColumns
from common.statistics.univariable import MarginalSums
from common.study.analyses import FOLDS
from common.study.recipe import (
    Complete,
    Cut,
    DraftScore,
    Fold,
    ModelColumns,
    Outside,
    Recipe,
    Resample,
    Score,
    Select,
    coded_columns,
)
from common.study.scoring import frozen_prefixes
from tests.disclosure.consortium import Consortium, make
from tests.server.study.reduced_study import FEATURES, everywhere, featured, study_text

BASE = Recipe((ModelColumns("first"), Complete(("complete.first",), ("mvi",))))
FOLDED = BASE.then(Fold(FOLDS, "mvi"))


def draft(names: tuple[str, ...] = ("x00",), slope: float = 1.0, intercept: float = 0.0) -> DraftScore:
    return DraftScore("first", "mvi", names, tuple((slope,) * len(names) for _ in range(FOLDS)), (intercept,) * FOLDS)


def ranks(recipe: Recipe, cohort: str = "train", column: str = "score.first") -> Ask:
    return total(ScoreCounts(cohort, recipe, (column,), endpoint="mvi", **_root(1)))


def fitted(recipe: Recipe, *columns: str) -> Ask:
    return total(LogisticSums("train", recipe, "mvi", columns, np.zeros(len(columns) + 1), "", (1.0, 1.0)))


def means(recipe: Recipe, *columns: str, cohort: str = "train") -> Ask:
    return total(Deviations(cohort, recipe, columns, np.zeros(len(columns))))


def opened(folder: Path, *, masked: bool = True) -> Consortium:
    made = make(folder, everywhere(featured), study=study_text(2), masked=masked)
    return (made.sign() if masked else made).open()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return opened(tmp_path_factory.mktemp("drafts"))


def test_a_model_has_one_draft_in_a_run(made: Consortium):
    assert made.number("a", ranks(FOLDED.then(draft()))) == 0
    assert made.number("a", ranks(FOLDED.then(draft(slope=2.0)))) == 414
    assert made.number("a", ranks(FOLDED.then(draft()))) == 0  # the same again is the same answer
    replicate = DraftScore("first", "mvi", ("x00",), ((1.0,),), (0.0,), 1)
    assert made.number("a", ranks(BASE.then(replicate))) == 0
    assert made.number("a", ranks(BASE.then(DraftScore("first", "mvi", ("x01",), ((1.0,),), (0.0,), 1)))) == 414


@pytest.mark.parametrize(
    ("what", "ask"),
    [
        ("closed cohort", ranks(FOLDED.then(draft()), "external")),
        ("columns of another model", ranks(FOLDED.then(draft(("x30",))))),
        ("a formula too few", ranks(FOLDED.then(DraftScore("first", "mvi", ("x00",), ((1.0,),) * 9, (0.0,) * 9)))),
        ("everybody's draft", ranks(BASE.then(DraftScore("first", "mvi", ("x00",), ((1.0,),), (0.0,))))),
        ("a bootstrap set too many", ranks(BASE.then(DraftScore("first", "mvi", ("x00",), ((1.0,),), (0.0,), 3)))),
        ("a huge coefficient", ranks(FOLDED.then(draft(slope=1e9)))),
        ("a draft of patients of its choice", ranks(Recipe((*FOLDED.steps[:1], *FOLDED.steps[2:], draft())))),
        ("a model without reduction", means(Recipe((ModelColumns("clinical"),)), "age")),
        ("a part of plain columns", means(Recipe((Fold(FOLDS, "mvi"), Outside(0))))),
        ("a fold that there is not", means(FOLDED.then(Outside(FOLDS)), "x00")),
        ("a bootstrap set that is not declared", means(BASE.then(Resample(3, "mvi")), "x00")),
        ("parts of parts", means(BASE.then(Resample(1, "mvi"), Fold(FOLDS, "mvi"), Outside(0)), "x00")),
        ("closed cohort, regressions", total(MarginalSums("external", BASE, "mvi", ("x00",), np.zeros((1, 2)), False))),
        ("columns of another model, regressions",
         total(MarginalSums("train", BASE, "mvi", ("x30",), np.zeros((1, 2)), False))),
        ("another limit", total(UnfitColumns("train", BASE, ("x00",), 50))),
        ("unfit columns elsewhere", total(UnfitColumns("external", BASE, ("x00",), 5))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_no_development_asks_is_refused(made: Consortium, what: str, ask: Ask):
    assert made.number("a" if ask.cohort == "train" else "d", ask) == 414


def test_a_draft_that_tells_few_patients_from_the_others_is_no_predictor(tmp_path: Path):
    """A steep formula is 1 for two patients and 0 for the others: sums with it would be the rows of the two."""
    made = opened(tmp_path)
    columns = coded_columns(made.study, made.study.models[2].predictors)
    x = np.sort(made.frame("a", Recipe((Select(columns),))).columns["x00"])
    for slope in (500.0, 4.0):
        steep = draft(slope=slope, intercept=-slope * float(x[-3] + x[-2]) / 2 - (0.0 if slope > 100 else 6.0))
        recipe = FOLDED.then(steep, Cut("score.first", "score.radiomics"), Complete((), ("mvi",)))
        made = opened(tmp_path / f"again-{slope:g}")
        assert made.number("a", fitted(recipe, "score.radiomics")) == 409


def test_groups_by_a_score_need_its_frozen_cut_off(tmp_path: Path):
    made = opened(tmp_path)
    score = Score("first", "mvi", ("x00",), (1.0,), 0.0)
    known = Recipe((ModelColumns("first"), Complete(("complete.first",), ("os.time", "os.event")), score))
    groups = known.then(Cut("score.first", "group", 0.4))
    endpoint = made.study.endpoint("os")

    def table(recipe: Recipe) -> Ask:
        return total(LifeTable("later", recipe, "os", 2, endpoint.precision, endpoint.grid_points))

    assert made.number("d", table(groups)) == 407
    frozen = Freeze(tuple(sorted(frozen_prefixes(groups))), ("os-by-hybrid", "os-by-mvi", "os-by-radiomics"))
    assert made.number("d", perform(frozen)) == 0
    assert made.number("d", table(groups)) == 0
    assert made.number("d", table(known.then(Cut("score.first", "group", 0.41)))) == 414


def test_without_masks_folds_of_few_patients_are_refused(tmp_path: Path):
    made = opened(tmp_path, masked=False)
    assert made.number("a", means(FOLDED.then(Outside(0)), "x00")) == 0  # thirteen patients are left out
    regression = total(MarginalSums("train", FOLDED.then(Outside(0)), "mvi", ("x00",), np.zeros((1, 2)), False))
    smaller = int(min(np.unique(made.table("a").endpoints["mvi"], return_counts=True)[1]))
    assert made.number("a", regression) == (0 if (smaller - smaller // 10) // 9 >= 5 else 405)


def test_the_features_of_the_fixture_are_those_of_the_attacks(made: Consortium):
    assert [term.variable for term in made.study.models[2].predictors] == list(FEATURES[:20])
