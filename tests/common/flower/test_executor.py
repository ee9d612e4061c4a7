from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from flwr.common.constant import Status, SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory

from common.deployment.ports import free_port
from common.flower.executor import ACQUIRE, Runtime
from tests.client.node.bare_hub import alive, wait_until

ROOT = Path(__file__).parents[3]
SECRET = b"s" * 32
SERVE = """
import os, sys, time
from pathlib import Path
from common.flower.executor import serve_tasks
address, folder, at_once = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if address.startswith("/"):
    address = Path(address).read_text
made = []
ahead = [lambda: made.append("one"), lambda: made.append("two"), (folder / "ahead").touch]
def run(token):
    pid = os.getpid()
    (folder / f"{pid}.begun").write_text(token)
    while not (folder / "go").exists():
        time.sleep(0.01)
    (folder / "made").write_text(" ".join(made))
    (folder / f"{pid}.done").touch()
serve_tasks(address, sys.stdin.buffer.read(), ["flwr-clientapp"], run, at_once=at_once, poll_seconds=0.02, ahead=ahead)
"""


class Rig:
    """A real Runtime API, whose tasks the test makes, and a real executor that takes them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.factory = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
        self.state = self.factory.state()
        self.process: subprocess.Popen[bytes] | None = None
        self.server: uvicorn.Server | None = None

    def open(self) -> None:
        app = create_app(state_factory=self.factory, superexec_auth_secret=SECRET)
        self.server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="error"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        wait_until(lambda: self.server and self.server.started)

    def close(self) -> None:
        if self.server:
            self.server.should_exit = True
            self.thread.join()
            self.server = None

    def serve(self, at_once: int = 1, *, address_file: bool = False) -> None:
        address = str(self.folder / "address") if address_file else f"127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, address, str(self.folder), str(at_once)],
            cwd=ROOT, stdin=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdin
        self.process.stdin.write(SECRET)
        self.process.stdin.close()

    def task(self, kind: str = TaskType.CLIENT_APP) -> int:
        number = self.state.create_task(task_type=kind, run_id=1, fab_hash="f" * 64)
        assert number is not None
        return number

    def status(self, task: int) -> tuple[str, str]:
        (found,) = self.state.get_tasks(task_ids=[task])
        return found.status.status, found.status.sub_status

    def begun(self) -> list[int]:
        return [int(path.stem) for path in self.folder.glob("*.begun") if path.read_text()]

    def done(self) -> list[int]:
        return [int(path.stem) for path in self.folder.glob("*.done")]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.open()
    yield rig
    if rig.process:
        rig.process.kill()
        rig.process.wait()
    rig.close()


def test_only_the_kinds_that_are_asked_for_are_taken(rig: Rig) -> None:
    others = [rig.task(kind) for kind in TaskType if kind is not TaskType.CLIENT_APP]
    wanted = rig.task()
    (rig.folder / "go").touch()
    rig.serve()
    wait_until(rig.done)
    assert rig.status(wanted)[0] == Status.STARTING
    # Enough looks for another task to have been taken.
    again = rig.task()
    wait_until(lambda: rig.status(again)[0] == Status.STARTING)
    assert {rig.status(task)[0] for task in others} == {Status.PENDING}
    assert len(rig.begun()) == 2


def test_what_is_made_ahead_while_no_task_waits_is_there_in_every_fork(rig: Rig) -> None:
    rig.serve()
    wait_until((rig.folder / "ahead").exists)
    (rig.folder / "go").touch()
    rig.task()
    wait_until(rig.done)
    assert (rig.folder / "made").read_text() == "one two"


def test_without_the_secret_no_task_is_given(rig: Rig) -> None:
    rig.task()
    for interceptors in ((), (SuperExecAuthHttpInterceptor(master_secret=b"x", protected_methods={ACQUIRE}),)):
        with Runtime(f"127.0.0.1:{rig.port}").client(*interceptors) as client, pytest.raises(httpx.HTTPStatusError):
            client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))


def test_a_token_is_in_no_command_line_and_no_environment(rig: Rig) -> None:
    rig.serve()
    rig.task()
    wait_until(rig.begun)
    (pid,) = rig.begun()
    token = (rig.folder / f"{pid}.begun").read_text()
    assert rig.process
    for number in (pid, rig.process.pid):
        for name in ("cmdline", "environ"):
            assert token.encode() not in Path(f"/proc/{number}/{name}").read_bytes()


@pytest.mark.parametrize(("at_once", "together"), [(1, 1), (2, 2)])
def test_no_more_tasks_than_allowed_are_done_at_once(rig: Rig, at_once: int, together: int) -> None:
    rig.serve(at_once)
    tasks = [rig.task() for _ in range(3)]
    wait_until(lambda: len(rig.begun()) == together)
    assert [rig.status(task)[0] for task in tasks].count(Status.PENDING) == 3 - together
    (rig.folder / "go").touch()
    wait_until(lambda: len(rig.done()) == 3)


def test_a_task_that_is_killed_is_reported_at_once_and_the_next_one_is_done(rig: Rig) -> None:
    rig.serve()
    first, second = rig.task(), rig.task()
    wait_until(rig.begun)
    (pid,) = rig.begun()
    subprocess.run(["kill", "-9", str(pid)], check=True)
    wait_until(lambda: rig.status(first) == (Status.FINISHED, SubStatus.FAILED), 10)
    (rig.folder / "go").touch()
    wait_until(rig.done)
    assert rig.status(second)[0] == Status.STARTING


def test_a_runtime_that_is_away_is_awaited(rig: Rig) -> None:
    rig.close()
    rig.serve()
    (rig.folder / "go").touch()
    assert rig.process
    with contextlib.suppress(subprocess.TimeoutExpired):
        rig.process.wait(3)
    assert rig.process.poll() is None
    rig.task()
    rig.open()
    wait_until(rig.done)
    rig.close()
    rig.task()
    rig.open()
    wait_until(lambda: len(rig.done()) == 2)


def test_no_task_outlives_an_executor_that_was_killed(rig: Rig) -> None:
    rig.serve()
    rig.task()
    wait_until(rig.begun)
    (pid,) = rig.begun()
    assert rig.process
    rig.process.kill()
    wait_until(lambda: not alive(pid))


def test_an_executor_that_is_told_to_end_reports_what_it_leaves(rig: Rig) -> None:
    rig.serve()
    task = rig.task()
    wait_until(rig.begun)
    (pid,) = rig.begun()
    assert rig.process
    rig.process.send_signal(signal.SIGTERM)
    assert rig.process.wait(15) == 0
    assert not alive(pid)
    assert rig.status(task) == (Status.FINISHED, SubStatus.FAILED)


def test_a_task_whose_runtime_was_started_anew_does_not_keep_the_executor_from_the_next_one(rig: Rig) -> None:
    (rig.folder / "address").write_text(f"127.0.0.1:{rig.port}")
    rig.serve(address_file=True)
    rig.task()
    wait_until(rig.begun)
    (orphan,) = rig.begun()
    rig.close()
    rig.port = free_port()
    (rig.folder / "address").write_text(f"127.0.0.1:{rig.port}")
    rig.open()
    rig.task()
    wait_until(lambda: len(rig.begun()) == 2, 20)
    assert not alive(orphan)
