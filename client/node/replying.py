"""client/node: the node's wait for an answer, out of which it comes whatever happens to the work on a message.

Flower's own loop waits for ever for an answer whose maker has died, and with it every later message of the hospital; or
it sends an answer of which a part is missing, for which the server waits. Of a message, too, a part may be missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode, Status, SubStatus
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.object_store import NoObjectInStoreError, ObjectStore
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from common.errors import FedmviError
from common.flower.pace import Pace

QUICKEST_SECONDS = 0.01
SLOWEST_SECONDS = 0.25
UNFINISHED = (Status.PENDING, Status.STARTING, Status.RUNNING)


def wait_for_answer(
    state: InMemoryNodeState, store: ObjectStore, insert: Callable[[Message, Any, ObjectStore], None]
) -> None:
    """Wait until the work on the message has ended; where it left no whole answer, answer with error 723.

    Flower counts work as ended when it says so, or when nothing was heard of it for a minute.

    Parameters
    ----------
    state, store
        The node's memory.
    insert
        Flower's way to put an answer there.
    """
    tasks = [task.task_id for task in state.get_tasks(statuses=UNFINISHED)]
    pace = Pace(QUICKEST_SECONDS, SLOWEST_SECONDS)
    while state.get_tasks(task_ids=tasks, statuses=UNFINISHED):
        time.sleep(pace.seconds())
    messages = [entry.message for entry in list(state.msg_store.values())]
    answered = set()
    for answer in messages:
        asked = answer.metadata.reply_to_message_id
        if asked and _is_whole(answer, store):
            answered.add(asked)
        elif asked:
            state.delete_messages(message_ids=[answer.metadata.message_id])
            store.delete(answer.metadata.message_id)
    for message in messages:
        if not message.metadata.reply_to_message_id and message.metadata.message_id not in answered:
            lost = Error(ErrorCode.CLIENT_APP_CRASHED, FedmviError(723).code)
            insert(Message(lost, reply_to=message), state, store)


def forget_half_received(state: InMemoryNodeState, store: ObjectStore) -> None:
    """Forget a message whose run was stopped while it was being received.

    Flower leaves the message and a task for it, which would occupy the executor with waiting for the missing parts.
    """
    if not state.msg_store:
        return
    for task in state.get_tasks(statuses=UNFINISHED):
        state.finish_task(task.task_id, SubStatus.FAILED, "")
    numbers = list(state.msg_store)
    state.delete_messages(message_ids=numbers)
    for number in numbers:
        store.delete(number)


def _is_whole(answer: Message, store: ObjectStore) -> bool:
    """Whether all parts of an answer have arrived in the node."""
    try:
        parts = iterate_object_tree(store.get_object_tree(answer.metadata.message_id))
        return all(store.get(part.object_id) for part in parts)
    except NoObjectInStoreError:
        return False
