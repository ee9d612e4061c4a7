"""common/observing: what of a logged record goes into the daemon's log, and what into the local one."""

from __future__ import annotations

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from types import TracebackType

from common.errors import FedmviError
from common.errors.unforeseen import place
from common.observing.context import subject

MOST_CHARACTERS = 2000
"""Longest message in the daemon's log; parts of some come over the wire."""

OURS = "fedmvi"
"""Loggers of this name and below are FedmviError-aware; every other is a library's."""

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def is_ours(record: logging.LogRecord) -> bool:
    """Whether this program logged it, rather than a library."""
    return record.name == OURS or record.name.startswith(OURS + ".")


def details(record: logging.LogRecord, *, libraries: bool) -> str:
    """What only the local log may hold of a record: its full text and traceback; empty if all of it may be shown.

    Parameters
    ----------
    libraries
        Whether what libraries write may be shown.
    """
    hidden = (not is_ours(record) and not libraries) or _exception(record) or any(map(_hides, _arguments(record)))
    if not hidden:
        return ""
    message, info = _full_message(record), _exception(record)
    if not message and not info:
        return ""
    lines = [f"{_when(record)} {record.levelname} {record.name} {message}"]
    if info:
        lines += "".join(traceback.format_exception(*info)).rstrip().split("\n")
    # What is indented belongs to the line above: no text of a record can look like a record.
    return "\n    ".join(line for whole in lines for line in whole.splitlines())


def public_line(record: logging.LogRecord, key: str, *, as_json: bool, part: str, site: str, libraries: bool) -> str:
    """A record's line in the daemon's log; empty if there is nothing to say there.

    Parameters
    ----------
    key
        Under which the details stand in the local log; empty if there are none.
    part, site
        Which process this is, and where.
    libraries
        Whether what libraries write may be shown.
    """
    ours = is_ours(record)
    if not ours and not libraries:
        if record.levelno < logging.WARNING:
            return ""
        message = "a library wrote to the local log"
    else:
        message = _message(record)
    if not message:
        return ""
    error = _numbered(record)
    fields: dict[str, object] = {"site": site} if site else {}
    fields |= subject()
    if error is not None:
        fields["error"] = error.code
    if key:
        fields["details"] = key
    head = {"time": _when(record), "level": record.levelname, "part": part, "logger": record.name}
    if as_json:
        facts = {"facts": error.facts} if error is not None and error.facts else {}
        return json.dumps({**head, "message": message, **fields, **facts}, ensure_ascii=True, default=str)
    told = " ".join(f"{name}={_printable(str(value))}" for name, value in fields.items())
    return f"{head['time']} {record.levelname:<8} {part} {record.name}: {message}" + (f" | {told}" if told else "")


def _message(record: logging.LogRecord) -> str:
    """The message as it may be shown: of errors their number and public facts, of exceptions their type."""
    args = record.args
    try:
        if isinstance(args, tuple):
            text = str(record.msg if not _hides(record.msg) else _shown(record.msg))
            text = text % tuple(map(_shown, args)) if args else text
        else:
            text = str(record.msg) % {name: _shown(value) for name, value in (args or {}).items()}
    except (TypeError, ValueError, KeyError):
        text = "a line that cannot be written"
    info = _exception(record)
    if info:
        text += f": {_shown(info[1])}{place(info[2])}"
    return _printable(text)[:MOST_CHARACTERS]


def _full_message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args}"


def _shown(value: object) -> object:
    if isinstance(value, FedmviError):
        return f"{value.code} {value.what}"
    return type(value).__name__ if isinstance(value, BaseException) else value


def _hides(value: object) -> bool:
    """Whether a value has more to say than may be shown."""
    return bool(value.local) if isinstance(value, FedmviError) else isinstance(value, BaseException)


def _arguments(record: logging.LogRecord) -> list[object]:
    args = record.args
    return [record.msg, *(args if isinstance(args, tuple) else (args or {}).values())]


def _exception(record: logging.LogRecord) -> _ExceptionInfo | None:
    info = record.exc_info
    return (info[0], info[1], info[2]) if info and info[0] is not None and info[1] is not None else None


def _numbered(record: logging.LogRecord) -> FedmviError | None:
    """The error with a number that a record is about."""
    info = _exception(record)
    among = [*_arguments(record), *([info[1]] if info else [])]
    return next((value for value in among if isinstance(value, FedmviError)), None)


def _printable(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in re.sub(r"\s+", " ", text).strip())


def _when(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
