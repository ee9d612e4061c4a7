from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SubStatus
from flwr.supercore.constant import TaskType
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState
from flwr.supernode.start_client_internal import _insert_message

from client.node.replying import forget_half_received, wait_for_answer

RUN = 7


class Node:
    """A node's memory with one message in it, as Flower's loop leaves it when it starts to wait."""

    def __init__(self) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, 1, 1
        factory = ObjectStoreFactory()
        state = NodeStateFactory(objectstore_factory=factory).state()
        assert isinstance(state, InMemoryNodeState)
        self.state, self.store = state, factory.store()
        self.state.set_node_id(1)
        task = self.state.create_task(task_type=TaskType.CLIENT_APP, run_id=RUN, fab_hash="f" * 64)
        assert task is not None
        self.task = task
        self.message = Message(RecordDict(), dst_node_id=1, message_type="query.answer")
        _insert_message(self.message, self.state, self.store)

    def take(self) -> None:
        """As the executor's task does before it works."""
        assert self.state.claim_task(self.task)
        assert self.state.activate_task(self.task)
        self.state.get_messages_legacy(run_ids=[RUN], is_reply=False)

    def answer(self, *, whole: bool = True) -> str:
        reply = Message(RecordDict({"a": ConfigRecord({"n": 1})}), reply_to=self.message)
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            self.state.store_message(reply)
            self.store.preregister(RUN, get_object_tree(reply))
            for number, part in get_all_nested_objects(reply).items():
                if whole or number == reply.object_id:
                    self.store.put(number, part.deflate())
        return str(reply.metadata.message_id)

    def wait(self) -> list[Message]:
        wait_for_answer(self.state, self.store, _insert_message)
        return list(self.state.get_messages_legacy(is_reply=True))

    def finish(self, sub_status: str = SubStatus.FAILED) -> None:
        self.state.finish_task(self.task, sub_status, "")


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_whole_answer_is_sent_as_it_is(node: Node) -> None:
    node.take()
    number = node.answer()
    node.finish(SubStatus.COMPLETED)
    (reply,) = node.wait()
    assert reply.metadata.message_id == number
    assert not reply.has_error()


def test_an_answer_is_awaited_as_long_as_there_is_work_on_it(node: Node) -> None:
    node.take()
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(node.wait()))
    waiting.start()
    node.answer()
    waiting.join(0.5)
    assert waiting.is_alive()  # the parts of an answer may still come
    node.finish(SubStatus.COMPLETED)
    waiting.join(5)
    assert len(got) == 1


@pytest.mark.parametrize("taken", [False, True])
def test_work_that_ended_without_an_answer_is_answered_by_a_number(node: Node, taken: bool) -> None:
    if taken:
        node.take()
    node.finish()
    (reply,) = node.wait()
    assert reply.error.reason == "FEDMVI-723"
    assert reply.metadata.reply_to_message_id == node.message.metadata.message_id


def test_an_answer_of_which_a_part_is_missing_is_not_sent(node: Node) -> None:
    node.take()
    part = node.answer(whole=False)
    node.finish()
    (reply,) = node.wait()
    assert reply.error.reason == "FEDMVI-723"
    assert reply.metadata.message_id != part
    assert part not in node.state.msg_store


def test_work_of_which_nothing_is_heard_any_more_is_given_up(node: Node) -> None:
    node.take()
    for record in node.state.task_token_store.values():
        record.active_until = now() - timedelta(seconds=1)
    began = time.monotonic()
    (reply,) = node.wait()
    assert reply.has_error()
    assert time.monotonic() - began < 5


def test_a_message_whose_run_was_stopped_while_it_came_in_leaves_nothing_to_work_on(node: Node) -> None:
    forget_half_received(node.state, node.store)
    assert not node.state.msg_store
    assert node.state.claim_task(node.task) is None
