"""client/node: other installed versions of FedMVI, which answer for studies that run with their code.

A run goes on with the version that it began with while a hospital installs the next one. A message is handed to the
other version's own Python, which holds the bundle against its own code, and answers by itself. It gets the message and
no token: to Flower this process has answered. Both talk in frames over pipes, in protocol buffers and JSON.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import subprocess
from contextlib import suppress
from functools import partial
from threading import Timer
from typing import IO, Any

from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecords
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from client.cohort.site import Site
from common.errors import FedmviError
from common.flower.lifeline import end_with_parent

PROTOCOL = 1
"""Of the frames; every later version must understand it."""

MOST_FRAME_BYTES = 4 << 30
_LENGTH = struct.Struct(">Q")
_LOG = logging.getLogger("fedmvi.site")


def hand_over(site: Site, bundle: bytes, records: RecordDict, seconds: float) -> RecordDict | None:
    """The answer of the listed installation whose code the bundle has; None if it is none's.

    One that takes longer than `seconds`, after which nobody waits for the answer, is ended.

    Raises
    ------
    FedmviError
        724 a listed installation cannot be used and no other fits, 725 it ended without an answer.
    """
    unusable: FedmviError | None = None
    for interpreter in site.node.installations:
        try:
            answer = _ask(site, interpreter, bundle, records, seconds)
        except FedmviError as error:
            if error.number != 724:
                raise
            unusable = error
            _LOG.warning("%s", error)
            continue
        if answer is not None:
            return answer
    if unusable:
        raise unusable
    return None


def _ask(site: Site, interpreter: str, bundle: bytes, records: RecordDict, seconds: float) -> RecordDict | None:
    try:
        process = subprocess.Popen(  # noqa: S603 - the hospital's own list of interpreters, no shell
            # Isolated: neither our search path nor the working directory may lead it to other code than its own.
            [interpreter, "-I", "-m", "client.node.handed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - one system call
        )
    except OSError as error:
        raise FedmviError(724, f"{interpreter}: {error.strerror}") from error
    to, fro = process.stdin, process.stdout
    if to is None or fro is None:
        raise FedmviError(901)
    limit = Timer(seconds, process.kill)
    limit.start()
    try:
        return _talk(to, fro, site, bundle, records)
    except FedmviError as error:
        raise FedmviError(error.number, f"{interpreter}: {error.local}") from error
    finally:
        limit.cancel()
        process.kill()
        for pipe in (to, fro):
            with suppress(OSError):
                pipe.close()
        process.wait()


def _talk(to: IO[bytes], fro: IO[bytes], site: Site, bundle: bytes, records: RecordDict) -> RecordDict | None:
    try:
        write_frame(to, json.dumps({"protocol": PROTOCOL, "site": str(site.folder)}).encode())
        write_frame(to, bundle)
        verdict = json.loads(read_frame(fro))
        if verdict != {"mine": True}:
            return None
    except (OSError, EOFError, ValueError) as error:
        raise FedmviError(724, f"{type(error).__name__}: {error}") from error
    try:
        write_frame(to, pack_records(records))
        return unpack_records(read_frame(fro))
    except (OSError, EOFError, ValueError) as error:
        raise FedmviError(725, f"{type(error).__name__}: {error}") from error


def write_frame(file: IO[bytes], content: bytes) -> None:
    """Write a length and so many bytes."""
    file.write(_LENGTH.pack(len(content)))
    file.write(content)
    file.flush()


def read_frame(file: IO[bytes]) -> bytes:
    """The inverse of `write_frame`; EOFError if the other side has gone, ValueError for what is no frame."""
    (length,) = _LENGTH.unpack(_exactly(file, _LENGTH.size))
    if length > MOST_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return _exactly(file, length)


def _exactly(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise EOFError(f"{len(content)} of {count} bytes")
    return content


def pack_records(records: RecordDict) -> bytes:
    """Records as Flower's protocol buffers; ValueError if they are too large for these."""
    try:
        packed: Any = recorddict_to_proto(records).SerializeToString()
    except EncodeError as error:
        raise ValueError(str(error)) from error
    return bytes(packed)


def unpack_records(content: bytes) -> RecordDict:
    """The inverse of `pack_records`; ValueError for anything else."""
    try:
        return recorddict_from_proto(ProtoRecords.FromString(content))
    except DecodeError as error:
        raise ValueError(str(error)) from error
