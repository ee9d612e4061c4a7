"""common/flower: keeps processes alive: restarts what dies, ends all of it together, leaves nothing behind."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.flower.lifeline import end_with_parent

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
SETTLED_SECONDS = 60.0
"""A process that ran this long starts again with the first pause."""

GRACE_SECONDS = 15.0
MOST_LOG_BYTES = 50_000_000
"""A log file that is larger is put aside, once, when its process is started."""

_LOG = logging.getLogger("fedmvi.supervisor")


@dataclass(frozen=True)
class Child:
    """A process to keep alive.

    Attributes
    ----------
    name
        What logs call it.
    command, environment
        As for `subprocess`; the command is a list, and no shell reads it.
    log
        The file to which its words are added; None: where the supervisor's own go.
    orphaned
        The signal that it gets from the kernel if the supervisor is killed. One that has processes of its own to end
        wants SIGTERM.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path | None = None
    orphaned: signal.Signals = signal.SIGKILL


@dataclass
class _Kept:
    child: Child
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS


class Supervisor:
    """Runs children in the foreground until SIGTERM or SIGINT; each has a process group of its own.

    Parameters
    ----------
    children
        Started in this order, ended in the opposite one.
    watch
        Called about every `watch_seconds` with the process ids of those that run, by name.
    grace_seconds
        How long each has between SIGTERM and SIGKILL at the end.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        watch: Callable[[Mapping[str, int]], None] | None = None,
        watch_seconds: float = 0.5,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._kept = [_Kept(child) for child in children]
        self._watch, self._watch_seconds, self._grace = watch, watch_seconds, grace_seconds
        self._stopping = False

    def pids(self) -> dict[str, int]:
        """The process ids of the children that run, by name."""
        return {k.child.name: k.process.pid for k in self._kept if k.process is not None}

    def stop(self) -> None:
        """Let `run` end; also from `watch`."""
        self._stopping = True

    def run(self) -> None:
        """Keep the children alive until a signal or `stop`; on return none of their processes is left.

        Must be called in the main thread.
        """
        with self._signals() as woken:
            try:
                while not self._stopping:
                    self._look_after()
                    if self._watch is not None:
                        self._watch(self.pids())
                    self._wait(woken)
            finally:
                self._end_all()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """A descriptor that becomes readable when a signal has come."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)

        def stop(_number: int, _frame: object) -> None:
            self._stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        # Without a handler the end of a child would not wake us.
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def _wait(self, woken: int) -> None:
        dues = [kept.due - time.monotonic() for kept in self._kept if kept.process is None]
        if self._watch is not None:
            dues.append(self._watch_seconds)
        if not self._stopping:
            select.select([woken], [], [], max(0.0, min(dues)) if dues else None)
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)

    def _look_after(self) -> None:
        for kept in self._kept:
            if kept.process is not None and _ends_within(kept.process, 0):
                self._ended(kept, kept.process)
            if kept.process is None and time.monotonic() >= kept.due and not self._stopping:
                self._start(kept)

    def _ended(self, kept: _Kept, process: subprocess.Popen[bytes]) -> None:
        # Whatever it started must not work beside its successor.
        _bury(process)
        code, ran = process.returncode, time.monotonic() - kept.started
        kept.process = None
        if ran >= SETTLED_SECONDS:
            kept.pause = FIRST_PAUSE_SECONDS
        kept.due = time.monotonic() + kept.pause
        _LOG.warning(
            "%s ended (exit code %d) after %.0f s; started again in %.0f s", kept.child.name, code, ran, kept.pause
        )
        kept.pause = min(2 * kept.pause, LONGEST_PAUSE_SECONDS)

    def _start(self, kept: _Kept) -> None:
        child = kept.child
        kept.started = time.monotonic()
        try:
            with _words_of(child) as words:
                kept.process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                    list(child.command),
                    env=dict(child.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=words,
                    stderr=words,
                    start_new_session=True,
                    # No thread of ours holds a lock that the child would need: it makes one system call.
                    preexec_fn=partial(end_with_parent, os.getpid(), child.orphaned),  # noqa: PLW1509
                )
        except OSError as error:
            _LOG.error("%s cannot be started: %s", child.name, error)
            kept.due = time.monotonic() + kept.pause
            kept.pause = min(2 * kept.pause, LONGEST_PAUSE_SECONDS)
            return
        _LOG.info("%s started (process %d)", child.name, kept.process.pid)

    def _end_all(self) -> None:
        for kept in reversed(self._kept):
            if kept.process is None:
                continue
            kept.process.terminate()
            if not _ends_within(kept.process, self._grace):
                _LOG.warning("%s did not end in %.0f s and is killed", kept.child.name, self._grace)
            _bury(kept.process)
            kept.process = None


@contextlib.contextmanager
def _words_of(child: Child) -> Iterator[int | None]:
    """Where a child's words go."""
    if child.log is None:
        yield None
        return
    child.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if child.log.stat().st_size > MOST_LOG_BYTES:
            child.log.replace(child.log.with_name(f"{child.log.name}.1"))
    handle = os.open(child.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it has ended; it stays a zombie, so that its number names nothing else yet."""
    if process.returncode is not None:
        return True
    handle = os.pidfd_open(process.pid)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _bury(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process's group, whose leader it is, and wait for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
