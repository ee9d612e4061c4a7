"""common: penalised logistic paths are the pooled ones, fold by fold, and end where patients do not allow more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.query import Ask
from common.federation.runner import Port, Reply, conclude
from common.statistics import penalised_logistic
from common.statistics.elastic_net import HeldOut, elastic_net, elastic_net_cv
from common.statistics.penalised_logistic import PenalisedSums, fit
from common.statistics.penalty import proximal_newton_step
from common.statistics.training_sets import SetMoments, prepare
from common.study.recipe import Complete, Fold, Frame, Recipe
from simulation.views import COHORT, federation_of

Array = np.ndarray[Any, Any]


def made(n: int = 300, p: int = 12, seed: int = 0) -> tuple[dict[str, Array], Array, Array]:
    """Correlated predictors, an outcome that needs three of them, and a site of each row."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) @ rng.normal(size=(3, p)) + rng.normal(size=(n, p))
    y = (rng.random(n) < 1 / (1 + np.exp(-(0.8 * X[:, 0] - 0.6 * X[:, 1] + 0.5 * X[:, 2] - 0.3)))).astype(np.float64)
    return {f"x{i}": X[:, i] * 10.0 ** (i % 3) + i for i in range(p)}, y, rng.integers(0, 4, n)


def missed(X: Array, y: Array, coef: Array, penalty: float, alpha: float) -> float:
    """The largest violation of the optimality conditions, predictors standardised over these very rows."""
    scale = X.std(axis=0)
    scale = np.where(scale < 1e-9, np.inf, scale)
    residual = y - 1 / (1 + np.exp(-(coef[0] + X @ coef[1:])))
    b = np.where(np.isinf(scale), 0.0, coef[1:] * np.where(np.isinf(scale), 0.0, scale))
    slope = ((X - X.mean(axis=0)) / scale).T @ residual / len(y) - penalty * (1 - alpha) * b
    worst = np.where(
        b == 0, np.maximum(np.abs(slope) - alpha * penalty, 0), np.abs(slope - alpha * penalty * np.sign(b))
    )
    return max(float(worst.max()), abs(float(residual.mean())))


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_every_model_of_every_fold_meets_the_conditions_on_its_own_training_rows(alpha: float) -> None:
    columns, y, site = made()
    fold = (np.arange(y.size) % 5).astype(np.float64)
    # One column is constant in the training set of fold 2, and must stay out there.
    columns["rare"] = ((fold == 2) & (np.arange(y.size) % 3 == 0)).astype(np.float64)
    names, port = tuple(columns), federation_of({**columns, "fold": fold}, {"y": y}, site)
    (design,) = conclude(port, [prepare(COHORT, Recipe(), "y", names, "folds", 6, "")])
    lambdas = design.largest(alpha, -1) * np.array([0.5, 0.1, 0.02])
    (fitted,) = conclude(port, [fit(design, lambdas, alpha, lambda _: ())])
    X = np.column_stack(list(columns.values()))
    for k in range(6):
        rows = fold != k
        for penalty, coef in zip(lambdas, design.own_scale(fitted.coefficients[:, k]), strict=True):
            assert missed(X[rows], y[rows], coef, penalty, alpha) < 1e-10
    assert not fitted.coefficients[:, 2, -1].any()
    assert fitted.coefficients[-1, :, -1].any()


def test_sites_in_another_order_give_the_same_bits_and_a_split_site_the_same_result() -> None:
    columns, y, site = made(seed=1)
    table = {**columns, "fold": (np.arange(y.size) % 5).astype(np.float64)}
    rng = np.random.default_rng(0)
    fits = [
        conclude(federation_of(table, {"y": y}, s), [elastic_net_cv(COHORT, Recipe(), "y", tuple(columns), folds=5)])[0]
        for s in (site, 3 - site, site * 2 + rng.integers(0, 2, y.size))
    ]
    assert fits[0].path.coef_path_.tobytes() == fits[1].path.coef_path_.tobytes()
    assert fits[0].cvm_.tobytes() == fits[1].cvm_.tobytes()
    spread = np.concatenate([[1.0], [x.std() for x in columns.values()]])
    assert np.max(np.abs(fits[0].path.coef_path_ - fits[2].path.coef_path_)[:, 1:] * spread[1:]) < 1e-9
    assert np.max(np.abs(fits[0].cvm_ - fits[2].cvm_)) < 1e-9
    assert fits[0].lambda_min_ == pytest.approx(fits[2].lambda_min_, rel=1e-12)
    assert [row["coef_min"] for row in fits[0].summary] == fits[0].coef_min_.tolist()
    assert fits[0].lambda_1se_ >= fits[0].lambda_min_


def test_separated_classes_still_have_a_path() -> None:
    rng = np.random.default_rng(2)
    x = np.sort(rng.normal(size=200))
    y = (np.arange(200) >= 100).astype(np.float64)
    columns = {"x": x, "z": rng.normal(size=200)}
    port = federation_of(columns, {"y": y}, rng.integers(0, 3, 200))
    (path,) = conclude(port, [elastic_net(COHORT, Recipe(), "y", ("x", "z"), count=8, ratio=1e-4)])
    X = np.column_stack([x, columns["z"]])
    assert path.stopped_ == 0
    assert max(missed(X, y, c, p, 1.0) for c, p in zip(path.coef_path_, path.lambda_, strict=True)) < 1e-10
    assert path.kkt_ < 1e-10
    assert path.degrees[0] == 0


def test_a_site_of_one_class_and_missing_values_change_nothing() -> None:
    columns, y, site = made(seed=3)
    site = np.where((site == 0) & (y == 0), 1, site)
    columns["x0"] = np.where(np.arange(y.size) % 17 == 0, np.nan, columns["x0"])
    known = ~np.isnan(columns["x0"])
    names = tuple(columns)
    port = federation_of(columns, {"y": y}, site)
    (ours,) = conclude(port, [elastic_net(COHORT, Recipe((Complete(names, ()),)), "y", names, lambdas=(0.1, 0.01))])
    X = np.column_stack([columns[name][known] for name in names])
    for penalty, coef in zip(ours.lambda_, ours.coef_path_, strict=True):
        assert missed(X, y[known], coef, penalty, 1.0) < 1e-10
    assert ours.n_ == int(known.sum())


def test_questions_too_large_for_one_answer_are_put_as_several(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, y, site = made(seed=4)
    port = federation_of(columns, {"y": y}, site)
    run = lambda: conclude(port, [elastic_net(COHORT, Recipe(), "y", tuple(columns))])[0]  # noqa: E731
    whole = run()
    monkeypatch.setattr(penalised_logistic, "ANSWER_SIZE", 300)
    parts = run()
    assert np.max(np.abs(whole.coef_path_ - parts.coef_path_)) < 1e-9
    assert whole.rounds_ == parts.rounds_


def test_steps_that_are_too_long_are_halved_until_the_objective_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, y, site = made(seed=7)
    port = federation_of(columns, {"y": y}, site)
    whole = conclude(port, [elastic_net(COHORT, Recipe(), "y", tuple(columns))])[0]
    calls = []

    def too_long(gradient: Array, hessian: Array, beta: Array, lasso: Array, ridge: Array) -> Array:
        calls.append(1)
        new = proximal_newton_step(gradient, hessian, beta, lasso, ridge)
        return beta + (6.0 if len(calls) <= 2 else 1.0) * (new - beta)

    monkeypatch.setattr(penalised_logistic, "proximal_newton_step", too_long)
    path = conclude(port, [elastic_net(COHORT, Recipe(), "y", tuple(columns))])[0]
    assert path.rounds_ > whole.rounds_
    assert np.max(np.abs(path.coef_path_ - whole.coef_path_)) < 1e-8


@dataclass
class Meeting:
    """A port that sees every question, and refuses with a number what `refuses` says."""

    inner: Port
    refuses: Any
    asked: list[Any]

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        self.asked += [ask.question for ask in asks]
        refused = [self.refuses(ask.question) for ask in asks]
        return [FedmviError(416, limit=5, cohort=COHORT) if no else reply
                for no, reply in zip(refused, self.inner.ask(asks), strict=True)]  # fmt: skip


def test_folds_that_borrow_a_hessian_reach_the_same_models_with_less_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, y, site = made(seed=8)
    table = {**columns, "fold": (np.arange(y.size) % 5).astype(np.float64)}
    results, sent = [], []
    for borrow in (True, False):
        if not borrow:
            monkeypatch.setattr(penalised_logistic, "SHARE_STEP", np.inf)
        port = Meeting(federation_of(table, {"y": y}, site), lambda _: False, [])
        results += conclude(port, [elastic_net_cv(COHORT, Recipe(), "y", tuple(columns), folds=5)])
        steps = [query for query in port.asked if isinstance(query, PenalisedSums)]
        sent.append(sum(query.blocks()["information"].shape[0] for query in steps))
    assert np.max(np.abs(results[0].cvm_ - results[1].cvm_)) < 1e-9
    assert np.max(np.abs(results[0].path.coef_path_ - results[1].path.coef_path_)) < 1e-8
    assert sent[0] < 0.7 * sent[1]


def test_the_path_ends_where_a_site_has_no_weight_left() -> None:
    columns, y, site = made(seed=5)
    whole = conclude(federation_of(columns, {"y": y}, site), [elastic_net(COHORT, Recipe(), "y", tuple(columns))])[0]

    def too_sure(query: Any) -> bool:
        return isinstance(query, PenalisedSums) and bool(np.abs(query.coefficients).sum(axis=1).max() > 1.0)

    port = Meeting(federation_of(columns, {"y": y}, site), too_sure, [])
    path = conclude(port, [elastic_net(COHORT, Recipe(), "y", tuple(columns))])[0]
    assert path.stopped_ == 416
    assert 1 <= path.lambda_.size < 60
    assert path.kkt_ < 1e-10
    assert path.lambda_.tolist() == whole.lambda_[: path.lambda_.size].tolist()
    assert np.max(np.abs(path.coef_path_ - whole.coef_path_[: path.lambda_.size])) < 1e-8

    def too_sure_outside(query: Any) -> bool:
        return isinstance(query, HeldOut) and query.coefficients.shape[0] > 20

    table = {**columns, "fold": (np.arange(y.size) % 5).astype(np.float64)}
    outside = Meeting(federation_of(table, {"y": y}, site), too_sure_outside, [])
    result = conclude(outside, [elastic_net_cv(COHORT, Recipe(), "y", tuple(columns), folds=5)])[0]
    assert result.path.stopped_ == 416
    assert result.cvm_.size == result.path.lambda_.size == 15
    never = Meeting(federation_of(columns, {"y": y}, site), lambda query: isinstance(query, PenalisedSums), [])
    with pytest.raises(FedmviError, match="416"):
        conclude(never, [elastic_net(COHORT, Recipe(), "y", tuple(columns))])


def test_more_predictors_than_patients_never_ask_for_more_cross_products_than_a_third_of_the_patients() -> None:
    columns, y, site = made(n=120, p=150, seed=6)
    port = Meeting(federation_of(columns, {"y": y}, site), lambda _: False, [])
    (path,) = conclude(port, [elastic_net(COHORT, Recipe(), "y", tuple(columns), ratio=0.001)])
    assert path.stopped_ == 631
    assert 2 < path.lambda_.size < 60
    assert max(query.parameters for query in port.asked if isinstance(query, PenalisedSums | SetMoments)) <= 0.33 * 120
    X = np.column_stack(list(columns.values()))
    assert max(missed(X, y, c, p, 1.0) for c, p in zip(path.coef_path_, path.lambda_, strict=True)) < 1e-10
    with pytest.raises(FedmviError, match="631"):
        conclude(port, [elastic_net(COHORT, Recipe(), "y", tuple(columns), lambdas=(1e-5,))])


@pytest.mark.parametrize(
    ("change", "options", "number"),
    [
        ({}, {"lambdas": (0.1, 0.2)}, 632),
        ({}, {"alpha": 0.0}, 632),
        ({"x1": np.ones(300)}, {}, 603),
        ({"y": np.ones(300)}, {}, 602),
        ({"y": (np.arange(300) < 4).astype(np.float64)}, {}, 630),
        ({"fold": np.zeros(300)}, {"folds": 2}, 630),
        ({"fold": np.full(300, 7.0)}, {"folds": 2}, 501),
    ],
)
def test_what_cannot_be_fitted_has_a_number(change: dict[str, Array], options: dict[str, Any], number: int) -> None:
    columns, y, site = made()
    table = {**columns, "fold": (np.arange(300) % 5).astype(np.float64), "y": y, **change}
    port = federation_of({k: v for k, v in table.items() if k != "y"}, {"y": table["y"]}, site)
    conclusion = elastic_net_cv if "folds" in options else elastic_net
    with pytest.raises(FedmviError, match=str(number)):
        conclude(port, [conclusion(COHORT, Recipe(), "y", tuple(columns), **options)])


def keys(*values: int) -> Array:
    return np.array(values, dtype=np.uint64)


def test_questions_that_do_not_fit_together_are_refused() -> None:
    good = PenalisedSums(
        COHORT, Recipe(), "y", ("a", "b"), "folds", 3, keys(0, 2), np.zeros((2, 3)), keys(0, 1, 0, 2), keys(2, 2)
    )
    assert good.consistent()
    for change in (
        {"coefficients": np.zeros((2, 4))},
        {"coefficients": np.zeros(3)},
        {"which": keys(0, 3)},
        {"which": keys(0)},
        {"working": keys(1, 0, 0, 2)},
        {"working": keys(1, 1, 0, 2)},
        {"working": keys(0, 1, 0, 3)},
        {"sizes": keys(2, 1)},
        {"sizes": keys(0, 4)},
        {"sets": 0},
        {"recipe": Recipe((Fold(5, "y"),))},
    ):
        assert not replace(good, **change).consistent(), change  # type: ignore[arg-type]
    held = HeldOut(COHORT, Recipe((Fold(2, "y"),)), "y", ("a",), "folds", 3, np.zeros((4, 2, 2)))
    assert held.consistent()
    assert not replace(held, coefficients=np.zeros((4, 3, 2))).consistent()
    assert not replace(held, coefficients=np.zeros((4, 2, 3))).consistent()
    assert not replace(held, sets=1, coefficients=np.zeros((4, 0, 2))).consistent()


def test_weight_is_counted_among_those_who_train() -> None:
    frame = Frame({"a": np.array([0.0, 0.0, 9.0]), "fold": np.array([0.0, 1.0, 1.0])}, {"y": np.zeros(3)}, 3)
    query = PenalisedSums(
        COHORT, Recipe(), "y", ("a",), "folds", 3, keys(0, 2), np.array([[0.0, 1.0]] * 2), keys(), keys(0, 0)
    )
    tail = 1 / np.cosh(4.5) ** 2
    assert query.influence(frame) == pytest.approx(np.array([[0, 1, tail], [1, 1, tail]]))
    held = HeldOut(COHORT, Recipe(), "y", ("a",), "folds", 3, np.array([[[0.0, 0.0], [0.0, 1.0]]]))
    by_fold = np.array([[[1, 0, 0], [0, 1, tail]]])
    assert held.influence(frame) == pytest.approx(by_fold), "each fold must have weight of its own"
