"""common/statistics: a reduced score is blind to whom it leaves out, and out-of-fold scores do not flatter."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from statsmodels.discrete.discrete_model import Logit

from common.federation.runner import conclude
from common.statistics.reduced_score import ReducedScore, reduced_score
from common.study.analyses import FOLDS
from common.study.modelling import Reduction
from common.study.recipe import Fold, Frame, Outside, Recipe, Resample
from common.study.table import FloatArray
from simulation.benchmarks.radiomics_table import RadiomicsTable, radiomics_table
from simulation.views import COHORT, federation_of, row_keys

DEALT = Recipe((Fold(FOLDS, "y"),))


@pytest.fixture(scope="module")
def table() -> RadiomicsTable:
    return radiomics_table(80, 360, 4, 5)


def scores(
    table: RadiomicsTable, recipes: list[Recipe], rows: np.ndarray | None = None, settings: Reduction | None = None
) -> list[ReducedScore]:
    kept = np.ones(table.y.size, dtype=bool) if rows is None else rows
    columns = {name: table.first[kept, i] for i, name in enumerate(table.names)}
    port = federation_of(columns, {"y": table.y[kept]}, table.site[kept], keys=row_keys(table.y.size)[kept])
    wanted = settings or Reduction()
    asked = [reduced_score(COHORT, recipe, "y", table.names, wanted, min_cell=5) for recipe in recipes]
    return conclude(port, asked)


def folds(table: RadiomicsTable) -> np.ndarray:
    """(n,) the fold of each row, dealt inside its site as the recipe deals them."""
    found, keys = np.empty(table.y.size), row_keys(table.y.size)
    for site in np.unique(table.site):
        rows = table.site == site
        frame = Frame({}, {"y": table.y[rows]}, int(rows.sum()), keys[rows])
        found[rows] = DEALT.apply_to(frame).columns["fold"]
    return found


def linear(score: ReducedScore, table: RadiomicsTable, rows: np.ndarray) -> FloatArray:
    places = [table.names.index(name) for name in score.names_]
    return score.intercept_ + table.first[np.ix_(rows, places)] @ np.array(score.coef_)


def test_a_fold_left_out_leaves_no_trace(table: RadiomicsTable):
    """Of everything: the same bits as where the fold's rows have never been."""
    fold = folds(table)
    (left_out,) = scores(table, [DEALT.then(Outside(3))])
    (never_there,) = scores(table, [Recipe()], rows=fold != 3)
    assert left_out == never_there
    assert left_out.n_ == int(np.count_nonzero(fold != 3)) and not left_out.empty


def test_the_last_step_is_the_lasso_of_what_was_left(table: RadiomicsTable):
    """Stationary for scikit-learn too: its LASSO with that penalty, of the features that mRMR left."""
    (score,) = scores(table, [Recipe()])
    kept = dict(score.left_)["mRMR"]
    X = table.first[:, [table.names.index(name) for name in kept]]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    oracle = LogisticRegression(
        l1_ratio=1.0, C=1.0 / (score.lambda_ * table.y.size), solver="saga", tol=1e-10, max_iter=200_000
    ).fit(Z, table.y)
    coef = np.zeros(len(kept))
    for name, value in zip(score.names_, score.coef_, strict=True):
        coef[kept.index(name)] = value * X.std(axis=0)[kept.index(name)]
    assert coef == pytest.approx(oracle.coef_[0], abs=2e-4)


def test_scores_of_patients_that_a_model_was_made_of_flatter_and_out_of_fold_scores_do_not(table: RadiomicsTable):
    """Without any signal: apparent scores 'predict', and so would a Hybrid that is fitted on them."""
    rng = np.random.default_rng(5)
    shuffled = table.y.copy()
    for site in np.unique(table.site):
        rows = np.flatnonzero(table.site == site)
        shuffled[rows] = rng.permutation(shuffled[rows])
    nothing = RadiomicsTable(table.names, table.first, table.second, shuffled, table.site, table.fold)
    loose = Reduction(fdr=1.0, count=25)
    found = scores(nothing, [Recipe(), *(DEALT.then(Outside(k)) for k in range(FOLDS))], settings=loose)
    everyone, fold = np.ones(shuffled.size, dtype=bool), folds(nothing)
    apparent, fair = linear(found[0], nothing, everyone), np.empty(shuffled.size)
    for k in range(FOLDS):
        fair[fold == k] = linear(found[1 + k], nothing, fold == k)
    if found[0].empty:
        pytest.fail("the LASSO kept nothing: the case says nothing")
    p = {
        name: Logit(shuffled, np.column_stack([np.ones(shuffled.size), score])).fit(disp=0).pvalues[1]
        for name, score in (("apparent", apparent), ("fair", fair))
    }
    assert roc_auc_score(shuffled, apparent) > 0.6 and p["apparent"] < 1e-4
    assert roc_auc_score(shuffled, fair) < 0.56 and p["fair"] > 0.01


def test_where_nothing_passes_the_score_is_that_of_the_prevalence(table: RadiomicsTable):
    (score,) = scores(table, [Recipe()], settings=Reduction(fdr=1e-300))
    assert score.empty and score.left_[-1] == ("univariable", ())
    prevalence = table.y.mean()
    assert score.intercept_ == pytest.approx(np.log(prevalence / (1 - prevalence)), abs=1e-9)


def test_a_patient_drawn_twice_is_in_one_fold(table: RadiomicsTable):
    keys = row_keys(table.y.size)
    frame = Frame({"x": table.first[:, 0]}, {"y": table.y}, table.y.size, keys)
    drawn = Recipe((Resample(1, "y"), Fold(FOLDS, "y"))).apply_to(frame)
    assert drawn.n == table.y.size and np.unique(drawn.keys).size < drawn.n
    assert drawn.endpoints["y"].sum() == table.y.sum()
    for key in np.unique(drawn.keys):
        assert np.unique(drawn.columns["fold"][drawn.keys == key]).size == 1
