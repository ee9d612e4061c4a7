"""tests/client/cohort: mixtures of units are found, and clean columns raise no alarm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from client.cohort.reading import read_table
from client.cohort.units import second_peak
from common.errors import FedmviError, Severity
from common.study.protocol import Study
from common.study.table import FloatArray

MEDIANS = {"afp": (30, 2.5), "total_bilirubin": (14, 0.5), "albumin": (41, 0.12), "platelets": (160, 0.4)}
"""Median and standard deviation of the logarithm, as in patients before resection."""


def draw(name: str, n: int, seed: int) -> FloatArray:
    median, spread = MEDIANS[name]
    return median * np.exp(np.random.default_rng(seed).normal(0, spread, n))


def read(make_site: Any, study: Study, name: str, values: FloatArray, toml: str = "") -> list[FedmviError]:
    change = {i: {name: f"{x:.3g}"} for i, x in enumerate(values)}
    return read_table(make_site(change, n=len(values), toml=toml), study)[1]


MIXTURES: list[tuple[str, float, str, float]] = [
    ("platelets", 1e3, "/uL", 0.1),
    ("platelets", 1e3, "/uL", 0.02),
    ("albumin", 0.1, "g/dL", 0.1),
    ("albumin", 0.1, "g/dL", 0.9),
    ("albumin", 0.1, "g/dL", 1.0),
    ("platelets", 1e3, "/uL", 1.0),
    ("total_bilirubin", 1 / 17.104, "mg/dL", 0.2),
    ("total_bilirubin", 1 / 17.104, "mg/dL", 0.5),
    ("total_bilirubin", 1 / 17.104, "mg/dL", 0.8),
    ("total_bilirubin", 1 / 17.104, "mg/dL", 1.0),
]


@pytest.mark.parametrize(("name", "factor", "unit", "share"), MIXTURES)
@pytest.mark.parametrize("seed", range(5))
def test_a_mixture_is_one_problem_that_names_the_unit(
    name: str, factor: float, unit: str, share: float, seed: int, make_site: Any, study: Study
) -> None:
    values = draw(name, 300, seed)
    values[: round(300 * share)] *= factor
    problems = [p for p in read(make_site, study, name, values) if p.severity is Severity.ERROR]
    assert [p.number for p in problems] == [307]
    assert unit in problems[0].local and "rows" in problems[0].local


def test_a_small_mixture_in_range_is_found_in_a_larger_table(make_site: Any, study: Study) -> None:
    values = np.maximum(draw("total_bilirubin", 2000, 3), 5)
    values[:100] = np.maximum(values[:100] / 17.104, 0.5)
    (problem,) = read(make_site, study, "total_bilirubin", values)
    assert (problem.number, problem.severity) == (307, Severity.ERROR)
    toml = '[columns]\ntotal_bilirubin = { unit = "umol/L" }\n'
    (problem,) = read(make_site, study, "total_bilirubin", values, toml)
    assert (problem.number, problem.severity) == (307, Severity.WARNING)


def test_a_wrongly_declared_unit_is_found(make_site: Any, study: Study) -> None:
    toml = '[columns]\nalbumin = { unit = "g/dL" }\n'
    (problem,) = read(make_site, study, "albumin", draw("albumin", 100, 1), toml)
    assert problem.number == 307 and 'declare `unit = "g/L"`' in problem.local


def test_a_single_typing_error_is_a_value_out_of_range(make_site: Any, study: Study) -> None:
    values = draw("albumin", 300, 2)
    values[7] = 4.1
    (problem,) = read(make_site, study, "albumin", values)
    assert problem.number == 306 and "row 9" in problem.local


@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("n", [40, 300])
def test_clean_columns_raise_no_alarm(name: str, n: int, make_site: Any, study: Study) -> None:
    for seed in range(10):
        values = np.clip(draw(name, n, seed), 0.6, 900)
        assert read(make_site, study, name, values) == []


@pytest.mark.parametrize("factor", [10.0, 17.104, 88.4, 1000.0])
@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0, 2.5])
def test_no_single_peak_looks_like_two(factor: float, spread: float) -> None:
    """Log-normal, skewed and flat columns, rounded or not: no alarm."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n = (30, 200, 1000)[seed % 3]
        for logs in (rng.normal(3, spread, n), 2 + rng.exponential(spread, n), rng.uniform(0, 3 * spread, n)):
            rounded = np.log(np.maximum(np.round(np.exp(logs)), 1))
            for shift in (math.log(factor), -math.log(factor)):
                assert second_peak(logs, shift) is None
                # A spread of 2.5 piles up at 1 when rounded: a true peak, which no variable with a distant unit has.
                assert spread > 1 or second_peak(rounded, shift) is None
