"""tests/simulation: follow-up reaches the published figures of each preset, visits delay, and times are coherent."""

import math
import re

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray
from pydantic import ValidationError

from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Consortium, Group, Site, Survival
from simulation.cohorts.outcomes import (
    DAYS_PER_MONTH,
    DEATH_RATIO,
    HAZARD_RATIOS,
    FollowUp,
    Hazards,
    endpoints_of,
    follow_up,
    recorded_survival,
    solved_hazards,
)
from simulation.cohorts.published import ABSENT, DEATHS, PRESENT, RECURRENCES
from simulation.cohorts.streams import stream

SEEDS = 200
COHORT = np.arange(ABSENT + PRESENT) >= ABSENT
MEDIANS = Survival(preset="medians", loss_per_month=0.003)
RATES = Survival(preset="rates")
END_DAYS = 1826


def followed(survival: Survival, present: NDArray[np.bool_] = COHORT, seeds: int = SEEDS) -> list[FollowUp]:
    return [follow_up(survival, present, stream("c", seed, "hospital-a", "follow-up")) for seed in range(seeds)]


@pytest.fixture(scope="module")
def medians() -> list[FollowUp]:
    return followed(MEDIANS)


@pytest.fixture(scope="module")
def rates() -> list[FollowUp]:
    return followed(RATES)


def kaplan_meier(draws: list[FollowUp], endpoint: str, months: float, chosen: NDArray[np.bool_]) -> tuple[float, float]:
    """Bounds of survival over all seeds, three standard errors to either side."""
    days = np.concatenate([drawn.days[endpoint][chosen] for drawn in draws])
    events = np.concatenate([drawn.events[endpoint][chosen] for drawn in draws])
    bounds = KaplanMeierFitter(alpha=0.0027).fit(days, events).confidence_interval_survival_function_
    low, high = bounds[bounds.index <= months * DAYS_PER_MONTH].iloc[-1]
    assert high - low < 0.025  # tight enough to mean something
    return float(low), float(high)


@pytest.mark.parametrize(
    ("endpoint", "months", "chosen"),
    [("os", 59.5, COHORT | True), ("os", 54.7, COHORT), ("rfs", 50.4, COHORT | True), ("rfs", 32.5, COHORT)],
    ids=["os", "os-present", "rfs", "rfs-present"],
)
def test_half_survive_the_published_medians(
    medians: list[FollowUp], endpoint: str, months: float, chosen: NDArray[np.bool_]
) -> None:
    low, high = kaplan_meier(medians, endpoint, months, chosen)
    assert low <= 0.5 <= high


def test_the_median_without_recurrence_is_not_reached_without_mvi(medians: list[FollowUp]) -> None:
    assert kaplan_meier(medians, "rfs", 60, ~COHORT)[0] > 0.5


@pytest.mark.parametrize("visits", [(2.0, 3.0), None])
def test_the_published_numbers_of_recurrences_and_deaths_are_observed(visits: tuple[float, float] | None) -> None:
    drawn = followed(RATES.model_copy(update={"visits_months": visits}))
    for endpoint, published in (("rfs", RECURRENCES), ("os", DEATHS)):
        counts = [int(d.events[endpoint].sum()) for d in drawn]
        error = float(np.std(counts, ddof=1)) / math.sqrt(SEEDS)
        assert error < 1
        assert abs(float(np.mean(counts)) - published) <= 3 * error


def test_figures_over_very_many_patients_are_the_published_ones() -> None:
    mvi = np.tile(COHORT, 2000)
    drawn = follow_up(MEDIANS, mvi, np.random.default_rng(7))
    for endpoint, months, chosen in (
        ("os", 59.5, mvi | True),
        ("os", 54.7, mvi),
        ("rfs", 50.4, mvi | True),
        ("rfs", 32.5, mvi),
    ):
        fitted = KaplanMeierFitter().fit(drawn.days[endpoint][chosen], drawn.events[endpoint][chosen])
        assert float(fitted.predict(months * DAYS_PER_MONTH)) == pytest.approx(0.5, abs=0.003)


def test_the_preset_rates_censors_at_the_end_only(rates: list[FollowUp]) -> None:
    for drawn in rates:
        assert set(drawn.days["os"][drawn.events["os"] == 0]) == {END_DAYS}


def test_the_preset_rates_has_the_assumed_hazard_ratios() -> None:
    absent, present = solved_hazards("rates", None)
    assert present.recurrence / absent.recurrence == pytest.approx(HAZARD_RATIOS[0])
    assert present.death / absent.death == pytest.approx(HAZARD_RATIOS[1])
    mvi = np.tile(COHORT, 800)
    drawn = follow_up(RATES.model_copy(update={"visits_months": None}), mvi, np.random.default_rng(0))
    for group, hazards in ((~mvi, absent), (mvi, present)):
        months = drawn.days["rfs"][group].sum() / DAYS_PER_MONTH
        assert drawn.events["rfs"][group].sum() / months == pytest.approx(hazards.recurrence, rel=0.02)
        alone = drawn.events["dfs"][group].sum() - drawn.events["rfs"][group].sum()
        assert alone / months == pytest.approx(hazards.death, rel=0.03)


def test_death_after_recurrence_is_four_times_as_frequent() -> None:
    present = np.ones(60_000, dtype=bool)
    drawn = follow_up(RATES.model_copy(update={"visits_months": None}), present, np.random.default_rng(1))
    recurred = drawn.events["rfs"] == 1
    months = (drawn.days["os"] - drawn.days["rfs"])[recurred].sum() / DAYS_PER_MONTH
    hazard = drawn.events["os"][recurred].sum() / months
    assert hazard == pytest.approx(DEATH_RATIO * solved_hazards("rates", None)[1].death, rel=0.04)


def test_overall_survival_and_recurrence_in_closed_form_are_those_of_the_process() -> None:
    absent, present = solved_hazards("medians", None)
    for hazards, mvi in ((absent, False), (present, True)):
        survival = Survival(preset="medians", visits_months=None)
        drawn = follow_up(survival, np.full(200_000, mvi), np.random.default_rng(2))
        for months in (12.0, 36.0, 59.0):
            alive = float((drawn.days["os"] > months * DAYS_PER_MONTH).mean())
            assert alive == pytest.approx(hazards.overall_survival(months), abs=0.004)
            found = float(((drawn.days["rfs"] <= months * DAYS_PER_MONTH) & (drawn.events["rfs"] == 1)).mean())
            assert found == pytest.approx(hazards.recurred(months), abs=0.004)


def test_overall_survival_has_no_gap_where_two_hazards_are_equal() -> None:
    equal = Hazards(0.03, 0.01)  # leaving = 0.04 = death after recurrence
    assert equal.overall_survival(20) == pytest.approx((1 + 0.03 * 20) * math.exp(-0.04 * 20))


@pytest.mark.parametrize("visits", [None, (2.0, 3.0), (3.0, 9.0)])
def test_the_limit_of_kaplan_meier_with_visits_deaths_and_losses_is_the_computed_one(
    visits: tuple[float, float] | None,
) -> None:
    survival = Survival(preset="medians", loss_per_month=0.01, visits_months=visits)
    absent, present = solved_hazards("medians", visits)
    mvi = np.tile(COHORT, 1000)
    drawn = follow_up(survival, mvi, np.random.default_rng(3))
    shares = (ABSENT / len(COHORT), PRESENT / len(COHORT))
    cases = (((absent,), (1.0,), ~mvi), ((present,), (1.0,), mvi), ((absent, present), shares, mvi | True))
    for groups, weights, chosen in cases:
        fitted = KaplanMeierFitter().fit(drawn.days["rfs"][chosen], drawn.events["rfs"][chosen])
        for months in (30.0, 45.0, 55.0):
            limit = recorded_survival(groups, weights, visits, months)
            assert float(fitted.predict(months * DAYS_PER_MONTH)) == pytest.approx(limit, abs=0.006)


def test_a_delay_left_out_would_show() -> None:
    hazards = solved_hazards("medians", (2.0, 3.0))[1]
    unaware = recorded_survival((hazards,), (1.0,), None, 32.5)
    assert recorded_survival((hazards,), (1.0,), (2.0, 3.0), 32.5) == pytest.approx(0.5)
    assert unaware == pytest.approx(math.exp(-32.5 * hazards.recurrence), rel=1e-6)
    assert unaware < 0.49


def test_visits_delay_recurrence_by_at_most_their_distance_and_hide_none() -> None:
    present = np.tile(COHORT, 20)
    at_once = follow_up(RATES.model_copy(update={"visits_months": None}), present, np.random.default_rng(4))
    seen = follow_up(RATES, present, np.random.default_rng(4))
    delay = (seen.days["rfs"] - at_once.days["rfs"])[seen.events["rfs"] == 1]
    assert np.array_equal(seen.events["rfs"], at_once.events["rfs"])
    assert np.array_equal(seen.days["os"], at_once.days["os"])
    assert delay.min() >= 0
    assert delay.max() <= math.ceil(3 * DAYS_PER_MONTH)
    # The residual life of a uniform distance of 2 to 3 months is 1.27 months on average, shorter where death or the
    # end of follow-up comes first.
    assert float(delay.mean()) / DAYS_PER_MONTH == pytest.approx(1.22, abs=0.06)


def test_a_recurrence_is_never_found_in_a_patient_lost_before_the_visit() -> None:
    survival = MEDIANS.model_copy(update={"loss_per_month": 0.5, "visits_months": (5.0, 6.0)})
    drawn = follow_up(survival, np.tile(COHORT, 100), np.random.default_rng(5))
    early = drawn.days["rfs"] < 5 * DAYS_PER_MONTH
    found = early & (drawn.events["rfs"] == 1)
    assert (early & (drawn.events["rfs"] == 0)).sum() > 1000
    assert found.sum() > 0
    # Before the first visit, a recurrence is found at death only.
    assert (drawn.events["os"][found] == 1).all()
    assert np.array_equal(drawn.days["os"][found], drawn.days["rfs"][found])


def test_times_and_events_are_coherent(medians: list[FollowUp], rates: list[FollowUp]) -> None:
    for drawn in (*medians, *rates):
        assert drawn.days["rfs"].min() >= 1
        assert drawn.days["os"].max() == END_DAYS
        assert (drawn.days["rfs"] <= drawn.days["dfs"]).all()
        assert (drawn.days["dfs"] <= drawn.days["os"]).all()
        assert (drawn.events["dfs"] >= drawn.events["rfs"]).all()
        only_death = (drawn.events["dfs"] == 1) & (drawn.events["rfs"] == 0)
        assert (drawn.events["os"][only_death] == 1).all()
        assert np.array_equal(drawn.days["os"][only_death], drawn.days["dfs"][only_death])


def test_loss_to_follow_up_has_the_declared_hazard() -> None:
    drawn = follow_up(
        MEDIANS.model_copy(update={"loss_per_month": 0.02}), np.tile(COHORT, 200), np.random.default_rng(6)
    )
    lost = (drawn.events["os"] == 0) & (drawn.days["os"] < END_DAYS)
    assert lost.sum() / (drawn.days["os"].sum() / DAYS_PER_MONTH) == pytest.approx(0.02, rel=0.03)


def test_the_medians_allow_no_composite_of_constant_hazard() -> None:
    shares = (ABSENT / len(COHORT), PRESENT / len(COHORT))
    present = 0.5 ** (50.4 / 32.5)
    absent = (0.5 - shares[1] * present) / shares[0]
    # Overall survival with MVI at 59.5 months is at most its 0.5 at 54.7; here it is that of a constant hazard.
    alive = (0.5 - shares[1] * 0.5 ** (59.5 / 54.7)) / shares[0]
    assert absent == pytest.approx(0.72, abs=0.005)
    assert absent ** (59.5 / 50.4) == pytest.approx(0.67, abs=0.005)
    assert alive < 0.6


def test_pfs_is_written_as_rfs_with_a_warning() -> None:
    names, warnings = endpoints_of(Survival(endpoints=("pfs", "rfs", "os")))
    assert names == ("rfs", "os")
    assert any("pfs" in warning for warning in warnings)
    assert endpoints_of(Survival(endpoints=("dfs", "os"))) == (("dfs", "os"), ())


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({"endpoints": ("rfs", "relapse")}, "unknown endpoints relapse"),
        ({"preset": "rates", "loss_per_month": 0.01}, "loss_per_month must be 0"),
        ({"visits_months": (3.0, 2.0)}, "shortest time between visits"),
        ({"visits_months": (6.0, 13.0)}, "more than 12 months apart"),
    ],
)
def test_a_contradiction_in_the_declaration_is_refused(declared: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(problem)):
        Survival.model_validate(declared)


@pytest.mark.filterwarnings("ignore:overflow")
def test_no_hazards_are_made_up_for_visits_that_none_fit() -> None:
    with pytest.raises(ArithmeticError, match="no constant hazards"):
        solved_hazards("medians", (150.0, 160.0))


def test_only_the_endpoints_asked_for_are_written() -> None:
    site = Site(name="hospital-a", groups=(Group(patients=20),))
    declared = Consortium(name="test", title="A test", sites=(site,), survival=Survival(endpoints=("dfs",)))
    columns = draw_site(declared, site, 1).cells
    assert [c for c in columns if c.endswith(("_days", "_event"))] == [
        "imaging_to_surgery_days", "dfs_days", "dfs_event",
    ]  # fmt: skip
