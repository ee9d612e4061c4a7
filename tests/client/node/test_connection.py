"""Each way in which the connection to the hub can fail is told by its own number, against a real TLS server."""

from __future__ import annotations

import json
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from client.cli import app
from client.cohort.site import Site
from client.node.connection import State, Step, connect
from client.node.enrolment import Enrolment, load_enrolment
from common.deployment.certificates import load_certificate
from common.deployment.fields import today
from common.deployment.versions import HEADER, Versions, installed_versions
from server.provision import certificates
from server.provision.certificates import Issuer, key_pem, load_key, new_key
from tests.consortium_kits import Kits, provisioned, site_at

REGISTERED = json.dumps({"code": 2003, "detail": "Invalid heartbeat interval."}).encode()
UNKNOWN = json.dumps({"code": 2004, "detail": "Failed to activate SuperNode."}).encode()
NGINX_REFUSES = b"<html><head><title>400 The SSL certificate error</title></head><body>400</body></html>"


class Hub(ThreadingHTTPServer):
    """Stands in for proxy and Flower: one prepared answer, and the headers of what came."""

    answer: tuple[int, bytes] = (400, REGISTERED)
    ahead = 0.0
    versions = ""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext) -> None:
        super().__init__(address, _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.tls = tls

    def finish_request(self, request: socket.socket, client_address: object) -> None:
        with self.tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that gave up


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers.items())))
        status, body = self.server.answer
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.server.ahead, usegmt=True))
        if self.server.versions:
            self.send_header(HEADER, self.server.versions)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return provisioned(tmp_path_factory.mktemp("consortium"))


@pytest.fixture(scope="module")
def site(kits: Kits, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = site_at(tmp_path_factory.mktemp("site") / "a", "hospital-a")
    kits.enrol(site)
    return site


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def server_tls(kits: Kits, folder: Path, *, clients: bytes = b"", **changes: object) -> ssl.SSLContext:
    """The hub's side of TLS; with `clients` it admits certificates of that authority only."""
    files = kits.files("hub")
    certificate, key = changes.get("certificate", files["tls/server.crt"]), changes.get("key", files["tls/server.key"])
    (folder / "server.pem").write_bytes(certificate + key)  # type: ignore[operator]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    if clients:
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(cadata=clients.decode())
    return tls


@contextmanager
def running(tls: ssl.SSLContext, host: str = "127.0.0.1") -> Iterator[Hub]:
    hub = Hub((host, 0), tls)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


@pytest.fixture
def hub(kits: Kits, tmp_path: Path) -> Iterator[Hub]:
    with running(server_tls(kits, tmp_path, clients=kits.files("hub")["tls/ca.crt"])) as hub:
        yield hub


def to(site: Site, port: int, host: str = "127.0.0.1") -> Enrolment:
    return load_enrolment(site).model_copy(update={"host": host, "port": port})


def failed(steps: list[Step]) -> tuple[str, int]:
    """Step and number of the one failure; what comes after it was not tried."""
    at = next(i for i, step in enumerate(steps) if step.state is State.FAILED)
    assert all(step.state in (State.PASSED, State.NOTED) for step in steps[:at])
    assert all(step.state is State.NOT_TRIED for step in steps[at + 1 :])
    assert len(steps) == 9
    error = steps[at].error
    assert error is not None
    assert error.do
    assert "<" not in error.what + error.do
    return steps[at].name, error.number


def test_every_step_passes_at_a_sound_hub_and_nothing_is_left_there(site: Site, hub: Hub) -> None:
    hub.versions = installed_versions().header()
    steps = list(connect(to(site, hub.server_port)))
    assert [step.state for step in steps] == [State.PASSED] * 9, steps
    ((path, headers),) = hub.asked
    assert path == "/v1/fleet/activate-node"
    assert {"flwr-public-key", "flwr-signature", "flwr-timestamp"} <= {name.lower() for name in headers} | {
        "flwr-timestamp"
    }


def test_a_name_that_nobody_knows(site: Site) -> None:
    assert failed(list(connect(to(site, 9443, "hub.invalid")))) == ("name", 770)


def test_a_port_where_nobody_listens(site: Site) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert failed(list(connect(to(site, port)))) == ("port", 771)


def test_a_hub_of_another_authority(site: Site, tmp_path: Path) -> None:
    with running(server_tls(provisioned(tmp_path / "other"), tmp_path)) as hub:
        assert failed(list(connect(to(site, hub.server_port)))) == ("certificate of the hub", 772)
        assert hub.asked == []


def test_a_hub_without_tls(site: Site) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:
        thread = threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        plain.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign, assignment]
        assert failed(list(connect(to(site, plain.server_port)))) == ("certificate of the hub", 772)
        plain.shutdown()
        thread.join()


def test_a_hub_by_a_name_that_its_certificate_does_not_have(kits: Kits, site: Site, tmp_path: Path) -> None:
    with running(server_tls(kits, tmp_path), "127.0.0.2") as hub:
        assert failed(list(connect(to(site, hub.server_port, "127.0.0.2")))) == ("certificate of the hub", 773)


@pytest.mark.parametrize("expires", [today() - timedelta(days=1), today()])
def test_a_hub_whose_certificate_has_expired(
    kits: Kits, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expires: object
) -> None:
    monkeypatch.setattr(certificates, "_BEFORE", timedelta(days=30))
    authority, key = kits.folder / "authority", new_key()
    issuer = Issuer(
        load_key((authority / "ca.key").read_bytes()), load_certificate((authority / "ca.crt").read_bytes())
    )
    made = issuer.server(key.public_key(), "Test consortium", ["127.0.0.1"], expires)  # type: ignore[arg-type]
    tls = server_tls(kits, tmp_path, certificate=made.public_bytes(Encoding.PEM), key=key_pem(key))
    with running(tls) as hub:
        assert failed(list(connect(to(site, hub.server_port)))) == ("certificate of the hub", 774)


def test_a_hub_that_does_not_admit_the_sites_certificate(kits: Kits, site: Site, tmp_path: Path) -> None:
    stranger = provisioned(tmp_path / "other").files("hub")["tls/ca.crt"]
    with running(server_tls(kits, tmp_path, clients=stranger)) as hub:
        assert failed(list(connect(to(site, hub.server_port)))) == ("certificate of the site", 775)
        assert hub.asked == []


def test_a_proxy_that_says_that_the_sites_certificate_is_revoked(site: Site, hub: Hub) -> None:
    hub.answer = (400, NGINX_REFUSES)
    assert failed(list(connect(to(site, hub.server_port)))) == ("certificate of the site", 775)


@pytest.mark.parametrize(
    ("status", "body"), [(502, b"Bad Gateway"), (403, b""), (404, b"{}"), (200, b""), (500, REGISTERED[:9])]
)
def test_a_proxy_without_flower_behind_it(site: Site, hub: Hub, status: int, body: bytes) -> None:
    hub.answer = (status, body)
    assert failed(list(connect(to(site, hub.server_port)))) == ("Flower", 776)


@pytest.mark.parametrize("answer", [(412, UNKNOWN), (401, b'{"detail": "Invalid SuperNode authentication"}')])
def test_a_node_key_that_the_hub_does_not_know(site: Site, hub: Hub, answer: tuple[int, bytes]) -> None:
    hub.answer = answer
    assert failed(list(connect(to(site, hub.server_port)))) == ("node key", 777)


@pytest.mark.parametrize(("hub_ahead", "words"), [(-30, "30 s ahead of"), (-7, "7 s ahead of"), (600, "600 s behind")])
def test_a_clock_that_flower_would_not_accept(site: Site, hub: Hub, hub_ahead: float, words: str) -> None:
    hub.ahead = hub_ahead
    hub.answer = (401, b'{"detail": "Invalid SuperNode authentication"}')
    steps = list(connect(to(site, hub.server_port)))
    assert failed(steps) == ("clock", 778)
    seconds = int(words.split(maxsplit=1)[0])
    told = next(step.words for step in steps if step.state is State.FAILED)
    assert any(f"{n} s {words.split(maxsplit=2)[2]}" in told for n in (seconds - 1, seconds, seconds + 1)), told


@pytest.mark.parametrize(
    ("hub_ahead", "state"), [(0, State.PASSED), (60, State.PASSED), (-4, State.NOTED), (200, State.NOTED)]
)
def test_a_clock_that_flower_accepts(site: Site, hub: Hub, hub_ahead: float, state: State) -> None:
    hub.ahead = hub_ahead
    assert next(s.state for s in connect(to(site, hub.server_port)) if s.name == "clock") is state


def test_another_version_of_flower_fails_and_other_code_is_noted(site: Site, hub: Hub) -> None:
    here = installed_versions()
    hub.versions = Versions(here.fedmvi, "1.39.0", here.code).header()
    assert failed(list(connect(to(site, hub.server_port)))) == ("versions", 779)
    hub.versions = Versions("0.0.1", here.flower, "0" * 64).header()
    last = list(connect(to(site, hub.server_port)))[-1]
    assert (last.state, "0.0.1" in last.words) == (State.NOTED, True)
    for header in ("", "x" * 5000, "fedmvi=1 flower=2"):
        hub.versions = header
        assert list(connect(to(site, hub.server_port)))[-1].state is State.NOTED


class Tunnel(threading.Thread):
    """A hospital's proxy for connections out: one CONNECT, answered with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(daemon=True)
        self.status, self.request = status, ""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        with self.listener, self.listener.accept()[0] as inside:
            while "\r\n\r\n" not in self.request:
                self.request += inside.recv(4096).decode()
            inside.sendall(f"HTTP/1.1 {self.status} x\r\n\r\n".encode())
            if self.status != 200:
                return
            host, port = self.request.split()[1].rsplit(":", 1)
            with socket.create_connection((host, int(port))) as outside:
                pairs = {inside: outside, outside: inside}
                while True:
                    for ready in select.select(list(pairs), [], [], 10)[0]:
                        content = ready.recv(65536)
                        if not content:
                            return
                        pairs[ready].sendall(content)


def test_the_way_leads_through_the_hospitals_proxy(site: Site, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    tunnel = Tunnel(200)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:hidden@127.0.0.1:{tunnel.port}")
    steps = list(connect(to(site, hub.server_port)))
    tunnel.join(10)
    assert [step.state for step in steps[:8]] == [State.NOTED] + [State.PASSED] * 7
    assert tunnel.request.startswith(f"CONNECT 127.0.0.1:{hub.server_port}")
    assert "Proxy-Authorization: Basic dXNlcjpoaWRkZW4=" in tunnel.request
    assert "hidden" not in repr(steps)


def test_a_proxy_that_refuses_and_a_proxy_that_is_avoided(
    site: Site, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = Tunnel(403)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{tunnel.port}")
    steps = list(connect(to(site, hub.server_port)))
    assert failed(steps) == ("port", 771)
    assert steps[0].state is State.NOTED
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    first = next(connect(to(site, hub.server_port)))
    assert (first.state, "NO_PROXY" in first.words) == (State.PASSED, True)


def test_the_command_ends_with_1_and_the_number_when_a_step_fails(site: Site, hub: Hub) -> None:
    path = site.folder / "enrolment" / "enrolment.toml"
    before = path.read_text()
    path.write_text(before.replace("port = 9443", f"port = {hub.server_port}"))
    try:
        arguments = ["connect", "--site", str(site.folder)]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        hub.answer = (412, UNKNOWN)
        done, described = CliRunner().invoke(app, arguments), CliRunner().invoke(app, [*arguments, "--json"])
    finally:
        path.write_text(before)
    assert (done.exit_code, "FEDMVI-777" in done.output) == (1, True)
    assert (described.exit_code, json.loads(described.output)["passed"]) == (1, False)
    assert [s["number"] for s in json.loads(described.output)["steps"] if s["state"] == "failed"] == [777]
