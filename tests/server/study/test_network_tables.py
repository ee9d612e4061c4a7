"""server: cross tables as published, the choice of sequences, and what is hidden stays hidden."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from common.errors import FedmviError
from common.federation.query import HIDDEN
from common.statistics.grades import Grades
from common.statistics.roc import RocResult
from server.study.network_choice import Seeds, lowest_loss, one_standard_error, over_seeds
from server.study.network_development import class_weights
from server.study.network_tables import joined, shown, shown_alone
from tests.server.study.quadratic import network

LARGE = np.array([[30, 8, 6], [9, 25, 7], [6, 8, 21]])
SMALL = np.array([[30, 8, 6], [9, 25, 7], [2, 8, 21]])


def test_tables_of_large_counts_are_shown_whole_with_all_their_shares() -> None:
    tables = shown({"mean.grade": LARGE, "mean": joined(LARGE)}, 5)
    assert tables["mean.grade"].cells == tuple(map(tuple, LARGE.tolist()))
    assert tables["mean.grade"].accuracy == Grades("", LARGE).accuracy_
    for level in range(3):
        assert tables["mean.grade"].f1(level) == Grades("", LARGE).f1_(level)
    assert tables["mean"].cells == ((30, 14), (15, 61))


def test_a_small_count_cannot_be_worked_out_from_what_is_shown() -> None:
    """A reader who adds up all that is shown, of both tables: the small count may be from 1 to 4 for all he knows."""
    tables = shown({"mean.grade": SMALL}, 5)
    assert tables["mean.grade"].cells[2][0] is None
    places = np.arange(9).reshape(3, 3)
    left, right = [], []
    for table, low in ((tables["mean.grade"], (0, 1, 2, 3)), (tables["mean.grade.present"], (0, 1, 3))):
        parts = [
            places[low[i] : low[i + 1], low[j] : low[j + 1]] for i in range(len(low) - 1) for j in range(len(low) - 1)
        ]
        parts += [places[low[i] : low[i + 1]] for i in range(len(low) - 1)]
        parts += [places[:, low[j] : low[j + 1]] for j in range(len(low) - 1)]
        values = [value for row in table.cells for value in row] + [*table.rows, *table.columns]
        for part, value in zip(parts, values, strict=True):
            if value is not None:
                left.append(np.isin(np.arange(9), part).astype(float))
                right.append(value)
    ends = []
    for sign in (1.0, -1.0):
        goal = np.zeros(9)
        goal[6] = sign
        ends.append(linprog(goal, A_eq=np.array(left), b_eq=right, bounds=(0, None)).x[6])
    assert ends[0] <= 1 and ends[1] >= 4


def test_shares_are_told_only_where_every_count_in_them_is_shown() -> None:
    tables = shown({"mean.grade": SMALL}, 5)
    table = tables["mean.grade"]
    for level in range(3):
        known = table.cells[level][level] is not None and table.columns[level] is not None
        assert (table.precision(level) is not None) == known


def test_a_sites_own_table_is_shown_as_the_site_gave_it() -> None:
    table = shown_alone(np.array([[12, HIDDEN, HIDDEN], [6, 7, 0], [0, 8, 9]]))
    assert table.cells[0] == (12, None, None)
    assert table.rows == (None, 13, 17)
    assert table.columns == (18, None, None)
    assert table.accuracy is None
    assert table.recall(1) == Grades("", np.array([[0, 0], [6, 7]])).recall_(1)


def _seeds(combination: tuple[str, ...], mean: float, std_err: float = 0.03) -> Seeds:
    return Seeds(combination, mean, 0.01, std_err)


def test_the_fewest_sequences_within_one_standard_error_of_the_best_are_chosen() -> None:
    found = [
        _seeds(("t1",), 0.70),
        _seeds(("t1v",), 0.78),
        _seeds(("t1", "t1v"), 0.79),
        _seeds(("t1", "t1v", "t2"), 0.80),
    ]
    assert one_standard_error(found) == ("t1v",)
    assert one_standard_error([_seeds(s.combination, s.mean_, 0.005) for s in found]) == ("t1", "t1v", "t2")
    assert one_standard_error([*found, _seeds(("dwi",), 0.775)]) == ("t1v",), "of equally many the larger area"
    assert one_standard_error([]) is None


def test_seeds_tell_their_mean_and_spread() -> None:
    areas = [RocResult(np.array([1]), np.array([1]), a, 0.02, 0) for a in (0.7, 0.8, 0.9)]
    found = over_seeds(("t1",), areas)
    assert (found.mean_, found.std_, found.std_err_) == pytest.approx((0.8, 0.1, 0.02))
    assert np.isnan(over_seeds(("t1",), areas[:1]).std_)


def test_the_lowest_loss_leaves_out_what_has_none() -> None:
    assert lowest_loss({("t1",): 0.5, ("t1v",): 0.4, ("t2",): float("nan")}) == ("t1v",)
    assert lowest_loss({("t2",): float("nan")}) is None


def test_balanced_weights_make_every_class_weigh_the_same() -> None:
    levels = np.array([60, 30, 10])
    weights = class_weights(network(), levels)
    np.testing.assert_allclose(levels * weights, levels.sum() / 3)
    with pytest.raises(FedmviError) as caught:
        class_weights(network(), np.array([60, 0, 10]))
    assert caught.value.number == 602


def test_published_development_holds_out_one_fold_of_ten() -> None:
    assert network().held_out == (0, 1, 2, 3, 4)
    published = network().model_copy(update={"development": "published"})
    assert published.held_out == (0,)
