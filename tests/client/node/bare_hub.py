"""A hub in the hands of a test: a real SuperLink whose ServerApp is the test, so that it may send whatever it likes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import Message, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import StartRunRequest, StopRunRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.run import Run
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from client.cohort.site import load_site
from client.node.enrolling import enrol
from client.node.folder import Health, NodeFolder
from common.deployment.ports import free_port, listens
from common.federation.envelope import Ticket, write_envelope
from common.federation.records import MESSAGE_TYPE, from_records, signed_records, to_wire
from common.federation.signatures import Signer
from common.flower.environment import flower_environment
from common.flower.executor import ACQUIRE
from server.bundle import stage_bundle
from server.hub.control import Control, public_key
from server.hub.folder import Hub
from server.provision.consortium import Consortium
from server.provision.installing import install
from server.provision.provisioning import provision, rotate

START_SECONDS = 60.0
ANSWER_SECONDS = 60.0
BIN = Path(sys.executable).parent
_VERSION = RuntimeVersionHttpInterceptor(component_name="test")


def wait_until(what: Callable[[], object], seconds: float = START_SECONDS, why: Callable[[], str] = str) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, why()
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class BareHub:
    """A consortium in one folder: kits, the hub's folder, sites; processes are those that it started."""

    folder: Path
    names: tuple[str, ...]
    hub: Hub = field(init=False)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        port = free_port()
        consortium = Consortium.model_validate(
            {
                "consortium": {
                    "name": "test", "contact": "nobody", "host": "127.0.0.1", "port": port,
                    "superlink_port": free_port(),
                },
                "sites": tuple({"name": name, "contact": "nobody"} for name in self.names),
            }
        )  # fmt: skip
        kits = {kit.recipient: kit for kit in provision(consortium, self.folder / "kits")}
        self.hub = install(kits["hub"].kit, kits["hub"].passphrase, self.folder / "hub")
        for name in self.names:
            site = self.site(name)
            site.mkdir()
            (site / "site.toml").write_text(f'[site]\nname = "{name}"\nsimulated = true\n')
            enrol(load_site(site), kits[name].kit, kits[name].passphrase)

    def site(self, name: str) -> Path:
        return self.folder / name

    def node(self, name: str) -> NodeFolder:
        return NodeFolder(load_site(self.site(name)))

    def health(self, name: str) -> Health | None:
        return self.node(name).health()

    def start_superlink(self) -> None:
        """On the port that hospitals know: there is no proxy here."""
        secret = self.folder / "secret"
        secret.write_bytes(self.secret)
        self.start(
            "superlink",
            *(sys.executable, "-P", "-m", "server.hub.superlink"),
            *("--host", "127.0.0.1", "--port", str(self.hub.port)),
            *("--ssl-ca-certfile", str(self.hub.ca), "--ssl-certfile", str(self.hub.server_certificate)),
            *("--ssl-keyfile", str(self.hub.server_key), "--enable-supernode-auth"),
            *("--isolation", "process", "--superexec-auth-secret-file", str(secret)),
            *("--database", str(self.folder / "superlink.db"), "--disable-runtime-dependency-installation"),
        )
        wait_until(lambda: listens(self.hub.port), why=self.logs)
        self.wired = self.hub.model_copy(update={"superlink_port": self.hub.port})
        with Control(self.wired) as control:
            registered = {node.site for node in control.nodes()}
            for name, path in self.hub.site_keys.items():
                if name not in registered:
                    control.register(name, public_key(name, path))

    def rotate(self, name: str) -> None:
        """New keys for a site, of which the SuperLink admits the new ones only; the passphrase is in `NAME.txt`."""
        phrases = {made.recipient: made.passphrase for made in rotate(self.folder / "kits", name)}
        self.hub = install(self.folder / "kits" / "hub.kit", phrases["hub"], self.hub.folder)
        (self.folder / f"{name}.txt").write_text(phrases[name])
        self.wired = self.hub.model_copy(update={"superlink_port": self.hub.port})
        with Control(self.wired) as control:
            for node in control.nodes():
                if node.site == name:
                    control.unregister(node)
            control.register(name, public_key(name, self.hub.site_keys[name]))

    def start_site(self, name: str, *, wait: bool = True) -> None:
        self.start(name, str(BIN / "fedmvi-site"), "start", "--site", str(self.site(name)))
        if wait:
            self.await_ready(name)

    def await_ready(self, name: str, seconds: float = START_SECONDS) -> None:
        wait_until(lambda: self.is_ready(name), seconds, self.logs)

    def is_ready(self, name: str) -> bool:
        health = self.health(name)
        return health is not None and health.state.value == "ready" and alive(health.node)

    def start(self, name: str, *command: str) -> None:
        environment = flower_environment(self.folder / "home")
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def stop_site(self, name: str) -> int:
        process = self.started.pop(name)
        process.terminate()
        return process.wait(30)

    def children(self, name: str) -> dict[str, int]:
        """The processes of a site below its supervisor, by the part that they are; a task is below the executor."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents.setdefault(int(parent), []).append(int(entry.name))
        found = {}
        for pid in parents.get(self.started[name].pid, []):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            part = next((w.rpartition(".")[2] for w in words if w.startswith("client.node.")), "?")
            found[part] = pid
        for pid in parents.get(found.get("executor", -1), []):
            found["task"] = pid
        return found

    def logs(self) -> str:
        logs = [*self.folder.glob("*.log"), *self.folder.glob("*/store/log/local.log")]
        return "\n".join(f"--- {log} ---\n{log.read_text(errors='replace')[-4000:]}" for log in logs)

    def living(self) -> set[int]:
        """Processes with this folder in their environment, or that were started here."""
        marker = f"FLWR_HOME={self.folder}{os.sep}".encode()
        found = {process.pid for process in self.started.values() if process.poll() is None}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if marker in (entry / "environ").read_bytes() and alive(int(entry.name)):
                    found.add(int(entry.name))
        return found

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.living():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            limit = time.monotonic() + 20
            while self.living() and time.monotonic() < limit:
                time.sleep(0.1)
        for process in self.started.values():
            process.wait(5)

    def bundle(self, change: Callable[[Path], None] = lambda _: None) -> bytes:
        """The code that runs here as Flower packs it, after a change to the staged files."""
        staged = self.folder / "staged"
        shutil.rmtree(staged, ignore_errors=True)
        stage_bundle(staged)
        change(staged)
        return bytes(build_fab_from_disk(staged))

    def acquire(self, kind: str, secret: bytes | None = None) -> str:
        """The token of a task at the SuperLink's Runtime API; "" if there is none."""
        auth = SuperExecAuthHttpInterceptor(master_secret=secret or self.secret, protected_methods=frozenset({ACQUIRE}))
        with self._runtime(auth) as client:
            given = client.AcquireTask(AcquireTaskRequest(supported_task_types=[kind]))
            return str(given.token) if given.HasField("task") else ""

    def _runtime(self, *interceptors: object) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            f"127.0.0.1:{self.hub.port}", False, self.hub.ca.read_bytes(),
            [RuntimeVersionHttpInterceptor(component_name="test"), *interceptors],
        )  # fmt: skip

    @contextlib.contextmanager
    def run(self, bundle: bytes, kind: str = TaskType.SERVER_APP) -> Iterator[BareRun]:
        """Hand in a run with this bundle, and be its app at the SuperLink."""
        with ControlHttpClient.from_server_address(*self._server, [_VERSION]) as control:
            fab = fab_to_proto(Fab(hashlib.sha256(bundle).hexdigest(), bundle, {}))
            number = control.StartRun(StartRunRequest(fab=fab, user_prompt="answer")).run_id
            token = ""
            limit = time.monotonic() + START_SECONDS
            while not token and time.monotonic() < limit:
                token = self.acquire(kind)
            assert token
            client = self._runtime(RuntimeTokenHttpInterceptor(token))
            task = client.PullTaskInput(PullTaskInputRequest())
            heart = HeartbeatSender(make_task_heartbeat_fn_http(client))
            heart.start()
            TaskIdentity.run_id, TaskIdentity.task_id = number, task.task_id
            TaskIdentity.node_id = task.context.node_id
            grid = HttpGrid(*self._server, token=token)
            grid.set_run(Run.create_empty(number))
            try:
                yield BareRun(self, grid)
            finally:
                heart.stop()
                client.close()
                grid.close()
                control.StopRun(StopRunRequest(run_id=number))

    @property
    def _server(self) -> tuple[str, bool, bytes]:
        return f"127.0.0.1:{self.hub.port}", False, self.hub.ca.read_bytes()


@dataclass
class BareRun:
    hub: BareHub
    grid: HttpGrid

    def ask(
        self, site: str, content: RecordDict | None = None, kind: str = MESSAGE_TYPE, seconds: float = ANSWER_SECONDS
    ) -> Message:
        """Send one message to a site and wait for what comes back."""
        return self.await_answer(self.send(site, content, kind), seconds)

    def send(self, site: str, content: RecordDict | None = None, kind: str = MESSAGE_TYPE) -> str:
        nodes = {node.name: node.node_id for node in self.grid.get_nodes()}
        message = Message(content or self.signed(site), dst_node_id=nodes[site], message_type=kind, ttl=600)
        (number,) = self.grid.push_messages([message])
        assert number
        return number

    def await_answer(self, number: str, seconds: float = ANSWER_SECONDS) -> Message:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            for reply in self.grid.pull_messages([number]):
                # An agent is given its prompt among them.
                if reply.metadata.reply_to_message_id == number:
                    return reply
            time.sleep(0.02)
        raise AssertionError(f"no answer\n{self.hub.logs()}")

    def signed(self, site: str) -> RecordDict:
        """A message without questions that the coordinator has signed: the smallest that a site reads."""
        ticket = Ticket("run-1", "0" * 64, {"all": (site,)})
        return signed_records(
            to_wire(write_envelope(ticket, [])), site, Signer.read(self.hub.hub.coordinator_key), None
        )


def error_in(reply: Message) -> int:
    """The number of ours that an answer consists of; 0 if it is an answer."""
    if reply.has_error():
        return int(str(reply.error.reason).removeprefix("FEDMVI-"))
    told = json.loads(from_records(reply.content).text)["answers"]
    return int(told[0]["error"]) if told else 0
