"""tests: the calculator in a real browser gives the model's probability and interval; the printed nomogram agrees."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.published.results import Estimate, LogisticModel, Predictor, Result, Results, VariableFacts
from server.report.nomogram import Nomogram, nomograms
from server.report.page import write_report
from tests.headless import requests, show
from tests.server.report.conftest import Make

TERMS = ("age", "log(ldh)", "afp>20", "child_pugh=B", "child_pugh=C")
COEF = np.array([-2.3, 0.021, 0.43, 0.91, 0.37, -0.62])
AXES = 4


def covariance() -> np.ndarray:
    root = np.random.default_rng(7).normal(size=(6, 6)) * np.array([0.4, 0.01, 0.1, 0.2, 0.2, 0.3])
    return root.T @ root / 6


def fitted(base: Results) -> Results:
    """A model with each kind of predictor: as it is, its logarithm, a cut-off, three levels."""
    told = {"cohort": "train", "sites": ["alpha", "beta", "gamma"], "how": "exact"}
    known = {"age": (57.0, 11.0), "log(ldh)": (math.log1p(210.0), 0.4), "afp>20": (0.5, 0.5)}
    moments = [
        Estimate(name=name, term=term, value=value)
        for term, both in known.items()
        for name, value in zip(("mean", "std"), both, strict=True)
    ]
    coefficients = [
        Estimate(name="coef", term=t, value=float(c)) for t, c in zip(("intercept", *TERMS), COEF, strict=True)
    ]
    model = LogisticModel(
        endpoint="Microvascular <i>invasion</i>",
        predictors=[
            Predictor(variable="age", coding="linear", terms=["age"], low=18.0, high=100.0),
            Predictor(variable="ldh", coding="log", terms=["log(ldh)"], low=0.0),
            Predictor(variable="afp", coding="above", terms=["afp>20"], cutoff=20.0, levels=[]),
            Predictor(variable="child_pugh", coding="levels", terms=list(TERMS[3:]), levels=["A", "B", "C"]),
        ],
        covariance=covariance().tolist(),
    )
    make = Result.model_validate
    mine = [
        make({"id": "model.full.moments", "statistic": "moments", "title": "Predictors, Full model",
              "estimates": moments, **told}),
        make({"id": "model.full.coefficients", "statistic": "multivariable-logistic", "n": 300, "events": 120,
              "title": "All predictors together, Full model", "estimates": coefficients, "model": model, **told}),
    ]  # fmt: skip
    variables = base.variables | {
        "ldh": VariableFacts(title="LDH", unit="U/L", reference=""),
        "child_pugh": VariableFacts(title="Child-Pugh", unit="", reference="A"),
    }
    return base.model_copy(update={"results": [*base.results, *mine], "variables": variables})


@pytest.fixture
def results(make: Make) -> Results:
    return fitted(make())


@pytest.fixture
def nomogram(results: Results) -> Nomogram:
    return next(nomograms(results))


def design(age: float, ldh: float, afp: int, child: int) -> np.ndarray:
    return np.array([1.0, age, math.log1p(ldh), afp, child == 1, child == 2], dtype=float)


PATIENTS = list(itertools.product((18.0, 57.0, 83.5), (95.0, 640.0), (0, 1), (0, 1, 2)))


def test_points_of_the_printed_nomogram_add_up_to_the_models_probability(nomogram: Nomogram) -> None:
    for patient in PATIENTS:
        age, ldh, *chosen = patient
        points = [nomogram.axes[0].points(age), nomogram.axes[1].points(ldh)]
        points += [axis.choices[choice].points for axis, choice in zip(nomogram.axes[2:], chosen, strict=True)]
        expected = 1.0 / (1.0 + math.exp(-float(design(*patient) @ COEF)))
        assert nomogram.probability(sum(points)) == pytest.approx(expected, abs=1e-12)


def test_the_widest_axis_has_a_hundred_points_and_none_is_negative(nomogram: Nomogram) -> None:
    ends = [
        [choice.points for choice in axis.choices] or [axis.points(value) for value in axis.usual]
        for axis in nomogram.axes
    ]
    assert max(max(points) for points in ends) == pytest.approx(100.0)
    assert all(min(points) == pytest.approx(0.0, abs=1e-9) for points in ends)


def test_axes_reach_where_most_training_patients_are_and_no_further_than_is_plausible(nomogram: Nomogram) -> None:
    age, ldh = nomogram.axes[:2]
    assert age.usual == pytest.approx((35.0, 79.0))
    centre, reach = math.log1p(210.0), 0.8
    assert ldh.usual == pytest.approx((math.expm1(centre - reach), math.expm1(centre + reach)))


def test_a_model_that_was_not_fitted_has_no_nomogram(make: Make, tmp_path: Path) -> None:
    write_report(make(), None, tmp_path)
    assert not (tmp_path / "nomogram.html").exists()


ENTER = """
const [age, ldh, afp, child] = arguments[0];
const form = document.querySelector("form");
const set = (i, value) => {
  const entry = form.querySelectorAll(".field")[i].querySelector("select, input[type=number]");
  entry.value = String(value);
  entry.dispatchEvent(new Event("input", { bubbles: true }));
};
set(0, age); set(1, ldh); set(2, afp); set(3, child);
const { probability, low, high } = form.querySelector(".result").dataset;
return [probability, low, high, form.innerText];
"""


@pytest.fixture
def page(results: Results, tmp_path: Path) -> Path:
    write_report(results, None, tmp_path)
    return tmp_path / "nomogram.html"


def test_the_calculator_gives_the_models_probability_and_interval(browser: Any, page: Path) -> None:
    show(browser, page, 1280)
    for patient in PATIENTS:
        told = browser.execute_script(ENTER, list(patient))
        x = design(*patient)
        linear, reach = float(x @ COEF), 1.959963984540054 * math.sqrt(float(x @ covariance() @ x))
        expected = [1.0 / (1.0 + math.exp(-v)) for v in (linear, linear - reach, linear + reach)]
        assert [float(value) for value in told[:3]] == pytest.approx(expected, abs=1e-9)
    assert browser.get_log("browser") == []
    assert requests(browser) == [page.as_uri()]


def test_nothing_is_computed_until_all_is_entered_or_from_what_cannot_be(browser: Any, page: Path) -> None:
    show(browser, page, 360)
    assert "Enter every value: 4 are open" in browser.execute_script("return document.querySelector('form').innerText")
    probability, *_, text = browser.execute_script(ENTER, [7.0, 200.0, 0, 0])  # a child
    assert probability is None
    assert "Not plausible: 18 to 100 years" in text
    probability, *_, text = browser.execute_script(ENTER, [90.0, 200.0, 0, 0])
    assert float(probability) > 0
    assert "Outside what most training patients had" in text
    browser.execute_script("document.querySelector('button[type=reset]').click()")
    gone = "return document.querySelector('.result').dataset.probability === undefined"
    assert browser.execute_async_script(f"const done = arguments[0]; setTimeout(() => done((() => {{{gone}}})()), 50)")


def test_every_field_has_a_name_and_the_page_fits_a_phone(browser: Any, page: Path) -> None:
    show(browser, page, 360)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    nameless = (
        "return [...document.querySelectorAll('input, select')].filter(e => !e.labels.length && !e.ariaLabel).length"
    )
    assert browser.execute_script(nameless) == 0


def test_the_pages_numbers_are_those_of_the_results_and_no_name_becomes_markup(results: Results, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<i>invasion" not in text
    start = text.index('id="numbers">') + len('id="numbers">')
    numbers = json.loads(text[start : text.index("</script>", start)])
    fit = results.get("model.full.coefficients")
    assert numbers[0]["coefficients"] == [e.value for e in fit.estimates]
    assert len(numbers[0]["axes"]) == AXES


HYBRID = np.array([-2.0, 0.5, 3.0, 1.5])


def on_scores(base: Results) -> Results:
    """A model of a cut-off, a radiomics score, and whether a network's score reaches its cut-off."""
    told = {"cohort": "train", "sites": ["alpha", "beta", "gamma"], "how": "exact"}
    terms = ("afp>20", "score.radiomics", "score.dl>=cut-off")
    model = LogisticModel(
        endpoint="Microvascular invasion",
        predictors=[
            Predictor(variable="afp", coding="above", terms=["afp>20"], cutoff=20.0),
            Predictor(variable="score.radiomics", coding="linear", terms=["score.radiomics"], low=0.0, high=1.0),
            Predictor(variable="score.dl", coding="above", terms=["score.dl>=cut-off"], cutoff=0.4123),
        ],
        covariance=(0.04 * np.eye(4)).tolist(),
        scores={"score.radiomics": "tumour-registered", "score.dl": "dl (t1, t1v)"},
    )
    moments = [Estimate(name=n, term=terms[1], value=v) for n, v in (("mean", 0.35), ("std", 0.15))]
    coefficients = [
        Estimate(name="coef", term=t, value=float(c)) for t, c in zip(("intercept", *terms), HYBRID, strict=True)
    ]
    lasso = model.model_copy(update={"covariance": [], "scores": {}})
    make = Result.model_validate
    mine = [
        make({"id": "model.hybrid.moments", "statistic": "moments", "title": "Predictors, Hybrid",
              "estimates": moments, **told}),
        make({"id": "model.hybrid.coefficients", "statistic": "multivariable-logistic", "n": 300, "events": 120,
              "title": "All predictors together, Hybrid", "estimates": coefficients, "model": model, **told}),
        make({"id": "model.tumour-registered.coefficients", "statistic": "multivariable-logistic", "n": 300,
              "title": "Coefficients of the LASSO, Tumour, registered", "estimates": coefficients, "model": lasso,
              **told}),
    ]  # fmt: skip
    variables = base.variables | {
        "score.radiomics": VariableFacts(title="Radiomics score", unit="", reference=""),
        "score.dl": VariableFacts(title="DL-MVI", unit="", reference=""),
    }
    return base.model_copy(update={"results": [*base.results, *mine], "variables": variables})


def test_a_score_is_entered_from_0_to_1_with_a_word_on_where_it_comes_from(make: Make, tmp_path: Path) -> None:
    results = on_scores(make())
    (drawn,) = nomograms(results)  # not of the LASSO, which has features of images and no covariance
    _, radiomics, deep = drawn.axes
    assert radiomics.slider == (0.0, 1.0) and radiomics.usual == pytest.approx((0.05, 0.65))
    assert radiomics.source == (
        "A score from 0 to 1, of Tumour, registered: fedmvi-site predict gives it from the patient's images."
    )
    assert [choice.label for choice in deep.choices] == ["below 0.4123", "0.4123 or more"]
    assert "dl (t1, t1v)" in deep.source and drawn.axes[0].source == ""
    points = [drawn.axes[0].choices[1].points, radiomics.points(0.9), deep.choices[0].points]
    expected = 1 / (1 + math.exp(-(-2.0 + 0.5 + 3.0 * 0.9)))
    assert drawn.probability(sum(points)) == pytest.approx(expected, abs=1e-12)
    write_report(results, None, tmp_path)
    text = (tmp_path / "nomogram.html").read_text(encoding="utf-8")
    assert '<input type="range" class="untouched" step="any" min="0.0" max="1.0"' in text
    assert "fedmvi-site predict gives it from the patient&#39;s images." in text


def test_the_calculator_takes_a_score_from_its_slider(browser: Any, make: Make, tmp_path: Path) -> None:
    write_report(on_scores(make()), None, tmp_path)
    show(browser, tmp_path / "nomogram.html", 360)
    told = browser.execute_script("""
      const fields = document.querySelectorAll("form .field");
      const set = (entry, value) => {
        entry.value = value;
        entry.dispatchEvent(new Event("input", { bubbles: true }));
      };
      set(fields[0].querySelector("select"), "1");
      set(fields[1].querySelector("input[type=range]"), "0.9");
      set(fields[2].querySelector("select"), "1");
      const { probability, low, high } = document.querySelector(".result").dataset;
      return [probability, low, high, document.querySelector("form").innerText];
    """)
    x, linear = np.array([1, 1, 0.9, 1]), -2.0 + 0.5 + 3.0 * 0.9 + 1.5
    reach = 1.959963984540054 * math.sqrt(0.04 * float(x @ x))
    wanted = [1 / (1 + math.exp(-v)) for v in (linear, linear - reach, linear + reach)]
    assert [float(value) for value in told[:3]] == pytest.approx(wanted, abs=1e-9)
    assert "Outside what most training patients had" in told[3]
    assert browser.get_log("browser") == []
