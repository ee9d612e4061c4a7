"""common/federation: weights of networks on the wire: their bytes, their exact sums, and the memory that they take."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import Packed, pack
from common.federation.envelope import Answer, Ticket, failure, write_answers
from common.federation.learning import LARGEST_CHANGE, UPDATE_BITS, Job, RoundLoss, RoundUpdate, TrainRound
from common.federation.ports import InProcess, Journal, Meter, SitesPort, ungated
from common.federation.query import Query, Receipt, Task, perform, total
from common.federation.records import from_records, to_records
from common.federation.totals import Total, encode_total, plain_total
from common.study.recipe import Frame, Recipe
from simulation.views import ArrayView, named_masks

JOB = Job("net", ("t1",), 0)
SITES = ("a", "b", "c")


def update(size: int, *, variates: bool = False, task: str = "") -> RoundUpdate:
    return RoundUpdate("train", Recipe(), JOB, 0, task, size, variates)


@dataclass
class Trainer:
    """A site whose every task makes the same change of the weights."""

    change: NDArray[np.float32]
    variates: bool = False
    done: dict[str, Task] = field(default_factory=dict)

    def perform(self, task: Task) -> Receipt:
        self.done[perform(task).digest] = task
        return {"work": perform(task).digest}

    def work(self, task: str) -> Mapping[str, NDArray[Any]]:
        if task not in self.done:
            raise FedmviError(511)
        sums = {f"{part}_{what}": np.array(2) for part in ("training", "validation") for what in ("patients",)}
        sums |= {f"{part}_loss": np.array(0.5) for part in ("training", "validation")}
        made = {"update": self.change, "patients": np.array(3), **sums}
        return {**made, "variate": self.change} if self.variates else made

    def frame(self, query: Query) -> Frame:
        raise FedmviError(501)

    def flow(self, cohort: str) -> list[tuple[str, int]]:
        raise FedmviError(501)

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        raise FedmviError(501)


def ticket(sites: tuple[str, ...] = SITES) -> Ticket:
    return Ticket("run1", "", {"train": sites})


def training(size: int, variates: bool = False) -> TrainRound:
    variate = np.zeros(size if variates else 0, dtype=np.float32)
    return TrainRound("train", JOB, 0, np.zeros(size, dtype=np.float32), variate, (1.0, 1.0), "")


def a_round(size: int, *, variates: bool = False) -> tuple[Any, ...]:
    task = perform(training(size, variates))
    loss = RoundLoss("train", Recipe(), JOB, 0, task.digest)
    return task, total(update(size, variates=variates, task=task.digest)), total(loss)


# Changes of weights between the largest that fits and the smallest float32 that 40 bits behind the point still hold.
CHANGES = arrays(
    np.float32,
    (3, 5),
    elements=st.floats(-LARGEST_CHANGE, LARGEST_CHANGE, width=32, allow_subnormal=True),
)


@given(CHANGES)
@settings(max_examples=60, deadline=None)
def test_sums_of_plain_and_of_masked_weights_are_equal_bit_for_bit(changes: NDArray[np.float32]) -> None:
    asks = a_round(5)
    sums = []
    for masked in (False, True):
        sites = {
            name: ungated(Trainer(change), named_masks(name, SITES) if masked else None)
            for name, change in zip(SITES, changes, strict=True)
        }
        reply = SitesPort(InProcess(sites), ticket()).ask(asks)[1]
        assert isinstance(reply, dict)
        sums.append(reply["update"])
    assert sums[0].tobytes() == sums[1].tobytes()
    exact = [sum(round(float(v) * 2**UPDATE_BITS) for v in column) for column in changes.T]
    assert sums[0].tolist() == [float(v) / 2**UPDATE_BITS for v in exact]


@pytest.mark.parametrize(("masked", "variates"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_round_costs_four_bytes_a_weight_plain_and_eight_masked_and_twice_with_variates(
    masked: bool, variates: bool
) -> None:
    size = 100_000
    sites = {
        name: ungated(Trainer(np.ones(size, np.float32), variates), named_masks(name, SITES) if masked else None)
        for name in SITES
    }
    meter = Meter(InProcess(sites))
    SitesPort(meter, ticket()).ask(a_round(size, variates=variates))
    vectors = 2 if variates else 1
    few = 4096
    assert 4 * vectors * size <= meter.bytes_to_sites / 3 < 4 * vectors * size + few
    width = 8 if masked else 4
    assert width * vectors * size <= meter.bytes_from_sites / 3 < width * vectors * size + few


def _peak(count: int) -> int:
    """Most bytes that a server had at once while so many sites answered with a million weights each."""
    names = tuple(f"site-{i}" for i in range(count))
    size = 1_000_000
    asks = a_round(size)

    @dataclass
    class Far:
        """Sites elsewhere: an answer takes memory here from when it is read."""

        def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
            for site in messages:
                yield site, write_answers("run1", self.answers())

        def answers(self) -> list[Answer]:
            sums = {f"{part}_patients": np.zeros((1,), np.uint64) for part in ("training", "validation")}
            sums |= {f"{part}_loss": np.zeros((2,), np.uint64) for part in ("training", "validation")}
            change = {"update": np.ones((1, size), np.uint64), "patients": np.ones((1,), np.uint64)}
            return [
                Answer(asks[0].digest, receipt={"work": asks[0].digest}),
                Answer(asks[1].digest, blocks=change),
                Answer(asks[2].digest, blocks=sums),
            ]

    tracemalloc.start()
    try:
        reply = SitesPort(Far(), ticket(names)).ask(asks)[1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(reply, dict)
    assert int(reply["patients"]) == count
    return peak


def test_the_memory_of_a_server_does_not_grow_with_the_number_of_sites() -> None:
    few, many = _peak(3), _peak(12)
    assert many < few + 1_000_000, "one answer of one site has eight million bytes"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_in_which_sites_answer_changes_nothing(order: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    changes = rng.normal(size=(3, 1000)).astype(np.float32)
    handlers: dict[str, Callable[[Packed], Packed]] = {
        name: ungated(Trainer(change)) for name, change in zip(SITES, changes, strict=True)
    }

    @dataclass
    class Shuffled:
        broken: tuple[str, ...] = ()

        def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
            for site in (SITES[i] for i in order):
                said = failure("", FedmviError(901)) if site in self.broken else None
                yield site, write_answers("run1", [said]) if said else handlers[site](messages[site])

    asks = a_round(1000)
    reply = SitesPort(Shuffled(), ticket()).ask(asks)
    usual = SitesPort(InProcess(handlers), ticket()).ask(asks)
    assert [pack(dict(one)).digest for one in reply] == [pack(dict(other)).digest for other in usual]
    assert list(reply[0]) == list(SITES)  # type: ignore[arg-type]
    with pytest.raises(FedmviError, match="site b"):
        SitesPort(Shuffled(("c", "b")), ticket()).ask(asks)


def test_an_answer_that_is_not_what_was_declared_never_enters_a_sum() -> None:
    query = update(4)
    good = plain_total(query, {"update": np.ones(4, np.float32), "patients": np.array(1)}, 3)
    masked = encode_total(query, {"update": np.ones(4, np.float32), "patients": np.array(1)}, 3)
    for bad in (
        {**good, "update": np.array([1, 2, 3, np.nan], np.float32)},
        {**good, "update": np.array([1, 2, 3, np.inf], np.float32)},
        {**good, "update": np.ones(5, np.float32)},
        {**good, "update": np.ones((1, 4), np.float32)},
        {**good, "update": np.ones(4)},
        {**good, "update": 1.0},
        {"update": good["update"]},
        masked,
    ):
        sum_ = Total(query, 3)
        sum_.add(good)
        with pytest.raises(FedmviError, match="505"):
            sum_.add(bad)
    with pytest.raises(FedmviError, match="504"):
        plain_total(query, {"update": np.full(4, 2.0 ** (62 - UPDATE_BITS), np.float32), "patients": np.array(1)}, 3)


def test_weights_travel_in_flower_records_as_they_are() -> None:
    packed = pack({"a": np.arange(5, dtype=np.float32), "b": np.arange(3.0), "c": np.zeros((0, 2), np.float32)})
    records = to_records(packed)
    back = from_records(records)
    assert back.digest == packed.digest
    assert [array.dtype.str for array in back.arrays] == ["<f4", "<f8", "<f4"]
    for layout in ('[["<f4", [6]]]', '[["<f2", [5]]]', '[["<f4", [1073741824]]]', '[["<f4", [-5]]]'):
        records["message"]["layout"] = layout  # type: ignore[index]
        with pytest.raises(FedmviError, match="501"):
            from_records(records)


def test_model_rounds_are_not_in_the_journal_and_are_asked_again(tmp_path: Path) -> None:
    trainers = {name: Trainer(np.ones(7, np.float32)) for name in SITES}
    meter = Meter(InProcess({name: ungated(trainer) for name, trainer in trainers.items()}))
    asks = a_round(7)
    for _ in range(2):
        Journal(tmp_path / "journal", SitesPort(meter, ticket())).ask(asks)
    assert meter.rounds == 2
    assert list((tmp_path / "journal").iterdir()) == []


def test_tasks_are_done_before_the_questions_of_their_message_and_only_where_somebody_does_them() -> None:
    task = perform(training(3))
    sites = {name: ungated(Trainer(np.ones(3, np.float32))) for name in SITES}
    update_, receipts = SitesPort(InProcess(sites), ticket()).ask([total(update(3, task=task.digest)), task])
    assert isinstance(update_, dict)
    assert update_["update"].tolist() == [3.0, 3.0, 3.0]
    assert receipts == {name: {"work": task.digest} for name in SITES}
    reader = {name: ungated(ArrayView({"x": np.zeros(3)}, {}, np.zeros(3, np.uint64))) for name in SITES}
    missing, undone = SitesPort(InProcess(reader), ticket()).ask([total(update(3, task=task.digest)), task])
    assert [error.number for error in (missing, undone) if isinstance(error, FedmviError)] == [511, 501]
