"""common: what a site says of two scores by itself is what all of a federation of it would have, and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.federation.query import HIDDEN, Summary
from common.federation.runner import conclude
from common.federation.totals import check_summary
from common.statistics.areas_alone import AreasAlone, own_difference
from common.statistics.calibration import calibration
from common.statistics.roc import compare_areas
from common.study.recipe import Frame, Recipe
from simulation.shift_views import FrameView
from simulation.views import COHORT, federation_of

NAMES = ("a", "b")
QUERY = AreasAlone("t", Recipe(), "y", NAMES, 10, min_cell=5)


def patients(n: int = 150, noise: float = 1.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-2 * x))).astype(np.float64)
    scores = {name: x + noise * i * rng.normal(size=n) for i, name in enumerate(NAMES)}
    return {name: np.round(1 / (1 + np.exp(-s)), 4) for name, s in scores.items()}, y


def told(columns: dict[str, np.ndarray], y: np.ndarray) -> Summary:
    frame = Frame(columns, {"y": y}, y.size, np.arange(y.size, dtype=np.uint64))
    summary = QUERY.respond(FrameView({"t": frame}))
    check_summary(QUERY, summary)
    assert QUERY.plausible(summary, 1)
    return summary


def test_areas_difference_and_lines_are_those_of_a_federation_of_this_site() -> None:
    columns, y = patients()
    port = federation_of(columns, {"y": y}, np.zeros(y.size, np.int64))
    compared, *lines = conclude(
        port,
        [compare_areas(COHORT, Recipe(), "y", NAMES), *(calibration(COHORT, Recipe(), "y", name) for name in NAMES)],
    )
    summary = told(columns, y)
    for i, (area, line) in enumerate(zip(compared.rocs_, lines, strict=True)):
        assert summary["auc"][i] == pytest.approx((area.auc_, area.std_err_), abs=1e-6)
        assert summary["large"][i] == pytest.approx((line.in_the_large_, line.in_the_large_std_err_), abs=0.0051)
        assert summary["slope"][i] == pytest.approx((line.slope_, line.covariance_[1, 1] ** 0.5), abs=0.0051)
    lines_told = np.concatenate([summary["large"], summary["slope"]])
    assert np.array_equal(lines_told, np.round(lines_told, 2)), "the digits beyond would follow single patients"
    ours, theirs = own_difference(NAMES, summary), compared.difference(*NAMES)
    assert ours.interval == pytest.approx(theirs.interval, abs=1e-5) and ours.p_ == pytest.approx(theirs.p_, rel=1e-3)
    assert ours.std_err_ < np.hypot(*summary["auc"][:, 1]), "paired: the same patients have both scores"


def test_scores_that_adaptation_left_as_they_were_differ_by_nothing() -> None:
    columns, y = patients(noise=0.0)
    test = own_difference(NAMES, told(columns, y))
    assert (test.difference_, test.std_err_) == (0.0, 0.0) and np.isnan(test.p_)


def test_of_few_patients_of_a_class_counts_are_told_and_nothing_else() -> None:
    columns, y = patients()
    few = y.copy()
    few[np.flatnonzero(y == 1.0)[4:]] = 0.0
    summary = told(columns, few)
    assert (summary["classes"][:2] == HIDDEN).all()
    assert not any(np.any(block) for name, block in summary.items() if name != "classes")


def test_a_score_that_separates_the_classes_has_an_area_and_no_line() -> None:
    columns, y = patients()
    summary = told({**columns, "a": 0.25 + y / 2}, y)
    assert summary["calibrated"].tolist() == [0, 1] and summary["auc"][0, 0] == 1.0
    assert not summary["slope"][0].any()


@pytest.mark.parametrize(
    ("block", "value"),
    [("auc", [[1.2, 0.1], [0.7, 0.1]]), ("paired", 0.9), ("paired", -0.1), ("calibrated", [2, 1]),
     ("slope", [[1e9, 0.1], [1.0, 0.1]]), ("large", [[0.0, -1.0], [0.0, 0.1]]), ("estimable", 7)],
)  # fmt: skip
def test_what_cannot_be_true_is_not_taken(block: str, value: object) -> None:
    summary = told(*patients())
    summary[block] = np.array(value, dtype=summary[block].dtype)
    assert not QUERY.plausible(summary, 1)


def test_it_is_of_two_scores() -> None:
    assert QUERY.consistent() and not replace(QUERY, columns=("a",)).consistent()
