"""common/federation: packed messages to and from Flower records.

All arrays of a message travel as one byte payload (Flower moves every array as objects of their own); their
types and shapes are in the layout, which is checked before a byte is interpreted. Beside them travel, to a site, the
coordinator's signatures, and from a site the head of its ledger: in the same record, because Flower fetches every
record by a request of its own, under names that say whose they are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from common.errors import FedmviError
from common.federation.codec import Packed, check_array
from common.federation.signatures import Head, SignedHead, Signer
from common.study.fingerprint import canonical_json, digest

MESSAGE_TYPE = "query.answer"
"""The one action of the Flower apps: an envelope holds any number of questions."""

NAME_TYPE = "query.name"
"""The action by which a node says which site it stands for."""

_CONFIG, _ARRAYS, _PAYLOAD, _STYPE = "message", "arrays", "payload", "fedmvi.raw"
_PROOF, _LEDGER = "proof.", "ledger."
"""What the names of that begin with which the coordinator, or a site, says beside a message."""

_ROUND, MOST_ROUNDS = "round", 1_000_000

SMALL_PAYLOAD = 1 << 18
"""Bytes up to which the payload stands beside the text. Flower fetches every record, array and piece of an array by a
request of its own: a small message then is three requests instead of six."""


@dataclass(frozen=True)
class Wire:
    """A message as its bytes travel, before anything in it is interpreted."""

    text: str
    layout: str
    payload: bytes

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the parts: what the coordinator signs."""
        return digest(
            canonical_json([digest(self.text), digest(self.layout), hashlib.sha256(self.payload).hexdigest()])
        )


@dataclass(frozen=True)
class Proof:
    """What the coordinator says of a message to one site.

    Attributes
    ----------
    signature
        Of the message, in hexadecimal; "" where nobody signed.
    countersigned
        The head of the site's ledger that the coordinator was told last, signed.
    """

    signature: str = ""
    countersigned: SignedHead | None = None


@dataclass(frozen=True)
class ToldLedger:
    """What a site tells of its ledger with an answer.

    Attributes
    ----------
    head
        How far the ledger goes as the answer leaves.
    agrees
        Whether the head that came countersigned with the question is a line of it.
    """

    head: Head
    agrees: bool


def to_wire(packed: Packed) -> Wire:
    """The parts of a message that travel."""
    layout = [[array.dtype.str, list(array.shape)] for array in packed.arrays]
    payload = b"".join(np.ascontiguousarray(array).tobytes() for array in packed.arrays)
    return Wire(packed.text, json.dumps(layout), payload)


def signed_records(wire: Wire, site: str, signer: Signer, last: Head | None, round_number: int = 0) -> RecordDict:
    """The records of a message to one site, signed, with the last head of its ledger countersigned.

    The round's number, from 1, is for the lines of logs and nothing else, and is not signed.
    """
    proof: dict[str, str | int] = {"signature": signer.message(site, wire.digest)}
    if last is not None:
        proof |= {"lines": last.lines, "hash": last.hash, "countersignature": signer.head(site, last).signature}
    return _records(wire, {_PROOF + name: value for name, value in proof.items()} | _of_round(round_number))


def wire_records(wire: Wire, round_number: int = 0) -> RecordDict:
    """The records of a Flower message that nobody signs; the number as in `signed_records`."""
    return _records(wire, _of_round(round_number))


def _of_round(number: int) -> dict[str, str | int]:
    return {_ROUND: number} if number else {}


def _records(wire: Wire, beside: Mapping[str, str | int]) -> RecordDict:
    config: dict[str, str | int | bytes] = {"text": wire.text, "layout": wire.layout, **beside}
    if len(wire.payload) <= SMALL_PAYLOAD:
        config[_PAYLOAD] = wire.payload
    records = RecordDict({_CONFIG: ConfigRecord(config)})  # type: ignore[arg-type]
    if _PAYLOAD not in config:
        records[_ARRAYS] = ArrayRecord({_PAYLOAD: Array("uint8", (len(wire.payload),), _STYPE, wire.payload)})
    return records


def to_records(packed: Packed, ledger: ToldLedger | None = None) -> RecordDict:
    """The records of a Flower message; an answer of an enrolled site has the state of its ledger beside it."""
    told: dict[str, str | int] = {}
    if ledger is not None:
        told = {"lines": ledger.head.lines, "hash": ledger.head.hash, "agrees": ledger.agrees}
    return _records(to_wire(packed), {_LEDGER + name: value for name, value in told.items()})


def read_wire(records: RecordDict) -> Wire:
    """The parts of a message, none of them interpreted; anything else is error 501."""
    try:
        config = records.config_records[_CONFIG]
        text, layout = config["text"], config["layout"]
        apart = _ARRAYS in records
        payload = records.array_records[_ARRAYS][_PAYLOAD].data if apart else config.get(_PAYLOAD, b"")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FedmviError(501, f"{type(error).__name__}: {error}") from error
    if apart and _PAYLOAD in config:
        raise FedmviError(501, "a payload twice")
    if not isinstance(text, str) or not isinstance(layout, str) or not isinstance(payload, bytes):
        raise FedmviError(501, "text, layout or payload")
    return Wire(text, layout, payload)


def read_proof(records: RecordDict) -> Proof:
    """What came as the coordinator's signatures, unverified; error 501 for what can be none."""
    told = _beside(records, _PROOF)
    signature = told.pop("signature", "")
    try:
        signed = SignedHead(Head(told.pop("lines"), told.pop("hash")), told.pop("countersignature")) if told else None
    except (KeyError, TypeError) as error:
        raise FedmviError(501, f"proof: {type(error).__name__}") from error
    texts = [signature, *((signed.signature,) if signed else ())]
    if told or not all(isinstance(text, str) for text in texts):
        raise FedmviError(501, "proof")
    return Proof(str(signature), signed)


def read_ledger(records: RecordDict) -> ToldLedger | None:
    """What a site tells of its ledger, None if nothing; error 501 for what can be none."""
    told = _beside(records, _LEDGER)
    if not told:
        return None
    if set(told) != {"lines", "hash", "agrees"} or not isinstance(told["agrees"], bool):
        raise FedmviError(501, "a ledger's state")
    try:
        return ToldLedger(Head(told["lines"], told["hash"]), told["agrees"])
    except TypeError as error:
        raise FedmviError(501, "a ledger's head") from error


def read_round(records: RecordDict) -> int:
    """The number of the round that a message belongs to, for logs; 0 where none is told, error 501 for what is none."""
    number = _config(records).get(_ROUND, 0)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST_ROUNDS:
        raise FedmviError(501, "the number of the round")
    return number


def _beside(records: RecordDict, whose: str) -> dict[str, Any]:
    """What stands beside the message under names that begin so."""
    told = _config(records)
    return {name.removeprefix(whose): value for name, value in told.items() if name.startswith(whose)}


def _config(records: RecordDict) -> Mapping[str, Any]:
    """The one record that is no array; nothing where there is none."""
    nothing: Mapping[str, Any] = {}
    return records.config_records.get(_CONFIG) or nothing


def from_records(records: RecordDict) -> Packed:
    """The inverse of `to_records`, whatever is signed; anything else is error 501."""
    return from_wire(read_wire(records))


def from_wire(wire: Wire) -> Packed:
    """The inverse of `to_wire`; anything else is error 501."""
    text, payload = wire.text, wire.payload
    try:
        layout = json.loads(wire.layout)
    except (ValueError, RecursionError) as error:
        raise FedmviError(501, f"{type(error).__name__}: {error}") from error
    if not isinstance(layout, list):
        raise FedmviError(501, "layout")
    arrays, position = [], 0
    for entry in layout:
        dtype, shape = _layout_entry(entry)
        count = math.prod(shape)
        size = check_array(dtype, shape, len(payload) - position)
        try:
            arrays.append(np.frombuffer(payload, dtype=dtype, count=count, offset=position).reshape(shape))
        except ValueError as error:  # no bytes, but a dimension that no array can have
            raise FedmviError(501, f"an array of shape {shape}") from error
        position += size
    if position != len(payload):
        raise FedmviError(501, "payload and layout differ")
    return Packed(text, tuple(arrays))


def _layout_entry(entry: object) -> tuple[str, tuple[int, ...]]:
    if (
        not isinstance(entry, list)
        or len(entry) != 2
        or not isinstance(entry[0], str)
        or not isinstance(entry[1], list)
    ):
        raise FedmviError(501, "layout")
    if not all(isinstance(d, int) and not isinstance(d, bool) for d in entry[1]):
        raise FedmviError(501, "layout")
    return entry[0], tuple(entry[1])
