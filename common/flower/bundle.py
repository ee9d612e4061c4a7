"""common/flower: looks at a delivered bundle (Flower's FAB) without unpacking, importing or believing it."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

from common.errors import FedmviError
from common.study.fingerprint import CODE_ROOMS, code_fingerprint, fingerprint_of_code

MOST_BYTES = 10 << 20
"""As Flower limits a bundle."""

MOST_UNPACKED_BYTES = 100 << 20
MOST_FILES = 5_000
ROOMS = (*CODE_ROOMS, "server")
_BESIDE = ("pyproject.toml", "LICENSE", ".info/CONTENT")
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NAME = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*\.(py|toml)")


def read_bundle(content: bytes) -> dict[str, bytes]:
    """The files of a bundle in common/ and client/, by name; nothing touches the disk.

    Raises
    ------
    FedmviError
        720 for anything but a zip of files as FedMVI packs them.
    """
    if len(content) > MOST_BYTES:
        raise FedmviError(720, f"{len(content)} bytes")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            entries = archive.infolist()
            _check(entries)
            files = {entry.filename: archive.read(entry) for entry in entries if _room(entry.filename) in CODE_ROOMS}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise FedmviError(720, f"{type(error).__name__}: {error}") from error
    return files


def _check(entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(names) > MOST_FILES or len(set(names)) != len(names):
        raise FedmviError(720, "too many files, or one of them twice")
    # Sizes are those that unpacking is held to: zipfile stops there.
    if sum(entry.file_size for entry in entries) > MOST_UNPACKED_BYTES:
        raise FedmviError(720, "too large when unpacked")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1 or entry.compress_type not in _PACKED:
            raise FedmviError(720, f"{entry.filename!r} is no plain file")
        if entry.filename not in _BESIDE and not (_NAME.fullmatch(entry.filename) and _room(entry.filename) in ROOMS):
            raise FedmviError(720, f"{entry.filename!r} has no place in a bundle")


def bundle_fingerprint(files: dict[str, bytes]) -> str:
    """The code fingerprint of a bundle's files, as `code_fingerprint` computes it of what is installed."""
    return fingerprint_of_code((name, content) for name, content in files.items() if name.endswith(".py"))


def refuse_other_code(content: bytes, loaded: str | None = None, root: Path | None = None) -> None:
    """Error 720 or 502 unless a bundle has the very code of common/ and client/ that is installed here.

    What stands beside the code there, tables such as TOML files, must be the same too. Line endings do not count.

    Parameters
    ----------
    content
        The bundle.
    loaded
        Code fingerprint of what this process loaded, where it has lived for a while.
    root
        Where the code is installed; by default the code that runs.
    """
    root = root or Path(__file__).resolve().parents[2]
    files, installed = read_bundle(content), code_fingerprint(root)
    if loaded not in (None, installed):
        raise FedmviError(502, "the installed code was replaced while this process ran: start it again")
    if bundle_fingerprint(files) != installed:
        raise FedmviError(502)
    for name, delivered in files.items():
        if not name.endswith(".py") and not _same(root / name, delivered):
            raise FedmviError(502, name)


def _room(name: str) -> str:
    return name.partition("/")[0]


def _same(path: Path, delivered: bytes) -> bool:
    try:
        return path.read_bytes().replace(b"\r\n", b"\n") == delivered.replace(b"\r\n", b"\n")
    except OSError:
        return False
