"""The question by which a node key is tested is understood by a real SuperLink, and changes nothing there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.node.connection import State, connect
from client.node.enrolment import Enrolment, load_enrolment
from common.flower.environment import flower_environment
from server.hub.folder import Hub
from tests.consortium_kits import Kits, provisioned, site_at

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return provisioned(tmp_path_factory.mktemp("consortium"), ("hospital-a",), superlink_port=port)


@pytest.fixture(scope="module")
def environment(kits: Kits) -> dict[str, str]:
    return flower_environment(kits.folder.parent / "home")


@pytest.fixture(scope="module")
def hub(kits: Kits, environment: dict[str, str]) -> Iterator[Hub]:
    """A SuperLink with TLS and node authentication; no proxy, so nobody asks for the site's certificate."""
    hub = kits.install(kits.folder.parent / "hub")
    command = [
        *(str(BIN / "flower-superlink"), "--host", "127.0.0.1", "--port", str(hub.superlink_port)),
        *("--ssl-ca-certfile", str(hub.ca), "--ssl-certfile", str(hub.server_certificate)),
        *("--ssl-keyfile", str(hub.server_key), "--enable-supernode-auth", "--isolation", "process"),
    ]
    (Path(environment["FLWR_HOME"]) / "config.toml").write_text(
        f'[superlink]\ndefault = "hub"\n[superlink.hub]\naddress = "127.0.0.1:{hub.superlink_port}"\n'
        f'root-certificates = "{hub.ca}"\n'
    )
    with (hub.folder / "superlink.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=hub.folder)
    try:
        limit = time.monotonic() + 60
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", hub.superlink_port)):
                assert process.poll() is None and time.monotonic() < limit, (hub.folder / "superlink.log").read_text()
                time.sleep(0.1)
        yield hub
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def enrolment(kits: Kits, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Enrolment:
    site = site_at(tmp_path_factory.mktemp("site") / "a", "hospital-a")
    kits.enrol(site)
    return load_enrolment(site).model_copy(update={"port": hub.superlink_port})


def flower(environment: dict[str, str], *arguments: str) -> dict:
    done = subprocess.run(
        [str(BIN / "flwr"), "supernode", *arguments, "--format", "json"],
        env=environment, cwd=environment["FLWR_HOME"], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["success"], answer
    return answer


def test_a_key_is_told_apart_from_one_that_is_registered_and_no_node_is_activated_by_asking(
    hub: Hub, enrolment: Enrolment, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    unknown = {step.name: step for step in connect(enrolment)}
    assert unknown["Flower"].state is State.PASSED
    assert unknown["node key"].error is not None
    assert unknown["node key"].error.number == 777
    flower(environment, "register", str(hub.site_keys["hospital-a"]), "hub", "--name", "hospital-a")
    for _ in range(2):
        assert not [step for step in connect(enrolment) if step.state in (State.FAILED, State.NOT_TRIED)]
    (node,) = flower(environment, "list", "hub")["nodes"]
    assert (node["status"], node["online-at"]) == ("registered", "N/A")
