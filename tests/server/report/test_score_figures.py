"""tests: figures of calibration, decision curves and cumulative incidence say what the results say."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from common.published.results import Curve, Estimate, Result, Results
from server.report.figures import draw_all
from tests.server.report.conftest import Make

TOLD = {"cohort": "internal-test", "sites": ["alpha", "beta", "gamma"], "how": "exact", "statistic": "analysis"}


@pytest.fixture
def results(make: Make) -> Results:
    base = make()
    calibration = Result.model_validate(
        {"id": "analysis.cal", "kind": "calibration", "title": "Calibration", **TOLD,
         "estimates": [Estimate(name="intercept", term="clinical", value=-0.1),
                       Estimate(name="slope", term="clinical", value=0.83, low=0.5, high=1.16)],
         "curves": [Curve(name="clinical", x=[0.2, 0.5, 0.8], y=[0.1, 0.55, 0.77], low=[0.05, 0.4, 0.6],
                          high=[0.2, 0.7, 0.9])]}
    )  # fmt: skip
    decision = Result.model_validate(
        {"id": "analysis.net", "kind": "decision-curve", "title": "Decision curve", **TOLD,
         "curves": [Curve(name="clinical", x=[0.1, 0.5], y=[0.52, 0.31]),
                    Curve(name="everyone", x=[0.1, 0.5], y=[0.5, 0.1])]}
    )  # fmt: skip
    incidence = Result.model_validate(
        {"id": "analysis.inc", "kind": "competing-risks", "title": "Recurrence and death", **TOLD,
         "curves": [Curve(name="all, event of interest", x=[0.0, 365.25], y=[0.0, 0.3], low=[0.0, 0.2],
                          high=[0.0, 0.4], unit="days")]}
    )  # fmt: skip
    return base.model_copy(update={"results": [*base.results, calibration, decision, incidence]})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("analysis.cal", ("predicted 50.0 % observed 0.55", "slope 0.83")),
        ("analysis.net", ("threshold 50.0 % net benefit 0.31", "nobody")),
        ("analysis.inc", ("30.0 % at 12 months",)),
    ],
)
def test_each_figure_tells_its_numbers_also_to_those_who_do_not_see_it(results: Results, name, words) -> None:
    svg = draw_all(results)[name].svg
    text = " ".join(ElementTree.fromstring(svg).itertext())
    assert all(word in text for word in words), text


def test_a_decision_curve_does_not_describe_everyone_as_a_model(results: Results) -> None:
    assert "everyone: threshold" not in draw_all(results)["analysis.net"].description
