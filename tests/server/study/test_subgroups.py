"""server/study: areas in subgroups and their tests against the pooled rows of each subgroup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.published.results import EVERYONE, Estimate, Result
from common.study.loader import parse_study
from common.study.recipe import SCORE_DECIMALS
from common.study.subgroups import BINS
from server.study.conduct import conduct
from server.study.subgroups import cochran_q
from tests.disclosure.consortium import STUDY, Consortium, Row, make

ONE_MODEL = STUDY.partition('[[models]]\nname = "wide"')[0]
BY = '["sex", { variable = "age", cutoff = 45 }, "cirrhosis"]'


def subgroups(by: str = BY, model: str = "clinical", cohort: str = "external", name: str = "parts") -> str:
    return f'\n[[subgroups]]\nname = "{name}"\nmodel = "{model}"\ncohort = "{cohort}"\nby = {by}\n'


def signal(rows: list[Row]) -> None:
    """AFP goes with the endpoint, more so in men; some patients lack what divides them."""
    for i, row in enumerate(rows):
        up = 3.0 if row["mvi"] == "1" and (row["sex"] == "male" or i % 3 == 0) else 1.0
        row["afp"] = f"{float(row['afp']) * up:.1f}"
        row["cirrhosis"] = "" if i % 8 == 5 else row["cirrhosis"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    study = ONE_MODEL + subgroups()
    return make(tmp_path_factory.mktemp("sites"), dict.fromkeys("abcdef", signal), study=study, masked=True)


@pytest.fixture(scope="module")
def conducted(made: Consortium) -> tuple[Result, pd.DataFrame]:
    """The result, and the pooled rows of the cohort with the model's score, made by hand from what was published."""
    results = conduct(made.study, made.port(), lambda _: None).results
    fit = {e.term: e.value for e in results.get("model.clinical.coefficients").estimates if e.name == "coef"}
    means = {e.term: e.value for e in results.get("model.clinical.moments").estimates if e.name == "mean"}
    rows = pd.concat([pd.read_csv(made.folders[site] / "patients.csv") for site in "def"]).reset_index(drop=True)
    coded = pd.DataFrame({
        "age": rows["age"], "sex=male": (rows["sex"] == "male") * 1.0, "afp>20": (rows["afp"] > 20) * 1.0,
        "cirrhosis=yes": rows["cirrhosis"].map({"yes": 1.0, "no": 0.0}),
    })  # fmt: skip
    coded = coded.fillna({name: means[name] for name in coded})
    linear = fit["intercept"] + sum(fit[name] * coded[name] for name in coded)
    rows["score"] = (1 / (1 + np.exp(-linear))).round(SCORE_DECIMALS)
    return results.get("subgroups.parts"), rows


def parts_of(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        EVERYONE: rows,
        "Sex: female": rows[rows["sex"] == "female"],
        "Sex: male": rows[rows["sex"] == "male"],
        "Age: at most 45 years": rows[rows["age"] <= 45],
        "Age: above 45 years": rows[rows["age"] > 45],
        "Cirrhosis: no": rows[rows["cirrhosis"] == "no"],
        "Cirrhosis: yes": rows[rows["cirrhosis"] == "yes"],
    }


def estimates(result: Result, name: str) -> dict[str, Estimate]:
    return {e.term: e for e in result.estimates if e.name == name}


def binned(rows: pd.DataFrame) -> np.ndarray:
    return np.floor(rows["score"].to_numpy() * BINS + 1e-9)


def delong_error(y: np.ndarray, score: np.ndarray) -> float:
    """DeLong's standard error by the definition: structural components of every pair of patients."""
    pairs = score[y == 1][:, None] - score[y == 0][None, :]
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    return float(np.sqrt(sum(np.var(wins.mean(axis=k), ddof=1) / wins.shape[1 - k] for k in (0, 1))))


def test_areas_of_subgroups_are_those_of_the_pooled_rows_in_bins(conducted: tuple[Result, pd.DataFrame]) -> None:
    result, rows = conducted
    assert (result.status, result.how) == ("estimated", f"binned({BINS})"), result.note
    areas, patients, events = (estimates(result, name) for name in ("auc", "patients", "events"))
    assert list(areas) == list(parts_of(rows))
    for term, own in parts_of(rows).items():
        y = own["mvi"].to_numpy()
        assert (patients[term].value, events[term].value) == (len(own), int(y.sum()))
        assert areas[term].value == pytest.approx(roc_auc_score(y, binned(own)), rel=1e-12)
        assert areas[term].std_err == pytest.approx(delong_error(y, binned(own)), rel=1e-9)
        assert areas[term].value == pytest.approx(roc_auc_score(y, own["score"]), abs=0.02), "and near the exact one"
        assert areas[term].p is None, "subgroups have no p of their own"


def test_the_interaction_is_tested_between_the_levels_of_a_variable(conducted: tuple[Result, pd.DataFrame]) -> None:
    result, _ = conducted
    areas, tests = estimates(result, "auc"), estimates(result, "interaction_chi2")
    assert list(tests) == ["Sex", "Age", "Cirrhosis"]
    for variable, test in tests.items():
        one, other = (areas[term] for term in areas if term.startswith(f"{variable}: "))
        z = (one.value - other.value) / np.hypot(one.std_err, other.std_err)
        assert test.value == pytest.approx(z**2, rel=1e-10), "of two levels Q is the square of the difference's z"
        assert test.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)


def test_q_of_three_areas_has_two_degrees_of_freedom() -> None:
    values, errors = np.array([0.7, 0.8, 0.65]), np.array([0.05, 0.04, 0.08])
    mean = np.average(values, weights=errors**-2.0)
    q, degrees = cochran_q(values.tolist(), errors.tolist())
    assert q == pytest.approx(float(np.sum(((values - mean) / errors) ** 2)), rel=1e-12)
    assert degrees == 2


def test_a_variable_with_a_small_part_at_a_site_is_refused_whole_and_the_others_are_not(tmp_path: Path) -> None:
    def few_women(rows: list[Row]) -> None:
        signal(rows)
        for i, row in enumerate(rows):
            row["sex"] = "female" if i < 6 else "male"

    made = make(tmp_path, dict.fromkeys("abcdef", signal) | {"e": few_women}, study=ONE_MODEL + subgroups(),
                masked=True)  # fmt: skip
    result = conduct(made.study, made.port(), lambda _: None).results.get("subgroups.parts")
    areas = estimates(result, "auc")
    for level in ("female", "male"):
        assert areas[f"Sex: {level}"].value is None, "men are everybody less women"
        assert "FEDMVI-431" in areas[f"Sex: {level}"].note and "Site e" in areas[f"Sex: {level}"].note
    assert areas["Age: above 45 years"].value is not None
    assert estimates(result, "interaction_chi2")["Sex"].value is None


@pytest.mark.parametrize(("text", "what"), [
    (subgroups('["mvi_grade"]'), "tells of the outcome"),
    (subgroups('["sex", "sex"]'), "divides the patients already"),
    (subgroups('[{ variable = "age", cutoff = 40 }, { variable = "age", cutoff = 41 }]'), "divides the patients"),
    (subgroups('["height"]'), "has no cut-off"),
    (subgroups('[{ variable = "sex", cutoff = 1 }]'), "has no `cutoff`"),
    (subgroups('["age"]', model="wide"), "is not evaluated in"),
    (subgroups('["age"]', cohort="train"), "is not evaluated in"),
    (subgroups('["nothing"]'), "is neither in the dictionary"),
    (subgroups('["age"]') + subgroups('["sex"]', name="more"), "has subgroups of this cohort already"),
    ('\n[characteristics]\nvariables = ["age", "age"]\n', "is named twice"),
    ('\n[characteristics]\nvariables = ["mvi"]\n[[variables]]\nname = "mvi"\nkind = "binary"\nknown = "pathological"\n',
     "is an endpoint itself"),
    ('\n[characteristics]\nby = "os"\n', "is not a binary endpoint"),
])  # fmt: skip
def test_a_protocol_that_cannot_be_meant_is_refused(text: str, what: str) -> None:
    with pytest.raises(FedmviError, match=what):
        parse_study(STUDY + text)
