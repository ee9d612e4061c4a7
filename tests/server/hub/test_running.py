"""A hub without a site, as real processes: it serves, queues, waits, is killed part by part, and goes on."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.runtime import RuntimeHttpClient

from common.deployment.ports import free_port
from common.flower.executor import ACQUIRE
from server.hub.control import FINISHED, Control, packed_bundle
from server.hub.executor import SERVER_APP
from server.hub.orders import HubRun, State, run_named, submit
from server.hub.status import health_of
from server.provision.provisioning import revoke, rotate
from server.study.action import Action
from tests.consortium_kits import Kits, provisioned
from tests.server.hub.running import RunningHub, wait_for
from tests.server.hub.test_orders import STUDY, written

pytestmark = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin") is None,
    reason="nginx is not installed (Debian: nginx-light)",
)
PARTS = ("steward", "proxy", "executor", "superlink")


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return provisioned(tmp_path_factory.mktemp("kits"), port=free_port(), superlink_port=free_port())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, kits: Kits) -> Iterator[RunningHub]:
    running = RunningHub(kits.install(tmp_path_factory.mktemp("running") / "hub"))
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("study"), "tiny", STUDY)


@pytest.fixture(scope="module")
def waiting(running: RunningHub, study: Path) -> HubRun:
    """A run that waits for its sites, for as long as these tests take."""
    run = submit(running.hub, study, Action.RUN, "waiting")
    wait_for(lambda: works(run), "nobody works on the run")
    return run


def works(run: HubRun) -> bool:
    """Whether a process works on the latest attempt, and waits for the sites."""
    progress, attempt = run.progress, run.attempt
    return (
        run.state is State.RUNNING
        and run.run.busy()
        and progress is not None
        and attempt is not None
        and progress.started >= attempt.begun
        and "connected" in progress.step
    )


def status_of(running: RunningHub) -> dict:
    return json.loads(running.command("status", "--json").stdout)


def at_the_door(running: RunningHub, certificate: Path | None) -> int:
    """What whoever shows this certificate gets at the proxy: the status of its answer; 0 if there is none."""
    trusted = ssl.create_default_context(cafile=str(running.hub.ca))
    if certificate is not None:
        trusted.load_cert_chain(certificate / "client.crt", certificate / "client.key")
    connection = http.client.HTTPSConnection("127.0.0.1", running.hub.port, context=trusted, timeout=30)
    try:
        headers = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}
        connection.request("POST", "/v1/fleet/activate-node", b"", headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def unpacked(kits: Kits, site: str, folder: Path) -> Path:
    for name, content in kits.files(site).items():
        (folder / Path(name).name).write_bytes(content)
    return folder


def test_a_hub_that_was_started_is_healthy_and_has_registered_its_sites(running: RunningHub):
    status = status_of(running)
    assert all(status["health"].values()), status["health"]
    assert {site["site"]: site["connection"] for site in status["sites"]} == dict.fromkeys(
        ("hospital-a", "hospital-b", "hospital-c"), "registered"
    )
    assert status["certificates"] == []


def test_it_is_not_started_twice(running: RunningHub):
    again = running.command("start")
    assert (again.returncode, "FEDMVI-746" in again.stderr) == (3, True), again.stderr


def test_only_its_owner_can_read_what_it_keeps(running: RunningHub):
    state = running.hub.state
    for path in (state, state / "executor.secret", state / "superlink.db", state / "hub.json", state / "log"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("secret", [None, b"x" * 32])
def test_the_servers_task_cannot_be_taken_without_the_executors_secret(
    running: RunningHub, waiting: HubRun, secret: bytes | None
):
    interceptors: list[object] = [RuntimeVersionHttpInterceptor(component_name="SuperExec")]
    if secret is not None:
        interceptors.append(SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=frozenset({ACQUIRE})))
    client = RuntimeHttpClient.from_server_address(
        server_address=f"127.0.0.1:{running.hub.superlink_port}", insecure=False,
        root_certificates=running.hub.ca.read_bytes(), interceptors=interceptors,
    )  # fmt: skip
    with pytest.raises(httpx.HTTPStatusError) as caught:
        client.AcquireTask(AcquireTaskRequest(supported_task_types=[SERVER_APP]))
    client.close()
    assert caught.value.response.status_code == 401


def test_an_outsider_with_the_authoritys_certificate_alone_gets_nothing(
    running: RunningHub, kits: Kits, tmp_path: Path
):
    assert at_the_door(running, None) == 400
    # A site gets through to the SuperLink, which wants its node's key as well.
    assert at_the_door(running, unpacked(kits, "hospital-a", tmp_path)) == 401


def test_a_study_waits_for_its_sites_and_the_next_one_queues_behind_it(
    running: RunningHub, waiting: HubRun, study: Path
):
    second = running.command("submit", str(study), "--name", "second")
    assert second.returncode == 0, second.stderr
    runs = {run["run"]: run for run in status_of(running)["runs"]}
    assert (runs["waiting"]["state"], runs["waiting"]["step"]) == ("running", "wait until every site is connected")
    assert (runs["second"]["state"], runs["second"]["position"]) == ("queued", 1)
    shown = running.command("status").stdout
    assert "queued, number 1" in shown and "wait until every site is connected" in shown
    assert running.command("stop", "second").returncode == 0
    assert run_named(running.hub, "second").state is State.STOPPED


def test_a_run_that_the_hub_did_not_hand_in_is_not_done(running: RunningHub, waiting: HubRun, study: Path):
    """Whoever is on the hub's machine can hand runs to the SuperLink, but the executor does the hub's alone."""
    waiting.stop()
    wait_for(lambda: not waiting.run.busy(), "the run is not stopped")
    victim = submit(running.hub, study, Action.RUN, "victim")
    victim.stop()
    settings = {"run-dir": str(victim.run.folder), "action": "plan", "site-names": "registered", "attempt": "guessed"}
    with Control(running.hub) as control:
        number = control.start(packed_bundle(), settings)
        wait_for(lambda: control.status(number) == FINISHED, "the run goes on")
    assert victim.progress is None
    assert not victim.run.log_file.exists()
    waiting.give(Action.RUN)
    wait_for(lambda: works(waiting), "the run is not taken up again")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_is_started_again_and_the_run_goes_on(running: RunningHub, waiting: HubRun, part: str):
    assert works(waiting)
    running.kill(part)
    wait_for(lambda: health_of(running.hub).well, f"the hub does not serve after the end of its {part}")
    wait_for(lambda: works(waiting), f"the run does not go on after the end of the {part}")


def test_nothing_of_a_bundle_is_unpacked_at_the_hub(running: RunningHub, waiting: HubRun):
    assert works(waiting)
    assert not list((running.hub.state / "flower").rglob("*.py"))


def test_a_revoked_site_is_out_at_once_while_the_hub_runs(running: RunningHub, kits: Kits, tmp_path: Path):
    certificate = unpacked(kits, "hospital-c", tmp_path)
    assert at_the_door(running, certificate) == 401
    revoke(kits.folder, "hospital-c", kits)
    kits.install(running.hub.folder)
    wait_for(lambda: at_the_door(running, certificate) == 400, "its certificate is still accepted")
    with Control(running.hub) as control:
        wait_for(lambda: "hospital-c" not in {node.site for node in control.nodes()}, "its node is still registered")
    site = next(site for site in status_of(running)["sites"] if site["site"] == "hospital-c")
    assert (site["admitted"], site["connection"]) == (False, "not registered")


def test_the_hubs_end_leaves_no_process_however_it_ends_and_the_run_goes_on_with_the_next_start(
    running: RunningHub, waiting: HubRun
):
    assert running.process is not None
    running.process.kill()
    running.process.wait()
    wait_for(lambda: not running.living(), f"left behind: {running.living()}", 20)
    down = running.command("status")
    assert down.returncode == 1 and "the hub is not running" in down.stdout
    # That is what the folder knows, as far as the steward came: it may have seen the SuperLink's end before its own.
    assert waiting.state in (State.RUNNING, State.QUEUED)
    running.start()
    wait_for(lambda: works(waiting), "the run does not go on after the end of everything")
    attempt = waiting.attempt
    assert attempt is not None and attempt.interruptions <= len(PARTS)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    assert not running.living()


def test_what_needs_the_hub_says_that_it_does_not_run_and_what_does_not_works(
    running: RunningHub, kits: Kits, study: Path
):
    assert not running.state
    rotate(kits.folder, "hospital-c", kits)  # admitted again
    kits.install(running.hub.folder)
    refused = running.command("run", str(study), "--name", "refused")
    assert (refused.returncode, "FEDMVI-745" in refused.stderr) == (3, True), refused.stderr
    done = running.command("submit", str(study), "--name", "later")
    assert done.returncode == 0 and "begins when" in done.stderr, done.stderr
    assert run_named(running.hub, "later").state is State.QUEUED
