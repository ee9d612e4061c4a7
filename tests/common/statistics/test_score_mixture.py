"""common/statistics: a site's scores are those of training, another mixture of its classes, or neither."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, chi2_contingency

from common.federation.query import Summary
from common.statistics.calibration import BinnedRisks
from common.statistics.refinement import order_keys
from common.statistics.score_mixture import (
    FEWEST_IN_BIN,
    GRID,
    MOST_BINS,
    ScoreClasses,
    adapted_verdict,
    mixture,
)
from common.statistics.shift_verdict import Verdict
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

ABSENT, PRESENT = beta(2, 4), beta(4, 2)


def draw(n: int, frequency: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """Scores and outcomes."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < frequency).astype(np.float64)
    scores = np.where(y == 1.0, PRESENT.rvs(n, random_state=rng), ABSENT.rvs(n, random_state=rng))
    return np.round(scores, 4), y


def sums_of(scores: FloatArray, y: FloatArray) -> Summary:
    query = BinnedRisks("train", Recipe(), "s", "y", order_keys(GRID))
    return query.answer(Frame({"s": scores}, {"y": y}, scores.size))


def classes_of(seed: int = 0, n: int = 600, frequency: float = 0.4) -> ScoreClasses:
    return ScoreClasses.of(sums_of(*draw(n, frequency, seed)))


def test_bins_hold_enough_of_either_class_and_count_the_very_patients() -> None:
    scores, y = draw(600, 0.4, 1)
    classes = ScoreClasses.of(sums_of(scores, y))
    assert classes.sound and classes.tells and len(classes.absent) == MOST_BINS
    assert classes.counts.min() >= FEWEST_IN_BIN
    for label, row in enumerate(classes.counts):
        assert np.array_equal(classes.binned(scores[y == label]), row)
    assert np.array_equal(classes.binned(np.array([0.0, *classes.edges, 1.0])), [2, 1, 1, 1, 1]), "edges belong below"


@pytest.mark.parametrize("n", [12, 40, 90])
def test_few_patients_or_scores_in_a_lump_make_few_bins_and_never_a_small_one(n: int) -> None:
    scores, y = draw(n, 0.4, 2)
    for given in (scores, np.full(n, 0.5)):
        classes = ScoreClasses.of(sums_of(given, y))
        assert len(classes.edges) == 0 or classes.counts.min() >= FEWEST_IN_BIN
    assert not ScoreClasses.of(sums_of(np.full(n, 0.5), y)).tells


def test_the_same_scores_are_tested_as_pearson_does() -> None:
    classes, (scores, _) = classes_of(), draw(80, 0.6, 3)
    site = classes.binned(scores)
    table = np.stack([classes.counts.sum(axis=0), site])
    assert mixture(site, classes).same_p_ == pytest.approx(chi2_contingency(table, correction=False).pvalue, rel=1e-9)


def test_false_alarms_are_as_frequent_as_is_said_and_another_frequency_is_a_mixture() -> None:
    same, other = [], []
    for seed in range(300):
        classes = classes_of(seed, 400)
        same.append(mixture(classes.binned(draw(100, 0.4, 10_000 + seed)[0]), classes))
        other.append(mixture(classes.binned(draw(100, 0.75, 20_000 + seed)[0]), classes))
    assert np.mean([one.same_p_ <= 0.05 for one in same]) == pytest.approx(0.05, abs=0.04)
    assert np.mean([one.mixture_p_ <= 0.05 for one in (*same, *other)]) == pytest.approx(0.05, abs=0.03)
    assert np.mean([one.same_p_ <= 0.05 for one in other]) > 0.95
    assert np.mean([one.frequency_ for one in other]) == pytest.approx(0.75, abs=0.03)


def narrow(scores: FloatArray) -> FloatArray:
    """What no frequency explains: all scores near the middle."""
    return 0.5 + 0.1 * (scores - 0.5)


def test_adaptation_is_for_what_no_frequency_explains_and_what_it_mends() -> None:
    classes, (usual, _), (frequent, _) = classes_of(), draw(150, 0.4, 4), draw(150, 0.75, 5)
    met = {
        "nothing": adapted_verdict(usual, usual, classes),
        "mended": adapted_verdict(narrow(usual), usual, classes),
        "frequent": adapted_verdict(frequent, frequent, classes),
        "frequent, hidden by adaptation": adapted_verdict(frequent, usual, classes),
        "not mended": adapted_verdict(narrow(usual), narrow(usual), classes),
        "mended, and frequent": adapted_verdict(narrow(frequent), frequent, classes),
        "harmed": adapted_verdict(usual, narrow(usual), classes),
    }
    assert met == {
        "nothing": Verdict.NONE_DETECTED,
        "mended": Verdict.COVARIATE,
        "frequent": Verdict.LABEL,
        "frequent, hidden by adaptation": Verdict.LABEL,
        "not mended": Verdict.SEVERAL,
        "mended, and frequent": Verdict.SEVERAL,
        "harmed": Verdict.CANNOT_TELL,
    }


def test_where_scores_do_not_tell_the_classes_apart_another_frequency_could_not_be_seen() -> None:
    rng = np.random.default_rng(6)
    scores, y = np.round(rng.random(600), 4), (rng.random(600) < 0.4).astype(np.float64)
    classes = ScoreClasses.of(sums_of(scores, y))
    assert classes.apart < 0.25
    assert adapted_verdict(scores[:100], scores[:100], classes) is Verdict.CANNOT_TELL


@pytest.mark.parametrize(
    "changes",
    [
        {"edges": (0.2, 0.1, 0.6, 0.8)},
        {"edges": (0.2, 0.40001, 0.6, 0.8)},
        {"edges": (0.2, 0.4, 0.6, 1.0)},
        {"edges": (0.2, 0.4, 0.6)},
        {"absent": (50, 40, 30, 20, 4)},
        {"absent": (50, 40, 30, 20, 10**12)},
        {"present": (50, 40, 30, 20)},
        {"edges": tuple(i / 10 for i in range(1, 10)), "absent": (9,) * 10, "present": (9,) * 10},
    ],
)
def test_a_reference_that_no_training_cohort_makes_is_not_sound(changes: dict[str, Any]) -> None:
    usual = {"edges": (0.2, 0.4, 0.6, 0.8), "absent": (50, 40, 30, 20, 10), "present": (10, 20, 30, 40, 50)}
    assert ScoreClasses(**usual).sound  # type: ignore[arg-type]
    assert not ScoreClasses(**(usual | changes)).sound  # type: ignore[arg-type]
