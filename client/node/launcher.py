"""client/node: the node: Flower's SuperNode in this process, with what it has no setting for replaced.

Replaced are its sleeps, which make up most of the time of an exchange; the client of its connection, which must show
the site's certificate; the reading of the bundle's settings, which nobody here needs; and the kind of work that a
message becomes, which is always a message for this site's executor, whatever kind of app the run says that it is.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from flwr.supercore.constant import TaskType
from flwr.supercore.object_store import ObjectStore
from flwr.supernode import start_client_internal as loop
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from client.cohort.site import load_site
from client.node.enrolment import Enrolment, load_enrolment
from client.node.fleet import EnrolledClient
from client.node.folder import Health, NodeFolder, NodeState, now
from client.node.pacing import Pacing
from client.node.replying import forget_half_received, wait_for_answer
from common.deployment.ports import free_port
from common.errors import FedmviError
from common.files import write_whole
from common.flower.parts import AT_NODE, ask_again_soon
from common.flower.replacing import PrivateName, refuse_other_flower
from common.observing.logs import LogFormat, configure
from common.terminal import EXIT_ERROR

HEARD_SECONDS = 10.0
"""How often at most it is written down that the hub answered."""

_LOOP = "flwr.supernode.start_client_internal"
TIME = PrivateName(_LOOP, "time")
PULL = PrivateName(
    _LOOP,
    "_pull_and_store_message",
    (
        *("state", "object_store", "node_config", "receive", "get_run", "get_fab"),
        *("pull_object", "confirm_message_received", "trusted_entities"),
    ),
)
PUSH = PrivateName(_LOOP, "_push_messages", ("state", "object_store", "send", "push_object"))
INSERT = PrivateName(_LOOP, "_insert_message", ("msg", "state", "store"))
CONFIG = PrivateName(_LOOP, "get_fused_config_from_fab", ("fab_file", "run"))
KINDS = PrivateName(_LOOP, "TaskType")
CLIENT = PrivateName("flwr.supernode.fleet_http_connection", "FleetHttpClient")
NAMES = (TIME, PULL, PUSH, INSERT, CONFIG, KINDS, CLIENT, AT_NODE)
"""Every private name of Flower that the node depends on."""


class _OnlyClientApps:
    """Stands for Flower's kinds of tasks where the node makes one of a message."""

    CLIENT_APP = TaskType.CLIENT_APP
    AGENT_APP = TaskType.CLIENT_APP


class _Told:
    """Keeps `store/node.json` as it is; the loop and the signs of life both tell it."""

    def __init__(self, node: NodeFolder) -> None:
        self._node = node
        earlier = node.health()
        started = earlier.started if earlier else now()
        self._health = Health(NodeState.STARTING, os.getppid(), os.getpid(), started)
        if earlier:
            self._health = replace(self._health, last_message=earlier.last_message, trouble=earlier.trouble)
        self._written = 0.0
        self._lock = Lock()

    def heard(self) -> None:
        """The hub answered."""
        if time.monotonic() - self._written >= HEARD_SECONDS or self._health.state is not NodeState.READY:
            self._tell(NodeState.READY, heard=now(), trouble="")

    def unheard(self) -> None:
        """The hub did not answer, or refused."""
        if self._health.state is NodeState.READY:
            self._tell(NodeState.AWAY)

    def mistimed(self, error: FedmviError) -> None:
        """The hub refused because of this machine's clock. Flower then ends the process, and it is started again."""
        logging.getLogger("fedmvi.site").error("%s", error)
        self._tell(self._health.state, trouble=f"{error.code}: {error.what} {error.do}")

    def message(self) -> None:
        """A message came."""
        self._tell(NodeState.READY, heard=now(), last_message=now(), trouble="")

    def _tell(self, state: NodeState, **changes: str) -> None:
        with self._lock, suppress(OSError):  # a full disk must not end the node
            self._written = time.monotonic()
            self._health = replace(self._health, state=state, **changes)  # type: ignore[arg-type]
            self._node.tell(self._health)


def prepare_flower(enrolment: Enrolment, node: NodeFolder) -> None:
    """Put ours in the place of Flower's; error 721 if this Flower is another."""
    refuse_other_flower(NAMES)
    told = _Told(node)
    pacing, pull, push = Pacing(told.heard), loop._pull_and_store_message, loop._push_messages

    def pull_and_store_message(state: InMemoryNodeState, object_store: ObjectStore, **others: Any) -> int | None:
        run = pull(state=state, object_store=object_store, **others)
        if run is None:
            forget_half_received(state, object_store)
        return run

    def push_messages(state: InMemoryNodeState, object_store: ObjectStore, send: Any, push_object: Any) -> None:
        told.message()
        wait_for_answer(state, object_store, loop._insert_message)
        push(state, object_store, send, push_object)
        pacing.answered()

    EnrolledClient.tls, EnrolledClient.remembered = enrolment.tls(), node.connected
    EnrolledClient.heard, EnrolledClient.unheard = told.heard, told.unheard
    EnrolledClient.mistimed = told.mistimed
    TIME.put(pacing)
    PULL.put(pull_and_store_message)
    PUSH.put(push_messages)
    # Nothing here reads a run's settings, so the delivered archive is not even opened in this process.
    CONFIG.put(lambda _fab_file, _run: {})
    KINDS.put(_OnlyClientApps)
    CLIENT.put(EnrolledClient)
    ask_again_soon(AT_NODE)


def supernode_arguments(enrolment: Enrolment, node: NodeFolder, port: int) -> list[str]:
    """The SuperNode's command line; no secret is in it."""
    return [
        *("flower-supernode", "--superlink", f"{enrolment.host}:{enrolment.port}"),
        *("--root-certificates", str(enrolment.ca)),
        *("--auth-supernode-private-key", str(enrolment.node_key)),
        *("--isolation", "process", "--superexec-auth-secret-file", str(node.secret)),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]


def main(folder: Path, style: LogFormat) -> None:
    """Run the node of the site in `folder` until it is told to end."""
    site = load_site(folder)
    node = NodeFolder(site)
    configure(style, node.local_log, part="node", site=site.name)
    enrolment = load_enrolment(site)
    port = free_port()
    prepare_flower(enrolment, node)
    write_whole(node.address, f"127.0.0.1:{port}".encode())
    # Flower's command reads its arguments from there.
    sys.argv = supernode_arguments(enrolment, node, port)
    flower_supernode()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), LogFormat(sys.argv[2]))
    except FedmviError as error:
        logging.getLogger("fedmvi.site").critical("%s", error)
        raise SystemExit(EXIT_ERROR) from error
