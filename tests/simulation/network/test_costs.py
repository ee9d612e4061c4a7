"""simulation/network: what rounds cost is what lies between the end of the first and the end of the last."""

from __future__ import annotations

import pytest

from common.errors import FedmviError
from simulation.network.census import Process
from simulation.network.costs import follow, together
from simulation.network.relay import Relay


def process(seconds: float) -> Process:
    return Process(1, 0, 1, ("it",), seconds, 2**20, zombie=False)


def test_the_first_round_is_left_out_of_times_bytes_and_processor_time():
    relay, ends = Relay(0), [10.0]
    looked = 0

    def done() -> list[float]:
        nonlocal looked
        looked += 1
        if looked == 3:  # the second and third round have come
            ends.extend([12.0, 15.0])
            relay.up, relay.down = 1500, 700
        return ends

    relay.up, relay.down = 500, 100
    costs = follow(done, lambda: {"node": [process(5.0 if len(ends) == 1 else 9.0)]}, [relay], 3, 10)
    assert costs.seconds == (2.0, 3.0)
    assert costs.median == 2.5
    assert costs.processor == {"node": 2.0}
    assert (costs.up, costs.down) == (500.0, 300.0)


def test_rounds_that_do_not_come_are_an_error_and_not_a_wait():
    with pytest.raises(FedmviError) as late:
        follow(lambda: [1.0], dict, [], 2, 0.1)
    assert late.value.number == 819


def test_runs_are_put_together():
    relay = Relay(0)
    one = follow(lambda: [0.0, 1.0, 2.0], lambda: {"node": [process(1.0)]}, [relay], 3, 10)
    assert together([one, one]).seconds == (1.0, 1.0, 1.0, 1.0)
