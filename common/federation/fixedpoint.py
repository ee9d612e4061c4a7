"""common/federation: exact sums: numbers as two's-complement integers in 64-bit limbs.

Adding integers modulo a power of two is associative, so the order of sites cannot change a digit, and masks
that cancel leave the sum bit for bit as it was. A `count` is one limb. A `real` is 128-bit
fixed point in two limbs, 64 of its bits behind the point. An `update` is one limb with a declared number of
bits behind the point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError

Limbs = NDArray[np.uint64]
"""(limbs, *shape): limb 0 is the least significant."""

_TWO_64 = 18446744073709551616.0
REAL_RANGE = 2.0**62
COUNT_RANGE = 2**62
UPDATE_RANGE = 2.0**62


def encode_count(values: NDArray[np.int64], sites: int) -> Limbs:
    """Counts as one limb; each must stay below 2^62 over the number of sites, or error 504."""
    if values.size and int(np.abs(values).max()) >= COUNT_RANGE // sites:
        raise FedmviError(504)
    return values.astype(np.int64).view(np.uint64)[np.newaxis]


def decode_count(limbs: Limbs) -> NDArray[np.int64]:
    """The counts of `encode_count`, or of a sum of several."""
    counts: NDArray[np.int64] = limbs[0].view(np.int64).copy()
    return counts


def encode_real(values: NDArray[np.float64], sites: int) -> Limbs:
    """Reals as 128-bit fixed point, rounded to 2^-64.

    The magnitude is encoded and then negated: `x - floor(x)` is not exact for small negative x.

    Raises
    ------
    FedmviError
        504 where a value is not finite or not below 2^62 over the number of sites: never clipped.
    """
    magnitude = np.abs(values.astype(np.float64))
    if magnitude.size and not bool(np.all(magnitude < REAL_RANGE / sites)):
        raise FedmviError(504)
    whole = np.floor(magnitude)
    # Scaling by a power of two is exact; a fraction that needs rounding is below 2^-11, so it cannot reach 2^64.
    low = np.rint((magnitude - whole) * _TWO_64).astype(np.uint64)
    high = whole.astype(np.uint64)
    return _negate(np.stack([low, high]), values < 0)


def _negate(limbs: Limbs, where: NDArray[np.bool_]) -> Limbs:
    """Two's complement at the places named."""
    return np.where(where, negative(limbs), limbs)


def negative(limbs: Limbs) -> Limbs:
    """Two's complement: what an encoding must be added to for zero."""
    result = ~limbs
    carry = np.ones(limbs.shape[1:], dtype=bool)
    with np.errstate(over="ignore"):  # wrapping around is the arithmetic that is meant
        for limb in range(limbs.shape[0]):
            result[limb] = result[limb] + carry.astype(np.uint64)
            carry = carry & (result[limb] == 0)
    return result


def decode_real(limbs: Limbs) -> NDArray[np.float64]:
    """The reals of `encode_real`, or of a sum of several."""
    below = (limbs[1] >> np.uint64(63)).astype(bool)
    low, high = _negate(limbs, below)
    magnitude = high.astype(np.float64) + low.astype(np.float64) / _TWO_64
    values: NDArray[np.float64] = np.where(below, -magnitude, magnitude)
    return values


def encode_update(values: NDArray[np.float64], bits: int, sites: int) -> Limbs:
    """Network weights as one limb with `bits` bits behind the point; out of range is error 504."""
    scaled = np.rint(values.astype(np.float64) * 2.0**bits)
    if scaled.size and not bool(np.all(np.abs(scaled) < UPDATE_RANGE / sites)):
        raise FedmviError(504)
    return scaled.astype(np.int64).view(np.uint64)[np.newaxis]


def decode_update(limbs: Limbs, bits: int) -> NDArray[np.float64]:
    """The weights of `encode_update`, or of a sum of several."""
    values: NDArray[np.float64] = limbs[0].view(np.int64).astype(np.float64) / 2.0**bits
    return values


def add(first: Limbs, second: Limbs) -> Limbs:
    """The sum of two encodings, carrying from limb to limb, modulo 2^(64 * limbs)."""
    if len(first) == 1:
        return first + second  # unsigned arrays wrap around in silence
    total = np.empty_like(first)
    carry = np.zeros(first.shape[1:], dtype=np.uint64)
    with np.errstate(over="ignore"):  # wrapping around is the arithmetic that is meant
        for limb in range(first.shape[0]):
            partial = first[limb] + second[limb]
            overflow = (partial < first[limb]).astype(np.uint64)
            total[limb] = partial + carry
            carry = overflow + (total[limb] < partial).astype(np.uint64)
    return total


def take_in(total: Limbs, part: Limbs) -> None:
    """Add an encoding to another one in place: `add`, for whoever adds many."""
    carry: NDArray[np.bool_] | None = None
    for mine, other in zip(_flat(total), _flat(part), strict=True):
        np.add(mine, other, out=mine)
        over = mine < other
        if carry is not None:
            np.add(mine, carry, out=mine)
            over |= mine < carry
        carry = over


def take_out(total: Limbs, part: Limbs) -> None:
    """Subtract an encoding from another one in place: adding its `negative`, for whoever subtracts many."""
    borrow: NDArray[np.bool_] | None = None
    for mine, other in zip(_flat(total), _flat(part), strict=True):
        under = mine < other
        np.subtract(mine, other, out=mine)
        if borrow is not None:
            under |= mine < borrow
            np.subtract(mine, borrow, out=mine)
        borrow = under


def _flat(limbs: Limbs) -> Limbs:
    """A view of (limbs, numbers): arrays wrap around in silence, a single number would warn."""
    flat = limbs.reshape(len(limbs), -1)
    if limbs.size and not np.may_share_memory(flat, limbs):
        raise ValueError("limbs that are not in one piece would be copied, and the sum lost")
    return flat
