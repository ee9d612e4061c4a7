"""common: a packed message is the same after its way through Flower's records, whichever way its bytes go."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from common.errors import FedmviError
from common.federation.codec import pack, unpack
from common.federation.records import SMALL_PAYLOAD, from_records, to_records

SIZES = [0, 1, SMALL_PAYLOAD // 8, SMALL_PAYLOAD // 8 + 1, SMALL_PAYLOAD]


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(size: int) -> None:
    content = {"x": np.arange(size, dtype=np.float64), "words": "a"}
    out = unpack(from_records(to_records(pack(content))), dict)
    assert out["x"].tobytes() == content["x"].tobytes() and out["words"] == "a"


def test_a_small_message_is_few_objects_of_flowers_as_each_is_a_request() -> None:
    def objects(size: int) -> int:
        return len(get_all_nested_objects(to_records(pack({"x": np.zeros(size)}))))

    assert objects(SMALL_PAYLOAD // 8) == 2
    assert objects(SMALL_PAYLOAD) > 4


def test_bytes_that_come_in_both_ways_are_refused() -> None:
    records = to_records(pack({"x": np.zeros(3)}))
    records["arrays"] = ArrayRecord({"payload": Array("uint8", (24,), "fedmvi.raw", bytes(24))})
    with pytest.raises(FedmviError) as refused:
        from_records(records)
    assert refused.value.number == 501
