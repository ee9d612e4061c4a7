"""disclosure: what a server that looks at hospitals before anything is trained may not ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from client.release.differencing import variable_of
from common.federation.query import Ask, each, total
from common.statistics.score_shift import ScoreMoments
from common.statistics.site_permutation import SitePermutations
from common.statistics.site_profile import SiteProfile
from common.statistics.training_profile import TrainingProfile
from common.study.loader import parse_study
from common.study.recipe import Complete, Impute, Recipe, Score, Select
from common.study.scores import plain_columns
from common.study.shifted import compared_by, look_frame
from tests.disclosure.consortium import Consortium, Row, make
from tests.server.study.test_look import MODELLED, NUMBERS, STUDIED

CENTRE, SCALE = np.array([45.0, 40.0, 180.0, 1.1, 0.5]), np.array([9.0, 4.0, 40.0, 0.1, 0.5])
NAMES = (*NUMBERS, "sex=male")


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return make(tmp_path, study=STUDIED).open()


def frame_of(made: Consortium, known: tuple[str, ...] = NAMES, keys: tuple[str, ...] = ("mvi",)) -> Recipe:
    by = compared_by(made.study)
    assert by is not None
    recipe = Recipe((Select(plain_columns(made.study, by)), Complete(known, keys)))
    assert (recipe == look_frame(made.study, by)) == ((known, keys) == (NAMES, ("mvi",)))
    return recipe


def profile(made: Consortium, cohort: str = "external", recipe: Recipe | None = None, **changes: Any) -> Ask:
    usual = {"columns": NAMES, "numbers": NUMBERS, "centre": CENTRE, "scale": SCALE, "direction": np.zeros(6)}
    return each(SiteProfile(cohort, recipe or frame_of(made), **{**usual, **changes}, min_cell=5))


def training(made: Consortium, cohort: str = "train", **changes: Any) -> Ask:
    usual: dict[str, Any] = {"numbers": NUMBERS, "centre": CENTRE, "scale": SCALE, "direction": np.zeros(6)}
    return total(TrainingProfile(cohort, frame_of(made), NAMES, **{"endpoint": "mvi", **usual, **changes}))


def test_a_look_is_answered_without_a_freeze(made: Consortium) -> None:
    assert made.number("d", profile(made)) == 0
    assert made.number("a", profile(made, "train")) == 0
    assert made.number("a", training(made)) == 0
    shares, samples = np.array([0.5, 0.5]), np.array([0.4])
    deals = SitePermutations("train", frame_of(made), NAMES, NUMBERS, CENTRE, SCALE, shares, samples, 1, 99)
    assert made.number("a", total(deals)) == 0


def test_patients_are_counted_by_no_score_that_the_coordinator_made_up(made: Consortium) -> None:
    """Above 70 years of age: whom a cut-off that no study declares counts."""
    direction = np.array([-2.8, 1.0, 0.0, 0.0, 0.0, 0.0])
    assert made.number("d", profile(made, direction=direction)) == 414
    assert made.number("a", training(made, direction=direction)) == 414


def test_other_patients_columns_and_cohorts_are_refused(made: Consortium) -> None:
    assert made.number("d", profile(made, recipe=frame_of(made, NAMES[:4]))) == 414
    assert made.number("d", profile(made, recipe=frame_of(made, keys=()))) == 414
    assert made.number("a", profile(made, "alone")) == 414
    assert made.number("d", training(made, "external")) == 414
    assert made.number("a", training(made, endpoint="os")) == 414
    fewer = {"columns": NAMES[:4], "centre": CENTRE[:4], "scale": SCALE[:4], "direction": np.zeros(5)}
    assert made.number("d", profile(made, **fewer)) == 414


def test_there_is_no_score_to_ask_outcomes_about(made: Consortium) -> None:
    scored = frame_of(made).then(Score("look", "mvi", NAMES, (0.1,) * 5, -4.0))
    assert made.number("a", total(ScoreMoments("train", scored, "mvi", "score.look"))) == 414


def test_another_study_s_histograms_are_not_cut_a_little_beside_those_of_a_look(made: Consortium) -> None:
    """The difference of both counts is whoever lies between the edges."""
    assert made.number("d", profile(made)) == 0
    study = parse_study(MODELLED)
    for folder in made.folders.values():
        prepare(load_site(folder), study)
    beside, scored = SCALE * np.array([1.0, 1.0, 1.01, 1.0, 1.0]), np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    second, third = (Consortium(made.folders, study).with_ticket(run_id=run).open() for run in ("run2", "run3"))
    assert second.number("d", profile(made, scale=beside)) == 437
    assert third.number("d", profile(made, direction=scored)) == 0


def gap(rows: list[Row]) -> None:
    """One patient whose albumin is not known, and one of whom another endpoint is not."""
    for i, row in enumerate(rows):
        row["relapse"] = "" if i == 17 else str(i % 2)
    rows[7]["albumin"] = ""


RELAPSE = '[[endpoints]]\nname = "relapse"\nkind = "binary"\ncolumns = ["relapse"]\n\n[[cohorts]]'
FILLED = MODELLED.replace('evaluate = ["external"]', 'evaluate = ["external"]\nmissing = "mean"')


@pytest.mark.parametrize(
    ("later", "site", "cohort"),
    [("filled", "d", "external"), ("endpoint", "a", "train"), ("cut", "d", "external")],
)
def test_no_later_profile_tells_of_one_patient_more_or_less_whatever_its_study_calls_it(
    later: str, site: str, cohort: str, tmp_path: Path
) -> None:
    """Sums over complete cases, less those in which one patient is filled or lacks another endpoint, are his row; and
    one more endpoint in the study, which makes every row another, hides no histogram that is cut beside an earlier."""
    made = make(tmp_path, {site: gap}, study=STUDIED).open(site)
    texts = {
        "filled": FILLED,
        "endpoint": STUDIED.replace("[[cohorts]]", RELAPSE, 1).replace(
            'endpoint = "mvi"\npermutations', 'endpoint = "relapse"\npermutations'
        ),
        "cut": STUDIED.replace("[[cohorts]]", RELAPSE, 1),
    }
    study = parse_study(texts[later])
    assert made.number(site, profile(made, cohort)) == 0
    prepare(load_site(made.folders[site]), study)
    second, third = (Consortium(made.folders, study).with_ticket(run_id=run).open(site) for run in ("run2", "run3"))
    by = compared_by(study)
    assert by is not None
    recipe, beside = look_frame(study, by), SCALE * np.array([1.0, 1.0, 1.01, 1.0, 1.0])
    if later == "filled":
        means = tuple(CENTRE.tolist())
        recipe = Recipe((Select(plain_columns(study, by)), Impute(NAMES, means), Complete(NAMES, ("mvi",))))
    if later == "cut":
        assert second.number(site, profile(made, cohort, recipe=recipe, scale=beside)) == 437
        assert third.number(site, profile(made, cohort, recipe=recipe)) == 0, "the same sums again tell nothing"
    else:
        assert second.number(site, profile(made, cohort, recipe=recipe)) == 420


@pytest.mark.parametrize(
    ("column", "variable"),
    [("age", "age"), ("log(afp)", "afp"), ("afp>20", "afp"), ("sex=male", "sex"), ("asinh(a.b.c_d)", "a.b.c_d")],
)
def test_a_column_names_what_it_is_made_of(column: str, variable: str) -> None:
    assert variable_of(column) == variable
