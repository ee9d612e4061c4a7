"""simulation: Flower's simulation engine, which here looks at each message on its way once, not once for every site.

Flower's own asks every node ten times a second whether there is a message for it, and goes through all messages on
their way each time: with 1,000 sites that is more work than everything else the server does. Here those nodes alone are
asked for which a message lies there, so that the work for a message does not depend on how many sites there are.

The SuperLink's executor starts the engine by the bare name `flwr-simulation`, so a command of that name comes first in
the `PATH` of a run.
"""

from __future__ import annotations

import logging
import shlex
import sys
import threading
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

from common.errors import FedmviError
from common.flower.replacing import PrivateName, refuse_other_flower
from common.terminal import EXIT_ERROR

if TYPE_CHECKING:
    from flwr.app import Message
    from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState

COMMAND, MODULE = "flwr-simulation", "simulation.engine"
HAND_OUT = PrivateName(
    "flwr.server.superlink.fleet.vce.vce_api", "add_messages_to_queue", ("state", "queue", "nodes_mapping", "f_stop")
)
"""Flower's function that takes messages out of its state and gives them to the workers."""
LOOK_SECONDS = 0.02
"""How often: the engine looks, and the ServerApp is in the same process, so that a look costs a few microseconds."""

_OURS = ("common", "simulation")


def write_command(folder: Path) -> None:
    """Put the command that starts this engine into a folder, which is made; it is run by this interpreter.

    The interpreter gets no folder to import from but those that it has: not that in which the run works.
    """
    folder.mkdir(parents=True)
    command = folder / COMMAND
    # Not by the interpreter's path behind `#!`, which has no room for long paths and none for a space in them.
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m {MODULE} "$@"\n', encoding="utf-8")
    command.chmod(0o700)


def hand_out(
    state: InMemoryLinkState, queue: Queue[Message], nodes_mapping: dict[int, int], f_stop: threading.Event
) -> None:
    """In place of Flower's function: give each message to the workers once, in the order in which they came.

    Parameters
    ----------
    state
        Flower's, in memory, as it always is in a simulation.
    queue
        From which the workers take.
    nodes_mapping
        The nodes that this engine answers for; messages to others are left alone.
    f_stop
        Set when the run ends.
    """
    while not f_stop.is_set():
        for node in waiting(state):
            if node in nodes_mapping:
                for message in state.get_message_ins(node_id=node, limit=1):
                    queue.put(message)
        f_stop.wait(LOOK_SECONDS)


def waiting(state: InMemoryLinkState) -> list[int]:
    """The nodes for which a message lies there that was not handed out, each once, that of the oldest message first."""
    with state.lock:
        stored = [message.metadata for message in state.message_ins_store.values()]
    return list(dict.fromkeys(each.dst_node_id for each in stored if not each.delivered_at))


def main() -> None:
    """Be Flower's command `flwr-simulation`, with its arguments."""
    refuse_other_flower([HAND_OUT])
    HAND_OUT.put(hand_out)
    # Flower goes by the name of the program; and the ServerApp shall import the bundle's modules, not those of here.
    sys.argv[0] = COMMAND
    for name in [name for name in sys.modules if name.split(".")[0] in _OURS]:
        del sys.modules[name]
    from flwr.simulation.app import flwr_simulation

    flwr_simulation()


if __name__ == "__main__":
    try:
        main()
    except FedmviError as error:
        logging.basicConfig()
        logging.getLogger("fedmvi").error("%s", error)
        sys.exit(EXIT_ERROR)
