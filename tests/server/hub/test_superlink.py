"""server/hub: the SuperLink's state is in memory, and its nodes outlive it."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.superlink.federation import NoOpFederationManager

from server.hub.superlink import HubState, make_state

OWNER, SECONDS = "owner", 30.0


def state_of(database: Path) -> LinkState:
    """The state of a SuperLink that has just started."""
    return make_state(str(database), NoOpFederationManager())[1].state()


def registered(state: LinkState, *sites: str) -> list[int]:
    return [state.create_node(OWNER, OWNER, f"key of {site}".encode(), 0, name=site) for site in sites]


def test_what_is_asked_at_every_request_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(tmp_path / "superlink.db")
    (number,) = registered(state, "a")
    state.activate_node(number, SECONDS)
    assert isinstance(state, HubState) and isinstance(state.object_store, InMemoryObjectStore)
    monkeypatch.setattr(state._disk, "session", None)
    assert state.get_node_id_by_public_key(b"key of a") == number
    assert state.get_message_ins(number, 1) == []
    assert [node.status for node in state.get_node_info()] == ["online"]
    assert state.federation_manager.linkstate is state


def test_nodes_are_known_again_by_their_numbers_after_the_superlinks_death(tmp_path: Path) -> None:
    before = state_of(tmp_path / "superlink.db")
    there, away, never = registered(before, "there", "away", "never")
    assert before.activate_node(there, SECONDS) and before.activate_node(away, SECONDS)
    assert before.deactivate_node(away)
    after = state_of(tmp_path / "superlink.db")
    assert {node.name: (node.node_id, node.status) for node in after.get_node_info()} == {
        "there": (there, "online"), "away": (away, "offline"), "never": (never, "registered")
    }  # fmt: skip
    assert [after.acknowledge_node_heartbeat(number, SECONDS) for number in (there, away, never)] == [True] * 3
    assert not after.activate_node(there, SECONDS), "it is there already"
    assert after.get_node_id_by_public_key(b"key of away") == away


def test_a_node_that_is_shut_out_is_out_at_once_and_for_ever(tmp_path: Path) -> None:
    state = state_of(tmp_path / "superlink.db")
    sites = ("seen", "never seen")
    numbers = registered(state, *sites)
    assert state.activate_node(numbers[0], SECONDS)
    for number in numbers:
        state.delete_node(OWNER, number)
    for life in (state, state_of(tmp_path / "superlink.db")):
        for number, site in zip(numbers, sites, strict=True):
            assert life.get_node_id_by_public_key(f"key of {site}".encode()) is None
            assert not life.acknowledge_node_heartbeat(number, SECONDS) and not life.activate_node(number, SECONDS)
            with pytest.raises(ValueError, match="already in use"):
                registered(life, site)
