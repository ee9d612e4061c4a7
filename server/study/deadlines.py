"""server/study: how long the answers to a round are waited for."""

from __future__ import annotations

from collections.abc import Sequence

from common.federation.learning import ExplainPatients, RoundLoss, RoundUpdate, ScorePatients, TrainRound
from common.federation.query import Ask
from common.networks.adapting import AdaptNetwork
from common.study.protocol import Study


def answer_seconds(study: Study, asks: Sequence[Ask]) -> float:
    """Seconds in which every connected site must have answered the questions of one message: the longest that one may.

    They are the protocol's: what a network does takes as long as the `deadline_minutes` of [networks.federation], all
    else as long as those of [federation]. All sites of a cohort are its quorum: a sum that
    lacks a site would, held against one that has it, be that site's own, so that at the deadline the run stops
    with 503. Resumed, it asks again, and sites that had answered give the same bytes. How long a site that is not
    connected is waited for is `wait_seconds`.
    """
    minutes = {network.name: network.federation.deadline_minutes for network in study.networks}
    usual = study.federation.deadline_minutes
    return 60.0 * max((minutes[name] if (name := _network(ask)) else usual for ask in asks), default=0.0)


def wait_seconds(study: Study) -> float:
    """Seconds for which a site that is not connected, or was lost, is waited for before the run stops with 508."""
    return 3600.0 * study.federation.wait_hours


def _network(ask: Ask) -> str:
    """The network at which a question has a site work; "" for other questions."""
    question = ask.question
    if isinstance(question, TrainRound | RoundUpdate | RoundLoss):
        return question.job.network
    return question.network if isinstance(question, ScorePatients | ExplainPatients | AdaptNetwork) else ""
