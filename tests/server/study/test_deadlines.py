"""server/study: how long a round and a site are waited for is what the protocol says."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.query import total
from common.statistics.logistic import LogisticSums
from common.study.fingerprint import study_fingerprint
from common.study.loader import parse_study
from common.study.recipe import Recipe
from server.study.deadlines import answer_seconds, wait_seconds
from tests.disclosure.consortium import STUDY

ASK = total(LogisticSums("train", Recipe(), "mvi", ("x",), np.zeros(2)))


def federated(text: str) -> str:
    return f"{STUDY}\n[federation]\n{text}\n"


def test_a_round_has_an_hour_and_a_site_a_day_unless_the_protocol_says_otherwise() -> None:
    usual = parse_study(STUDY)
    assert (answer_seconds(usual, [ASK]), wait_seconds(usual)) == (3600.0, 86400.0)
    other = parse_study(federated("wait_hours = 0.5\ndeadline_minutes = 5"))
    assert (answer_seconds(other, [ASK]), wait_seconds(other)) == (300.0, 1800.0)
    assert answer_seconds(other, []) == 0.0


def test_what_hospitals_approve_includes_how_long_they_are_waited_for() -> None:
    usual = study_fingerprint(parse_study(STUDY))
    assert study_fingerprint(parse_study(federated("wait_hours = 24"))) == usual, "the default, written out"
    assert study_fingerprint(parse_study(federated("wait_hours = 25"))) != usual


@pytest.mark.parametrize(
    "text", ["wait_hours = -1", "wait_hours = nan", "deadline_minutes = 0", "deadline_minutes = inf", "quorum = 2"]
)
def test_impossible_times_and_a_smaller_quorum_are_refused(text: str) -> None:
    with pytest.raises(FedmviError, match="103"):
        parse_study(federated(text))
