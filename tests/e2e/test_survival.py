"""e2e: every part of a deployment is killed once while a study goes on, and the results are the same byte for byte."""

from __future__ import annotations

import time

import pytest

from client.release.ledger import Ledger
from server.hub.orders import ENDED, State
from server.study.execution import Action
from simulation.network.example import HOSPITALS

SECONDS = 600.0
"""More than enough on a busy machine; Flower alone refuses a node for a minute after it was killed."""

pytestmark = pytest.mark.xdist_group("survival")

# Nodes first: what is killed while Flower keeps the sites waiting is waited for only once.
TOGETHER = (
    ("node:hospital-b", "whole-site:hospital-c"),
    ("serverapp",),
    ("clientapp:hospital-a",),
    ("executor:hospital-a",),
    ("superlink",),
    ("server-executor",),
    ("steward",),
    ("proxy",),
    ("whole-hub",),
)


def rounds(run) -> int:
    return len(list(run.run.journal.glob("[0-9]*.npz")))


def test_a_study_survives_the_death_of_each_part_and_ends_with_the_same_bytes(consortium):
    network = consortium.network
    run = network.submit(consortium.long)
    limit = time.monotonic() + SECONDS
    reached = 0
    for parts in TOGETHER:
        while rounds(run) <= reached:
            assert run.state not in ENDED, (parts, run.state, run.run.failure())
            assert time.monotonic() < limit, (parts, run.progress)
            time.sleep(0.02)
        reached = rounds(run)
        for part in parts:
            network.await_part(part, SECONDS)
            assert network.kill(part), part
        network.restart_if_killed()
    assert network.await_end(run, SECONDS) is State.FINISHED, run.run.failure()
    assert run.run.results_file.read_bytes() == consortium.expected(consortium.long, Action.RUN)
    for name in HOSPITALS:
        assert not Ledger(consortium.folder / "sites" / name / "store" / "ledger.jsonl").verify().broken_at
    for part in ("superlink", "proxy", "steward", "server-executor", *(f"node:{name}" for name in HOSPITALS)):
        assert network.await_part(part, SECONDS)
