"""common/federation: packed messages to and from Flower records.

All arrays of a message travel as one byte payload (Flower moves every array as an object of its own); their
types and shapes are in the layout, which is checked before a byte is interpreted.
"""

from __future__ import annotations

import json
import math

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from common.errors import FedmviError
from common.federation.codec import Packed, check_array

MESSAGE_TYPE = "query.answer"
"""The one action of the Flower apps: an envelope holds any number of questions."""

NAME_TYPE = "query.name"
"""The action by which a node says which site it stands for."""

_CONFIG, _ARRAYS, _PAYLOAD, _STYPE = "message", "arrays", "payload", "fedmvi.raw"


def to_records(packed: Packed) -> RecordDict:
    """The records of a Flower message."""
    layout = [[array.dtype.str, list(array.shape)] for array in packed.arrays]
    payload = b"".join(np.ascontiguousarray(array).tobytes() for array in packed.arrays)
    records = RecordDict({_CONFIG: ConfigRecord({"text": packed.text, "layout": json.dumps(layout)})})
    if payload:
        records[_ARRAYS] = ArrayRecord({_PAYLOAD: Array("uint8", (len(payload),), _STYPE, payload)})
    return records


def from_records(records: RecordDict) -> Packed:
    """The inverse of `to_records`; anything else is error 501."""
    try:
        config = records.config_records[_CONFIG]
        text, layout = config["text"], json.loads(str(config["layout"]))
        payload = records.array_records[_ARRAYS][_PAYLOAD].data if _ARRAYS in records else b""
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FedmviError(501, f"{type(error).__name__}: {error}") from error
    if not isinstance(text, str) or not isinstance(layout, list):
        raise FedmviError(501, "text or layout")
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
