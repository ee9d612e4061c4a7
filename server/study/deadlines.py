"""server/study: how long the answers to a round are waited for."""

from __future__ import annotations

from collections.abc import Sequence

from common.federation.learning import ExplainPatients, RoundLoss, RoundUpdate, ScorePatients, TrainRound
from common.federation.ports import ANSWER_SECONDS
from common.federation.query import Ask
from common.study.protocol import Study


def answer_seconds(study: Study, asks: Sequence[Ask]) -> float:
    """Seconds in which every site must have answered the questions of one message: the longest that one may take.

    What a network does takes as long as its `deadline_minutes` say. All sites of a cohort are its quorum: a sum that
    lacks a site would, held against one that has it, be that site's own, so that at the deadline the run stops
    with 503. Resumed, it asks again, and sites that had answered give the same bytes.
    """
    minutes = {network.name: network.federation.deadline_minutes for network in study.networks}
    return max((60.0 * minutes[name] if (name := _network(ask)) else ANSWER_SECONDS for ask in asks), default=0.0)


def _network(ask: Ask) -> str:
    """The network at which a question has a site work; "" for other questions."""
    question = ask.question
    if isinstance(question, TrainRound | RoundUpdate | RoundLoss):
        return question.job.network
    return question.network if isinstance(question, ScorePatients | ExplainPatients) else ""
