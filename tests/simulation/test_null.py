"""simulation: a study of nothing finds nothing but chance, and one of something does not pass for one."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from simulation.benchmarks.null import DEALT, Found, Null, benchmark_null, deal, study_of_nothing


def test_studies_of_nothing_end_without_an_error_and_within_chance() -> None:
    null = benchmark_null(range(1, 21), 1, lambda _: None)
    assert null.errors == []
    models = {found: [one.held[found] for one in null.found] for found in null.found[0].held}
    assert set(models) == {"clinical", "clinical-imaging", "reduced", "hybrid"}
    for check, held in zip(null.checks, (models[name] for name in sorted(models)), strict=False):
        assert check.of == sum(one is not None for one in held)
    assert None not in models["clinical"] + models["clinical-imaging"]
    by_name = {check.name.partition(":")[0]: check.of for check in null.checks[4:]}
    assert by_name == {"os-by-mvi": 20, "rfs-by-hybrid": 20 - null.empty_reductions, "rfs-by-mvi": 20}
    # Where the reduction keeps nothing there is no score, and no Hybrid on it.
    empty = [one.reduced == 0 for one in null.found]
    assert [one is None for one in models["hybrid"]] == empty and sum(empty) == null.empty_reductions
    assert null.passed, null.report()


def test_a_study_of_something_is_told_from_one_of_nothing() -> None:
    """The hospitals of the demonstration as they are drawn: their predictors tell of MVI."""
    found = study_of_nothing(1, dealt=False)
    assert found.error == ""
    assert found.held == dict.fromkeys(("clinical", "clinical-imaging", "reduced", "hybrid"), False)
    assert found.log_rank["rfs-by-mvi"] is not None and found.log_rank["rfs-by-mvi"] < 1e-6
    assert found.selected > 0
    assert not Null((found,) * 5).passed


def test_only_outcomes_are_dealt_out_anew_and_follow_up_apart_from_mvi(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    header = ["patient_id", "mvi", "mvi_grade", "afp", *DEALT[1]]
    rows = [header, *([f"p{i}", str(i % 2), f"M{i % 2}", str(i), *(f"{i}-{c}" for c in "abcd")] for i in range(40))]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    deal(path, np.random.default_rng(1))
    with path.open(newline="", encoding="utf-8") as file:
        dealt = list(csv.reader(file))
    assert dealt[0] == rows[0]
    for before, after in zip(rows[1:], dealt[1:], strict=True):
        assert (before[0], before[3]) == (after[0], after[3])
    for columns in DEALT:
        places = [header.index(column) for column in columns]
        assert sorted([r[p] for p in places] for r in dealt[1:]) == sorted([r[p] for p in places] for r in rows[1:])
        assert [r[places[0]] for r in dealt] != [r[places[0]] for r in rows]
    went = [(int(r[4].partition("-")[0]) % 2, int(r[1])) for r in dealt[1:]]
    assert 0 < sum(one == other for one, other in went) < 40, "follow-up did not go with MVI"


@pytest.mark.parametrize(("times", "passed"), [(180, False), (181, True), (195, True), (200, False)])
def test_the_bounds_of_200_studies_are_those_of_the_binomial_distribution(times: int, passed: bool) -> None:
    found = tuple(Found(seed, {"m": seed < times}, {"c": 0.5 if seed > 10 else 0.01}, 0) for seed in range(200))
    null = Null(found)
    coverage, rejected = null.checks
    assert (coverage.low, rejected.high) == (181, 19)
    assert (coverage.times, coverage.passed) == (times, passed)
    assert (rejected.times, rejected.passed) == (11, True)
    assert null.no_signal == 200


def test_a_study_that_failed_is_told_and_fails_the_campaign() -> None:
    null = Null((Found(3, {}, {}, 0, error="FEDMVI-505"), *(Found(s, {"m": True}, {}, 1) for s in range(4, 60))))
    assert not null.passed and null.report()["errors"] == {3: "FEDMVI-505"}
