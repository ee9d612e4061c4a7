"""deploy: the shipped reverse proxy lets nodes reach the Fleet API and nothing else."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin")
SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx.conf"
PUBLIC, SUPERLINK = "0.0.0.0:9443", "127.0.0.1:8000"
MEBIBYTE = 2**20

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")


class SuperLink(ThreadingHTTPServer):
    """Stands for the SuperLink: notes the paths it is asked for, and answers with the size of what it was sent."""

    paths: list[str]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # every other method is stopped by the proxy
        length = int(self.headers.get("Content-Length", 0))
        answer = str(len(self.rfile.read(length))).encode()
        self.server.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def make_certificate(folder: Path) -> None:
    """One certificate that is authority and server in one."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "ca.crt").write_bytes(pem)
    (folder / "server.crt").write_bytes(pem)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(key.private_bytes(*form))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proxy")
    make_certificate(folder / "tls")
    return folder


@pytest.fixture(scope="module")
def superlink(folder: Path) -> Iterator[SuperLink]:
    server = SuperLink(("127.0.0.1", 0), Handler)
    server.paths = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "tls" / "server.crt", folder / "tls" / "server.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def proxy(folder: Path, superlink: SuperLink) -> Iterator[int]:
    """The port of the shipped proxy; only its two addresses are changed."""
    port = free_port()
    text = SHIPPED.read_text(encoding="utf-8")
    for shipped, here in ((PUBLIC, f"127.0.0.1:{port}"), (SUPERLINK, f"127.0.0.1:{superlink.server_port}")):
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    process = subprocess.Popen([*nginx(folder), "-g", "daemon off;"], stderr=(folder / "nginx.log").open("wb"))
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "nginx.log").read_text(encoding="utf-8")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def nginx(folder: Path) -> list[str]:
    return [NGINX or "nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def ask(folder: Path, port: int, path: str, method: str = "POST", body: bytes = b"") -> tuple[int, bytes]:
    """A request with the path exactly as given."""
    trusted = ssl.create_default_context(cafile=str(folder / "tls" / "ca.crt"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusted, timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_nginx_finds_no_fault_in_the_shipped_file(folder: Path):
    shutil.copyfile(SHIPPED, folder / "shipped.conf")
    command = [*nginx(folder)[:-1], str(folder / "shipped.conf"), "-t"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_a_node_reaches_the_fleet_api(folder: Path, proxy: int, superlink: SuperLink):
    assert ask(folder, proxy, "/v1/fleet/pull-messages", body=b"12345") == (200, b"5")
    assert superlink.paths[-1] == "/v1/fleet/pull-messages"


def test_a_message_larger_than_nginx_allows_by_default_passes(folder: Path, proxy: int):
    assert ask(folder, proxy, "/v1/fleet/push-object", body=bytes(20 * MEBIBYTE)) == (200, str(20 * MEBIBYTE).encode())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/control/list-runs",
        "/v1/runtime/acquire-task",
        "/v1/fleet",
        "/v1/fleetx/pull-messages",
        "/V1/FLEET/pull-messages",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs",
        "/v1/fleet/x%2f..%2f..%2fcontrol/list-runs",
        "/v1/fleet/..%2fcontrol/list-runs",
        "//v1//fleet//..//control/list-runs",
    ],
)
def test_nothing_else_is_reached_not_even_by_tricks_with_the_path(
    folder: Path, proxy: int, superlink: SuperLink, path: str
):
    before = len(superlink.paths)
    status, _ = ask(folder, proxy, path)
    assert status in (301, 403)
    assert len(superlink.paths) == before


@pytest.mark.parametrize(
    "path", ["/v1/control/../fleet/pull-messages", "/v1/control/%2e%2e/fleet/pull-messages", "//v1/fleet/pull-messages"]
)
def test_a_path_that_leads_to_the_fleet_api_by_a_detour_arrives_without_the_detour(
    folder: Path, proxy: int, superlink: SuperLink, path: str
):
    assert ask(folder, proxy, path)[0] == 200
    assert superlink.paths[-1] == "/v1/fleet/pull-messages"


def test_nodes_only_post(folder: Path, proxy: int, superlink: SuperLink):
    before = len(superlink.paths)
    assert [ask(folder, proxy, "/v1/fleet/pull-messages", method)[0] for method in ("GET", "PUT", "DELETE")] == [
        403
    ] * 3
    assert len(superlink.paths) == before
