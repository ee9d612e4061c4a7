"""common: backward elimination follows the path that refitting every model on the pooled data gives."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.selection import SelectionResult, Terms, backward_elimination
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of
from tests.common.statistics.weighing import weighing


def table_of(seed: int, n: int = 180) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    X[:, 4] = X[:, 0] + rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-X[:, 0] + 0.5 * X[:, 1]))).astype(np.float64)
    return {f"x{i}": X[:, i] for i in range(5)}, y, rng.integers(0, 3, n)


def eliminated(columns: dict[str, np.ndarray], y: np.ndarray, site: np.ndarray, terms: Terms) -> SelectionResult:
    return conclude(federation_of(columns, {"y": y}, site), [backward_elimination(COHORT, Recipe(), "y", terms)])[0]


def aic(columns: dict[str, np.ndarray], y: np.ndarray, terms: Terms) -> float:
    X = np.column_stack([np.ones(y.size), *(columns[name] for term in terms for name in term)])
    return float(sm.Logit(y, X).fit(disp=0, tol=1e-14, maxiter=100).aic)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_each_step_is_that_of_refitting_every_model(seed: int, grouped: bool) -> None:
    columns, y, site = table_of(seed)
    terms: Terms = (("x0",), ("x1", "x2"), ("x3",), ("x4",)) if grouped else tuple((name,) for name in columns)
    fit = eliminated(columns, y, site, terms)
    present = terms
    for step in fit.steps_:
        assert step.terms == present
        assert step.aic_ == pytest.approx(aic(columns, y, present), abs=1e-8)
        without = [aic(columns, y, tuple(t for t in present if t != term)) for term in present]
        assert step.without_ == pytest.approx(without, abs=1e-8)
        assert step.degrees_.tolist() == [len(term) for term in present]
        assert step.chi2_ == pytest.approx(np.array(without) - step.aic_ + 2 * step.degrees_, abs=1e-8)
        best = int(np.argmin(without))
        assert step.dropped == (present[best] if without[best] < step.aic_ else ())
        present = tuple(term for term in present if term != step.dropped)
    assert fit.terms == present
    assert fit.aic_ == pytest.approx(aic(columns, y, present), abs=1e-8)
    X = sm.add_constant(np.column_stack([np.ones(y.size), *(columns[n] for t in present for n in t)]))
    final = sm.Logit(y, X).fit(disp=0, tol=1e-14, maxiter=100)
    assert fit.coef_ == pytest.approx(final.params, abs=1e-9)
    assert fit.std_err_ == pytest.approx(final.bse, abs=1e-9)
    turned = eliminated(columns, y, 2 - site, terms)
    assert turned.coef_.tobytes() == fit.coef_.tobytes()
    split = eliminated(columns, y, site * 2 + np.arange(y.size) % 2, terms)
    assert split.terms == fit.terms
    assert split.coef_ == pytest.approx(fit.coef_, abs=1e-10)


def test_every_term_may_go_and_dependent_ones_are_refused() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 200))
    y, site = np.tile([0.0, 1.0], 100), np.arange(200) % 3
    fit = eliminated({"a": a, "b": b}, y, site, (("a",), ("b",)))
    assert fit.terms == ()
    assert fit.columns == ("intercept",)
    assert [step.dropped != () for step in fit.steps_] == [True, True]
    with pytest.raises(FedmviError, match="603"):
        eliminated({"a": a, "b": 1 - 2 * a}, y, site, (("a",), ("b",)))


def test_ties_go_by_declared_order() -> None:
    """A balanced design in which two predictors have exactly the same relation to the outcome."""
    cells = np.array([(u, v, y) for u in (0, 1) for v in (0, 1) for y in (0, 1)] * 20, dtype=np.float64)
    extra = np.array([(1, 1, 1), (0, 0, 0)] * 2, dtype=np.float64)
    u, v, y = np.concatenate([cells, extra]).T
    site = np.arange(y.size) % 3
    for order in (("u", "v"), ("v", "u")):
        fit = eliminated({"u": u, "v": v}, y, site, tuple((name,) for name in order))
        assert fit.steps_[0].without_[0] == pytest.approx(fit.steps_[0].without_[1], abs=1e-10)
        assert fit.steps_[0].dropped == (order[0],)


def test_separated_classes_leave_nothing_to_choose_by() -> None:
    x = np.arange(900.0)
    columns = {"x": x, "z": np.sin(x)}
    y = (x >= 450).astype(np.float64)
    with pytest.raises(FedmviError, match="622"):
        eliminated(columns, y, np.arange(900) % 3, (("z",), ("x",)))
    port = weighing(columns, {"y": y}, np.arange(900) % 3)
    with pytest.raises(FedmviError, match="622"):
        conclude(port, [backward_elimination(COHORT, Recipe(), "y", (("z",), ("x",)))])
    assert port.refused == 1
    with pytest.raises(FedmviError, match="602"):
        eliminated(columns, np.ones(900), np.arange(900) % 3, (("z",), ("x",)))
