"""common: a packed message is the same after its way through Flower's records, whichever way its bytes go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from common.errors import FedmviError
from common.federation.codec import pack, unpack
from common.federation.records import (
    SMALL_PAYLOAD,
    Proof,
    ToldLedger,
    from_records,
    read_ledger,
    read_proof,
    read_wire,
    signed_records,
    to_records,
    to_wire,
)
from common.federation.signatures import Head, Signer

SIZES = [0, 1, SMALL_PAYLOAD // 8, SMALL_PAYLOAD // 8 + 1, SMALL_PAYLOAD]


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(size: int) -> None:
    content = {"x": np.arange(size, dtype=np.float64), "words": "a"}
    out = unpack(from_records(to_records(pack(content))), dict)
    assert out["x"].tobytes() == content["x"].tobytes() and out["words"] == "a"


def test_a_small_message_is_few_objects_of_flowers_as_each_is_a_request() -> None:
    """Two, and a third is Flower's message itself; what is signed, or told of a ledger, adds none."""

    def objects(records: RecordDict) -> int:
        return len(get_all_nested_objects(records))

    small, head = pack({"x": np.zeros(SMALL_PAYLOAD // 8)}), Head(3, "ab" * 32)
    signer = Signer(Ed25519PrivateKey.generate())
    assert objects(to_records(small)) == 2
    assert objects(signed_records(to_wire(small), "a", signer, head)) == 2
    assert objects(to_records(small, ToldLedger(head, agrees=True))) == 2
    assert objects(to_records(pack({"x": np.zeros(SMALL_PAYLOAD)}))) > 4


def test_what_stands_beside_a_message_is_read_apart_from_it_and_not_mistaken_for_each_other() -> None:
    packed, head, signer = pack({"text": "a"}), Head(3, "ab" * 32), Signer(Ed25519PrivateKey.generate())
    asked = signed_records(to_wire(packed), "a", signer, head)
    proof = read_proof(asked)
    assert proof.signature == signer.message("a", to_wire(packed).digest) and proof.countersigned is not None
    assert (proof.countersigned.head, read_ledger(asked)) == (head, None)
    answered = to_records(packed, ToldLedger(head, agrees=False))
    assert (read_ledger(answered), read_proof(answered)) == (ToldLedger(head, agrees=False), Proof())
    assert read_wire(asked) == read_wire(answered) == to_wire(packed)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("proof.more", "x", read_proof), ("proof.signature", 1, read_proof), ("proof.lines", 1, read_proof),
        ("ledger.more", "x", read_ledger), ("ledger.agrees", True, read_ledger), ("ledger.lines", -1, read_ledger),
    ],
)  # fmt: skip
def test_what_can_be_no_proof_and_no_ledger_is_refused(
    name: str, value: str | int, read: Callable[[RecordDict], object]
) -> None:
    records = to_records(pack({"x": 1}))
    records.config_records["message"][name] = value
    with pytest.raises(FedmviError) as refused:
        read(records)
    assert refused.value.number == 501


def test_bytes_that_come_in_both_ways_are_refused() -> None:
    records = to_records(pack({"x": np.zeros(3)}))
    records["arrays"] = ArrayRecord({"payload": Array("uint8", (24,), "fedmvi.raw", bytes(24))})
    with pytest.raises(FedmviError) as refused:
        from_records(records)
    assert refused.value.number == 501
