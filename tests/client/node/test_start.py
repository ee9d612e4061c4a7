from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.cohort.site import load_site
from client.node.folder import NodeState
from client.node.status import status_of
from tests.client.node.bare_hub import BIN, BareHub, alive, error_in, wait_until


@contextmanager
def held_up(hub: BareHub, site: str) -> Iterator[None]:
    """While in here, the site's work on a message comes to no end."""
    with (load_site(hub.site(site)).store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def answers(hub: BareHub, site: str) -> bool:
    with hub.run(hub.bundle()) as run:
        return error_in(run.ask(site)) == 0


def command(hub: BareHub, site: str) -> subprocess.CompletedProcess[str]:
    start = [str(BIN / "fedmvi-site"), "start", "--site", str(hub.site(site))]
    return subprocess.run(start, capture_output=True, text=True, timeout=60, check=False)


def test_work_that_is_killed_is_answered_by_a_number_and_the_next_message_by_an_answer(hub: BareHub) -> None:
    hub.start_site("alpha")
    with hub.run(hub.bundle()) as run:
        with held_up(hub, "alpha"):
            message = run.send("alpha")
            wait_until(lambda: "task" in hub.children("alpha"), why=hub.logs)
            os.kill(hub.children("alpha")["task"], signal.SIGKILL)
            began = time.monotonic()
            assert error_in(run.await_answer(message)) == 723
        # Flower itself would have found out after a minute, or never.
        assert time.monotonic() - began < 20
        assert error_in(run.ask("alpha")) == 0


def test_an_executor_that_is_killed_comes_back(hub: BareHub) -> None:
    if "alpha" not in hub.started:
        hub.start_site("alpha")
    executor = hub.children("alpha")["executor"]
    os.kill(executor, signal.SIGKILL)
    assert answers(hub, "alpha")
    assert hub.children("alpha")["executor"] != executor


def test_a_node_that_is_killed_comes_back_sooner_than_flower_lets_it(hub: BareHub) -> None:
    hub.start_site("beta")
    node = hub.children("beta")["launcher"]
    with hub.run(hub.bundle()) as run:
        with held_up(hub, "beta"):
            lost = run.send("beta")
            wait_until(lambda: "task" in hub.children("beta"), why=hub.logs)
            os.kill(node, signal.SIGKILL)
            began = time.monotonic()
            assert run.await_answer(lost).has_error()
        hub.await_ready("beta")
        wait_until(lambda: any(each.name == "beta" for each in run.grid.get_nodes()))
        assert error_in(run.ask("beta")) == 0
        assert time.monotonic() - began < 40
    assert hub.children("beta")["launcher"] != node


def test_nothing_outlives_a_supervisor_that_is_killed_and_the_site_can_be_started_again(hub: BareHub) -> None:
    hub.start_site("gamma")
    with hub.run(hub.bundle()) as run, held_up(hub, "gamma"):
        run.send("gamma")
        wait_until(lambda: "task" in hub.children("gamma"), why=hub.logs)
        parts = hub.children("gamma")
        assert set(parts) == {"launcher", "executor", "task"}
        hub.started["gamma"].kill()
        hub.started.pop("gamma").wait()
        wait_until(lambda: not any(map(alive, parts.values())), 20)
    hub.start_site("gamma")
    assert answers(hub, "gamma")


def test_a_site_ends_when_it_is_told_to_and_says_so(hub: BareHub) -> None:
    hub.start_site("delta")
    parts = hub.children("delta").values()
    assert hub.stop_site("delta") == 0
    assert not any(map(alive, parts))
    health = hub.health("delta")
    assert health
    assert health.state is NodeState.STOPPED


def test_a_second_node_of_the_same_site_is_refused(hub: BareHub) -> None:
    if "alpha" not in hub.started:
        hub.start_site("alpha")
    done = command(hub, "alpha")
    assert done.returncode == 3
    assert "FEDMVI-722" in done.stderr
    assert answers(hub, "alpha")


def test_a_site_that_is_not_enrolled_is_told_what_to_do(hub: BareHub) -> None:
    folder = hub.site("stranger")
    folder.mkdir()
    (folder / "site.toml").write_text('[site]\nname = "stranger"\n')
    done = command(hub, "stranger")
    assert done.returncode == 3
    assert "FEDMVI-730" in done.stderr
    assert "What to do" in done.stderr


def test_systemd_is_told_when_the_node_is_connected(hub: BareHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # a free abstract name
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + listener.getsockname()[1:].decode())
        hub.start_site("delta", wait=False)
        assert listener.recv(100) == b"READY=1"
        assert hub.is_ready("delta")
        assert hub.stop_site("delta") == 0
        assert listener.recv(100) == b"STOPPING=1"


def test_a_node_takes_up_the_keys_of_a_new_kit_while_it_runs(hub: BareHub) -> None:
    if "beta" not in hub.started:
        hub.start_site("beta")
    node, supervisor = hub.children("beta")["launcher"], hub.started["beta"].pid
    hub.rotate("beta")  # the hub shuts the old key out
    enrol_again = [*("enrol", str(hub.folder / "kits" / "beta.kit"), "--site", str(hub.site("beta")), "--offline")]
    done = subprocess.run(
        [str(BIN / "fedmvi-site"), *enrol_again, "--passphrase-file", str(hub.folder / "beta.txt")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "takes the new keys up" in done.stdout
    wait_until(lambda: hub.children("beta").get("launcher", node) != node, why=hub.logs)
    hub.await_ready("beta")
    wait_until(lambda: answers(hub, "beta"), why=hub.logs)
    assert hub.started["beta"].pid == supervisor


def test_a_hub_that_is_gone_is_known_within_seconds_and_so_is_its_return(hub: BareHub) -> None:
    if "alpha" not in hub.started:
        hub.start_site("alpha")
    site = load_site(hub.site("alpha"))
    wait_until(lambda: status_of(site).connected, why=hub.logs)
    superlink = hub.started.pop("superlink")
    superlink.terminate()
    superlink.wait(30)
    wait_until(lambda: not status_of(site).connected, 20, hub.logs)
    assert "does not answer" in status_of(site).state
    hub.start_superlink()
    wait_until(lambda: status_of(site).connected, 90, hub.logs)


def test_secrets_of_the_node_are_for_its_owner_only_and_in_no_command_line(hub: BareHub) -> None:
    if "alpha" not in hub.started:
        hub.start_site("alpha")
    node = hub.node("alpha")
    assert node.secret.stat().st_mode & 0o777 == 0o600
    assert node.folder.stat().st_mode & 0o777 == 0o700
    for pid in hub.children("alpha").values():
        for name in ("cmdline", "environ"):
            assert node.secret.read_bytes() not in Path(f"/proc/{pid}/{name}").read_bytes()
