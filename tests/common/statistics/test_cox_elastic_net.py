"""common: penalised Cox models end at the optimum of the pooled rows, and cross-validation chooses among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.cox import cox
from common.statistics.cox_elastic_net import cox_elastic_net, cox_elastic_net_cv
from common.statistics.partial_likelihood import Ties
from common.statistics.penalised_cox import CoxPath, TrainingSets
from common.study.recipe import Fold, Frame, Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of

NAMES = tuple(f"x{i}" for i in range(6))
N = 160
PLAIN = Recipe()


def port(site: np.ndarray | None = None, *, event: np.ndarray | None = None, **columns: np.ndarray) -> Any:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 6))
    X[:, 3] = 50 + 30 * X[:, 3]
    time = np.ceil(rng.exponential(20 / np.exp(0.8 * X[:, 0] - 0.5 * X[:, 1])))
    died = (rng.random(N) < 0.7).astype(float)
    given = {**dict(zip(NAMES, X.T.copy(), strict=True)), "fold": np.arange(N) % 4 * 1.0, **columns}
    endpoints = {"os.time": time, "os.event": died if event is None else event}
    return federation_of(given, endpoints, np.arange(N) % 3 if site is None else site)


def run(make: Any, *args: Any, recipe: Recipe = PLAIN, **options: Any) -> Any:
    return conclude(port(*args), [make(COHORT, recipe, "os", NAMES, **options)])[0]


def test_the_largest_penalty_leaves_all_out_and_a_vanishing_one_nothing() -> None:
    path = run(cox_elastic_net, lambdas=(1.0, 1e-9))
    assert path.degrees == (0, 6)
    (free,) = conclude(port(), [cox(COHORT, Recipe(), "os", NAMES)])
    assert path.coef_path_[1] == pytest.approx(free.coef_, rel=1e-5)
    assert path.log_likelihood_.tolist() == pytest.approx([free.null_log_likelihood_, free.log_likelihood_])
    full = run(cox_elastic_net, count=20)
    assert full.degrees[0] == 0
    assert full.coef_path_[1].any()
    assert full.kkt_ <= 1e-11


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_cross_validation_chooses_a_penalty_and_the_order_of_sites_changes_no_bit(alpha: float) -> None:
    fit = run(cox_elastic_net_cv, folds=4, count=15, alpha=alpha)
    assert fit.lambda_1se_ >= fit.lambda_min_
    assert fit.cvm_.min() == fit.cvm_[np.flatnonzero(fit.path.lambda_ == fit.lambda_min_)[0]]
    assert fit.cvm_[0] > fit.cvm_.min()
    assert {row["term"] for row in fit.summary if row["coef_min"] != 0} >= {"x0", "x1"}
    assert same(fit, run(cox_elastic_net_cv, 2 - np.arange(N) % 3, folds=4, count=15, alpha=alpha))
    assert same(fit.path.lambda_, run(cox_elastic_net, count=15, alpha=alpha).lambda_)


def test_folds_may_be_drawn_by_event() -> None:
    fit = run(cox_elastic_net_cv, recipe=Recipe((Fold(5, "os.event"),)), folds=5, count=8)
    assert fit.folds_ == 5
    assert np.isfinite(fit.cvm_).all()


def test_a_site_without_events_adds_nothing_but_patients() -> None:
    site = np.arange(N) % 4
    event = np.where(site == 3, 0.0, 1.0)
    (path,) = conclude(port(site, event=event), [cox_elastic_net(COHORT, Recipe(), "os", NAMES, count=5)])
    (free,) = conclude(port(site, event=event), [cox_elastic_net(COHORT, Recipe(), "os", NAMES, lambdas=(1e-10,))])
    (fit,) = conclude(port(site, event=event), [cox(COHORT, Recipe(), "os", NAMES)])
    assert path.n_ == N
    assert free.coef_path_[0] == pytest.approx(fit.coef_, rel=1e-6)


def test_a_fold_without_events_is_refused() -> None:
    event = (np.arange(N) % 4 != 1).astype(float)
    with pytest.raises(FedmviError, match="651"):
        conclude(port(event=event), [cox_elastic_net_cv(COHORT, Recipe(), "os", NAMES, folds=4, count=5)])
    with pytest.raises(FedmviError, match="602"):
        conclude(port(event=np.zeros(N)), [cox_elastic_net(COHORT, Recipe(), "os", NAMES)])


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"lambdas": (0.1, 0.2)}, {"lambdas": (0.1, 0.0)}, {"ratio": 1.0}])
def test_penalties_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FedmviError, match="632"):
        run(cox_elastic_net, **wrong)


def test_many_problems_are_answered_alike_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame(
        {name: np.sin(np.arange(40.0) * (i + 1)) for i, name in enumerate("ab")} | {"fold": np.arange(40) % 3 * 1.0},
        {"os.time": np.arange(40) % 7 + 1.0, "os.event": np.arange(40) % 2 * 1.0},
        40,
    )
    which = np.array([0, 0, 0, 1, 3, 3], dtype=np.uint64)
    beta = np.linspace(-1, 1, 12).reshape(6, 2)
    query = CoxPath(COHORT, Recipe(), "os", ("a", "b"), 4, Ties.EFRON, which, beta, True)
    whole = query.answer(frame)
    monkeypatch.setattr("common.statistics.penalised_cox._CELLS", 100)
    small = query.answer(frame)
    for name, values in whole.items():
        assert small[name] == pytest.approx(values, rel=1e-12)
    likelihood = replace(query, derivatives=False).answer(frame)
    assert set(likelihood) == {"log_likelihood"}
    assert query.influence(frame).shape == (6, 40)
    assert (query.influence(frame)[4] > 0).all()
    assert not query.influence(frame)[0, frame.columns["fold"] == 0].any()


def test_fields_that_do_not_fit_together_are_refused() -> None:
    which = np.array([0, 1, 2], dtype=np.uint64)
    query = CoxPath(COHORT, Recipe(), "os", ("a", "b"), 3, Ties.EFRON, which, np.zeros((3, 2)), True)
    assert query.consistent()
    for wrong in (
        {"which": which[::-1].copy()},
        {"which": which + np.uint64(1)},
        {"which": which[:0], "coefficients": np.zeros((0, 2))},
        {"coefficients": np.zeros((3, 3))},
        {"sets": 2},
        {"sets": 22},
        {"columns": ()},
        {"recipe": Recipe((Fold(3, "os.event"),))},
    ):
        assert not replace(query, **wrong).consistent()
    assert not TrainingSets(COHORT, Recipe(), "os", ("a",), 0).consistent()
