"""common/federation: typed objects to and from (canonical JSON, arrays), the form in which everything travels.

A dataclass becomes JSON in which every array is replaced by its position; the arrays go beside it, in their
native bytes, so that no float is ever printed. Decoding validates against the declared types and refuses
unknown fields: nothing off the wire is used before that.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, PlainSerializer, PlainValidator, TypeAdapter, ValidationError, ValidationInfo

from common.errors import FedmviError
from common.study.fingerprint import canonical_json

ALLOWED_DTYPES = ("<f8", "<i8", "<u8", "<f4")
"""Numbers; `<f4` is for the weights of networks."""
MAX_ARRAY_BYTES = 512 * 1024 * 1024
_ARRAY = "$array"
_SIMPLE = frozenset({str, int, float, bool, type(None)})
"""What is the same in JSON: nearly everything in a message, so it is looked at first."""

STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
"""Put as `__pydantic_config__` on every dataclass that travels."""


def _resolve(value: Any, info: ValidationInfo) -> Any:
    """Put the arrays of the message back in their places."""
    return _sink(value, info.context or ())


def _float_array(value: Any, info: ValidationInfo) -> NDArray[np.float64]:
    value = _resolve(value, info)
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
        raise ValueError("a float64 array is needed")
    if not bool(np.all(np.isfinite(value))):
        raise ValueError("the array has a value that is not finite")
    return value


FloatField = Annotated[NDArray[np.float64], PlainValidator(_float_array), PlainSerializer(lambda a: a, return_type=Any)]
"""A field that holds a finite float64 array."""


def _weights(value: Any, info: ValidationInfo) -> NDArray[np.float32]:
    value = _resolve(value, info)
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != 1:
        raise ValueError("a one-dimensional float32 array is needed")
    if not bool(np.all(np.isfinite(value))):
        raise ValueError("the array has a value that is not finite")
    return value


WeightsField = Annotated[NDArray[np.float32], PlainValidator(_weights), PlainSerializer(lambda a: a, return_type=Any)]
"""A field that holds a network's weights: a finite one-dimensional float32 array."""


def _key_array(value: Any, info: ValidationInfo) -> NDArray[np.uint64]:
    value = _resolve(value, info)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint64 or value.ndim != 1:
        raise ValueError("a one-dimensional uint64 array is needed")
    return value


KeyField = Annotated[NDArray[np.uint64], PlainValidator(_key_array), PlainSerializer(lambda a: a, return_type=Any)]
"""A field that holds unsigned keys."""

Plain = Annotated[Any, PlainValidator(_resolve)]
"""A field that holds dicts, tuples, numbers, words and arrays, to be validated by whoever reads it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Packed:
    """An object ready to travel: canonical JSON text and the arrays it refers to."""

    text: str
    arrays: tuple[NDArray[Any], ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the text and over each array's type, shape and bytes."""
        total = hashlib.sha256(self.text.encode())
        for array in self.arrays:
            total.update(f"\0{array.dtype.str}{array.shape}\0".encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    @property
    def nbytes(self) -> int:
        """Payload size in bytes."""
        return len(self.text.encode()) + sum(a.nbytes for a in self.arrays)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def get_ready(kind: Any) -> None:
    """Make what packing and unpacking a kind needs, so that a fork of this process has it: some ten milliseconds."""
    _adapter(kind)


def pack(value: Any, kind: Any = None) -> Packed:
    """Pack a dataclass, or plain dicts, lists, numbers, words and arrays."""
    plain = _adapter(kind).dump_python(value) if kind is not None else value
    arrays: list[NDArray[Any]] = []
    return Packed(canonical_json(_lift(plain, arrays)), tuple(arrays))


def unpack(packed: Packed, kind: type[T]) -> T:
    """Rebuild and validate a value of the declared kind; anything else is error 501."""
    try:
        if kind is dict:
            value: T = _sink(json.loads(packed.text, parse_constant=_refuse_constant), packed.arrays)
            return value
        value = _adapter(kind).validate_json(packed.text, context=packed.arrays)  # type: ignore[arg-type]
    except (ValidationError, ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
        raise FedmviError(501, f"{type(error).__name__}: {error}") from error
    return value


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number")


def _lift(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if type(value) in _SIMPLE:
        return value
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype.str not in ALLOWED_DTYPES:
            raise FedmviError(501, f"an array of type {array.dtype} cannot travel")
        arrays.append(array.reshape(value.shape))
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, dict):
        return {str(key): _lift(value[key], arrays) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_lift(item, arrays) for item in value]
    return value


def _sink(value: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            position = value[_ARRAY]
            if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position < len(arrays):
                raise ValueError("an array is missing")
            return arrays[position]
        return {key: _sink(item, arrays) for key, item in value.items()}
    return tuple(_sink(item, arrays) for item in value) if isinstance(value, list) else value


def check_array(dtype: str, shape: Sequence[int], available: int) -> int:
    """The bytes of an array of the declared type and shape.

    Refused (error 501) before a byte is read: other types, impossible shapes, more than `available` bytes, and more
    than an array may have.
    """
    if dtype not in ALLOWED_DTYPES or len(shape) > 8 or any(d < 0 for d in shape):
        raise FedmviError(501, f"an array of type {dtype} and shape {tuple(shape)}")
    size = np.dtype(dtype).itemsize
    for dimension in shape:
        size *= dimension
    if size > min(available, MAX_ARRAY_BYTES):
        raise FedmviError(501, f"an array of shape {tuple(shape)} in {available} bytes")
    return size


def to_bytes(packed: Packed) -> bytes:
    """A packed value as one file's content (NumPy's npz; objects are refused)."""
    buffer = io.BytesIO()
    text = np.frombuffer(packed.text.encode(), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, text=text, **{str(i): a for i, a in enumerate(packed.arrays)})
    return buffer.getvalue()


def from_bytes(content: bytes) -> Packed:
    """The inverse of `to_bytes`; anything else is error 501."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            text = stored["text"].tobytes().decode()
            return Packed(text, tuple(stored[str(i)] for i in range(len(stored.files) - 1)))
    except Exception as error:  # damaged files make zipfile and NumPy raise almost anything
        raise FedmviError(501, f"{type(error).__name__}: {error}") from error
