"""common/flower: takes tasks from Flower's Runtime API and does each in a fork of this warm process.

Flower's own executor starts a Python interpreter a message, by a name on PATH, for any kind of app that a run asks
for. This one has imported everything before, starts nothing, and takes only the kinds that it is told to take.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import httpx
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PushTaskOutputRequest
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from common.flower.lifeline import end_with_parent
from common.flower.pace import Pace

SLOWEST_POLL_SECONDS = 1.0
UNREACHABLE_PAUSE_SECONDS = 0.5
ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
LAST_SECONDS = 5.0
"""For what is left to be reported at the end."""

_LOG = logging.getLogger("fedmvi.executor")


@dataclass(frozen=True)
class _Working:
    token: str
    address: str
    """Where the task came from; nobody else can be told of it."""


@dataclass(frozen=True)
class Runtime:
    """Where tasks come from.

    Attributes
    ----------
    address
        `host:port` of the Runtime API, or what gives it now, where each start of it has another one.
    ca
        The authority that its certificate is of (PEM); None: no TLS, on the loopback address.
    """

    address: str | Callable[[], str]
    ca: bytes | None = None

    def where(self) -> str:
        """The address now."""
        return self.address if isinstance(self.address, str) else self.address()

    def client(self, *interceptors: ProtobufClientInterceptor) -> RuntimeHttpClient:
        """A client that does not retry."""
        known = [RuntimeVersionHttpInterceptor(component_name="SuperExec"), *interceptors]
        return RuntimeHttpClient.from_server_address(
            server_address=self.where(), insecure=self.ca is None, root_certificates=self.ca, interceptors=known
        )


def serve_tasks(
    address: str | Callable[[], str],
    secret: bytes,
    task_types: Iterable[str],
    run_task: Callable[[str], int | None],
    ca: bytes | None = None,
    at_once: int = 1,
    poll_seconds: float = 0.1,
    ahead: Iterable[Callable[[], object]] = (),
) -> None:
    """Take tasks of these kinds and do each in a fork, until SIGTERM or SIGINT; a Runtime API that is away is awaited.

    Call it in the main thread of a process with no other threads, with everything imported that tasks need.

    Parameters
    ----------
    address, ca
        Of the Runtime API; see `Runtime`.
    secret
        The executor's secret, which the Runtime API was started with.
    task_types
        Flower's names of them, such as `flwr-clientapp`.
    run_task
        Does a task in the fork, given its token, and returns an exit code (None: 0). After another code, or if the
        fork is killed, Flower is told that the task has failed. Tokens are in memory only.
    at_once
        Most tasks at a time.
    poll_seconds
        Shortest time between two looks for a task; the longest is a second.
    ahead
        Short pieces of work that every task would else do in its fork. They are done here, one at each look that finds
        no task, so that they delay neither the start nor a task.
    """
    executor = _Executor(Runtime(address, ca), secret, list(task_types), run_task, at_once, poll_seconds, ahead)
    executor.serve()


class _Executor:
    def __init__(
        self,
        runtime: Runtime,
        secret: bytes,
        task_types: list[str],
        run_task: Callable[[str], int | None],
        at_once: int,
        poll_seconds: float,
        ahead: Iterable[Callable[[], object]],
    ) -> None:
        self._runtime, self._secret, self._types, self._run = runtime, secret, task_types, run_task
        self._at_once, self._pace = at_once, Pace(poll_seconds, SLOWEST_POLL_SECONDS)
        self._ahead = iter(ahead)
        self._client: RuntimeHttpClient | None = None
        self._address = ""
        self._working: dict[int, _Working] = {}
        self._reporting: set[int] = set()
        self._stopping = False
        self._away = False

    def serve(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        # What lives now lives on: forks then share its memory instead of copying it.
        gc.collect()
        gc.freeze()
        try:
            while not self._stopping:
                token = self._acquire() if len(self._working) < self._at_once else ""
                if token:
                    self._pace.happened()
                    self._begin(token)
                else:
                    self._work_ahead()
                    self._wait()
        finally:
            self._end_all()

    def _work_ahead(self) -> None:
        for work in self._ahead:
            work()
            gc.freeze()
            return

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _acquire(self) -> str:
        """The token of a task; empty if there is none, or nobody to ask."""
        try:
            if self._client is None:
                auth = SuperExecAuthHttpInterceptor(master_secret=self._secret, protected_methods=frozenset({ACQUIRE}))
                self._address = self._runtime.where()
                self._client = self._runtime.client(auth)
            given = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=self._types))
        except (httpx.HTTPError, OSError, ValueError) as error:
            self._forget_client()
            if not self._away:
                _LOG.info("no task can be asked for, tried again: %s", type(error).__name__)
            self._away = True
            return ""
        if self._away:
            _LOG.info("tasks can be asked for")
        self._away = False
        return given.token if given.HasField("task") else ""

    def _forget_client(self) -> None:
        if self._client is not None:
            with suppress(Exception):
                self._client.close()
            self._client = None

    def _begin(self, token: str) -> None:
        address = self._address
        self._working[self._fork(lambda: self._run(token))] = _Working(token, address)

    def _fork(self, work: Callable[[], int | None]) -> int:
        """Do `work` in a fork that ends with this process; returns its process id."""
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._in_fork(work, parent)
        return pid

    def _in_fork(self, work: Callable[[], int | None], parent: int) -> NoReturn:
        """The life of a fork. Nothing of the parent's loop may go on here, whatever happens."""
        code = 70
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            end_with_parent(parent)
            # The parent's connection is the parent's: closing our copy sends nothing.
            self._forget_client()
            code = work() or 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException:  # noqa: BLE001
            _LOG.exception("a task ended by an error")
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _wait(self) -> None:
        """Sleep until it is time to look again; the end of a task wakes at once."""
        handles = {os.pidfd_open(pid): pid for pid in (*self._working, *self._reporting)}
        try:
            pause = UNREACHABLE_PAUSE_SECONDS if self._away else self._pace.seconds()
            ended = [handles[handle] for handle in select.select(list(handles), [], [], pause)[0]]
        finally:
            for handle in handles:
                os.close(handle)
        for pid in ended:
            self._reap(pid)
        self._end_orphans()

    def _end_orphans(self) -> None:
        """End tasks that came from where nobody is any more: they would try for ever to say how they ended."""
        for pid, working in self._working.items():
            if not self._is_there(working.address):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _is_there(self, address: str) -> bool:
        try:
            return self._runtime.where() == address
        except OSError:
            return False

    def _reap(self, pid: int) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._reporting.discard(pid)
        working = self._working.pop(pid, None)
        self._pace.happened()
        if working is None or code == 0:
            return
        _LOG.warning("a task was lost (exit code %d)", code)
        if self._is_there(working.address):
            self._reporting.add(self._fork(lambda: self._report_failed(working.token)))

    def _report_failed(self, token: str) -> None:
        """Tell Flower that a task has failed, so that nobody waits until it would find out.

        In a fork: a Runtime API that does not answer must not keep the executor from its other tasks.
        """
        with self._runtime.client(RuntimeTokenHttpInterceptor(token)) as client:
            client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.FAILED, details="its process ended"))

    def _end_all(self) -> None:
        """End what is at work, and report it while there is time."""
        for pid in list(self._working):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._reap(pid)
        limit = time.monotonic() + LAST_SECONDS
        while self._reporting and time.monotonic() < limit:
            self._wait()
        self._forget_client()
