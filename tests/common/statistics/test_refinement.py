"""common: the leaves of a refinement are the order of the pooled patients, whatever the values, sites and ties."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.ports import Meter, SitesPort
from common.federation.runner import conclude
from common.federation.totals import check_summary
from common.statistics.digits import Digits
from common.statistics.refinement import (
    MAX_PATIENTS,
    SCORES,
    Leaves,
    ScoreCounts,
    key_values,
    order_keys,
    refine,
    root_question,
)
from common.study.recipe import SCORE_DECIMALS, Cut, Frame, Recipe, Score, Standardise, Step
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of

EXTREMES = np.array(
    [0.0, -0.0, 5e-324, -5e-324, 1.0, np.nextafter(1.0, 2.0), 1.8e308, -1.8e308, np.inf, -np.inf, np.nan]
)


def columns_of(seed: int, n: int) -> dict[str, np.ndarray]:
    """Continuous, tied, extreme, constant and missing values."""
    rng = np.random.default_rng(seed)
    tied = np.round(rng.normal(size=n), 1)
    tied[rng.random(n) < 0.2] = np.nan
    return {
        "smooth": rng.lognormal(0, 5, n),
        "tied": tied,
        "extreme": rng.choice(EXTREMES, n),
        "constant": np.full(n, 3.7),
        "missing": np.full(n, np.nan),
    }


def leaves_of(
    columns: dict[str, Any], y: np.ndarray, site: np.ndarray, endpoint: str, pure: bool
) -> tuple[Leaves, ...]:
    port = federation_of(columns, {"y": y}, site)
    (found,) = conclude(port, [refine(COHORT, Recipe(), tuple(columns), endpoint, pure=pure)])
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 150), st.sampled_from([("", False), ("y", False), ("y", True)]))
def test_leaves_hold_the_pooled_patients_in_order(seed: int, n: int, kind: tuple[str, bool]) -> None:
    endpoint, pure = kind
    rng = np.random.default_rng(seed)
    columns, y = columns_of(seed, n), (rng.random(n) < 0.4).astype(np.float64)
    site = rng.integers(0, 4, n)
    for (_, x), leaf in zip(columns.items(), leaves_of(columns, y, site, endpoint, pure), strict=True):
        known = ~np.isnan(x)
        own = leaf.of(x[known])
        labels = y[known].astype(int) if endpoint else np.zeros(known.sum(), dtype=int)
        counts = np.zeros((leaf.low.size, 2 if endpoint else 1), dtype=np.int64)
        np.add.at(counts, (own, labels), 1)
        assert (counts == leaf.counts).all()
        assert (counts.sum(axis=1) > 0).all()
        keys = order_keys(x[known])
        assert (leaf.low[own] <= keys).all()
        assert (keys <= leaf.high[own]).all()
        assert (np.diff(leaf.low.astype(object)) > 0).all()
        values = np.array([np.unique(x[known][own == i]).size for i in range(leaf.low.size)])
        apart = (counts > 0).all(axis=1) if pure else np.ones(leaf.low.size, dtype=bool)
        assert (values[apart] == 1).all()
        assert leaf.rounds <= 8


def test_splitting_a_site_and_ordering_sites_otherwise_gives_the_same_bits() -> None:
    columns, y = columns_of(3, 200), (np.arange(200) % 3 == 0).astype(np.float64)
    site = np.repeat([0, 1, 2], [20, 60, 120])
    split = np.where((site == 2) & (np.arange(200) % 2 == 0), 7, site)
    first = leaves_of(columns, y, site, "y", True)
    assert same(first, leaves_of(columns, y, 9 - site, "y", True))
    assert same(first, leaves_of(columns, y, split, "y", True))


def test_thirty_predictors_cost_a_few_hundred_kilobytes_a_site(breast: Any) -> None:
    port = federation_of(breast.columns, {"y": breast.y}, breast.site)
    meter = Meter(port.transport)
    conclude(SitesPort(meter, port.ticket), [refine(COHORT, Recipe(), breast.names, "y")])
    assert meter.rounds <= 8
    assert meter.bytes_from_sites / 4 < 800_000


def test_many_columns_are_asked_for_in_several_questions_with_the_same_result(
    breast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = leaves_of(breast.columns, breast.y, breast.site, "y", True)
    monkeypatch.setattr("common.statistics.refinement.MOST_CELLS", 3000)
    assert same(together, leaves_of(breast.columns, breast.y, breast.site, "y", True))


def test_a_range_of_one_class_is_not_searched_further() -> None:
    y = np.arange(60) % 2.0
    x = np.where(y == 1, 1.0, -1.0) * np.linspace(1.0, 1.9, 60)
    (leaf,) = leaves_of({"x": x}, y, np.arange(60) % 3, "y", True)
    assert leaf.counts.tolist() == [[30, 0], [0, 30]]
    assert leaf.depth.tolist() == [8, 8]
    assert leaf.rounds == 1


SCORE = Score("m", "y", ("x",), (1.0,), -1.0)


@pytest.mark.parametrize(("endpoint", "pure"), [("", False), ("y", False), ("y", True)])
def test_equal_scores_are_not_searched_for_differences_that_rounding_has_removed(endpoint: str, pure: bool) -> None:
    """Beside the same numbers as a column of the table, of which nobody knows that they are rounded."""
    rng = np.random.default_rng(1)
    x = rng.normal(scale=3.0, size=3000)
    x[:9] = np.nan, *(-90.0, 90.0) * 4
    y, site = (rng.random(3000) < 0.4).astype(np.float64), rng.integers(0, 4, 3000)
    table = Recipe((SCORE,)).apply_to(Frame({"x": x}, {}, 3000)).columns
    port = federation_of(table, {"y": y}, site)
    found, bytes_ = [], []
    for recipe in (Recipe((SCORE,)), Recipe()):
        meter = Meter(port.transport)
        (leaves,) = conclude(
            SitesPort(meter, port.ticket), [refine(COHORT, recipe, (SCORE.column,), endpoint, pure=pure)]
        )
        found.append(leaves[0])
        bytes_.append(meter.bytes_to_sites + meter.bytes_from_sites)
    assert found[0].rounds <= 4 < found[1].rounds
    assert same(replace(found[0], rounds=found[1].rounds), found[1])
    assert bytes_[0] < 0.6 * bytes_[1]


@pytest.mark.parametrize(
    ("later", "rounded"),
    [
        ((), True),
        ((Cut(SCORE.column, "high", 0.5), replace(SCORE, model="other")), True),
        ((Standardise((SCORE.column,), (0.5,), (0.1,)),), False),
        ((Cut("x", SCORE.column),), False),
    ],
)
def test_a_score_that_a_later_step_may_change_is_not_taken_for_rounded(later: tuple[Step, ...], rounded: bool) -> None:
    recipe = Recipe((SCORE, *later))
    assert recipe.is_rounded(SCORE.column) is rounded
    assert not recipe.is_rounded("x")


def test_the_values_that_a_score_can_have_are_those_that_rounding_gives() -> None:
    values = np.round(np.random.default_rng(2).random(100_000), SCORE_DECIMALS)
    assert np.isin(order_keys(values), SCORES).all()
    assert (np.diff(SCORES.astype(object)) > 0).all()


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_keys_have_their_values_back(values: list[float]) -> None:
    assert (key_values(order_keys(np.array(values))) == np.array(values)).all()


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 2))
def test_packed_counts_of_sites_add_up(seed: int, ranges: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.integers(1, 6, ranges).astype(np.uint64)
    most = rng.choice([0, 1, 2, 3, 17, 4000, MAX_PATIENTS], (ranges, classes)).astype(np.uint64)
    digits = Digits.of(bits, most)
    children = 1 << bits.astype(np.int64)
    pooled = np.zeros((int(children.sum()), classes), dtype=np.int64)
    owner, child = np.repeat(np.arange(ranges), children), np.concatenate([np.arange(c) for c in children])
    for r in range(ranges):
        for c in range(classes):
            n = rng.multinomial(min(int(most[r, c]), 300), np.ones(children[r]) / children[r])
            pooled[owner == r, c] = n
    patients = np.repeat(np.arange(pooled.size), pooled.reshape(-1))
    cell, label = np.divmod(patients, classes)
    site = rng.integers(0, 3, patients.size)
    parts = [digits.pack(owner[cell[site == s]], child[cell[site == s]], label[site == s]) for s in range(3)]
    assert max(int(part.max(initial=0)) for part in parts) < 1 << 53
    r, i, c, n = digits.unpack(sum(parts))
    found = np.zeros_like(pooled)
    found[np.searchsorted(owner, r) + i, c] = n
    assert (found == pooled).all()


def test_a_bound_that_is_too_small_is_not_refused_because_that_would_tell_a_count() -> None:
    question = root_question(COHORT, Recipe(), ("x",), "y")
    question = replace(question, most=np.ones(2, dtype=np.uint64))
    frame = Frame({"x": np.full(50, 2.0)}, {"y": np.zeros(50)}, 50)
    check_summary(question, question.answer(frame))


@pytest.mark.parametrize(
    "change",
    [
        {"ranges": np.array([2], dtype=np.uint64)},
        {"ranges": np.array([2**63, 2**63 + 1], dtype=np.uint64)},
        {"low": np.zeros(2, dtype=np.uint64)},
        {"low": np.zeros(0, dtype=np.uint64)},
        {"depth": np.array([60], dtype=np.uint64)},
        {"depth": np.array([2**63], dtype=np.uint64)},
        {"bits": np.array([0], dtype=np.uint64)},
        {"bits": np.array([40], dtype=np.uint64)},
        {"most": np.array([1], dtype=np.uint64)},
        {"most": np.array([1, 2**63], dtype=np.uint64)},
    ],
)
def test_ranges_that_do_not_fit_together_are_refused(change: dict[str, Any]) -> None:
    question = replace(root_question(COHORT, Recipe(), ("x",), "y"), **change)
    assert isinstance(question, ScoreCounts)
    assert not question.consistent()
    with pytest.raises(FedmviError, match="501"):
        question.blocks()
