"""common: confusion tables count the pooled patients, and Wilson's intervals close at 0 and 1."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.confusion import ThresholdCounts, confusion, wilson
from common.study.recipe import Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of


def test_a_score_at_the_cutoff_is_positive_and_a_missing_one_is_left_out() -> None:
    y = np.array([0, 0, 0, 1, 1, 1, 1, 0, 1.0])
    x = np.array([0.2, 0.5, 0.7, 0.5, 0.4, 0.9, np.nan, 0.1, 0.5])
    port = federation_of({"x": x}, {"y": y}, np.arange(9) % 3)
    (fit,) = conclude(port, [confusion(COHORT, Recipe(), "y", ("x",), np.array([0.5]))])
    assert fit.counts_.tolist() == [[[2, 2], [1, 3]]]
    (row,) = fit.summary
    assert row["sensitivity"] == 0.75
    assert row["balanced_accuracy"] == 0.625


def test_tables_of_several_scores_do_not_depend_on_the_sites() -> None:
    rng = np.random.default_rng(2)
    y = np.arange(120) % 2.0
    columns = {"a": rng.normal(size=120), "b": np.round(rng.normal(size=120), 1)}
    cuts = np.array([0.1, -0.2])
    fits = [
        conclude(federation_of(columns, {"y": y}, site), [confusion(COHORT, Recipe(), "y", ("a", "b"), cuts)])[0]
        for site in (np.arange(120) % 4, np.arange(120) // 50)
    ]
    assert same(fits[0], fits[1])
    for i, (name, cut) in enumerate(zip(columns, cuts, strict=True)):
        assert fits[0].counts_[i, 1, 1] == ((columns[name] >= cut) & (y == 1)).sum()


def test_wilsons_interval_equals_statsmodels_at_the_ends_too() -> None:
    count, n = np.array([0.0, 0, 1, 5, 9, 10, 200]), np.array([1.0, 10, 10, 10, 10, 10, 1000])
    low, high = wilson(count, n)
    theirs = np.array([proportion_confint(c, m, method="wilson") for c, m in zip(count, n, strict=True)])
    assert np.abs(np.stack([low, high], axis=1) - theirs).max() < 1e-15
    assert low[0] == 0.0
    assert high[5] == 1.0
    assert np.isnan(wilson(np.zeros(1), np.zeros(1))[0])


def test_nobody_above_the_cutoff_leaves_no_predictive_value() -> None:
    port = federation_of({"x": np.zeros(12)}, {"y": np.arange(12) % 2.0}, np.arange(12) % 3)
    (fit,) = conclude(port, [confusion(COHORT, Recipe(), "y", ("x",), np.array([1.0]))])
    (row,) = fit.summary
    assert np.isnan(row["ppv"])
    assert row["f1"] == 0.0
    assert (row["sensitivity"], row["specificity"]) == (0.0, 1.0)


def test_one_class_only_is_an_error() -> None:
    port = federation_of({"x": np.zeros(12)}, {"y": np.zeros(12)}, np.arange(12) % 3)
    with pytest.raises(FedmviError, match="602"):
        conclude(port, [confusion(COHORT, Recipe(), "y", ("x",), np.array([1.0]))])


def test_thresholds_are_a_row_for_each_score() -> None:
    assert ThresholdCounts(COHORT, Recipe(), ("a", "b"), "y", np.zeros((2, 3))).consistent()
    for thresholds in (np.zeros((3, 2)), np.zeros(2), np.array(0.0), np.zeros((2, 1, 1))):
        assert not ThresholdCounts(COHORT, Recipe(), ("a", "b"), "y", thresholds).consistent()
