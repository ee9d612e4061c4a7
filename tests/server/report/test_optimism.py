"""server/report: the table of a corrected area says which steps of the development each bootstrap set repeats."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import FedmviError
from common.published.results import Estimate, Result, Results
from common.study.loader import parse_study
from common.study.recipe import Recipe
from server.report.blocks import Table
from server.report.contents import Labels, ModelParts
from server.report.development import development
from server.study.models import FittedModel, ScoredModel
from server.study.optimism import Optimism
from server.study.reduced import ReducedModel
from server.study.reduced_results import publish_optimism
from tests.server.study.reduced_study import study_text

STUDY = parse_study(study_text(3))
MODELS = {model.name: model for model in STUDY.models}
NONE = FedmviError(659, model="none")
SETS = Optimism(np.array([0.8, 0.9]), np.array([0.7, 0.7]), 0)


def fitted(name: str) -> ScoredModel:
    model = MODELS[name]
    if model.reduction is not None:
        return ReducedModel(model, Recipe(), NONE, (), NONE, NONE, NONE, SETS)
    scores = {"score.radiomics": "first"} if name == "hybrid" else {}
    return FittedModel(model, (), Recipe(), NONE, (), (), NONE, None, SETS, scores)


def told(name: str, results: Results) -> str:
    """What the table says beside the optimism, which is what the results say."""
    area = Estimate(name="auc", value=0.85)
    apparent = Result(
        id=f"model.{name}.auc.train", statistic="auc", title="Area", cohort="train", sites=["a"], how="exact", n=90,
        events=30, estimates=[area],
    )  # fmt: skip
    (result,) = publish_optimism(STUDY, fitted(name), [apparent])
    (note,) = (e.note for e in result.estimates if e.name == "optimism")
    assert {e.name: e.value for e in result.estimates}["corrected_auc"] == pytest.approx(0.85 - 0.15)
    (table,) = development(ModelParts(name, "A model", optimism=result), Labels(results))
    assert isinstance(table, Table) and table.columns[-1] == "What the bootstrap repeats"
    (beside,) = (row.cells[-1] for row in table.rows if row.head == "Optimism")
    assert beside == note
    return note


def test_of_a_reduced_model_everything_is_repeated(results: Results) -> None:
    assert told("first", results) == "Done anew on each set: every filter, mRMR, and the LASSO with its penalty."


def test_of_a_model_on_scores_the_regression_is_and_the_scores_are_not(results: Results) -> None:
    assert told("hybrid", results) == (
        "Done anew on each set: the regression. Not repeated: filling of missing values, developing and choosing the "
        "scores among its predictors, which are out of fold."
    )
