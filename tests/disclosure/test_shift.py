"""disclosure: what a server that compares hospitals may not ask: other patients, other scales, or of a few."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.federation.query import Ask, each, perform, total
from common.federation.tasks import Freeze
from common.statistics.logistic import LogisticSums
from common.statistics.residuals import ResidualsAlone
from common.statistics.score_shift import ScoreMoments, ScoreShiftAlone
from common.statistics.site_permutation import SitePermutations
from common.statistics.site_profile import SiteProfile
from common.statistics.training_profile import TrainingProfile
from common.study.recipe import Complete, Impute, Recipe, Score, Select
from common.study.scoring import frozen_prefixes
from tests.disclosure.consortium import POLICY, STUDY, Consortium, Row, columns, make, names, rows_of, write_site

SHIFT = '\n[shift]\nmodels = ["clinical"]\npermutations = 99\n'
STUDIED = STUDY + SHIFT
FILLED = (45.0, 0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("sites"), study=STUDIED).open()


@pytest.fixture
def fresh(tmp_path: Path) -> Consortium:
    return make(tmp_path, study=STUDIED).open()


def frame_of(made: Consortium, known: tuple[str, ...] | None = None) -> Recipe:
    own = names(made.study, "clinical")
    steps = Select(columns(made.study, "clinical")), Impute(own, FILLED), Complete(known or own, ("mvi",))
    return Recipe(steps)


def fields(made: Consortium, **changes: Any) -> dict[str, Any]:
    own = names(made.study, "clinical")
    usual = {
        "columns": own, "numbers": own[:1], "centre": np.array(FILLED), "scale": np.array([9.0, 0.5, 0.5, 0.5]),
        "direction": np.zeros(5),
    }  # fmt: skip
    return {**usual, **changes}


def profile(made: Consortium, cohort: str = "train", recipe: Recipe | None = None, **changes: Any) -> Ask:
    return each(SiteProfile(cohort, recipe or frame_of(made), **fields(made, **changes), min_cell=5))


def deals(made: Consortium, first: int = 1, number: int = 1, **changes: Any) -> Ask:
    known = fields(made, **{"shares": np.array([0.5, 0.5]), "samples": np.array([0.4]), **changes})
    del known["direction"]
    return total(SitePermutations("train", frame_of(made), **known, first=first, deals=number))


def training(made: Consortium, cohort: str = "train", **changes: Any) -> Ask:
    return total(TrainingProfile(cohort, frame_of(made), endpoint="mvi", **fields(made, **changes)))


def score(made: Consortium, model: str = "clinical") -> Score:
    return Score(model, "mvi", names(made.study, model), (0.1,) * len(names(made.study, model)), -4.0)


def alone(made: Consortium, cohort: str = "external", **changes: Any) -> Ask:
    usual: dict[str, Any] = {
        "endpoint": "mvi", "column": "score.clinical", "min_class": 10,
        "reference": np.array([[50.0, -0.2, 1.0], [50.0, 0.2, 1.0]]), "part": False, "min_cell": 5,
    }  # fmt: skip
    return each(ScoreShiftAlone(cohort, frame_of(made).then(score(made)), **{**usual, **changes}))


def residuals(made: Consortium, cohort: str = "external", **changes: Any) -> Ask:
    own = names(made.study, "clinical")
    usual: dict[str, Any] = {
        "endpoint": "mvi", "columns": own, "numbers": own[:1], "column": "score.clinical", "min_class": 10,
        "information": np.ones(4), "part": cohort == "train", "min_cell": 5,
    }  # fmt: skip
    return each(ResidualsAlone(cohort, frame_of(made).then(score(made)), **{**usual, **changes}))


def freeze(made: Consortium, *sites: str) -> None:
    scores = sorted(frozen_prefixes(frame_of(made).then(score(made))))
    for site in sites:
        assert not made.put(site, perform(Freeze(tuple(scores), ())))[0].error


def test_hospitals_tell_their_profiles_before_the_freeze(fresh: Consortium) -> None:
    assert fresh.number("a", profile(fresh)) == 0
    assert fresh.number("d", profile(fresh, "external")) == 0
    assert fresh.number("a", training(fresh)) == 0
    assert fresh.number("a", deals(fresh, 1, 99)) == 0


def test_a_study_without_shift_is_asked_nothing_of_it(tmp_path: Path) -> None:
    plain = make(tmp_path, study=STUDY).open()
    for ask in (profile(plain), deals(plain), training(plain)):
        assert plain.number("a", ask) == 414


def test_a_hospital_that_tells_nothing_alone_tells_no_profile(tmp_path: Path) -> None:
    shy = make(tmp_path, study=STUDIED, policy='approved_studies = ["any"]\n').open()
    assert shy.number("a", profile(shy)) == 408
    assert shy.number("a", alone(shy, "train", part=True)) == 408


def test_a_profile_is_no_total(made: Consortium) -> None:
    assert made.number("b", total(profile(made).question)) == 408  # type: ignore[arg-type]


@pytest.mark.parametrize("cohort", ["alone", "nowhere"])
def test_profiles_of_other_cohorts_are_refused(made: Consortium, cohort: str) -> None:
    assert made.number("a", profile(made, cohort)) in (412, 414)


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": ("age", "sex=male", "afp>20"), "numbers": ("age",), "centre": np.array(FILLED[:3]),
         "scale": np.ones(3), "direction": np.zeros(4)},
        {"columns": ("sex=male", "age", "afp>20", "cirrhosis=yes")},
        {"numbers": ("age", "sex=male")},
        {"numbers": ()},
        {"scale": np.array([9.0, 0.0, 0.5, 0.5])},
        {"centre": np.array([1e9, 0.5, 0.5, 0.5])},
        {"direction": np.zeros(4)},
        {"direction": np.full(5, 1e12)},
    ],
)  # fmt: skip
def test_other_columns_and_wild_numbers_are_refused(made: Consortium, changes: dict[str, Any]) -> None:
    assert made.number("b", profile(made, **changes)) == 414


def test_another_set_of_patients_is_refused(made: Consortium) -> None:
    """Two sets of complete cases differ by those who lack one value."""
    own = names(made.study, "clinical")
    assert made.number("b", profile(made, recipe=frame_of(made, own[:2]))) == 414
    unfilled = Recipe((Select(columns(made.study, "clinical")), Complete(own, ("mvi",))))
    assert made.number("b", profile(made, recipe=unfilled)) == 414
    assert made.number("b", profile(made, recipe=frame_of(made).then(score(made)))) in (407, 414)


@pytest.mark.parametrize(
    "changes",
    [
        {"centre": np.array([46.0, 0.5, 0.5, 0.5])},
        {"scale": np.array([9.5, 0.5, 0.5, 0.5])},
        {"direction": np.array([1.0, 0.0, 0.0, 0.0, 0.0])},
    ],
)
def test_a_second_scale_or_cut_is_refused(fresh: Consortium, changes: dict[str, Any]) -> None:
    """The difference of two histograms is whoever lies between their edges."""
    assert fresh.number("c", profile(fresh)) == 0
    assert fresh.number("c", profile(fresh, **changes)) == 414
    assert fresh.number("c", profile(fresh)) == 0  # the same bytes again


def test_a_hidden_limit_of_ones_choice_is_refused(made: Consortium) -> None:
    question = replace(profile(made).question, min_cell=1)  # type: ignore[call-arg]
    assert made.number("b", each(question)) == 402  # type: ignore[arg-type]


def test_deals_are_those_of_the_study(made: Consortium) -> None:
    assert made.number("b", deals(made, 100)) == 414
    assert made.number("b", deals(made, 99, 2)) == 414
    question = deals(made, 1).question
    assert made.number("b", each(question)) in (402, 408)  # type: ignore[arg-type]


def test_a_drawn_hospital_of_a_few_is_refused(made: Consortium) -> None:
    """Without masks it would be a few of this site's patients."""
    assert made.number("b", deals(made, shares=np.array([0.9, 0.1]))) == 403
    assert made.number("b", deals(made, samples=np.array([0.02]))) == 403


def test_deals_by_other_shares_are_refused(fresh: Consortium) -> None:
    """One deal by two shares would tell those whose draw lies between them."""
    assert fresh.number("a", deals(fresh, 1)) == 0
    assert fresh.number("a", deals(fresh, 2)) == 0
    assert fresh.number("a", deals(fresh, 1, shares=np.array([0.51, 0.49]))) == 414
    assert fresh.number("a", deals(fresh, 3, samples=np.array([0.41]))) == 414


def test_sums_of_training_are_of_training(made: Consortium) -> None:
    assert made.number("d", training(made, "external")) == 414


def test_outcomes_are_used_only_of_frozen_scores(fresh: Consortium) -> None:
    assert fresh.number("d", alone(fresh)) == 407
    freeze(fresh, "d")
    assert fresh.number("d", alone(fresh)) == 0


def test_calibration_is_told_once_and_of_the_compared_model(fresh: Consortium) -> None:
    freeze(fresh, "d", "a")
    assert fresh.number("d", alone(fresh)) == 0
    other = np.array([[50.0, -0.3, 1.0], [50.0, 0.2, 1.0]])
    assert fresh.number("d", alone(fresh, reference=other)) == 414
    assert fresh.number("d", alone(fresh, part=True)) == 414
    assert fresh.number("d", alone(fresh, column="score.wide")) == 414
    assert fresh.number("a", alone(fresh, "train", part=True, min_class=2)) == 402
    moments = ScoreMoments("external", frame_of(fresh).then(score(fresh)), "mvi", "score.clinical")
    assert fresh.number("d", total(moments)) == 414


def test_predictors_are_seen_beside_closed_outcomes_by_the_tests_of_the_compared_model_only(fresh: Consortium) -> None:
    """A regression on them there would be a model that is developed on the test cohort."""
    assert fresh.number("d", residuals(fresh)) == 407
    freeze(fresh, "d", "a")
    for changes in (
        {"columns": names(fresh.study, "clinical")[:3], "information": np.ones(3)},
        {"numbers": names(fresh.study, "clinical")[:2]},
        {"part": True}, {"column": "score.wide"}, {"information": np.ones(3)}, {"information": -np.ones(4)},
    ):  # fmt: skip
        assert fresh.number("d", residuals(fresh, **changes)) == 414, changes
    assert fresh.number("d", residuals(fresh, min_class=2)) == 402
    assert fresh.number("d", total(residuals(fresh).question)) == 408  # type: ignore[arg-type]
    assert fresh.number("d", residuals(fresh)) == 0
    assert fresh.number("a", residuals(fresh, "train")) == 0
    assert fresh.number("d", residuals(fresh, information=np.full(4, 2.0))) == 414  # a second value tells the variance
    recipe, own = frame_of(fresh).then(score(fresh)), names(fresh.study, "clinical")
    assert fresh.number("d", total(LogisticSums("external", recipe, "mvi", own, np.zeros(5)))) == 407


def test_a_patient_who_comes_later_is_not_told_by_a_second_run(tmp_path: Path) -> None:
    """The difference of two profiles would be the row of whoever was added, that of two means the score."""
    made = make(tmp_path, study=STUDIED).open()
    freeze(made, "a")
    own = alone(made, "train", part=True)
    assert made.number("a", profile(made)) == 0
    assert made.number("a", own) == 0
    rows: list[Row] = rows_of("a")
    more = dict(rows[0], patient_id="a-new", age="71")
    write_site(made.folders["a"], "a", [*rows, more], POLICY)
    prepare(load_site(made.folders["a"]), made.study)
    again = made.with_ticket(run_id="run2").open("a")
    freeze(again, "a")
    assert again.number("a", profile(again)) == 420
    assert again.number("a", own) == 420
    write_site(made.folders["a"], "a", rows, POLICY)
    prepare(load_site(made.folders["a"]), made.study)
    same = made.with_ticket(run_id="run3").open("a")
    freeze(same, "a")
    assert same.number("a", profile(same)) == 0
    assert same.number("a", own) == 0


def test_what_leaves_of_a_rare_level_is_nothing(tmp_path: Path) -> None:
    def rare(rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row["cirrhosis"] = "yes" if i < 3 else "no"

    made = make(tmp_path, {"d": rare}, study=STUDIED).open()
    answer = made.put("d", profile(made, "external"))[0]
    assert not answer.error
    assert answer.blocks["told"].tolist() == [1, 1, 1, 0]
    text = str({name: block.tolist() for name, block in answer.blocks.items()})
    assert answer.blocks["above"].tolist() == [-1, -1], text
