"""server/study: features on which two readers disagree are in no model; measured inside hospitals, in every part."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cohort.site import Site, load_site
from client.cohort.store import load_prepared, store_digest
from client.preparation import images
from client.preparation.images import PreparedImages
from client.preparation.patient import Outcome
from client.preparation.prepare import prepare
from client.release.scope import check_scope
from common.errors import FedmviError
from common.federation.query import Query, total
from common.federation.runner import Conclusion, conclude
from common.published.results import Result, Results
from common.statistics.icc import FEWEST_LESIONS, MIN_LESIONS, Form, SiteAgreement
from common.statistics.univariable import MarginalSums
from common.study.features import second_reading
from common.study.loader import parse_study
from common.study.preparation import Preparation
from common.study.recipe import Complete, Frame, ModelColumns, Recipe, SecondReadings, Without
from server.report.development import development
from server.study.conduct import conduct
from tests.client.approval.asked import Heard, heard_of
from tests.client.approval.test_preview import assert_foreseen
from tests.disclosure.consortium import STUDY, Consortium, Row, make, rows_of
from tests.server.study.reduced_study import PATIENTS

pytestmark = pytest.mark.xdist_group("read_twice")

SURE = ("Mean", "Median", "Maximum", "RootMeanSquared", "10Percentile", "90Percentile")
UNSURE = ("Range", "InterquartileRange", "MeanAbsoluteDeviation")
"""What the second reader has of them is another patient's, as it were; and the range tells MVI all the same."""
TWICE = {"a": 60, "b": 45, "c": 12, "d": 40, "e": 0, "f": 0}
"""Patients whom both have read; those of c are too few for a coefficient."""


def name_of(short: str) -> str:
    return f"portal.tumour.original_firstorder_{short}"


FEATURES = tuple(name_of(short) for short in (*SURE, *UNSURE))
PREPARATION = """
[preparation]
modality = "ct"
phases = ["portal"]
reference = "portal"

[preparation.radiomics]
regions = ["tumour"]
classes = ["firstorder"]
log_sigma_mm = []
wavelet = "none"
second_reader = true
"""


def study_text(reduction: str = "icc = 0.75, fdr = 0.5") -> str:
    predictors = ", ".join(f'"{name}"' for name in FEATURES)
    model = f"""
[[models]]
name = "radiomics"
endpoint = "mvi"
cohort = "train"
predictors = [{predictors}]
reduction = {{ {reduction} }}
optimism = 4
evaluate = ["external"]
"""
    return STUDY.partition("[[models]]")[0] + model + PREPARATION


def drawn(patient: str) -> dict[int, dict[str, float]]:
    """What both readers have of a patient."""
    rng = np.random.default_rng(zlib.crc32(patient.encode()))
    z, noise, other = (rng.normal(size=len(FEATURES)) for _ in range(3))
    unsure = np.arange(len(FEATURES)) >= len(SURE)
    second = np.where(unsure, other, z + 0.3 * noise)
    first, again = (dict(zip(FEATURES, (50 + 8 * values).tolist(), strict=True)) for values in (z, second))
    twice = int(patient.rpartition("-")[2]) < TWICE[patient[0]]
    return {1: first, 2: again} if twice else {1: first}


def has_mvi(patient: str) -> bool:
    own = drawn(patient)[1]
    logit = 0.15 * (own[name_of("Mean")] - 50) + 0.15 * (own[name_of("Range")] - 50) - 0.2
    return zlib.crc32(patient[::-1].encode()) % 1000 < 1000 / (1 + np.exp(-logit))


def pictured(rows: list[Row]) -> None:
    rows[:] = rows_of(rows[0]["patient_id"][0], PATIENTS)
    for row in rows:
        row["mvi"] = str(int(has_mvi(row["patient_id"])))


def _read(site: Site, preparation: Preparation, patients: Sequence[str], *_: Any, **__: Any) -> PreparedImages:
    return PreparedImages(preparation, tuple(Outcome(patient, features=drawn(patient)) for patient in patients))


def consortium(folder: Path, text: str) -> Consortium:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(images, "prepare_images", _read)
        return make(folder, dict.fromkeys("abcdef", pictured), study=text, masked=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return consortium(tmp_path_factory.mktemp("twice"), study_text())


@pytest.fixture(scope="module")
def heard(made: Consortium) -> tuple[Results, Heard]:
    listening, port = heard_of(made)
    return conduct(made.study, port, lambda _: None).results, listening


@pytest.fixture(scope="module")
def reduction(heard: tuple[Results, Heard]) -> Result:
    return heard[0].get("model.radiomics.reduction")


def left(result: Result) -> dict[str, float | None]:
    return {e.term: e.value for e in result.estimates if e.name == "left"}


def icc21(readings: np.ndarray) -> float:
    """ICC(2,1) of a (lesions, readers) table, by the mean squares of Shrout and Fleiss."""
    n, k = readings.shape
    rows, columns, grand = readings.mean(axis=1), readings.mean(axis=0), readings.mean()
    between = k * np.square(rows - grand).sum() / (n - 1)
    judges = n * np.square(columns - grand).sum() / (k - 1)
    error = np.square(readings - rows[:, None] - columns + grand).sum() / ((n - 1) * (k - 1))
    return float((between - error) / (between + (k - 1) * error + k * (judges - error) / n))


def by_hand(feature: str, sites: str = "ab") -> float:
    """The average on Fisher's scale over hospitals with enough patients whom both have read."""
    weights, scores = [], []
    for site in sites:
        patients = [f"{site}-{i:03d}" for i in range(TWICE[site])]
        r = icc21(np.array([[drawn(p)[reader][feature] for reader in (1, 2)] for p in patients]))
        weights.append(len(patients) - 2.0)
        scores.append(0.5 * np.log((1 + r) / (1 - r)))
    return float(np.tanh(np.average(scores, weights=weights)))


def test_a_feature_on_which_readers_disagree_is_in_no_formula(heard: tuple[Results, Heard], reduction: Result) -> None:
    assert reduction.status == "estimated", reduction.note
    steps = left(reduction)
    assert steps["near-zero variance"] == len(FEATURES)
    assert steps["agreement of readers"] == len(SURE) == sum(by_hand(name) >= 0.75 for name in FEATURES)
    terms = {e.term for e in heard[0].get("model.radiomics.coefficients").estimates if e.name == "coef"}
    assert name_of("Mean") in terms
    assert not terms & {name_of(short) for short in UNSURE}


def test_the_same_study_with_one_reader_takes_it(tmp_path: Path) -> None:
    found = conduct((one := consortium(tmp_path, study_text("fdr = 0.5"))).study, one.port(), lambda _: None).results
    assert "agreement of readers" not in left(found.get("model.radiomics.reduction"))
    assert name_of("Range") in {e.term for e in found.get("model.radiomics.coefficients").estimates}


def test_published_coefficients_are_those_of_hospitals_with_enough_patients(reduction: Result) -> None:
    found = {e.term: e for e in reduction.estimates if e.name == "icc"}
    assert set(found) >= {name_of("Mean")}
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(by_hand(name), abs=1e-9)
        assert estimate.low is not None and estimate.high is not None
        assert 0.75 <= estimate.low < estimate.value < estimate.high  # type: ignore[operator]
        assert estimate.note == f"{TWICE['a'] + TWICE['b']} patients of 2 hospitals"
    assert "6 of 9 predictors: ICC(2,1) of at least 0.75" in reduction.note


def test_every_part_of_the_patients_is_asked_anew(heard: tuple[Results, Heard]) -> None:
    asked = [ask.question for ask, _ in heard[1].asks["a"] if isinstance(ask.question, SiteAgreement)]
    whole = [query for query in asked if query.least == MIN_LESIONS]
    assert len(whole) == 1
    assert len({query.recipe.digest for query in asked}) == 1 + 10 + 4, "everybody, without each fold, bootstrap sets"
    assert {query.least for query in asked} == {MIN_LESIONS, FEWEST_LESIONS}


def test_every_question_was_foreseen(made: Consortium, heard: tuple[Results, Heard]) -> None:
    assert assert_foreseen(made.study, made.folders, heard[1]) > 100


def test_the_report_says_how_well_readers_agree(heard: tuple[Results, Heard]) -> None:
    from server.report.contents import Labels, models

    (model,) = models(heard[0])
    text = str(development(model, Labels(heard[0])))
    assert "Agreement of readers, ICC (95 % CI)" in text
    assert "Both readers agree on 6 of 9 predictors" in text


# ------------------------------------------------------------------------------------------------ what a site answers


READ = Recipe((ModelColumns("radiomics"), SecondReadings("radiomics"), Complete(("complete.radiomics",), ("mvi",))))
AGAIN = tuple(second_reading(name) for name in FEATURES)
AGREE = SiteAgreement("train", READ, (FEATURES, AGAIN), Form.ICC2)


def test_a_hospital_with_few_patients_read_twice_adds_nothing(made: Consortium) -> None:
    blocks = AGREE.answer(_frame(made, "c"))
    assert not any(blocks[name].any() for name in ("n", "sites", "weight", "z"))
    assert AGREE.answer(_frame(made, "b"))["n"].tolist() == [TWICE["b"]] * len(FEATURES)


def _frame(made: Consortium, site: str) -> Any:
    from client.release.gate import Gate
    from client.run import load_run
    from client.view import GatedView

    made.sign().open()
    own = load_site(made.folders[site])
    run = load_run(own, made.ticket)
    return GatedView(own, run, Gate.of(own.policy, made.study)).frame(AGREE)


ASKED: dict[str, tuple[Query, int]] = {
    "as declared": (AGREE, 0),
    "in a fold's limit": (SiteAgreement("train", READ, (FEATURES, AGAIN), Form.ICC2, FEWEST_LESIONS), 0),
    "of fewer": (SiteAgreement("train", READ, (FEATURES, AGAIN), Form.ICC2, 5), 414),
    "of hardly different ones": (SiteAgreement("train", READ, (FEATURES, AGAIN), Form.ICC2, MIN_LESIONS, 1), 414),
    "another form": (SiteAgreement("train", READ, (FEATURES, AGAIN), Form.ICC3), 414),
    "of two features": (SiteAgreement("train", READ, (FEATURES[:1], FEATURES[1:2]), Form.ICC2), 414),
    "crossed": (SiteAgreement("train", READ, (FEATURES[:2], AGAIN[1::-1]), Form.ICC2), 414),
    "of the tested": (SiteAgreement("external", READ, (FEATURES, AGAIN), Form.ICC2), 414),
    "a regression on second readings": (MarginalSums("train", READ, "mvi", AGAIN, np.zeros((9, 1)), True), 414),
    "a regression beside them": (MarginalSums("train", READ, "mvi", FEATURES, np.zeros((9, 1)), True), 414),
}


@pytest.mark.parametrize("name", ASKED)
def test_nothing_else_is_asked_of_the_second_reader(made: Consortium, name: str) -> None:
    query, number = ASKED[name]
    made.sign().open()
    site = made.study.cohort(query.cohort).sites[0]
    assert made.number(site, total(query)) == number


def test_a_stricter_limit_of_the_hospital_holds(tmp_path: Path) -> None:
    one = consortium(tmp_path, study_text())
    toml = one.folders["b"] / "site.toml"
    toml.write_text(toml.read_text().replace("release_alone = true\n", "release_alone = true\nmin_cell = 50\n"))
    one.sign().open()
    told = conclude(one.port(), [asking(AGREE)])[0]
    assert told["sites"].tolist() == [1] * len(FEATURES), "45 patients of b are too few for b"
    assert told["n"].tolist() == [TWICE["a"]] * len(FEATURES)


def asking(query: Query) -> Conclusion[Any]:
    return (yield total(query))


def test_a_coefficient_is_never_about_one_patient_and_a_patient_counts_once() -> None:
    same = np.full(40, 3.0)
    readings = {"x": np.where(np.arange(40) == 7, 5.0, same), "y": np.where(np.arange(40) == 7, 3.5, same)}
    query = SiteAgreement("train", Recipe(), (("x",), ("y",)), Form.ICC2)
    assert query.answer(Frame(readings, {}, 40, np.arange(40, dtype=np.uint64)))["n"].tolist() == [0]
    rng = np.random.default_rng(3)
    z = rng.normal(size=40)
    varied = {"x": z, "y": z + 0.1 * rng.normal(size=40)}
    assert query.answer(Frame(varied, {}, 40, np.arange(40, dtype=np.uint64)))["n"].tolist() == [40]
    assert query.answer(Frame(varied, {}, 40, np.arange(40, dtype=np.uint64) % 20))["n"].tolist() == [0]


def test_another_second_reading_is_another_row_for_a_later_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = consortium(tmp_path, study_text()).sign().open()
    assert one.number("b", total(AGREE)) == 0

    def corrected(site: Site, preparation: Preparation, patients: Sequence[str], *_: Any, **__: Any) -> PreparedImages:
        read = {patient: drawn(patient) for patient in patients}
        read["b-000"][2][FEATURES[0]] += 1.0
        return PreparedImages(preparation, tuple(Outcome(patient, features=read[patient]) for patient in patients))

    monkeypatch.setattr(images, "prepare_images", corrected)
    prepare(load_site(one.folders["b"]), one.study)
    again = one.with_ticket(run_id="run2").sign().open()
    assert again.number("b", total(AGREE)) == 420


def test_a_study_that_does_not_ask_for_agreement_is_told_nothing_of_it(tmp_path: Path) -> None:
    one = consortium(tmp_path, study_text("fdr = 0.5")).sign().open()
    assert one.number("a", total(AGREE)) == 414
    assert not load_prepared(load_site(one.folders["a"]), one.study).second


def test_another_second_reading_is_another_store(made: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    own = load_site(made.folders["a"])
    before = store_digest(own, made.study)

    def corrected(site: Site, preparation: Preparation, patients: Sequence[str], *_: Any, **__: Any) -> PreparedImages:
        read = {patient: drawn(patient) for patient in patients}
        read["a-000"][2][FEATURES[0]] += 1.0
        return PreparedImages(preparation, tuple(Outcome(patient, features=read[patient]) for patient in patients))

    monkeypatch.setattr(images, "prepare_images", corrected)
    prepare(own, made.study)
    assert store_digest(own, made.study) != before
    monkeypatch.setattr(images, "prepare_images", _read)
    prepare(own, made.study)
    assert store_digest(own, made.study) == before


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("second_reader = true", "second_reader = false", "no second reader's features are made"),
        (f'"{FEATURES[0]}"', '"age"', "'age' is no feature of images"),
    ],
)
def test_contradictions_are_named(old: str, new: str, sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        parse_study(study_text().replace(old, new))


def test_agreement_is_asked_without_a_centre_where_the_study_leaves_them_out(made: Consortium) -> None:
    four = study_text().replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "g"]')
    left_out = parse_study(four + '\n[shift]\nmodels = ["radiomics"]\nleave_one_centre_out = true\n')
    without = SiteAgreement("train", Recipe((Without("b"), *READ.steps)), (FEATURES, AGAIN), Form.ICC2)
    check_scope(without, left_out)
    with pytest.raises(FedmviError) as met:
        check_scope(without, made.study)
    assert met.value.number == 414
