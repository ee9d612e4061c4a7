"""server/hub: the time left of a run whose study is new: by its protocol and by other studies."""

from __future__ import annotations

from typing import Any

import pytest

from server.hub.time_left import NOT_MEASURED, PATIENTS_DECIDE, rounds_by_step, time_left
from server.study.progress import Progress, Taken
from server.study.steps import Step

STEPS = [
    Step("open", 2, 2),
    Step("fit"),
    Step("train without", 1, 20, network="net"),
    Step("train on all", 0, 10, network="net"),
    Step("freeze", 0, 1),
]


def at(step: str, **taken: tuple[int, tuple[float, ...]]) -> Progress:
    steps = {name.replace("_", " "): Taken(rounds=n, seconds=seconds) for name, (n, seconds) in taken.items()}
    return Progress(started="", step=step, steps=steps)


def test_rounds_that_are_left_last_as_long_as_the_latest_ones_of_their_step() -> None:
    """Eleven to fifteen rounds of fitting at 3 s, at most 15 and 10 of training at 60 s, and one of freezing."""
    told = at("fit", open=(2, (2.0, 2.0)), fit=(4, (3.0, 3.0, 90.0)), train_without=(5, (60.0,)))
    left = time_left(STEPS, told, {"fit": (15, 19)})
    assert left is not None and left.unknown == {} and left.perhaps
    pooled = 3.0  # the median of 2, 2, 3, 3 and 90: of rounds of the same kind
    assert left.least == pytest.approx(11 * 3.0)
    assert left.most == pytest.approx(15 * 3.0 + (15 + 10) * 60.0 + pooled)
    assert left.trainings == pytest.approx((15 + 10) * 60.0)


def test_a_step_that_is_over_takes_no_more_and_bounds_of_the_protocol_are_no_guess() -> None:
    left = time_left(
        STEPS, at("train on all", train_without=(20, (60.0,)), train_on_all=(8, (6.0,)), fit=(1, (1.0,))), {}
    )
    assert left is not None and (left.least, left.most, left.perhaps, left.unknown) == (0.0, 13.0, False, {})


def test_what_patients_decide_and_what_was_never_measured_is_named_and_not_guessed() -> None:
    left = time_left(STEPS, at("open", open=(1, (2.0,))), {})
    assert left is not None
    assert left.unknown == {PATIENTS_DECIDE: ("fit",), NOT_MEASURED: ("train without", "train on all")}
    assert (left.least, left.most) == (2.0, 4.0), "what is known: one more round of opening, one of freezing at most"


def test_more_rounds_than_there_should_be_are_not_believed() -> None:
    """Models that are still being fitted when their networks are trained share the rounds of the last training."""
    left = time_left(STEPS, at("train on all", train_on_all=(11, (6.0,)), fit=(1, (2.0,))), {})
    assert left is not None and left.unknown == {PATIENTS_DECIDE: ("train on all",)}
    beyond = time_left(STEPS, at("fit", fit=(20, (3.0,)), train_without=(1, (9.0,))), {"fit": (15, 19)})
    assert beyond is not None and beyond.unknown == {PATIENTS_DECIDE: ("fit",)}


def test_a_run_that_is_opened_again_is_not_thought_to_go_wrong() -> None:
    left = time_left(STEPS[:1], at("open", open=(3, (2.0,))), {})
    assert left is not None and (left.least, left.most, left.unknown) == (0.0, 0.0, {})


@pytest.mark.parametrize("step", ["", "wait for the sites", "begin anew without a: away for too long"])
def test_before_the_first_step_nothing_is_said(step: str) -> None:
    assert time_left(STEPS, at(step), {}) is None


def test_of_other_studies_the_fewest_and_the_most_rounds_of_a_step_count() -> None:
    runs: list[Any] = [at("", fit=(3, ())), at("", fit=(9, ()), freeze=(1, ())), at("")]
    assert rounds_by_step(runs) == {"fit": (3, 9), "freeze": (0, 1)}, "a run that kept no steps says nothing"
