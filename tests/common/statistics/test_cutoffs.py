"""common: a cut-off is the best of all possible ones, lies between two scores, and leaves the cells that it must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.runner import Conclusion, conclude
from common.statistics.cutoffs import Cutoff, Rule, cutoffs, table_at
from common.statistics.refinement import Counts
from common.statistics.roc import class_leaves
from common.study.recipe import Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of


def chosen(x: np.ndarray, y: np.ndarray, site: np.ndarray, rule: Rule, target: float, min_cell: int = 0) -> Cutoff:
    port = federation_of({"x": x}, {"y": y}, site)
    return conclude(port, [cutoffs(COHORT, Recipe(), "y", ("x",), rule, target, min_cell)])[0][0]


def candidates(x: np.ndarray, y: np.ndarray, min_cell: int) -> list[tuple[int, int, float]]:
    """True positives, true negatives and value of every cut-off that calls not all alike."""
    values = np.unique(x)
    result = []
    for value in (values[1:] + values[:-1]) / 2:
        cells = [int(((x >= value) == test)[y == label].sum()) for label in (0, 1) for test in (False, True)]
        if min(cells) >= min_cell:
            result.append((cells[3], cells[0], float(value)))
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(Rule.YOUDEN, 0.0), (Rule.SENSITIVITY, 0.8), (Rule.SPECIFICITY, 0.8)]),
    st.sampled_from([0, 3]),
    st.sampled_from([1, 2, 9]),
)
def test_no_other_cutoff_is_better(seed: int, rule: tuple[Rule, float], min_cell: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    y = (rng.random(n) < 0.4).astype(np.float64)
    y[:6] = [0, 1, 0, 1, 0, 1]
    x = np.round(rng.normal(size=n) + y, digits)
    n1, n0 = int(y.sum()), int(n - y.sum())
    allowed = candidates(x, y, min_cell)
    if rule[0] is Rule.SENSITIVITY:
        ranked = [(tn, tp, -value) for tp, tn, value in allowed if tp / n1 >= rule[1]]
    elif rule[0] is Rule.SPECIFICITY:
        ranked = [(tp, tn, -value) for tp, tn, value in allowed if tn / n0 >= rule[1]]
    else:
        ranked = [(tp * n0 + tn * n1, tp, -value) for tp, tn, value in allowed]
    if not ranked:
        with pytest.raises(FedmviError, match="641"):
            chosen(x, y, rng.integers(0, 3, n), *rule, min_cell)
        return
    fit = chosen(x, y, rng.integers(0, 3, n), *rule, min_cell)
    assert fit.value_ == pytest.approx(-max(ranked)[2], abs=1e-12)
    assert fit.value_ not in x
    test = x >= fit.value_
    assert fit.true_positives_ == (test & (y == 1)).sum()
    assert fit.false_positives_ == (test & (y == 0)).sum()
    assert fit.false_negatives_ == (~test & (y == 1)).sum()
    assert fit.true_negatives_ == (~test & (y == 0)).sum()


def test_a_cutoff_does_not_depend_on_the_sites() -> None:
    rng = np.random.default_rng(5)
    y = np.arange(90) % 2.0
    x = rng.normal(size=90) + y
    assert same(chosen(x, y, np.arange(90) % 3, Rule.YOUDEN, 0.0), chosen(x, y, np.arange(90) // 20, Rule.YOUDEN, 0.0))


def test_between_neighbouring_floats_the_upper_one_cuts() -> None:
    y = np.arange(30) % 2.0
    x = np.where(y == 1, np.nextafter(1.0, 2.0), 1.0)
    fit = chosen(x, y, np.arange(30) % 3, Rule.YOUDEN, 0.0)
    assert fit.value_ == np.nextafter(1.0, 2.0)
    assert fit.youden_ == 1.0


def test_equal_scores_have_no_cutoff() -> None:
    with pytest.raises(FedmviError, match="641"):
        chosen(np.ones(30), np.arange(30) % 2.0, np.arange(30) % 3, Rule.YOUDEN, 0.0)


def cut_elsewhere(value: float) -> Conclusion[Counts]:
    """The table at a cut-off that these patients did not choose."""
    (leaves,) = yield from class_leaves(COHORT, Recipe(), "y", ("x",))
    return (yield from table_at(COHORT, Recipe(), "y", "x", leaves, value))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 9]), st.sampled_from(["between", "a value", "below", "above"]))
def test_the_table_at_a_cut_off_from_elsewhere_is_that_of_the_patients(seed: int, digits: int, where: str) -> None:
    rng = np.random.default_rng(seed)
    y = np.repeat([0.0, 1.0], 30)
    # Classes that hardly overlap have long leaves, which a cut-off goes through.
    x = np.round(rng.normal(size=60) + rng.choice([0.5, 3.0]) * y, digits)
    chosen = {"between": rng.normal(), "a value": rng.choice(x), "below": x.min() - 1.0, "above": x.max() + 1.0}
    value = float(chosen[where])
    port = federation_of({"x": x}, {"y": y}, rng.integers(0, 3, 60))
    (table,) = conclude(port, [cut_elsewhere(value)])
    expected = [[np.sum((y == label) & ((x >= value) == test)) for test in (False, True)] for label in (0, 1)]
    np.testing.assert_array_equal(table, expected)
