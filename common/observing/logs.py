"""common/observing: the log of a daemon: one line an event, for people or as JSON, and nothing of any patient.

Two files, and every event goes to the right one by itself:

* *The daemon's log* is standard error, as systemd and containers want it; it may be sent to a hospital's log server. Of
  an error it has the number and the public facts; of an exception its type and where it was raised, without its text.
* *The local log* is a file that only the daemon's user can read. It has the details: file, row, value, tracebacks. A
  line of the daemon's log that has details says under which key they are found there.

A process that reads patients has its standard output and error turned to the local log as a whole: what a library, the
interpreter or a C function prints there may hold anything.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import TracebackType

from common.errors import FedmviError
from common.observing.lines import OURS, details, public_line
from common.observing.local_file import LocalFile

_OF_OTHERS = ("flwr", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
"""Loggers of Flower and its web server, which bring their own handlers, and set them up anew when they like."""

_CHATTY = "uvicorn.access"
"""It writes a line a request."""


class LogFormat(StrEnum):
    """How the daemon's log is written."""

    TEXT = "text"
    JSON = "json"


def configure(style: LogFormat, local_log: Path, *, part: str, site: str = "", reads_patients: bool = False) -> None:
    """Set up the logs of this process, and of those that it forks; once, early in each process of a daemon.

    Parameters
    ----------
    style
        Of the daemon's log. The local log is always text.
    local_log
        The file of details; made with its folder, for its owner only. At a site `store/log/local.log`.
    part
        Which process this is, such as `node` or `executor`.
    site
        Where it runs; empty at the hub.
    reads_patients
        True where patients' data are read: standard output and error then go to the local log, and of libraries'
        messages the daemon's log says no more than that there was one.

    Raises
    ------
    FedmviError
        825 the local log cannot be written.
    """
    target, file = os.dup(2), LocalFile(local_log)
    try:
        if reads_patients:
            file.take_over(1, 2)
        else:
            os.close(file.open())
    except OSError as error:
        raise FedmviError(825, f"{local_log}: {error.strerror}") from error
    libraries = not reads_patients
    shown = partial(public_line, as_json=style is LogFormat.JSON, part=part, site=site, libraries=libraries)
    for handler in list(logging.root.handlers):
        logging.root.removeHandler(handler)
    logging.root.addHandler(_Handler(target, file, shown, partial(details, libraries=libraries)))
    # Of other libraries only what may matter; `_Diverted` judges for itself.
    logging.root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(logging.INFO)
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    sys.excepthook = _unforeseen
    for name in _OF_OTHERS:
        _divert(logging.getLogger(name))
    logging.getLogger(OURS).info("details of this log are in %s", local_log)


class _Handler(logging.Handler):
    """Gives each record its line in the daemon's log and, where it hides something, its details to the local one."""

    def __init__(
        self,
        target: int,
        file: LocalFile,
        shown: Callable[[logging.LogRecord, str], str],
        hidden: Callable[[logging.LogRecord], str],
    ) -> None:
        super().__init__()
        self._target, self._file, self._shown, self._hidden = target, file, shown, hidden

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self._hidden(record)
            key = secrets.token_hex(4) if text else ""
            if text:
                self._keep(key, text)
            line = self._shown(record, key)
            if line:
                # In one call, so that lines of several processes do not mix.
                os.write(self._target, line.encode("utf-8", errors="backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - a closed pipe, or a line that cannot be made, must not stop a daemon
            self.handleError(record)

    def _keep(self, key: str, text: str) -> None:
        try:
            self._file.append(f"{key} {text}")
        except OSError:  # a full disk: the public line is still worth having
            return


class _Diverted(logging.Filter):
    """Hands a logger's records to our handler, and lets none through to its own, whichever they are by now."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= (logging.WARNING if record.name == _CHATTY else logging.INFO):
            for handler in logging.root.handlers:
                handler.handle(record)
        return False


def _divert(logger: logging.Logger) -> None:
    # A filter outlives what `logging.config.dictConfig` does to a logger; a handler does not.
    if not any(isinstance(each, _Diverted) for each in logger.filters):
        logger.addFilter(_Diverted())


def _unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(OURS).critical("the process ends by an error", exc_info=(kind, error, trace))
