"""common: tests of proportional hazards find effects that change, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.ports import Meter, SitesPort
from common.federation.runner import conclude
from common.statistics.cox import cox
from common.statistics.partial_likelihood import Ties
from common.statistics.proportional_hazards import (
    SchoenfeldSums,
    TimeTransform,
    WeightedEvents,
    proportional_hazards,
    proportional_hazards_common,
    transformed,
)
from common.study.recipe import Frame, Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of

GRID = (1.0, 60)
BOTH = pytest.mark.parametrize("make", [proportional_hazards, proportional_hazards_common])


def port(site: np.ndarray | None = None, *, last: int = 50, **columns: np.ndarray) -> Any:
    """One effect holds, one ends after a third of the time."""
    rng = np.random.default_rng(0)
    n = 300
    held, ending = rng.normal(size=n), rng.integers(0, 2, n).astype(float)
    early = np.ceil(rng.exponential(25 / np.exp(0.5 * held + 1.5 * ending)))
    late = 10 + np.ceil(rng.exponential(25 / np.exp(0.5 * held - 1.5 * ending)))
    time = np.minimum(np.where(early <= 10, early, late), last)
    endpoints = {"os.time": time, "os.event": (time < last).astype(float)}
    given = {"held": held, "ending": ending, **columns}
    return federation_of(given, endpoints, np.arange(n) % 4 if site is None else site)


def run(make: Callable[..., Any], columns: tuple[str, ...] = ("held", "ending"), **options: Any) -> Any:
    return conclude(port(), [make(COHORT, Recipe(), "os", columns, *GRID, **options)])[0]


@BOTH
@pytest.mark.parametrize("transform", TimeTransform)
def test_an_effect_that_ends_is_found_and_one_that_holds_is_not(make: Callable[..., Any], transform: str) -> None:
    fit = run(make, transform=transform)
    assert fit.p_[0] > 0.05
    assert fit.p_[1] < 1e-6
    assert fit.global_p_ < 1e-6
    assert [row["term"] for row in fit.summary] == ["held", "ending", "all"]


@BOTH
def test_one_predictor_alone_is_all_of_them(make: Callable[..., Any]) -> None:
    fit = run(make, ("ending",))
    assert fit.global_chi2_ == pytest.approx(fit.chi2_[0], rel=1e-12)
    assert fit.global_p_ == pytest.approx(fit.p_[0], rel=1e-10)


@BOTH
def test_the_order_of_sites_changes_no_bit(make: Callable[..., Any]) -> None:
    job = [make(COHORT, Recipe(), "os", ("held", "ending"), *GRID)]
    first = conclude(port(), job)
    second = conclude(port(3 - np.arange(300) % 4), [make(COHORT, Recipe(), "os", ("held", "ending"), *GRID)])
    assert same(first, second)


def test_in_lock_step_with_its_regression_it_costs_no_rounds_of_newton() -> None:
    names = ("held", "ending")

    def rounds(*jobs: Any) -> tuple[int, float]:
        plain = port()
        meter = Meter(plain.transport)
        conclude(SitesPort(meter, plain.ticket), jobs)
        return meter.rounds, meter.bytes_from_sites

    alone, bytes_alone = rounds(proportional_hazards(COHORT, Recipe(), "os", names, *GRID))
    both, bytes_both = rounds(
        proportional_hazards(COHORT, Recipe(), "os", names, *GRID), cox(COHORT, Recipe(), "os", names)
    )
    assert both == alone
    assert bytes_both < 1.2 * bytes_alone


@BOTH
def test_deaths_at_one_time_only_tell_nothing(make: Callable[..., Any]) -> None:
    fit = conclude(port(last=2), [make(COHORT, Recipe(), "os", ("held", "ending"), *GRID)])[0]
    assert np.isnan(fit.chi2_).all()
    assert np.isnan(fit.global_p_)


@BOTH
def test_a_separated_model_is_not_tested(make: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    time, event = rng.integers(1, 20, 90).astype(float), rng.integers(0, 2, 90).astype(float)
    columns = {"a": rng.normal(size=90), "b": np.where(event == 1.0, 0.0, rng.integers(0, 2, 90))}
    apart = federation_of(columns, {"os.time": time, "os.event": event}, np.arange(90) % 3)
    fit = conclude(apart, [make(COHORT, Recipe(), "os", ("a", "b"), *GRID)])[0]
    assert np.isnan(fit.p_).all()


@BOTH
def test_a_time_beyond_the_grid_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(FedmviError, match="312"):
        conclude(port(), [make(COHORT, Recipe(), "os", ("held",), 1.0, 12)])


@pytest.mark.parametrize("transform", TimeTransform)
def test_transforms_rise_from_nothing_to_one_at_most(transform: TimeTransform) -> None:
    events, censored = np.array([0, 2, 0, 1, 0]), np.array([0, 1, 0, 0, 1])
    values = transformed(transform, events, censored)
    assert (np.diff(values) >= 0).all()
    assert values[0] >= 0
    assert values[-1] <= 1
    if transform is TimeTransform.RANK:
        assert (5 * values[[1, 3, 4]]).tolist() == pytest.approx([2.0, 4.0, 5.0])
    if transform is TimeTransform.KM:
        assert values.tolist() == pytest.approx([0.0, 0.0, 0.4, 0.4, 0.7])


def test_weights_that_single_out_a_time_are_refused_or_weigh_few() -> None:
    here = (COHORT, Recipe(), "os", ("a",))
    rising = np.linspace(0, 1, 9)
    inside = SchoenfeldSums(*here, (), Ties.EFRON, np.zeros(1), 1.0, 9, rising)
    across = WeightedEvents(*here, 1.0, 9, rising)
    frame = Frame(
        {"a": np.arange(24.0)},
        {"os.time": np.append(np.arange(23) % 7 + 1.0, 8.0), "os.event": np.ones(24)},
        24,
    )
    for query in (inside, across):
        assert query.consistent()
        for wrong in (rising[::-1].copy(), rising[:-1], rising + 0.5, np.eye(9)[4]):
            assert not replace(query, time_weights=wrong).consistent()
        assert query.influence(frame).sum(axis=-1).min() > 5
        step = replace(query, time_weights=(np.arange(9) >= 8).astype(float))
        assert step.consistent()
        assert step.influence(frame).sum(axis=-1).min() < 5
        few = replace(frame, endpoints={**frame.endpoints, "os.event": (np.arange(24) < 3) * 1.0})
        assert query.influence(few).sum(axis=-1).min() == pytest.approx(24)
