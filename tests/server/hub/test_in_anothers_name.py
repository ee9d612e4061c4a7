"""server/hub: a hospital that is enrolled can ask, answer and take leave in its own name only."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flwr.superlink.main as superlink
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    UnregisterNodeFleetRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from starlette.testclient import TestClient

from server.hub.superlink import MAKE_STATE, PUSH, prepare_flower

OWNER, SECONDS = "owner", 30.0
NOBODY = 77
REFUSED = {401, 403}


class Hub:
    """Flower's own routes and authentication over our state, with two hospitals, of which each has its key."""

    def __init__(self, client: TestClient, state: LinkState) -> None:
        self._client, self.state = client, state
        self.keys = {site: generate_private_key(SECP384R1()) for site in ("hostile", "victim")}
        self.numbers = {
            site: state.create_node(OWNER, OWNER, public_key_to_bytes(key.public_key()), 0, name=site)
            for site, key in self.keys.items()
        }
        for number in self.numbers.values():
            assert state.activate_node(number, SECONDS)

    def asked(self, site: str, path: str, request: Any) -> int:
        """The status of an answer to what a hospital asks, signed with its own key."""
        key, moment = self.keys[site], now().isoformat()
        headers = {
            "content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE, TIMESTAMP_HEADER: moment,
            FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public(key)).decode(),
            FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(key, moment.encode())).decode(),
        }  # fmt: skip
        return self._client.post(f"/v1/fleet/{path}", content=request.SerializeToString(), headers=headers).status_code

    def answer(self, signs: str, named: str) -> PushMessagesRequest:
        """What `signs` sends as the answer of `named`."""
        told = Message(metadata=Metadata(run_id=1, message_id="0" * 64, src_node_id=self.numbers[named]))
        return PushMessagesRequest(node=Node(node_id=self.numbers[signs]), messages_list=[told])

    @property
    def online(self) -> set[str | None]:
        return {node.name for node in self.state.get_node_info() if node.status == "online"}


def public(key: EllipticCurvePrivateKey) -> bytes:
    return public_key_to_bytes(key.public_key())


@pytest.fixture
def taken() -> list[int]:
    """By whose node number an answer was taken."""
    return []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[int]) -> Iterator[Hub]:
    def push_messages(request: PushMessagesRequest, state: LinkState) -> Any:
        taken.extend(message.metadata.src_node_id for message in request.messages_list)
        return push(request, state)

    push = PUSH.get()
    monkeypatch.setattr(f"{MAKE_STATE.module}.{MAKE_STATE.name}", MAKE_STATE.get())  # put back in the end
    monkeypatch.setattr(f"{PUSH.module}.{PUSH.name}", push_messages)
    monkeypatch.setenv("FLWR_DATABASE", str(tmp_path / "superlink.db"))
    prepare_flower()
    app = superlink.create_app()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Hub(client, app.state.linkstate_factory.state())


def test_an_answer_in_anothers_name_is_refused_and_ones_own_is_taken(hub: Hub, taken: list[int]) -> None:
    assert hub.asked("hostile", "push-messages", hub.answer("hostile", "victim")) == 403
    assert hub.asked("hostile", "push-messages", hub.answer("victim", "victim")) == 401, "it has not the other's key"
    both = hub.answer("hostile", "hostile")
    both.messages_list.extend(hub.answer("hostile", "victim").messages_list)
    assert hub.asked("hostile", "push-messages", both) == 403
    assert taken == []
    assert hub.asked("victim", "push-messages", hub.answer("victim", "victim")) not in REFUSED
    assert taken == [hub.numbers["victim"]]


def test_nobody_hears_signs_off_or_keeps_alive_another(hub: Hub) -> None:
    other, own = (Node(node_id=hub.numbers[site]) for site in ("victim", "hostile"))
    asked = {
        "pull-messages": lambda node: PullMessagesRequest(node=node),
        "send-node-heartbeat": lambda node: SendNodeHeartbeatRequest(node=node, heartbeat_interval=SECONDS),
        "deactivate-node": lambda node: DeactivateNodeRequest(node_id=node.node_id),
        "unregister-node": lambda node: UnregisterNodeFleetRequest(node_id=node.node_id),
    }
    for path, request in asked.items():
        assert hub.asked("hostile", path, request(other)) == 401, path
        assert hub.asked("hostile", path, request(Node(node_id=NOBODY))) == 401, path
    key = public(hub.keys["victim"])
    assert hub.asked("hostile", "activate-node", ActivateNodeRequest(public_key=key, heartbeat_interval=SECONDS)) == 401
    assert hub.online == {"hostile", "victim"}
    assert hub.asked("hostile", "pull-messages", asked["pull-messages"](own)) == 200, "or nothing was shown"
