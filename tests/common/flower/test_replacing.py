from __future__ import annotations

import hashlib
import inspect
import time

import pytest
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError

from client.node import executor, launcher
from common.errors import FedmviError
from common.flower.parts import AT_HUB, AT_NODE, ask_again_soon
from common.flower.replacing import PrivateName, refuse_other_flower
from server.hub import superlink
from simulation import engine

SOURCES = {
    "flwr.supernode.start_client_internal.start_client_internal": "9e89a6eb68fbec68",
    "flwr.supercore.inflatable.inflatable_utils.pull_objects": "31bb2de46b450e6a",
    "flwr.supernode.start_client_internal._push_messages": "00bb86faffdec114",
    "flwr.supernode.start_client_internal._pull_and_store_message": "eaf5d0e36dc34e4c",
    "flwr.supernode.start_client_internal._insert_message": "a0c6f4605e993f04",
    "flwr.supernode.fleet_http_connection.http_request_response": "b80ca36779c2657f",
    "flwr.supernode.runtime.run_clientapp.run_clientapp": "6ce09559f3a2f5dc",
    "flwr.supernode.runtime.run_clientapp.pull_task_input": "5607a23e1673ee87",
    "flwr.supernode.runtime.run_clientapp.push_message": "07cb512c93e065a9",
    "flwr.supernode.runtime.run_clientapp.push_task_output": "9206407456e79e17",
    "flwr.superlink.main.create_app": "ee966b630c8ba8b5",
    "flwr.server.superlink.linkstate.linkstate_factory.LinkStateFactory": "9a019d15600620f0",
    "flwr.server.superlink.linkstate.in_memory_linkstate.InMemoryLinkState": "78ad01f312d1b163",
    "flwr.server.superlink.fleet.vce.vce_api.add_messages_to_queue": "953f4bd41a931a77",
}


def source_digest(path: str) -> str:
    module, _, name = path.rpartition(".")
    return hashlib.sha256(inspect.getsource(PrivateName(module, name).get()).encode()).hexdigest()[:16]


@pytest.mark.parametrize("path", SOURCES)
def test_flowers_functions_are_those_that_were_read_when_ours_were_put_in(path: str) -> None:
    """If this fails, read the function again: what we replace in it, and what we rely on, may have moved."""
    assert source_digest(path) == SOURCES[path]


def test_every_private_name_is_there() -> None:
    ours = [superlink.MAKE_STATE, superlink.PUSH, engine.HAND_OUT]
    refuse_other_flower([*launcher.NAMES, *executor.NAMES, *ours])


@pytest.mark.parametrize(
    "name",
    [
        PrivateName("flwr.supernode.start_client_internal", "_pushed_messages"),
        PrivateName("flwr.no_such_module", "name"),
        PrivateName("flwr.supernode.start_client_internal", "_push_messages", ("state", "object_store", "send")),
    ],
)
def test_a_name_that_is_gone_or_takes_other_parameters_is_found_out(name: PrivateName) -> None:
    with pytest.raises(FedmviError) as error:
        refuse_other_flower([name])
    assert error.value.number == 721
    assert name.name in error.value.local


@pytest.mark.parametrize("place", [AT_NODE, AT_HUB])
def test_a_part_that_is_not_there_yet_is_asked_for_again_within_a_fraction_of_a_second(place: PrivateName) -> None:
    missing, original = [b"part"] * 3, place.get()

    def late(_: str) -> bytes:
        if len(missing) > 1:
            missing.pop()
            raise ObjectUnavailableError("part")
        return missing[0]

    try:
        ask_again_soon(place)
        begun = time.monotonic()
        assert place.get()(["part"], late) == {"part": b"part"}
        assert time.monotonic() - begun < 0.9, "Flower alone waits for 0.8 seconds and for 1.6"
    finally:
        place.put(original)
