"""deploy: the hub's reverse proxy lets nodes with a certificate reach the Fleet API, and nobody reach anything else."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.deployment.ports import free_port
from common.errors import FedmviError
from server.hub import proxy as hub_proxy
from server.hub.folder import Hub
from server.hub.proxy import command, listens_on, render, write_configuration
from server.provision.provisioning import revoke
from tests.consortium_kits import SITES, Kits, provisioned

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin")
SHOWN = Path(__file__).parents[2] / "deploy" / "nginx.conf"
MEBIBYTE = 2**20
START_SECONDS = 20.0

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")


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


@dataclass
class Door:
    """A hub's proxy that runs, the SuperLink behind it, and the folders of those who knock."""

    hub: Hub
    kits: Kits
    superlink: SuperLink
    process: subprocess.Popen[bytes]
    certificates: dict[str, Path]

    def ask(self, path: str, method: str = "POST", body: bytes = b"", who: str = "hospital-a") -> tuple[int, bytes]:
        """A request with the path exactly as given; `who` shows a certificate, "" shows none."""
        trusted = ssl.create_default_context(cafile=str(self.hub.ca))
        if who:
            trusted.load_cert_chain(self.certificates[who] / "client.crt", self.certificates[who] / "client.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.hub.port, context=trusted, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def reached(self, who: str) -> bool:
        """Whether a request of theirs comes to the SuperLink."""
        before = len(self.superlink.paths)
        try:
            status, _ = self.ask("/v1/fleet/pull-messages", body=b"1", who=who)
        except OSError:
            status = 0
        assert (status == 200) == (len(self.superlink.paths) > before)
        return status == 200


def unpacked(kits: Kits, recipient: str, folder: Path) -> Path:
    """The files of a kit in a folder of their own."""
    for name, content in kits.files(recipient).items():
        target = folder / recipient / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder / recipient


def installed(kits: Kits, folder: Path) -> Hub:
    hub = kits.install(folder)
    (hub.state / "log").mkdir(parents=True, exist_ok=True)
    return hub


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    superlink = SuperLink(("127.0.0.1", 0), Handler)
    superlink.paths = []
    kits = provisioned(folder / "ours", port=free_port(), superlink_port=superlink.server_port)
    hub = installed(kits, folder / "hub with a space")
    certificates = {site: unpacked(kits, site, folder) for site in SITES}
    certificates["stranger"] = unpacked(provisioned(folder / "theirs", ("stranger",)), "stranger", folder)
    certificates["server"] = folder / "server"
    certificates["server"].mkdir()
    for own, shown in ((hub.server_certificate, "client.crt"), (hub.server_key, "client.key")):
        shutil.copyfile(own, certificates["server"] / shown)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(hub.server_certificate, hub.server_key)
    superlink.socket = tls.wrap_socket(superlink.socket, server_side=True)
    thread = threading.Thread(target=superlink.serve_forever, daemon=True)
    thread.start()
    write_configuration(hub)
    process = subprocess.Popen(command(hub), stderr=(folder / "nginx.log").open("wb"))
    door = Door(hub, kits, superlink, process, certificates)
    try:
        limit = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", hub.port)) == 0:
                    break
            assert process.poll() is None and time.monotonic() < limit, (folder / "nginx.log").read_text()
            time.sleep(0.1)
        yield door
    finally:
        process.terminate()
        process.wait(10)
        superlink.shutdown()
        superlink.server_close()
        thread.join()


VERSIONS = f"fedmvi=0.1.0 flower=1.41.0 code={'0123456789abcdef' * 4}"


def example() -> Hub:
    """The hub whose configuration `deploy/nginx.conf` shows."""
    dates = {"issued": date(2026, 1, 1), "expires": date(2027, 1, 1), "issue": 1, "sites": ("hospital-a",)}
    hub = Hub.model_validate({"consortium": "Example", "host": "hub.example.org", "contact": "x", **dates})
    return hub.model_copy(update={"folder": Path("/srv/fedmvi/hub")})


def test_the_file_in_deploy_is_what_a_hub_writes():
    assert SHOWN.read_text(encoding="utf-8") == render(example(), VERSIONS)


def test_a_hub_that_is_named_by_the_loopback_address_listens_there_alone():
    assert [listens_on(host) for host in ("localhost", "127.0.0.1", "127.0.0.2")] == ["127.0.0.1"] * 3
    assert listens_on("hub.example.org") == listens_on("203.0.113.5") == "0.0.0.0"


def test_without_nginx_there_is_an_error_and_no_open_superlink(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_proxy, "_PLACES", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FedmviError) as caught:
        hub_proxy.find_nginx()
    assert caught.value.number == 747


@needs_nginx
def test_a_damaged_certificate_is_told_before_anything_starts(tmp_path: Path):
    hub = installed(provisioned(tmp_path / "ours"), tmp_path / "hub")
    hub.revocations.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", encoding="utf-8")
    with pytest.raises(FedmviError) as caught:
        write_configuration(hub)
    assert caught.value.number == 748
    assert "crl.pem" in caught.value.local


@needs_nginx
def test_nginx_warns_of_nothing_in_what_a_hub_writes(door: Door):
    done = subprocess.run([*command(door.hub), "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


@needs_nginx
def test_a_node_reaches_the_fleet_api(door: Door):
    assert door.ask("/v1/fleet/pull-messages", body=b"12345") == (200, b"5")
    assert door.superlink.paths[-1] == "/v1/fleet/pull-messages"


@needs_nginx
def test_the_log_says_which_site_it_was_and_passes_over_what_nodes_ask_all_the_time(door: Door):
    assert door.ask("/v1/fleet/pull-messages", who="hospital-b")[0] == 200
    assert door.ask("/v1/fleet/activate-node", who="hospital-b")[0] == 200
    limit = time.monotonic() + START_SECONDS
    while "/v1/fleet/activate-node" not in (text := (door.hub.state / "log" / "proxy-access.log").read_text()):
        assert time.monotonic() < limit  # nginx writes after it has answered
        time.sleep(0.02)
    assert all("site=hospital-b" in line for line in text.splitlines() if "activate-node" in line)
    assert not [line for line in text.splitlines() if "pull-messages" in line and '" 200 ' in line]


@needs_nginx
def test_a_message_larger_than_nginx_allows_by_default_passes(door: Door):
    size = 20 * MEBIBYTE
    assert door.ask("/v1/fleet/push-object", body=bytes(size)) == (200, str(size).encode())


@needs_nginx
@pytest.mark.parametrize("who", ["", "stranger", "server"])
def test_without_a_certificate_for_sites_of_this_consortium_nobody_comes_in(door: Door, who: str):
    """Whoever has only the authority's certificate; a site of another consortium; the hub's own server certificate."""
    assert not door.reached(who)


@needs_nginx
def test_a_revoked_certificate_comes_in_no_more_after_a_reload_and_others_still_do(door: Door):
    assert door.reached("hospital-c")
    revoke(door.kits.folder, "hospital-c", door.kits)
    installed(door.kits, door.hub.folder)
    door.process.send_signal(1)  # SIGHUP, as the hub sends when the list has changed
    limit = time.monotonic() + START_SECONDS
    while door.reached("hospital-c"):
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert door.reached("hospital-a")


@needs_nginx
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
def test_nothing_else_is_reached_not_even_by_tricks_with_the_path(door: Door, path: str):
    before = len(door.superlink.paths)
    status, _ = door.ask(path)
    assert status in (301, 403)
    assert len(door.superlink.paths) == before


@needs_nginx
@pytest.mark.parametrize(
    "path", ["/v1/control/../fleet/pull-messages", "/v1/control/%2e%2e/fleet/pull-messages", "//v1/fleet/pull-messages"]
)
def test_a_path_that_leads_to_the_fleet_api_by_a_detour_arrives_without_the_detour(door: Door, path: str):
    assert door.ask(path)[0] == 200
    assert door.superlink.paths[-1] == "/v1/fleet/pull-messages"


@needs_nginx
def test_nodes_only_post(door: Door):
    before = len(door.superlink.paths)
    assert [door.ask("/v1/fleet/pull-messages", method)[0] for method in ("GET", "PUT", "DELETE")] == [403] * 3
    assert len(door.superlink.paths) == before
