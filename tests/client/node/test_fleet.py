from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest

from client.cohort.site import load_site
from client.node import fleet
from client.node.enrolment import Enrolment, load_enrolment
from client.node.fleet import EnrolledClient
from common.errors import FedmviError
from tests.client.node.bare_hub import BareHub


class Proxy(HTTPServer):
    """What stands before a hub: asks for certificates, and here answers itself."""

    def __init__(self, hub: BareHub) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(hub.hub.server_certificate, hub.hub.server_key)
        context.load_verify_locations(hub.hub.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.seen: list[tuple[str, int]] = []
        self.connected = False
        self.refuses = 0
        self.behind = 0.0


class Answers(BaseHTTPRequestHandler):
    server: Proxy

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        shown = x509.load_der_x509_certificate(self.connection.getpeercert(binary_form=True))
        name = self.path.rpartition("/")[2]
        self.server.seen.append((name, shown.serial_number))
        refused = self.server.refuses or (409 if name == "activate-node" and self.server.connected else 0)
        self.server.connected = name == "activate-node"
        self.send_response(refused or 200)
        self.end_headers()
        if not refused:
            self.wfile.write(ActivateNodeResponse(node_id=12).SerializeToString())

    def date_time_string(self, timestamp: float | None = None) -> str:
        """By the hub's clock, which may be behind."""
        return super().date_time_string((time.time() if timestamp is None else timestamp) - self.server.behind)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> BareHub:
    return BareHub(tmp_path_factory.mktemp("fleet"), ("alpha",))


@pytest.fixture
def enrolment(consortium: BareHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Enrolment:
    enrolment = load_enrolment(load_site(consortium.site("alpha")))
    monkeypatch.setattr(EnrolledClient, "tls", enrolment.tls(), raising=False)
    monkeypatch.setattr(EnrolledClient, "remembered", tmp_path / "connected.json", raising=False)
    monkeypatch.setattr(EnrolledClient, "heard", lambda: None, raising=False)
    monkeypatch.setattr(EnrolledClient, "unheard", lambda: None, raising=False)
    monkeypatch.setattr(EnrolledClient, "mistimed", lambda _: None, raising=False)
    monkeypatch.setattr(fleet, "AWAY_SECONDS", 0.01)
    return enrolment


@contextmanager
def proxy(consortium: BareHub) -> Iterator[Proxy]:
    server = Proxy(consortium)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client(server: Proxy) -> EnrolledClient:
    return EnrolledClient.from_server_address(f"127.0.0.1:{server.server_port}", False, None, [])


def test_the_node_shows_the_certificate_of_its_enrolment(consortium: BareHub, enrolment: Enrolment) -> None:
    with proxy(consortium) as server, client(server) as node:
        assert node.ActivateNode(ActivateNodeRequest()).node_id == 12
    assert server.seen == [("activate-node", int(enrolment.serial, 16))]


def test_a_hub_of_another_authority_is_not_spoken_to(
    enrolment: Enrolment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = BareHub(tmp_path_factory.mktemp("other"), ("alpha",))
    with proxy(other) as server, client(server) as node, pytest.raises(httpx.ConnectError, match="certificate"):
        node.ActivateNode(ActivateNodeRequest())
    assert server.seen == []


def test_a_node_that_was_killed_takes_its_predecessors_leave(consortium: BareHub, enrolment: Enrolment) -> None:
    with proxy(consortium) as server:
        with client(server) as node:
            node.ActivateNode(ActivateNodeRequest())
        with client(server) as node:
            node.ActivateNode(ActivateNodeRequest())
    assert [name for name, _ in server.seen][1:] == ["activate-node", "deactivate-node", "activate-node"]


def test_a_node_that_took_leave_has_no_predecessor(consortium: BareHub, enrolment: Enrolment) -> None:
    with proxy(consortium) as server, client(server) as node:
        node.ActivateNode(ActivateNodeRequest())
        node.DeactivateNode(DeactivateNodeRequest(node_id=12))
        server.connected = True
        with pytest.raises(httpx.HTTPStatusError):
            node.ActivateNode(ActivateNodeRequest())


def test_a_copy_of_the_folder_on_another_machine_does_not_drive_the_node_out(
    consortium: BareHub, enrolment: Enrolment
) -> None:
    EnrolledClient.remembered.write_text(json.dumps([12, "another-boot"]))
    with proxy(consortium) as server, client(server) as node:
        server.connected = True
        with pytest.raises(httpx.HTTPStatusError):
            node.ActivateNode(ActivateNodeRequest())
    assert [name for name, _ in server.seen] == ["activate-node"]


def test_a_sign_of_life_that_the_hub_answered_is_told(
    consortium: BareHub, enrolment: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(EnrolledClient, "heard", lambda: told.append(1))
    with proxy(consortium) as server, client(server) as node:
        node.SendNodeHeartbeat(SendNodeHeartbeatRequest())
        assert told == [1]
        server.connected = True
        with pytest.raises(httpx.HTTPStatusError):
            node.ActivateNode(ActivateNodeRequest())
    assert told == [1]


def test_a_look_for_messages_and_a_sign_of_life_that_fail_are_told(
    consortium: BareHub, enrolment: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(EnrolledClient, "heard", lambda: told.append("heard"))
    monkeypatch.setattr(EnrolledClient, "unheard", lambda: told.append("unheard"))
    with proxy(consortium) as server:
        node = client(server)
        server.refuses = 409
        with pytest.raises(httpx.HTTPStatusError):
            node.PullMessages(PullMessagesRequest())
        with pytest.raises(httpx.HTTPStatusError):
            node.SendNodeHeartbeat(SendNodeHeartbeatRequest())
    with pytest.raises(httpx.TransportError):  # nobody is there any more
        node.PullMessages(PullMessagesRequest())
    node.close()
    assert told == ["unheard"] * 3


ASKED = {
    "activate": lambda node: node.ActivateNode(ActivateNodeRequest()),
    "give a sign of life": lambda node: node.SendNodeHeartbeat(SendNodeHeartbeatRequest()),
    "look for messages": lambda node: node.PullMessages(PullMessagesRequest()),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    ("behind", "wrong"),
    [(600.0, (600, "ahead of")), (-600.0, (600, "behind")), (20.0, (20, "ahead of")), (-250.0, None), (0.0, None)],
)
def test_a_refusal_is_told_as_a_wrong_clock_where_the_clocks_differ_by_more_than_the_hub_bears(
    asked: str, behind: float, wrong: tuple[int, str] | None, consortium: BareHub, enrolment: Enrolment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[FedmviError] = []
    monkeypatch.setattr(EnrolledClient, "mistimed", told.append)
    with proxy(consortium) as server, client(server) as node:
        server.refuses, server.behind = 401, behind
        with pytest.raises(httpx.HTTPStatusError):
            ASKED[asked](node)
    assert {error.number for error in told} == ({778} if wrong else set())
    for error in told:
        assert error.facts["direction"] == wrong[1] and abs(error.facts["seconds"] - wrong[0]) <= 2


def test_other_refusals_are_not_put_down_to_the_clock(
    consortium: BareHub, enrolment: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[FedmviError] = []
    monkeypatch.setattr(EnrolledClient, "mistimed", told.append)
    with proxy(consortium) as server, client(server) as node:
        server.refuses, server.behind = 503, 600.0
        with pytest.raises(httpx.HTTPStatusError):
            node.PullMessages(PullMessagesRequest())
    assert told == []
