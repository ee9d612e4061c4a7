"""common/federation: what the coordinator signs: its messages, the heads of the sites' ledgers, models handed on.

The coordinator has one Ed25519 key (RFC 8032), whose public half is in every site's enrolment. With it it signs each
message for the one site that it is for, so that whoever reaches a site's node by any other way is not answered; and the
head of the site's ledger as it was last told, so that lines which are later cut off the ledger's end are missed; and
each frozen model that it hands on, so that a hospital computes with no other's numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from common.errors import FedmviError
from common.study.fingerprint import canonical_json

_MESSAGE = "fedmvi message 1"
_HEAD = "fedmvi ledger head 1"
_MODEL = "fedmvi model 1"
MAX_LINES = 1 << 40


@dataclass(frozen=True)
class Head:
    """How far a site's ledger goes: the number of its lines, and the hash of the last one."""

    lines: int
    hash: str

    def __post_init__(self) -> None:
        digits = isinstance(self.hash, str) and len(self.hash) == 64 and set(self.hash) <= set("0123456789abcdef")
        if type(self.lines) is not int or not 0 <= self.lines < MAX_LINES or not digits:
            raise FedmviError(501, "a ledger's head")


@dataclass(frozen=True)
class SignedHead:
    """A head as the coordinator has signed it, in hexadecimal."""

    head: Head
    signature: str


class Signer:
    """The coordinator's key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Signer:
        """Read the key from a PEM file; error 512 if that is impossible."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise FedmviError(512, f"{path}: {type(error).__name__}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise FedmviError(512, f"{path}: not an Ed25519 key")
        return cls(key)

    @property
    def public(self) -> str:
        """The public half, as 64 hexadecimal digits."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def message(self, site: str, digest: str) -> str:
        """The signature of a message, by its digest (`records.wire_digest`), to one site; hexadecimal."""
        return self._key.sign(_message(site, digest)).hex()

    def head(self, site: str, head: Head) -> SignedHead:
        """The head of a site's ledger, signed."""
        return SignedHead(head, self._key.sign(_head(site, head)).hex())

    def model(self, digest: str) -> str:
        """The signature of a model that is handed on, by the digest of its manifest; hexadecimal."""
        return self._key.sign(_model(digest)).hex()


def message_is_signed(public: str, site: str, digest: str, signature: str) -> bool:
    """Whether the holder of the key has signed this message to this site."""
    return _verified(public, signature, _message(site, digest))


def head_is_signed(public: str, site: str, signed: SignedHead) -> bool:
    """Whether the holder of the key has signed this head of this site's ledger."""
    return _verified(public, signed.signature, _head(site, signed.head))


def model_is_signed(public: str, digest: str, signature: str) -> bool:
    """Whether the holder of the key has signed this model, by the digest of its manifest."""
    return _verified(public, signature, _model(digest))


def _message(site: str, digest: str) -> bytes:
    return canonical_json([_MESSAGE, site, digest]).encode()


def _head(site: str, head: Head) -> bytes:
    return canonical_json([_HEAD, site, head.lines, head.hash]).encode()


def _model(digest: str) -> bytes:
    return canonical_json([_MODEL, digest]).encode()


def _verified(public: str, signature: str, statement: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), statement)
    except (ValueError, InvalidSignature):
        return False
    return True
