"""tests: the published groups of a calibration plot: none small in either class, nobody left out, rounded."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.statistics.calibration import RiskTable
from common.statistics.confusion import wilson
from server.study.score_analyses import _groups

CELL = 5
bins = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=10, max_size=10)


def calibration(cells: list[tuple[int, int]]) -> RiskTable:
    absent, events = np.array(cells).T
    n = absent + events
    middle = (np.arange(10) + 0.5) / 10
    return RiskTable("score.m", int(n.sum()), int(events.sum()), 1.0, 0.2, 0.1, n, events, n * middle)


def joined(cells: list[tuple[int, int]]) -> list[np.ndarray]:
    """The groups by a plain loop: a group ends where both classes are large enough; what is left joins the last."""
    done, open_ = [], np.zeros(3)
    for i, (absent, events) in enumerate(cells):
        open_ = open_ + np.array([absent, events, (absent + events) * (i + 0.5) / 10])
        if min(open_[:2]) >= CELL:
            done.append(open_)
            open_ = np.zeros(3)
    if done:
        done[-1] = done[-1] + open_
    return done


@given(bins)
def test_every_group_has_enough_patients_of_either_class_and_all_patients_are_in_one(cells) -> None:
    expected = joined(cells)
    curves = _groups("m", calibration(cells), CELL)
    assert len(curves) == (1 if len(expected) > 1 else 0)
    if curves:
        absent, events, risks = np.array(expected).T
        n = absent + events
        low, high = wilson(events, n)
        for told, exact in ((curves[0].x, risks / n), (curves[0].y, events / n), (curves[0].low, low),
                            (curves[0].high, high)):  # fmt: skip
            assert told == np.round(exact, 2).tolist()
        assert sum(n) == sum(a + e for a, e in cells)
        assert min(*absent, *events) >= CELL


def test_a_cohort_that_makes_one_group_only_has_no_curve() -> None:
    assert _groups("m", calibration([(4, 4)] * 3 + [(0, 0)] * 7), CELL) == []
