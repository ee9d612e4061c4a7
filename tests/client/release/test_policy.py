"""client/release: what a hospital's policy says of a whole study: how many answers, and how private its trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.cohort.site import Policy
from client.release.gate import Gate
from common.errors import FedmviError
from common.federation.query import total
from common.statistics.moments import Deviations
from common.study.loader import parse_study
from common.study.recipe import Recipe, Select
from tests.client.test_answering import deviations, made, policy, template  # noqa: F401 - fixtures
from tests.disclosure.consortium import POLICY, Consortium, columns
from tests.disclosure.networks import NETWORK_STUDY, SITES, make_networks, message, round_of
from tests.disclosure.networks import POLICY as NETWORK_POLICY

PRIVATE = NETWORK_STUDY.replace('normalisation = "silobn"', 'normalisation = "group"')


def centred(made: Consortium, centre: float):  # noqa: F811
    recipe = Recipe((Select(columns(made.study, "clinical")),))
    return total(Deviations("train", recipe, ("age",), np.array([float(centre)])))


def test_428_a_study_gets_so_many_answers_and_no_more_however_they_are_asked(made: Consortium) -> None:  # noqa: F811
    policy(made, "a", POLICY + "max_questions = 4\n")
    together = made.put("a", *(centred(made, centre) for centre in range(3)))
    assert [answer.error for answer in together] == [0, 0, 0]
    split = made.put("a", *(centred(made, centre) for centre in range(3, 6)))
    assert [answer.error for answer in split] == [0, 428, 428]
    assert made.number("a", centred(made, 0)) == 0, "what was answered is repeated, and counts once"
    assert made.number("a", centred(made, 6)) == 428


def test_428_counts_over_all_runs_of_a_study_but_not_over_studies(made: Consortium) -> None:  # noqa: F811
    policy(made, "a", POLICY + "max_questions = 1\n")
    assert made.number("a", deviations(made)) == 0
    later = made.with_ticket(run_id="run2")
    later.open("a")
    assert later.number("a", deviations(made)) == 428
    other = Consortium(made.folders, parse_study(_renamed(made)))
    other.ticket = other.with_ticket(run_id="run3").ticket
    other.open("a")
    assert other.number("a", deviations(made)) == 0


def _renamed(made: Consortium) -> str:  # noqa: F811
    from tests.disclosure.consortium import STUDY

    assert made.study == parse_study(STUDY)
    return STUDY.replace('name = "small"', 'name = "smaller"')


def test_428_none_at_all(made: Consortium) -> None:  # noqa: F811
    policy(made, "a", POLICY + "max_questions = 0\n")
    assert made.number("a", deviations(made)) == 428


@pytest.mark.parametrize(
    ("declared", "most", "number"),
    [(None, None, 0), (5.0, None, 0), (None, 3.0, 427), (5.0, 3.0, 427), (3.0, 3.0, 0), (1.0, 3.0, 0)],
)
def test_427_training_is_as_private_as_the_stricter_of_study_and_policy(
    declared: float | None, most: float | None, number: int
) -> None:
    text = PRIVATE if declared is None else f"{PRIVATE}\n[networks.privacy]\nepsilon = {declared}\ndelta = 0.001\n"
    gate = Gate.of(Policy(private_epsilon=most), parse_study(text))
    if not number:
        gate.admit_training("net")
        return
    with pytest.raises(FedmviError, match=str(number)) as met:
        gate.admit_training("net")
    assert met.value.facts == {"limit": most}


def test_427_a_site_that_demands_privacy_trains_nothing_and_answers_of_no_round(tmp_path: Path) -> None:
    networks = make_networks(tmp_path / "sites", policy=NETWORK_POLICY + "private_epsilon = 3.0\n").sign().open(*SITES)
    answers = networks.put("a", *message(round_of(networks.study)))
    assert [answer.error for answer in answers] == [427, 427, 427]
    assert not list((networks.folders["a"] / "store").rglob("work/*/*/facts.json"))
