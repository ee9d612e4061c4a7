"""tests/common/federation: what a hospital may send in answer to a round of training, and who is named for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.codec import Packed
from common.federation.envelope import Answer, Ticket, read_envelope, write_answers
from common.federation.learning import LARGEST_CHANGE, LARGEST_LOSS, Job, RoundLoss, RoundUpdate
from common.federation.ports import SitesPort
from common.federation.query import MOST_PATIENTS, Query, total
from common.federation.totals import encode_total, plain_total
from common.study.recipe import Recipe

JOB = Job("net", ("t1v",), 0)
UPDATE = RoundUpdate("train", Recipe(), JOB, 0, "0" * 64, 4)
LOSS = RoundLoss("train", Recipe(), JOB, 0, "0" * 64)
TICKET = Ticket("run1", "x" * 64, {"train": ("a", "b", "c")})
Site = Callable[[Packed], Packed]


def site(blocks: Mapping[str, Any]) -> Site:
    def answer(message: Packed) -> Packed:
        ticket, asks = read_envelope(message)
        return write_answers(ticket.run_id, [Answer(ask.digest, blocks=dict(blocks)) for ask in asks])

    return answer


def update(change: float = 1.0, patients: int = 10) -> Site:
    return site(
        {"update": np.full(4, change, np.float32), "patients": np.array([patients], dtype=np.int64).view(np.uint64)}
    )


def loss(sum_: float, patients: int) -> Site:
    sums = {f"{p}_loss": np.array(sum_) for p in ("training", "validation")}
    counts = {f"{p}_patients": np.array(patients) for p in ("training", "validation")}
    return site(encode_total(LOSS, {**sums, **counts}, 3))


class Sites:
    """Answers come in an order of their own."""

    def __init__(self, sites: Mapping[str, Site], order: str) -> None:
        self._sites, self._order = sites, order

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        for name in self._order:
            yield name, self._sites[name](messages.get(name) or next(iter(messages.values())))


def met(query: Query, good: Site, third: Site, order: str = "abc") -> FedmviError:
    """The error that a sum over two good sites and a third one ends with."""
    port = SitesPort(Sites({"a": good, "b": good, "c": third}, order), TICKET)
    try:
        (reply,) = port.ask([total(query)])
    except FedmviError as error:
        return error
    assert isinstance(reply, FedmviError)
    return reply


@pytest.mark.parametrize(
    "third",
    [update(patients=-29), update(patients=2**61), update(patients=MOST_PATIENTS + 1), update(2 * LARGEST_CHANGE),
     update(float("nan")), update(1e30), site({"update": np.zeros(4), "patients": np.zeros(1, np.uint64)})],
)  # fmt: skip
def test_a_site_whose_update_cannot_be_true_is_named(third: Site) -> None:
    error = met(UPDATE, update(), third)
    assert (error.number in (504, 505), error.site) == (True, "c")


@pytest.mark.parametrize("told", [(-1e18, 24), (1e18, 24), (50.0, -71), (LARGEST_LOSS * 25, 24)])
def test_a_site_whose_losses_cannot_be_true_is_named(told: tuple[float, int]) -> None:
    error = met(LOSS, loss(16.0, 24), loss(*told))
    assert (error.number, error.site) == (505, "c")


def test_a_site_that_answers_twice_or_was_not_asked_is_named() -> None:
    good = update()
    error = met(UPDATE, good, good, "abca")
    assert (error.number, error.site) == (505, "a")
    port = SitesPort(Sites({"a": good, "z": good}, "az"), TICKET)
    with pytest.raises(FedmviError) as raised:
        port.ask([total(UPDATE)])
    assert (raised.value.number, raised.value.site) == (505, "z")


def test_what_can_be_true_is_summed() -> None:
    port = SitesPort(Sites({name: update() for name in "abc"}, "cab"), TICKET)
    (reply,) = port.ask([total(UPDATE)])
    assert not isinstance(reply, FedmviError)
    assert int(reply["patients"]) == 30  # type: ignore[call-overload]
    assert set(plain_total(UPDATE, {"update": np.zeros(4, np.float32), "patients": np.array(1)}, 3)) == set(reply)
