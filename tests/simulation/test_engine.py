"""simulation: what our engine puts in place of Flower's: it hands out the same messages, with less work."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from flwr.common.constant import HEARTBEAT_INTERVAL_INF, SUPERLINK_NODE_ID
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager

from simulation.engine import COMMAND, HAND_OUT, hand_out, write_command

HandOut = Callable[[InMemoryLinkState, "Queue[Message]", dict[int, int], threading.Event], None]


@pytest.fixture(autouse=True)
def inside_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a ServerApp, where messages are made."""
    for known in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(f"flwr.supercore.task_identity.TaskIdentity.{known}", 1)


class Counting(InMemoryLinkState):
    """Counts how often a node is asked for."""

    asked = 0

    def get_message_ins(self, node_id: int, limit: int | None, **more: Any) -> list[Message]:
        self.asked += 1
        return super().get_message_ins(node_id, limit, **more)


def engine_with(nodes: int) -> tuple[Counting, dict[int, int], int]:
    """Flower's state with so many nodes and a run that goes on."""
    state = Counting(NoOpFederationManager(), ObjectStoreFactory().store())
    mapping = {}
    for partition in range(nodes):
        node = state.create_node("aid", "name", secrets.token_bytes(32), HEARTBEAT_INTERVAL_INF)
        state.acknowledge_node_heartbeat(node, HEARTBEAT_INTERVAL_INF)
        mapping[node] = partition
    return (
        state,
        mapping,
        state.create_run(None, None, "hash", {}, NOOP_FEDERATION_ID, None, "aid", TaskType.SIMULATION),
    )


def put(state: InMemoryLinkState, run: int, node: int) -> str:
    message = Message(RecordDict(), dst_node_id=node, message_type="query")
    message.metadata.__dict__["_run_id"] = run
    message.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
    message.metadata.__dict__["_message_id"] = secrets.token_hex(8)
    stored = state.store_message_ins(message)
    assert stored is not None
    return stored


def handed_out(function: HandOut, nodes: int, waits: float) -> tuple[list[int], int]:
    """The partitions that got a message, in order, and how often nodes were asked, over two waves of three messages."""
    state, mapping, run = engine_with(nodes)
    numbers = list(mapping)
    queue: Queue[Message] = Queue()
    stop = threading.Event()
    thread = threading.Thread(target=function, args=(state, queue, mapping, stop))
    thread.start()
    got: list[int] = []
    try:
        for wave in ((2, 0, 1), (1, 1, 2)):
            for partition in wave:
                put(state, run, numbers[partition])
            got += [mapping[queue.get(timeout=waits).metadata.dst_node_id] for _ in wave]
    finally:
        stop.set()
        thread.join()
    assert queue.empty(), "nothing was handed out twice"
    return got, state.asked


def test_every_message_is_handed_out_once_as_flowers_own_does_it() -> None:
    ours, _ = handed_out(hand_out, 3, 10.0)
    flowers, _ = handed_out(HAND_OUT.get(), 3, 10.0)
    assert sorted(ours) == sorted(flowers) == [0, 1, 1, 1, 2, 2]


def test_its_work_goes_by_messages_and_not_by_nodes() -> None:
    for nodes in (3, 300):
        assert handed_out(hand_out, nodes, 10.0)[1] == 6, "a node is asked only for a message that lies there"
    assert handed_out(HAND_OUT.get(), 300, 10.0)[1] >= 300, "Flower's own asks everybody; if not, ours can go"


def test_messages_of_other_nodes_are_left_alone() -> None:
    state, mapping, run = engine_with(2)
    first, second = mapping
    left = put(state, run, second)
    put(state, run, first)
    queue: Queue[Message] = Queue()
    stop = threading.Event()
    thread = threading.Thread(target=hand_out, args=(state, queue, {first: 0}, stop))
    thread.start()
    try:
        assert queue.get(timeout=10.0).metadata.dst_node_id == first
    finally:
        stop.set()
        thread.join()
    assert queue.empty() and state.message_ins_store[left].metadata.delivered_at == ""


def test_the_command_runs_flowers_program_by_this_interpreter(tmp_path: Path) -> None:
    folder = tmp_path / "with a space" / "bin"
    write_command(folder)
    said = subprocess.run([folder / COMMAND, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert f"usage: {COMMAND}" in said.stdout and "--runtime-api-address" in said.stdout
    assert sys.executable in (folder / COMMAND).read_text(encoding="utf-8")
