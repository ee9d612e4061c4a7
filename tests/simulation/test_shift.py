"""simulation: hospitals that differ, of real centres whose patients do: the four of the heart disease data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.published.results import Estimate, Result, Results, read_results
from server.study.execution import Action
from simulation.importers.folder import ImportReport
from simulation.running import Simulation
from simulation.shipped import shipped_study
from tests.simulation.conftest import NO_STORE


@pytest.fixture(scope="module")
def results(imported: Callable[[str], tuple[Path, ImportReport]], tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("shift")
    study = shipped_study(Path("heart-disease"))
    # Hospitals of its own: what they tell of themselves here would be compared with the runs of other tests.
    sites = shutil.copytree(imported("heart-disease")[0], folder / "sites", ignore=NO_STORE)
    run = Simulation.of(study, sites, folder / "run", in_process=True)
    run.conduct(Action.RUN, lambda _: None)
    return read_results(run.run.results_file)


def of(result: Result, name: str, term: str = "") -> Estimate:
    return next(e for e in result.estimates if (e.name, e.term) == (name, term))


def test_all_four_centres_differ_and_none_from_its_frequency_alone(results: Results) -> None:
    """They were seen in different wards of different countries: 36 % to 94 % have the disease."""
    found = {r.sites[0]: r for r in results.results if r.statistic == "shift"}
    assert set(found) == {"cleveland", "hungarian", "switzerland", "va"}
    assert found["cleveland"].verdict == "covariate"  # its frequency, 46 %, is that of training
    assert found["hungarian"].verdict == "several"
    assert found["switzerland"].verdict == "several"
    for result in found.values():
        area = of(result, "two_sample_auc")
        assert area.low is not None
        assert area.low > 0.65
        assert area.p is not None
        assert area.p <= 0.05


def test_frequencies_are_estimated_where_they_are_told(results: Results) -> None:
    """Under more than label shift the estimate is no promise; in training the limits hold the truth all the same."""
    for site, true in {"cleveland": 139 / 303, "hungarian": 106 / 294, "switzerland": 115 / 123}.items():
        told = of(results.get(f"shift.train.{site}"), "estimated_prevalence")
        assert told.low is not None
        assert told.high is not None
        assert told.low <= true <= told.high
    impossible = of(results.get("shift.external-va.va"), "estimated_prevalence")
    assert impossible.value is None
    assert "no frequency" in impossible.note


def test_outcomes_at_the_fourth_centre(results: Results) -> None:
    """Its scores are others within both classes. The slope is below 1, but not by more than six tests and chance in the
    fit allow, so that its patients, and not the disease, are said to differ."""
    va = results.get("shift.external-va.va")
    assert va.verdict == "covariate"
    slope, within, line = of(va, "calibration_slope"), of(va, "class_conditional"), of(va, "calibration")
    assert slope.high is not None
    assert slope.high < 1.0
    assert within.p is not None
    assert within.p < 0.001
    assert line.p is not None
    assert 0.05 < line.p < 0.5


def test_what_would_have_been_found_with_outcomes_is_told_of_those_who_used_them(results: Results) -> None:
    va, switzerland = results.get("shift.external-va.va"), results.get("shift.train.switzerland")
    odds, line = of(va, "smallest_detectable_odds_ratio"), of(va, "calibration_intercept")
    assert odds.value is not None and line.std_err is not None
    # A test of two numbers, among several, finds less than one of the intercept alone would.
    assert odds.value > np.exp((1.96 + 0.84) * line.std_err)
    assert f"odds of the outcome {odds.value:.1f} times" in va.note
    frequency = of(va, "smallest_detectable_frequency").value
    assert frequency is not None and 0.1 < frequency < 0.3
    assert all(e.name != "smallest_detectable_odds_ratio" for e in switzerland.estimates)


def test_switzerland_has_too_few_healthy_patients_for_its_outcomes_to_say_anything(results: Results) -> None:
    assert "fewer than 10 patients in a class" in results.get("shift.train.switzerland").note
