"""common: a correction by the prevalence recovers it under label shift, and is refused where nothing tells it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from common.errors import FedmviError
from common.federation.query import Ask, each, total
from common.federation.runner import conclude
from common.statistics.distributions import Z975
from common.statistics.prior_correction import (
    PredictedPositives,
    PriorCorrection,
    Scored,
    prior_correction,
    prior_shift,
)
from common.study.recipe import Recipe, logistic_function
from simulation.views import COHORT, federation_of

TRAIN, TARGET = Scored(COHORT, Recipe()), Scored("target", Recipe())


class Two:
    """A port of two cohorts."""

    def __init__(self, train, target) -> None:
        self.ports = {COHORT: train, "target": target}

    def ask(self, asks):
        here = [(ask.cohort, Ask(ask.mode, replace(ask.question, cohort=COHORT))) for ask in asks]
        return [self.ports[cohort].ask([ask])[0] for cohort, ask in here]


def drawn(n: int, prevalence: float, seed: int, apart: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Risks that are right where half have the endpoint, and patients of whom `prevalence` have it."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < prevalence).astype(np.float64)
    x = rng.normal(np.where(y == 1, apart / 2, -apart / 2), 1.0)
    return np.round(logistic_function(apart * x), 4), y


def fit(train, target, *, alone: bool = False, cutoff: float = 0.5) -> PriorCorrection:
    port = Two(
        federation_of({"p": train[0]}, {"y": train[1]}, np.arange(len(train[0])) % 3),
        federation_of({"p": target}, {}, np.zeros(len(target), dtype=int) if alone else np.arange(len(target)) % 3),
    )
    asked = prior_correction(TRAIN, TARGET, "y", "p", cutoff, alone=alone, min_cell=5)
    found: PriorCorrection = conclude(port, [asked])[0]
    return found


@pytest.mark.parametrize("alone", [False, True])
def test_the_prevalence_is_that_of_the_inverted_confusion_matrix(alone: bool):
    train, (risk, y) = drawn(3000, 0.5, 1), drawn(2000, 0.2, 2)
    found = fit(train, risk, alone=alone)
    high = train[0] >= 0.5
    confusion = np.array([[np.mean(high[train[1] == c] == side) for c in (0, 1)] for side in (False, True)])
    solved = np.linalg.solve(confusion, [np.mean(risk < 0.5), np.mean(risk >= 0.5)])
    assert found.target_.value_ == pytest.approx(solved[1], abs=1e-12)
    assert found.source_ == pytest.approx(train[1].mean(), abs=1e-12)
    assert found.intercept_ == pytest.approx(prior_shift(found.source_, solved[1]), abs=1e-12)
    assert found.low_ < prior_shift(found.source_, float(y.mean())) < found.high_
    assert found.n_ == 2000


def test_its_interval_holds_the_truth_in_95_of_100_cohorts():
    inside, values, errors = 0, [], []
    for seed in range(300):
        train, (risk, _) = drawn(600, 0.5, 2 * seed), drawn(300, 0.3, 2 * seed + 1)
        told = fit(train, risk).target_
        inside += told.low_ <= 0.3 <= told.high_
        values.append(told.value_)
        errors.append((told.high_ - told.low_) / (2 * Z975))
    assert inside >= stats.binom.ppf(0.001, 300, 0.95)
    assert np.mean(values) == pytest.approx(0.3, abs=0.01)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


def test_a_shift_of_log_odds_is_bayes_rule():
    source, target, risk = 0.4, 0.1, np.linspace(0.05, 0.95, 19)
    weight = np.array([(1 - target) / (1 - source), target / source])
    by_rule = risk * weight[1] / (risk * weight[1] + (1 - risk) * weight[0])
    corrected = logistic_function(np.log(risk / (1 - risk)) + prior_shift(source, target))
    assert corrected == pytest.approx(by_rule, abs=1e-12)


@pytest.mark.parametrize(("apart", "prevalence"), [(0.1, 0.3), (2.5, 0.0)])
def test_a_score_that_tells_nothing_and_a_prevalence_of_zero_are_refused(apart: float, prevalence: float):
    train, (risk, _) = drawn(900, 0.5, 3, apart), drawn(300, prevalence, 4, apart)
    if prevalence == 0.0:
        risk = np.full(300, 0.01)
    with pytest.raises(FedmviError, match="646"):
        fit(train, risk)


def test_hidden_counts_are_no_prevalence():
    with pytest.raises(FedmviError, match="610"):
        fit(drawn(900, 0.5, 3), np.array([0.9] * 2 + [0.1] * 48), alone=True)


def test_a_count_of_high_scores_hides_small_ones_where_a_site_tells_its_own():
    frame = federation_of({"p": np.array([0.9] * 2 + [0.1] * 48 + [np.nan])}, {}, np.zeros(51, dtype=int))
    guarded = PredictedPositives(COHORT, Recipe(), "p", 0.5, 5, guarded=True)
    assert not guarded.pooled
    (told,) = frame.ask([each(guarded)])[0].values()
    assert told["n"].tolist() == [-1, -1]
    open_ = PredictedPositives(COHORT, Recipe(), "p", 0.5, 5, guarded=False)
    assert frame.ask([total(open_)])[0]["n"].tolist() == [48, 2]
    assert open_.coarse
    assert not PredictedPositives(COHORT, Recipe(), "p", 0.512345, 5, guarded=False).coarse
