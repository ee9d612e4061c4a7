"""server/study: models that fill missing values: the imputer is that of the pooled rows, frozen with the score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.federation.query import Query, total
from common.published.results import Results
from common.statistics.imputation import SWEEPS, ObservedGram
from common.statistics.logistic import LogisticSums
from common.statistics.quantiles import GridCounts
from common.study.chain import ChainedImpute
from common.study.loader import parse_study
from common.study.ranges import filled_range
from common.study.recipe import SCORE_DECIMALS, Complete, Recipe, Select, Standardise
from server.study.conduct import conduct
from tests.disclosure.consortium import STUDY, Consortium, Row, columns, make, names

PREDICTORS = '[{ variable = "age", coding = "linear" }, { variable = "ggt", coding = "log" }, "cirrhosis"]'
COLUMNS = ["age", "log(ggt)", "cirrhosis=yes"]


def model(name: str) -> str:
    return f"""
[[models]]
name = "{name}"
endpoint = "mvi"
cohort = "train"
predictors = {PREDICTORS}
missing = "{name}"
evaluate = ["external"]
"""


MODELS = model("median") + model("chained")


def holes(rows: list[Row]) -> None:
    """Cells that are empty by chance, another share of each column, and values that go together."""
    rng = np.random.default_rng(int(rows[0]["age"].replace(".", "")))
    for row in rows:
        row["ggt"] = f"{float(row['ggt']) * np.exp(float(row['age']) / 60 + 0.4 * (row['cirrhosis'] == 'yes')):.1f}"
        for name, share in (("age", 0.1), ("ggt", 0.25), ("cirrhosis", 0.2)):
            if rng.random() < share:
                row[name] = ""


def pooled(made: Consortium, sites: str) -> tuple[pd.DataFrame, pd.Series]:
    rows = pd.concat([pd.read_csv(made.folders[site] / "patients.csv") for site in sites], ignore_index=True)
    known = rows["cirrhosis"].notna()
    cirrhosis = (rows["cirrhosis"] == "yes").astype(float).where(known)
    X = pd.DataFrame({"age": rows["age"], "log(ggt)": np.log1p(rows["ggt"]), "cirrhosis=yes": cirrhosis})
    return X, rows["mvi"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("sites"), dict.fromkeys("abcdef", holes), study=STUDY + MODELS)


@pytest.fixture(scope="module")
def results(made: Consortium) -> Results:
    return conduct(made.study, made.port(), lambda _: None).results


def compare(results: Results, name: str, filled: pd.DataFrame, y: pd.Series, other: pd.DataFrame, z: pd.Series) -> None:
    """Coefficients on the training rows and the area on the external ones, which the imputer never saw."""
    result = results.get(f"model.{name}.coefficients")
    assert result.status == "estimated", result.note
    assert result.n == len(y)
    theirs = sm.Logit(y, sm.add_constant(filled)).fit(disp=0, tol=1e-14, maxiter=100)
    ours = {e.term: e.value for e in result.estimates if e.name == "coef"}
    assert [ours[term] for term in ("intercept", *COLUMNS)] == pytest.approx(list(theirs.params), abs=1e-7)
    (auc,) = results.get(f"model.{name}.auc.external").estimates
    assert auc.value == pytest.approx(
        roc_auc_score(z, np.round(theirs.predict(sm.add_constant(other)), SCORE_DECIMALS)), abs=1e-12
    )


def test_chained_regressions_are_those_of_the_pooled_rows(made: Consortium, results: Results):
    (X, y), (other, z) = pooled(made, "abc"), pooled(made, "def")
    assert all(X[name].isna().any() for name in COLUMNS)
    low, high = zip(*(filled_range(made.study, column) for column in columns(made.study, "chained")), strict=True)
    imputer = IterativeImputer(
        LinearRegression(), imputation_order="roman", tol=0, max_iter=SWEEPS, min_value=low, max_value=high
    )
    with pytest.warns(UserWarning, match="Early stopping"):
        filled = pd.DataFrame(imputer.fit_transform(X), columns=COLUMNS)
    outside = pd.DataFrame(imputer.transform(other), columns=COLUMNS)
    compare(results, "chained", filled, y, outside, z)
    assert "without the outcome" in results.get("model.chained.coefficients").note


def test_medians_fill_numbers_and_means_fill_levels(made: Consortium, results: Results):
    (X, y), (other, z) = pooled(made, "abc"), pooled(made, "def")
    digits = {}
    for values in (X[["age", "log(ggt)"]].median(), X.mean()):
        digits |= {name: values[name] for name in values.index if name not in digits}
    result = results.get("model.median.coefficients")
    ours = np.array([e.value for e in result.estimates if e.name == "coef"])
    theirs = sm.Logit(y, sm.add_constant(X.fillna(digits))).fit(disp=0, tol=1e-14)
    assert result.status == "estimated"
    assert np.abs((ours - theirs.params) / theirs.bse).max() < 0.02, "guarded medians are near the exact ones"
    means = sm.Logit(y, sm.add_constant(X.fillna(X.mean()))).fit(disp=0, tol=1e-14)
    assert np.abs(ours - means.params).max() > 1e-6, "and are not the means"
    (auc,) = results.get("model.median.auc.external").estimates
    fitted = sm.add_constant(other.fillna(digits)) @ ours
    assert auc.value == pytest.approx(roc_auc_score(z, fitted), abs=0.005)


# -------------------------------------------------------------------------------------------------- the gate


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("opened"), dict.fromkeys("abcdef", holes), study=STUDY + MODELS).open()


def step_of(made: Consortium) -> ChainedImpute:
    low, high = zip(*(filled_range(made.study, column) for column in columns(made.study, "chained")), strict=True)
    row = (0.0, 0.1, 0.0, 0.1)
    return ChainedImpute(tuple(COLUMNS), (45.0, 4.0, 0.5), (10.0, 0.5, 0.5), low, high, (1,), (row,))


def with_step(made: Consortium, step: ChainedImpute) -> LogisticSums:
    recipe = Recipe((Select(columns(made.study, "chained")), step, Complete(tuple(COLUMNS), ("mvi",))))
    return LogisticSums("train", recipe, "mvi", tuple(COLUMNS), np.zeros(4))


@pytest.mark.parametrize(
    "changes",
    [
        {"coefficients": ((0.0, 1e7, 0.0, 0.1),)},
        {"coefficients": ((0.0, 0.1, 0.5, 0.1),)},
        {"coefficients": ((0.0, 0.1, 0.0),)},
        {"targets": (3,)},
        {"low": (0.0, 0.0, 0.0)},
        {"high": (1e5, 1e5, 1.0)},
        {"mean": (45.0, 4.0, 2.0)},
        {"scale": (1e-6, 0.5, 0.5)},
        {"names": ("age", "log(ggt)", "mvi")},
        {"names": ("log(ggt)", "age", "cirrhosis=yes")},
    ],
)
def test_a_step_that_no_model_declares_is_refused(opened: Consortium, changes: dict[str, object]):
    assert opened.number("a", total(with_step(opened, step_of(opened)))) == 0
    assert opened.number("a", total(with_step(opened, replace(step_of(opened), **changes)))) == 414  # type: ignore[arg-type]


def test_a_second_imputer_is_refused_in_a_run(opened: Consortium):
    step = step_of(opened)
    other = replace(step, coefficients=((0.0, 0.2, 0.0, 0.1),))
    assert [opened.number("b", total(with_step(opened, part))) for part in (step, other, step)] == [0, 414, 0]


def test_which_values_were_missing_is_no_column_of_a_regression(opened: Consortium):
    query = with_step(opened, step_of(opened))
    assert opened.number("a", total(replace(query, columns=("age", "missing.age"), coefficients=np.zeros(3)))) == 414


def test_imputers_are_fitted_only_where_a_model_declares_them(opened: Consortium, tmp_path: Path):
    plain = make(tmp_path, dict.fromkeys("abcdef", holes), study=STUDY + model("mean")).open()
    select, step = Select(columns(opened.study, "chained")), step_of(opened)
    standard = Standardise(tuple(COLUMNS), step.mean, step.scale)
    gram = ObservedGram("train", Recipe((select, step, standard)), tuple(COLUMNS), 1)
    age = opened.study.variable("age")

    def grid(column: str, low: float | None, high: float | None) -> Query:
        bounds = np.array([low], dtype=float), np.array([high], dtype=float)
        return GridCounts("train", Recipe((select,)), (column,), *bounds, 4, (0,), (1,))

    asked = (gram, grid("age", age.low, age.high))
    assert [opened.number("a", total(query)) for query in asked] == [0, 0]
    assert [plain.number("a", total(query)) for query in asked] == [414, 414]
    assert opened.number("d", total(replace(gram, cohort="external"))) == 414
    assert opened.number("a", total(grid("cirrhosis=yes", 0.0, 1.0))) == 414, "a median would be a level"
    assert names(opened.study, "chained") == tuple(COLUMNS)


def test_models_with_chained_values_are_analysed_one_at_a_time():
    both = '[[analyses]]\nname = "x"\nstatistic = "{}"\ncohort = "external"\nendpoint = "mvi"\nmodels = {}\n'
    text = STUDY + MODELS + model("chained").replace('name = "chained"', 'name = "other"')
    parse_study(text + both.format("calibration", '["chained"]'))
    with pytest.raises(FedmviError) as met:
        parse_study(text + both.format("compare-areas", '["chained", "other"]'))
    assert "analyse it alone" in met.value.local
