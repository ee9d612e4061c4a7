"""server/study: hospitals are compared before anything is trained: by columns, without a model or a test outcome."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from client.approval.preview import preview
from client.approval.telling import tell
from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.federation.query import Query
from common.published.results import Estimate, Result, Results
from common.statistics.score_shift import ScoreMoments, ScoreShiftAlone
from common.statistics.site_profile import SiteProfile
from common.study.loader import parse_study
from server.report.shift import shift
from server.study.conduct import conduct
from tests.client.approval.asked import Heard, heard_of, key_of
from tests.disclosure.consortium import STUDY, Consortium, Row, make

HEAD = STUDY.partition('[[models]]\nname = "clinical"')[0]
LOOK = """
[shift]
predictors = [
  { variable = "age", coding = "linear" }, { variable = "albumin", coding = "linear" },
  { variable = "platelets", coding = "linear" }, { variable = "inr", coding = "linear" }, "sex",
]
cohort = "train"
endpoint = "mvi"
permutations = 99
"""
STUDIED = HEAD + LOOK
MODELLED = (
    HEAD
    + """
[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = [
  { variable = "age", coding = "linear" }, { variable = "albumin", coding = "linear" },
  { variable = "platelets", coding = "linear" }, { variable = "inr", coding = "linear" }, "sex",
]
evaluate = ["external"]

[shift]
models = ["clinical"]
permutations = 99
"""
)
NUMBERS = ("age", "albumin", "platelets", "inr")
GAIN = 1.25


def brighter(rows: list[Row]) -> None:
    """A gain on what one hospital's device measures."""
    for row in rows:
        for name in ("albumin", "platelets"):
            row[name] = f"{float(row[name]) * GAIN:g}"


def gaps(rows: list[Row]) -> None:
    """Fewer patients lack the endpoint, or a predictor, than may be told apart."""
    rows[3]["mvi"] = ""
    rows[7]["albumin"] = ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("sites"), {"e": brighter, "b": gaps}, study=STUDIED, masked=True)


@pytest.fixture(scope="module")
def heard(made: Consortium) -> tuple[Results, Heard]:
    listening, port = heard_of(made)
    return conduct(made.study, port, lambda _: None).results, listening


def of(result: Result, name: str) -> dict[str, Estimate]:
    return {e.term: e for e in result.estimates if e.name == name}


def verdicts(results: Results) -> dict[str, str]:
    return {r.id.rpartition(".")[2]: r.verdict for r in results.results if r.statistic == "shift"}


def coded(made: Consortium, *sites: str) -> pd.DataFrame:
    """The complete cases of some hospitals, pooled."""
    tables = [pd.read_csv(made.folders[site] / "patients.csv") for site in sites]
    whole = pd.concat(tables).dropna(subset=[*NUMBERS, "mvi"])
    return whole[[*NUMBERS]].assign(**{"sex=male": (whole["sex"] == "male") * 1.0})


def test_a_gain_at_one_hospital_is_found_before_anything_is_trained(heard: tuple[Results, Heard]) -> None:
    found = verdicts(heard[0])
    assert found.pop("e") in ("covariate", "several")
    assert found == dict.fromkeys("abcdf", "none-detected")
    assert {r.statistic for r in heard[0].results} == {"patient-flow", "endpoint-counts", "shift"}


def test_where_nothing_differs_nothing_is_found(tmp_path: Path) -> None:
    made = make(tmp_path, study=STUDIED, masked=True)
    results = conduct(made.study, made.port(), lambda _: None).results
    assert verdicts(results) == dict.fromkeys("abcdef", "none-detected")
    sizes = [of(r, "smallest_detectable")[""].value for r in results.results if r.statistic == "shift"]
    assert all(size is not None and 0.3 < size < 1.0 for size in sizes)


def test_numbers_are_those_of_the_pooled_rows(made: Consortium, heard: tuple[Results, Heard]) -> None:
    whole, own = coded(made, *"abc"), coded(made, "e")
    centre, scale = whole.mean(), whole.std(ddof=1)
    assert len(whole) == 178
    result = heard[0].get("shift.external.e")
    told, ks = of(result, "standardised_difference"), of(result, "ks")
    edges = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])
    for name in whole.columns:
        assert told[name].value == pytest.approx((own[name].mean() - whole[name].mean()) / scale[name], abs=1e-9)
    for name in NUMBERS:
        z, others = (((t[name] - centre[name]) / scale[name]).to_numpy() for t in (own, whole))
        below = [(values[:, np.newaxis] < edges).mean(axis=0) for values in (z, others)]
        exact, distance = float(np.abs(below[0] - below[1]).max()), ks[name].value
        assert distance is not None and distance <= exact + 1e-12  # bins with few patients have no edge
        if np.bincount(np.searchsorted(edges, z, "right"), minlength=10).min() >= 5:
            assert distance == pytest.approx(exact, abs=1e-12)
    assert told["platelets"].p == 0.01
    assert of(result, "two_sample_auc")[""].p == 0.01
    assert result.n == len(own)


def test_no_score_and_no_test_outcome_is_asked_about(heard: tuple[Results, Heard]) -> None:
    asked = [ask.question for asks in heard[1].asks.values() for ask, _ in asks if isinstance(ask.question, Query)]
    assert not [q for q in asked if isinstance(q, ScoreMoments | ScoreShiftAlone)]
    assert all(not q.direction.any() for q in asked if isinstance(q, SiteProfile))
    assert {q.cohort for q in asked if q.classes_of and q.name != "query.classes"} <= {"train", "alone"}
    for result in (r for r in heard[0].results if r.statistic == "shift"):
        names = {e.name for e in result.estimates}
        assert not names & {"score_difference", "estimated_prevalence", "smallest_detectable_prevalence"}
        assert "before anything was trained" in result.note
        assert "unless outcomes are used" not in result.note


def test_every_question_was_foreseen_and_told_in_words(made: Consortium, heard: tuple[Results, Heard]) -> None:
    for name, folder in made.folders.items():
        site = load_site(folder)
        releases = preview(site, made.study).releases
        assert {key_of(ask) for ask, _ in heard[1].asks[name]} <= {one.key for one in releases if one.declared}
        refused = {one.query for one in releases if one.refused and one.part == "comparison of hospitals"}
        assert refused <= {"query.site_permutations"}  # the example is asked of this site alone
        (words,) = [line for line in tell(site, made.study).leaves if line.startswith("Only a look")]
        assert "5 variables" in words and "Of outcomes it uses those of train" in words


def test_the_section_says_who_differs_and_that_no_test_outcome_was_used(heard: tuple[Results, Heard]) -> None:
    text = str(shift(heard[0], {}).blocks)
    assert re.search(r"At e \(external\) (it differs from training|its patients or images differ)", text)
    assert "before anything was trained, and no outcome of a test cohort was used" in text
    assert "Prevalence" not in text


def test_the_model_s_study_is_answered_after_the_look(made: Consortium, heard: tuple[Results, Heard]) -> None:
    """A hospital refuses sums that would tell a few patients apart from those of an earlier study (420): both studies
    are about the same ones, whoever lacks a predictor or the endpoint."""
    study = parse_study(MODELLED)
    for folder in made.folders.values():
        prepare(load_site(folder), study)
    later = Consortium(made.folders, study).with_ticket(run_id="run2")
    results = conduct(study, later.port(), lambda _: None).results
    assert [r.note for r in results.results if r.status == "refused"] == []
    assert verdicts(results)["e"] in ("covariate", "several")
    told, before = (of(r.get("shift.external.e"), "ks") for r in (results, heard[0]))
    assert {name: e.value for name, e in told.items()} == {name: e.value for name, e in before.items()}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('cohort = "train"\nendpoint', 'cohort = "external"\nendpoint', "a look needs a cohort with the role train"),
        ('endpoint = "mvi"\nperm', 'endpoint = "os"\nperm', "a look needs a binary endpoint of the study"),
        ('endpoint = "mvi"\nperm', "perm", "a look needs a binary endpoint of the study"),
        ('"sex",\n', '"sex", "sex",\n', "'sex' is used twice in the same coding"),
        ('"sex",\n', '"mvi_grade",\n', "'mvi_grade' is not known before surgery, and tells of the outcome"),
        ('"sex",\n', '"score.clinical",\n', "'score.clinical' is a score: nothing is trained yet"),
        ("permutations", "leave_one_centre_out = true\npermutations", "there is no model to be developed"),
        ("[shift]", '[shift]\nmodels = ["clinical"]', "belongs to a look without `models`"),
    ],
)
def test_contradictions_of_a_look_are_named(old: str, new: str, sentence: str) -> None:
    assert old in STUDIED
    with pytest.raises(Exception, match=re.escape(sentence)):
        parse_study(STUDIED.replace(old, new))


def test_a_study_with_models_names_them() -> None:
    with pytest.raises(Exception, match=re.escape("a look without is a study of its own")):
        parse_study(STUDY + LOOK)
    with pytest.raises(Exception, match="by which `predictors` hospitals are compared before any is trained"):
        parse_study(HEAD + '[shift]\ncohort = "train"\nendpoint = "mvi"\n')
