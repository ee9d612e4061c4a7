"""disclosure: numbers, sets and tables of the server's choice: what they would tell, and what a site refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.query import Ask, perform, total
from common.federation.tasks import Freeze
from common.federation.totals import encode_total
from common.statistics.cox_common_baseline import LARGEST_LOG_HAZARD, PooledResiduals, RiskSetSums
from common.statistics.elastic_net import HeldOut
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.partial_likelihood import Ties
from common.statistics.proportional_hazards import SchoenfeldSums
from common.statistics.quantiles import GridCounts
from common.statistics.training_sets import SetMoments
from common.study.analyses import ANALYSES
from common.study.recipe import (
    SCORE_DECIMALS,
    Complete,
    Fold,
    Frame,
    Impute,
    Recipe,
    Score,
    Select,
    Standardise,
    logistic_function,
)
from tests.disclosure.consortium import POLICY, SITES, STUDY, Consortium, columns, make, names, recipe
from tests.disclosure.test_statistics import NAMES, recipe_of, study_with


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    everything = [name for name, kind in ANALYSES.items() if kind.on == "predictors" and kind.endpoint != "ordinal"]
    chosen = [name for name in everything if name in ("lasso", "cox", "cox-common", "correlation")]
    return make(tmp_path_factory.mktemp("rich"), study=study_with(*chosen)).open()


# -------------------------------------------------------------------------------------------------------- folds


def dealt(frame: Frame, folds: int) -> np.ndarray:
    return Fold(folds, "mvi").apply(frame).columns["fold"]


def test_dealings_into_other_numbers_of_folds_are_not_equations_for_one_order():
    """With one order for all, the sums by fold of 2 to 20 folds have full rank: every patient's row follows."""
    rng = np.random.default_rng(3)
    keys = rng.integers(0, 2**64, size=60, dtype=np.uint64)
    y = (np.arange(60) % 3 == 0).astype(np.float64)
    order = np.lexsort((keys, y))
    frame = Frame({}, {"mvi": y}, 60, keys)
    shared = max(
        float(np.mean(dealt(frame, folds)[order] == (first + np.arange(60)) % folds))
        for folds in range(3, 21)
        for first in range(folds)
    )
    assert shared < 0.75, "no dealing is that of the order of keys"
    assert np.array_equal(dealt(frame, 10), dealt(frame, 10)), "and each is the same in every run"
    part = frame.keep(np.arange(60) != 7)
    assert not np.array_equal(np.delete(dealt(frame, 10), 7), dealt(part, 10)), "another set is dealt anew"


def test_only_the_dealing_of_the_studys_own_folds_is_used_and_never_as_a_predictor(rich: Consortium):
    complete = recipe_of(rich, "mvi")

    def moments(folds: int) -> int:
        return rich.number(
            "a", total(SetMoments("train", complete.then(Fold(folds, "mvi")), "mvi", NAMES, "folds", folds + 1, False))
        )

    assert [moments(folds) for folds in (2, 3, 9, 11, 20)] == [414] * 5
    folded = complete.then(Fold(10, "mvi"))
    regression = LogisticSums("train", folded, "mvi", ("fold",), np.zeros(2))
    assert rich.number("a", total(regression)) == 414
    assert rich.number("a", total(replace(regression, columns=("age",), offset="fold"))) == 414
    assert rich.number("a", total(Deviations("train", folded, ("fold",), np.zeros(1)))) == 414


# ------------------------------------------------------------------------------------------------ digits of a score


def test_a_score_has_no_digits_in_which_a_row_could_be_written(rich: Consortium):
    clinical = names(rich.study, "clinical")
    score = Score("clinical", "mvi", clinical, (1e-3, 1e-6, 2e-6, 4e-6), 0.0)
    scoring = recipe(rich.study, "clinical").then(score)
    frame = rich.frame("a", scoring)
    told = frame.columns["score.clinical"]
    linear = frame.matrix(clinical) @ np.array(score.coefficients)
    written = np.rint((linear - 1e-3 * frame.columns["age"]) * 1e6)
    assert len(np.unique(written)) > 4, "the coefficients write three columns behind the third digit"
    of_age = logistic_function(1e-3 * frame.columns["age"])
    assert float(np.max(np.abs(told - of_age))) <= 10.0**-SCORE_DECIMALS, "and nothing of them is in the score"


# ------------------------------------------------------------------------------------------- an overflow as an oracle


def test_no_admitted_sum_over_risk_sets_can_leave_the_range_of_exact_sums(rich: Consortium):
    recipe_ = recipe_of(rich, "os.time", "os.event")
    points = np.arange(1, 60, dtype=np.uint64)

    def asked(scale: float, coefficient: float) -> RiskSetSums:
        standard = recipe_.then(Standardise(NAMES, (50.0, 40.0), (scale, scale)))
        return RiskSetSums(
            "train", standard, endpoint="os", columns=NAMES, coefficients=np.full(2, coefficient), precision=1.0,
            grid_points=61, points=points, tied=np.empty(0, dtype=np.uint64),
        )  # fmt: skip

    assert rich.number("a", total(asked(10.0, 0.0))) == 0
    assert rich.number("a", total(asked(1e-3, 0.0))) == 414, "columns wider than any standardised one"
    worst = asked(0.15, 1e6)
    summary = worst.answer(rich.frame("a", worst.recipe))
    encode_total(worst, summary, 3)
    most = float(np.exp(LARGEST_LOG_HAZARD)) * 1e3**2 * 1e6
    assert most < 2.0**62 / 20, "a million patients at twenty sites fit"


# ------------------------------------------------------------------------------------------------- sets of patients


def test_complete_cases_of_a_servers_choice_would_differ_by_one_patient(rich: Consortium):
    wide = Select(columns(rich.study, "wide"))
    for chosen in (("age", "inr"), ("inr",), names(rich.study, "wide")):
        query = Deviations("train", Recipe((wide, Complete(chosen, ("mvi",)))), ("age",), np.zeros(1))
        assert rich.number("a", total(query)) == (414 if len(chosen) == 2 else 0)
    for keys in ((), ("os.time",), ("mvi", "os.time")):
        query = Deviations("train", Recipe((wide, Complete(("inr",), keys))), ("age",), np.zeros(1))
        assert rich.number("a", total(query)) == 414


def test_a_second_imputed_value_would_tell_who_lacks_one(tmp_path: Path):
    def one_missing(rows: list[dict[str, str]]) -> None:
        rows[5]["age"] = ""

    made = make(tmp_path, {"a": one_missing}).open()
    clinical = names(made.study, "clinical")

    def asked(value: float) -> LogisticSums:
        values = (value, 0.4, 0.5, 0.5)
        steps = (Select(columns(made.study, "clinical")), Impute(clinical, values), Complete(clinical, ("mvi",)))
        return LogisticSums("train", Recipe(steps), "mvi", clinical, np.zeros(5))

    def pooled(value: float) -> np.ndarray:
        query = asked(value)
        return sum(query.answer(made.frame(site, query.recipe))["score"] for site in ("a", "b", "c"))

    sums = [pooled(value) for value in (40.0, 41.0)]
    missing = made.frame("a", Recipe((Select(columns(made.study, "clinical")),)))
    outcome = missing.endpoints["mvi"][np.isnan(missing.columns["age"])][0]
    assert sums[1][1] - sums[0][1] == pytest.approx(outcome - 0.5), "whether that one patient has MVI"
    assert [made.number("a", total(asked(v))) for v in (40.0, 40.0, 41.0)] == [0, 0, 414]


# ------------------------------------------------------------------------------------------- tables set once a run


def test_second_weights_of_time_would_tell_the_death_between_them(rich: Consortium):
    recipe_ = recipe_of(rich, "os.time", "os.event")

    def asked(step: int) -> Ask:
        weights = (np.arange(61) >= step).astype(np.float64)
        return total(SchoenfeldSums(
            "train", recipe_, endpoint="os", columns=NAMES, strata=(), ties=Ties.EFRON, coefficients=np.zeros(2),
            precision=1.0, grid_points=61, time_weights=weights,
        ))  # fmt: skip

    assert [rich.number("a", asked(step)) for step in (30, 30, 31)] == [0, 0, 414]
    assert [answer.error for answer in rich.put("b", asked(30), asked(31))] == [0, 414], "nor in one message"
    memory = rich.folders["b"] / "store" / "runs" / "run1" / "once.txt"
    content = memory.read_bytes()
    memory.write_bytes(content[:-1])
    assert rich.number("b", asked(32)) == 422, "a damaged memory forgets nothing"
    memory.write_bytes(content)


def test_residuals_of_profiles_out_of_range_are_refused(rich: Consortium):
    recipe_ = recipe_of(rich, "os.time", "os.event").then(Standardise(NAMES, (50.0, 40.0), (10.0, 4.0)))
    points = np.arange(1, 60, dtype=np.uint64)
    flat = np.zeros((59, 2))

    def asked(increment: float, mean: float) -> int:
        return rich.number("a", total(PooledResiduals(
            "train", recipe_, endpoint="os", columns=NAMES, precision=1.0, grid_points=61, points=points,
            coefficients=np.zeros(2), mean=flat + mean, increment=np.full(59, increment), discount=np.zeros(59),
            drift=flat, drift_discount=flat,
        )))  # fmt: skip

    assert asked(1e5, 0.0) == 414
    assert asked(0.01, 1e5) == 414
    assert asked(0.01, 0.0) == 0
    assert asked(0.01, 0.5) == 414, "a second profile"


def test_models_that_weigh_one_patient_of_a_fold_are_refused(tmp_path: Path):
    made = make(tmp_path, study=study_with("lasso"), masked=True).sign().open()
    recipe_ = recipe_of(made, "mvi").then(Fold(10, "mvi"))

    def asked(coefficients: np.ndarray) -> int:
        return made.number("a", total(HeldOut("train", recipe_, "mvi", NAMES, "folds", 11, coefficients)))

    honest, single = np.zeros((2, 10, 3)), np.zeros((2, 10, 3))
    single[1, 4] = (-4000.0, 50.0, 0.0)
    assert asked(single) == 416, "the other folds do not make up for the one"
    assert asked(honest) == 0
    assert asked(honest + 0.01) == 414, "and other models are not answered"
    assert asked(honest[:1]) == 0, "but the first of the same, where a path ends earlier"


# -------------------------------------------------------------------------------------------------- what is unsound


def test_a_question_whose_fields_do_not_fit_together_is_refused_and_recorded(rich: Consortium):
    scalar = np.array(0.0)
    unsound = [
        HeldOut("train", recipe_of(rich, "mvi").then(Fold(10, "mvi")), "mvi", NAMES, "folds", 11, scalar),
        LogisticSums("train", recipe(rich.study, "clinical"), "mvi", names(rich.study, "clinical"), scalar),
    ]
    for query in unsound:
        try:
            number = rich.put("a", total(query))[0].error
        except FedmviError as error:
            number = error.number
        assert number in (414, 404), query


def test_freezing_many_scores_is_refused(rich: Consortium):
    assert rich.number("a", perform(Freeze(tuple(f"{i:064x}" for i in range(9)), ()))) == 414


# ------------------------------------------------------------------------------------------- levels and fine grids

CLASSES = STUDY.replace('"sex", "afp", "cirrhosis"]', '"sex", "afp", "child_pugh"]')


def _child_pugh(reference: int) -> Callable[[list[dict[str, str]]], None]:
    """So many patients of class A, which has no column of its own; the others are B and C in turn."""

    def change(rows: list[dict[str, str]]) -> None:
        for i, row in enumerate(rows):
            row["child_pugh"] = "A" if i < reference else "BC"[i % 2]

    return change


@pytest.mark.parametrize(("reference", "number"), [(20, 0), (5, 0), (4, 409), (0, 409)])
def test_a_rare_reference_level_is_not_hidden_by_having_no_column(tmp_path: Path, reference: int, number: int):
    made = make(tmp_path, {site: _child_pugh(reference) for site in SITES}, study=CLASSES).open()
    clinical = names(made.study, "clinical")
    assert {"child_pugh=B", "child_pugh=C"} <= set(clinical)
    query = LogisticSums("train", recipe(made.study, "clinical"), "mvi", clinical, np.zeros(len(clinical) + 1))
    assert made.number("a", total(query)) == number


def test_all_points_of_a_fine_grid_would_tell_the_values_and_are_refused_where_ranks_are(tmp_path: Path):
    made = make(tmp_path, study=study_with("quantiles"), policy=POLICY + 'pooled_detail = "binned"\n').open()
    variable = made.study.variable("age")
    assert variable.low is not None and variable.high is not None
    limits = (np.array([variable.low]), np.array([variable.high]))
    cells = tuple(range(1, 1 << 12))
    fine = GridCounts("train", recipe_of(made), ("age",), *limits, 12, (0,) * len(cells), cells)
    frame = made.frame("a", fine.recipe)
    occupied = np.diff(np.concatenate([[0], fine.answer(frame)["below"], [frame.n]]))
    assert int(np.count_nonzero(occupied == 1)) > 50, "nearly every patient alone in a cell"
    assert made.number("a", total(fine)) == 402
    assert made.number("a", total(replace(fine, level=7, places=(0,), cells=(60,)))) == 0
