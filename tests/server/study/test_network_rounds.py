"""server: rounds of networks: what receipts may say of a privacy budget, and how long answers are waited for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.learning import EPSILON_HUNDREDTHS, Job, RoundUpdate
from common.federation.ports import ANSWER_SECONDS
from common.federation.query import Ask, total
from common.statistics.logistic import LogisticSums
from common.study.recipe import Recipe
from server.strategies.choice import strategy_of
from server.study.checkpoints import MemoryCheckpoints
from server.study.deadlines import answer_seconds
from server.study.training import train_job
from tests.server.study.bench_sites import study_of

JOB = Job("net", ("t1",), 0)
LOSSES = {
    "training_loss": np.array(1.0), "validation_loss": np.array(0.0), "training_patients": np.array(9),
    "validation_patients": np.array(0),
}  # fmt: skip


def private() -> Any:
    return study_of(privacy={"epsilon": 8.0, "delta": 1e-3}).networks[0]


def replies(asks: tuple[Ask, ...], *told: Any) -> tuple[Any, ...]:
    """What sites answer to a round, of which each says that so many hundredths are spent."""
    update = asks[-1].question
    assert isinstance(update, RoundUpdate)
    change = {"update": np.zeros(update.size), "patients": np.array(9)}
    receipts = {
        str(i): {"work": "0" * 64, **({EPSILON_HUNDREDTHS: one} if one is not None else {})}
        for i, one in enumerate(told)
    }
    return receipts, LOSSES, change


def test_the_largest_epsilon_that_a_site_has_spent_is_kept_with_the_training() -> None:
    checkpoints = MemoryCheckpoints()
    rounds = train_job(private(), JOB, 3, (1.0, 1.0, 1.0), strategy_of(private().federation), 2, checkpoints)
    asks: Any = next(rounds)
    asks = rounds.send(replies(asks, 310, 455))
    assert checkpoints.kept[JOB].epsilon_hundredths == 455
    with pytest.raises(StopIteration) as stop:
        rounds.send(replies(asks, 620, 800))
    assert stop.value.value.epsilon_hundredths == 800


@pytest.mark.parametrize("told", [None, 801, -1, "800", True, 7.9, float("nan")])
def test_a_receipt_that_says_no_such_number_or_more_than_the_protocol_allows_stops_the_training(told: Any) -> None:
    rounds = train_job(private(), JOB, 3, (1.0, 1.0, 1.0), strategy_of(private().federation), 2, MemoryCheckpoints())
    asks: Any = next(rounds)
    with pytest.raises(FedmviError, match="505"):
        rounds.send(replies(asks, 310, told))


def test_a_round_is_waited_for_as_long_as_its_network_says_and_no_other_question_less_for_it() -> None:
    study = study_of(federation={"deadline_minutes": 5})
    network = study.networks[0]
    asks: Any = next(train_job(network, JOB, 3, (1.0,) * 3, strategy_of(network.federation), 1, MemoryCheckpoints()))
    assert answer_seconds(study, asks) == 300.0
    other = total(LogisticSums("train", Recipe(), "mvi", ("x",), np.zeros(2)))
    assert answer_seconds(study, (*asks, other)) == ANSWER_SECONDS == answer_seconds(study, (other,))
    longer = study_of(federation={"deadline_minutes": 600})
    assert answer_seconds(longer, (*asks, other)) == 36000.0
