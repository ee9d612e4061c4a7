"""statistics: cross tables of grades: equal to the pooled ones, guarded by site, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from common.federation.query import HIDDEN, Query
from common.federation.runner import conclude
from common.statistics.grades import GradeCounts, Grades, GradeTable, f1_share, grades, grades_alone
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of

HALF = np.array([[0.5, 1.5]])


def _drawn(n: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True grades, predicted grades that are right in two of three, and the site of each patient."""
    rng = np.random.default_rng(4)
    true = rng.integers(0, 3, n).astype(np.float64)
    guessed = np.where(rng.random(n) < 2 / 3, true, rng.integers(0, 3, n)).astype(np.float64)
    return true, guessed, rng.integers(0, 3, n)


@pytest.mark.parametrize("masked", [False, True])
def test_the_pooled_table_and_its_measures_are_those_of_scikit_learn(masked: bool) -> None:
    true, guessed, site = _drawn()
    guessed[:3], true[3:5] = np.nan, np.nan
    port = federation_of({"net.grade": guessed}, {"mvi_grade": true}, site, masked=masked)
    ((found,),) = conclude(port, [grades(COHORT, Recipe(), "mvi_grade", 3, ("net.grade",), HALF)])
    known = ~np.isnan(true) & ~np.isnan(guessed)
    true, guessed = true[known], guessed[known]
    assert found.n_ == known.sum()
    assert found.accuracy_[0] == pytest.approx(accuracy_score(true, guessed))
    for level in range(3):
        one = {"labels": [level], "average": None}
        assert found.precision_(level)[0] == pytest.approx(precision_score(true, guessed, **one)[0])
        assert found.recall_(level)[0] == pytest.approx(recall_score(true, guessed, **one)[0])
        assert found.f1_(level)[0] == pytest.approx(f1_score(true, guessed, **one)[0])


def test_a_score_at_its_cut_off_is_a_positive_test() -> None:
    frame = Frame({"net.mean": np.array([0.2, 0.5, 0.7, 0.4999])}, {"mvi": np.array([0.0, 1.0, 1.0, 1.0])}, 4)
    query = GradeTable(COHORT, Recipe(), ("net.mean",), "mvi", 2, np.array([[0.5]]), 0, guarded=False)
    np.testing.assert_array_equal(query.answer(frame)["table"][0], [[1, 0], [1, 2]])


def test_a_site_hides_its_small_counts_and_never_a_single_one_in_a_row() -> None:
    true, guessed, site = _drawn(40)
    port = federation_of({"net.grade": guessed}, {"mvi_grade": true}, site)
    (found,) = conclude(port, [grades_alone(COHORT, Recipe(), "mvi_grade", 3, ("net.grade",), HALF, 5)])
    hidden = 0
    for table in found.values():
        assert isinstance(table, np.ndarray)
        shown = table[table != HIDDEN]
        assert np.all((shown == 0) | (shown >= 5))
        for row in table[0]:
            hidden += int((row == HIDDEN).sum())
            assert (row == HIDDEN).sum() != 1
    assert hidden


def test_a_guarded_table_has_one_set_of_cut_offs_and_a_pooled_one_tells_no_ranks_it_may_not() -> None:
    asked = (COHORT, Recipe(), ("net.mean",), "mvi", 2)
    fine = np.array([[0.123456]])
    assert GradeTable(*asked, fine, 5, guarded=True).once == ("cutoffs",)
    assert not GradeTable(*asked, fine, 0, guarded=False).coarse
    assert GradeTable(*asked, np.array([[0.5]]), 0, guarded=False).coarse
    assert not GradeTable(COHORT, Recipe(), ("g",), "mvi", 3, np.array([[1.0, 0.5]]), 0, guarded=False).consistent()


def test_patients_by_level_are_counted_over_all_sites() -> None:
    true, guessed, site = _drawn()
    true[:7] = np.nan
    query: Query = GradeCounts(COHORT, Recipe(), "mvi_grade", 3)
    (found,) = conclude(federation_of({"x": guessed}, {"mvi_grade": true}, site), [_total(query)])
    np.testing.assert_array_equal(found["levels"], np.bincount(true[7:].astype(int), minlength=3))


def _total(query: Query):  # type: ignore[no-untyped-def]
    from common.federation.query import total

    return (yield total(query))


def test_the_interval_of_f1_holds_its_level() -> None:
    """Tables drawn from known shares: the true F1 is inside about 95 of 100 times."""
    rng = np.random.default_rng(11)
    shares = np.array([0.45, 0.12, 0.13, 0.30])  # true negative, false positive, false negative, true positive
    truth = 2 * shares[3] / (2 * shares[3] + shares[1] + shares[2])
    inside = 0
    for tn, fp, fn, tp in rng.multinomial(120, shares, size=4000):
        _, low, high = f1_share(int(tp), int(fp + fn + tp))
        inside += int(low <= truth <= high)
        assert tn >= 0
    assert 0.935 < inside / 4000 < 0.965


def test_a_level_that_nobody_has_has_no_recall() -> None:
    found = Grades("net", np.array([[3, 1], [0, 0]]))
    assert np.isnan(found.recall_(1)[0])
    assert found.precision_(1)[0] == 0.0
    assert [row["measure"] for row in found.summary][:2] == ["accuracy", "precision"]
