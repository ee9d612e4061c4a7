"""server/study: hospitals that differ are found in a study, and named by what they tell themselves alone."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from client.approval.preview import preview
from client.cohort.site import load_site
from common.federation.query import Query
from common.published.results import Estimate, Result, Results
from common.study.loader import parse_study
from common.study.recipe import Score
from common.study.shifted import shift_contradictions
from server.study.conduct import conduct
from tests.client.approval.asked import Heard, heard_of, key_of
from tests.disclosure.consortium import STUDY, Consortium, Row, make, rows_of, write_site
from tests.server.study.reduced_study import everywhere, featured, study_text

SHIFT = '\n[shift]\nmodels = ["clinical"]\npermutations = 99\n'
STUDIED = STUDY.partition('[[models]]\nname = "wide"')[0] + SHIFT
SHY = 'approved_studies = ["any"]\n'


def older(rows: list[Row]) -> None:
    for row in rows:
        row["age"] = str(float(row["age"]) + 15)


def few(rows: list[Row]) -> None:
    """Two patients without cirrhosis."""
    for i, row in enumerate(rows):
        row["cirrhosis"] = "no" if i < 2 else "yes"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("sites"), {"e": older, "f": few}, study=STUDIED, masked=True)


@pytest.fixture(scope="module")
def heard(made: Consortium) -> tuple[Results, Heard]:
    listening, port = heard_of(made)
    return conduct(made.study, port, lambda _: None).results, listening


@pytest.fixture(scope="module")
def results(heard: tuple[Results, Heard]) -> Results:
    return heard[0]


def of(result: Result, name: str) -> dict[str, Estimate]:
    return {e.term: e for e in result.estimates if e.name == name}


def assert_foreseen(made: Consortium, heard: Heard) -> None:
    for name, folder in made.folders.items():
        releases = preview(load_site(folder), made.study).releases
        assert {key_of(ask) for ask, _ in heard.asks[name]} <= {one.key for one in releases if one.declared}
        refused = {one.query for one in releases if one.refused and one.part == "comparison of hospitals"}
        assert not refused & {"query.site_profile", "query.training_profile"}


def shifts(results: Results) -> dict[str, Result]:
    return {r.id: r for r in results.results if r.statistic == "shift"}


def test_every_hospital_has_a_verdict_and_what_would_have_been_found(results: Results) -> None:
    found = shifts(results)
    assert set(found) == {f"shift.train.{s}" for s in "abc"} | {f"shift.external.{s}" for s in "def"}
    assert {r.how for r in found.values()} == {"site-alone"}
    assert found["shift.external.e"].verdict in ("covariate", "several", "concept")
    for name in ("shift.train.a", "shift.train.b", "shift.train.c", "shift.external.d"):
        assert found[name].verdict == "none-detected"
        assert "not the same as none" in found[name].note
        size = of(found[name], "smallest_detectable")[""].value
        assert size is not None
        assert 0.3 < size < 1.0
        assert f"{size:.2f}" in found[name].note
        frequency = of(found[name], "smallest_detectable_prevalence")[""].value
        words = "no other frequency" if frequency is None else f"one of {frequency:.2f} in the frequency of the outcome"
        assert words in found[name].note


def test_published_differences_are_those_of_the_tables(results: Results, made: Consortium) -> None:
    def coded(site: str) -> pd.DataFrame:
        rows = pd.read_csv(made.folders[site] / "patients.csv")
        return pd.DataFrame({"age": rows["age"], "sex=male": (rows["sex"] == "male") * 1.0})

    training = pd.concat([coded(site) for site in "abc"])
    expected = (coded("e").mean() - training.mean()) / training.std(ddof=1)
    told = of(results.get("shift.external.e"), "standardised_difference")
    for name, value in expected.items():
        assert told[str(name)].value == pytest.approx(value, abs=1e-9)
    assert told["age"].p == 0.01  # the least of 99 deals
    others = pd.concat([coded(site) for site in "bc"])
    own = of(results.get("shift.train.a"), "standardised_difference")["sex=male"].value
    assert own == pytest.approx((coded("a").mean() - others.mean())["sex=male"] / training["sex=male"].std(), abs=1e-9)


def test_a_rare_level_is_not_told_and_said_so(results: Results) -> None:
    rare = results.get("shift.external.f")
    assert of(rare, "standardised_difference")["cirrhosis=yes"].value is None
    assert "at few other hospitals: cirrhosis=yes." in rare.note
    assert of(rare, "standardised_difference")["age"].value is not None
    for other in "de":  # what they told of it would leave that of f
        found = results.get(f"shift.external.{other}")
        assert of(found, "standardised_difference")["cirrhosis=yes"].value is None
        assert of(found, "score_difference")[""].note == "of the columns that are told"
        assert of(found, "score_difference")[""].value is not None
    assert of(results.get("shift.train.a"), "standardised_difference")["cirrhosis=yes"].value is not None


def test_outcomes_are_used_after_the_freeze_only(heard: tuple[Results, Heard]) -> None:
    told = of(heard[0].get("shift.external.d"), "calibration_slope")[""]
    assert told.value is not None
    asked = [ask.question for ask, _ in heard[1].asks["d"] if isinstance(ask.question, Query)]
    unlabelled = [i for i, query in enumerate(asked) if query.name == "query.site_profile"]
    labelled = [i for i, query in enumerate(asked) if query.name == "query.score_shift_alone"]
    frozen = [i for i, query in enumerate(asked) if any(isinstance(step, Score) for step in query.recipe.steps)]
    assert len(unlabelled) == len(labelled) == 1
    assert unlabelled[0] < min(frozen) <= labelled[0]


def test_each_predictor_is_tested_beside_the_score_where_outcomes_are_used(heard: tuple[Results, Heard]) -> None:
    found = {name: of(result, "residual_test") for name, result in shifts(heard[0]).items()}
    for name, told in found.items():
        assert set(told) == {"age", "sex=male", "afp>20", "cirrhosis=yes"}, name
        assert all(e.value is None or e.p is not None for e in told.values())
    # A level that few of either class have is told by no one; f has two patients without cirrhosis.
    assert found["shift.external.f"]["cirrhosis=yes"].value is None
    assert found["shift.train.a"]["age"].value is not None
    tests = [e.p for told in found.values() for e in told.values() if e.p is not None]
    assert min(tests) > 0.05  # the outcome of these rows depends on nothing
    asked = [ask.question for ask, _ in heard[1].asks["d"] if isinstance(ask.question, Query)]
    assert [query.cohort for query in asked if query.name == "query.residuals_alone"] == ["external"]


def test_every_question_was_foreseen(made: Consortium, heard: tuple[Results, Heard]) -> None:
    assert_foreseen(made, heard[1])


def test_results_are_the_same_again(made: Consortium, results: Results) -> None:
    again = conduct(made.study, made.port(), lambda _: None).results
    assert shifts(again) == shifts(results)


def test_one_hospital_that_tells_nothing_is_not_left_over_by_what_others_tell(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("shy")
    made = make(folder, {"e": older}, study=STUDIED, masked=True)
    for site in "bd":
        write_site(folder / "new" / site, site, rows_of(site), SHY, masked=True)
        text = (folder / "new" / site / "site.toml").read_text()
        (made.folders[site] / "site.toml").write_text(text)
    found = shifts(conduct(made.study, made.port(), lambda _: None).results)
    assert {name.rpartition(".")[2]: (r.verdict, r.status) for name, r in found.items()} == dict.fromkeys(
        "abcdef", ("cannot-tell", "refused")
    )
    assert not any(r.estimates for r in found.values())
    assert "FEDMVI-438" in found["shift.external.e"].note and "FEDMVI-408" in found["shift.external.d"].note


def test_a_reduced_model_is_compared_by_the_columns_that_are_left(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = study_text(0).partition('\n[[models]]\nname = "second"')[0] + SHIFT.replace("clinical", "first")
    made = make(tmp_path_factory.mktemp("reduced"), everywhere(featured), study=text, masked=True)
    listening, port = heard_of(made)
    results = conduct(made.study, port, lambda _: None).results
    assert_foreseen(made, listening)
    found = shifts(results)
    assert {r.status for r in found.values()} == {"estimated"}
    kept = {e.term for e in results.get("model.first.coefficients").estimates if e.name == "coef"} - {"intercept"}
    assert set(of(found["shift.train.a"], "standardised_difference")) == kept


def test_a_model_that_cannot_be_fitted_says_why(tmp_path_factory: pytest.TempPathFactory) -> None:
    def alike(rows: list[Row]) -> None:
        for row in rows:
            row["cirrhosis"] = "no"

    made = make(tmp_path_factory.mktemp("alike"), dict.fromkeys("abcdef", alike), study=STUDIED, masked=True)
    found = shifts(conduct(made.study, made.port(), lambda _: None).results)
    assert len(found) == 6
    assert {r.verdict for r in found.values()} == {"cannot-tell"}
    assert all(r.note for r in found.values())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('models = ["nobody"]', "'nobody' is not one of [[models]]"),
        ('models = ["clinical", "clinical"]', "'clinical' is named twice"),
        ('models = ["clinical", "wide"]', "'wide' has no remedy: give it `harmonise`, or name it first"),
        ('models = ["clinical"]\ncohorts = ["train"]', "'train' is not an internal-test or external-test cohort"),
        ('models = ["clinical"]\ncohorts = ["external", "external"]', "'external' is named twice"),
    ],
)
def test_contradictions_are_named(text: str, sentence: str) -> None:
    with pytest.raises(Exception, match=re.escape(sentence)) as met:
        parse_study(f"{STUDY}\n[shift]\n{text}\n")
    assert sentence in str(met.value)


def test_scores_are_nothing_to_compare_hospitals_by() -> None:
    study = parse_study(study_text(0))
    wrong = study.model_copy(update={"shift": parse_study(STUDIED).shift.model_copy(update={"models": ("hybrid",)})})  # type: ignore[union-attr]
    assert any("scores among its predictors" in sentence for _, sentence in shift_contradictions(wrong))
