"""common/deployment: start-up kits: a few small files in one, encrypted with a passphrase for handover.

A kit is a header, a salt, a nonce, and the files as canonical JSON under AES-256-GCM with a key by scrypt. No archive
format: there are no links, modes or paths to go wrong, and nothing is believed before the whole is authenticated.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from common.errors import FedmviError

MAX_KIT_BYTES = 8_000_000
MAX_FILE_BYTES = 256_000
MAX_FILES = 2_000
_MAGIC = b"FEDMVI KIT 1\n"
_SALT_BYTES, _NONCE_BYTES = 16, 12
_SCRYPT_COST = 2**15
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,79})?", re.ASCII)
"""A file, or one in a folder; no part begins with a dot, so none leads upwards."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ALIKE = str.maketrans("ilo", "110")
_GROUPS, _GROUP = 7, 4
"""28 characters of 5 bits: 140 bits."""


def new_passphrase() -> str:
    """A random passphrase of 140 bits in groups that can be read out: no letter looks like a digit."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))


def write_kit(files: Mapping[str, bytes], passphrase: str) -> bytes:
    """The files as an encrypted kit. The passphrase is one of `new_passphrase`.

    Raises
    ------
    ValueError
        A name or size that `read_kit` would refuse, or a passphrase that is no such one.
    """
    problem = _problem(files)
    if problem or len(_plain(passphrase)) < _GROUPS * _GROUP:
        raise ValueError(problem or "the passphrase is too short")
    content = json.dumps({name: b64encode(files[name]).decode("ascii") for name in sorted(files)}).encode("ascii")
    return _encrypt(content, passphrase)


def read_kit(kit: bytes, passphrase: str) -> dict[str, bytes]:
    """The files of a kit by name.

    Raises
    ------
    FedmviError
        733 another passphrase, or a kit that was changed or cut; 734 no kit, or one with contents that are not allowed.
    """
    start = len(_MAGIC) + _SALT_BYTES + _NONCE_BYTES
    if not kit.startswith(_MAGIC):
        raise FedmviError(734, "the file does not begin like a kit")
    if len(kit) > MAX_KIT_BYTES:
        raise FedmviError(734, f"the file has {len(kit)} bytes; a kit has at most {MAX_KIT_BYTES}")
    header, nonce = kit[: len(_MAGIC) + _SALT_BYTES], kit[start - _NONCE_BYTES : start]
    try:
        content = AESGCM(_key(passphrase, header[len(_MAGIC) :])).decrypt(nonce, kit[start:], header)
    except (InvalidTag, ValueError) as error:
        raise FedmviError(733) from error
    try:
        texts = json.loads(content)
        files = {name: b64decode(text, validate=True) for name, text in texts.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise FedmviError(734, "its contents are not a list of files") from error
    problem = _problem(files)
    if problem:
        raise FedmviError(734, problem)
    return files


def _problem(files: Mapping[str, bytes]) -> str:
    """What is wrong with the files of a kit; nothing if they may be written."""
    if not 0 < len(files) <= MAX_FILES:
        return f"it holds {len(files)} files; at most {MAX_FILES} are allowed"
    for name, content in files.items():
        if not _NAME.fullmatch(name):
            return f"it holds a file of a name that is not allowed: {name[:100]!r}"
        if len(content) > MAX_FILE_BYTES:
            return f"its file {name} has {len(content)} bytes; at most {MAX_FILE_BYTES} are allowed"
    return ""


def _encrypt(content: bytes, passphrase: str) -> bytes:
    header, nonce = _MAGIC + os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    return header + nonce + AESGCM(_key(passphrase, header[len(_MAGIC) :])).encrypt(nonce, content, header)


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_SCRYPT_COST, r=8, p=1).derive(_plain(passphrase).encode())


def _plain(passphrase: str) -> str:
    """The passphrase without what people change when they type or dictate it: capitals, spaces, hyphens, o for 0."""
    return re.sub(r"[\s-]", "", passphrase).lower().translate(_ALIKE)
