"""server/hub: the SuperLink: Flower's in this process, with messages in memory and its nodes on disk.

With a database Flower asks it some hundred times a message, which is most of the SuperLink's work, and keeps nothing by
it that outlives the SuperLink: its end breaks the run's connection, and the steward hands the run in again, which asks
again for what was under way. What must outlive it are the nodes: a site that is not known any more would be refused.
So everything is in Flower's state in memory, but whatever changes a node goes through Flower's database.

And no hospital answers in another's name. Flower looks at whose key has signed a request, and, of an answer, at whether
the node that it names was asked; not at whether these two are one. Whoever knew the number of another's message, which
is a hash of what only that hospital is sent, could have answered it first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import HTTPException, status
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.server.superlink.linkstate import LinkState, LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.supercore.object_store import ObjectStore, ObjectStoreFactory
from flwr.superlink.cli.flower_superlink import flower_superlink
from flwr.superlink.federation import FederationManager

from common.errors import FedmviError
from common.flower.replacing import PrivateName, refuse_other_flower
from common.terminal import EXIT_ERROR

MAKE_STATE = PrivateName(
    "flwr.superlink.main", "get_objectstore_linkstate_factories", ("database", "federation_manager")
)
"""Flower's function that makes the state of what `--database` says."""

PUSH = PrivateName("flwr.superlink.servicer.fleet.fleet_handlers", "push_messages", ("request", "state"))
"""Flower's function that takes an answer of a node that is authenticated."""


class HubState(InMemoryLinkState):
    """Flower's state in memory, with the nodes of a database.

    Parameters
    ----------
    federation_manager, objects
        As Flower makes them.
    disk
        Where nodes are kept, initialised. What else it could keep is not put in.
    """

    def __init__(self, federation_manager: FederationManager, objects: ObjectStore, disk: SqlLinkState) -> None:
        super().__init__(federation_manager, objects)
        self._disk = disk
        self._take()

    def create_node(
        self,
        owner_aid: str,
        owner_name: str,
        public_key: bytes,
        heartbeat_interval: float,
        *,
        location: str | None = None,
        name: str | None = None,
    ) -> int:
        """Register; a key that was ever registered is a ValueError, also if its node was shut out."""
        with self.lock:
            number = self._disk.create_node(
                owner_aid, owner_name, public_key, heartbeat_interval, location=location, name=name
            )
            self._take(number)
            return number

    def delete_node(self, owner_aid: str, node_id: int) -> None:
        """Shut out: what the node asks from now on is refused."""
        with self.lock:
            self._disk.delete_node(owner_aid, node_id)
            self._take(node_id)

    def activate_node(self, node_id: int, heartbeat_interval: float) -> bool:
        """Let a node come, if it is not there already."""
        with self.lock:
            done = self._disk.activate_node(node_id, heartbeat_interval)
            self._take(node_id)
            return done

    def deactivate_node(self, node_id: int) -> bool:
        """Let a node go, if it is there."""
        with self.lock:
            done = self._disk.deactivate_node(node_id)
            self._take(node_id)
            return done

    def acknowledge_node_heartbeat(self, node_id: int, heartbeat_interval: float) -> bool:
        """Take a sign of life."""
        with self.lock:
            done = self._disk.acknowledge_node_heartbeat(node_id, heartbeat_interval)
            self._take(node_id)
            return done

    def _take(self, *node_ids: int) -> None:
        """Know nodes as they are on disk: these, or all of them."""
        for node in self._disk.get_node_info(node_ids=node_ids or None):
            self.nodes[node.node_id] = node
            self.node_public_key_to_node_id[node.public_key] = node.node_id
            self.owner_to_node_ids.setdefault(node.owner_aid, set()).add(node.node_id)


def make_state(database: str, federation_manager: FederationManager) -> tuple[ObjectStoreFactory, LinkStateFactory]:
    """In place of Flower's function: the factories with their one instance made.

    Parameters
    ----------
    database
        A file; it is made if it is absent.
    federation_manager
        Flower's; it asks the state in memory.
    """
    objects = ObjectStoreFactory()
    disk = SqlLinkState(database, federation_manager, objects.store())
    disk.initialize()
    factory = LinkStateFactory(database, federation_manager, objects)
    factory.state_instance = HubState(federation_manager, objects.store(), disk)
    return objects, factory


def of_the_sender(
    push: Callable[[PushMessagesRequest, LinkState], PushMessagesResponse],
) -> Callable[[PushMessagesRequest, LinkState], PushMessagesResponse]:
    """Flower's function for answers that are those of the node that sends them; others are refused (HTTP 403)."""

    def push_messages(request: PushMessagesRequest, state: LinkState) -> PushMessagesResponse:
        named = {message.metadata.src_node_id for message in request.messages_list}
        if named - {request.node.node_id}:
            logging.getLogger("fedmvi.hub").warning("a node sent an answer in the name of another one: it is refused")
            raise HTTPException(status.HTTP_403_FORBIDDEN, "an answer in the name of another node")
        return push(request, state)

    return push_messages


def prepare_flower() -> None:
    """Put ours in the place of Flower's; error 721 if this Flower is another."""
    refuse_other_flower([MAKE_STATE, PUSH])
    MAKE_STATE.put(make_state)
    PUSH.put(of_the_sender(PUSH.get()))


def main() -> None:
    """Be Flower's command `flower-superlink`, with its arguments."""
    prepare_flower()
    flower_superlink()


if __name__ == "__main__":
    try:
        main()
    except FedmviError as error:
        logging.getLogger("fedmvi.hub").critical("%s", error)
        raise SystemExit(EXIT_ERROR) from error
