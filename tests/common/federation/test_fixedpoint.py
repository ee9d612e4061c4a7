"""common: exact sums: any order, no scale to guess, out of range aborts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation import fixedpoint as fp

reals = st.lists(st.floats(-1e17, 1e17, allow_nan=False), min_size=1, max_size=8)


def summed(values: list[float]) -> float:
    total = fp.encode_real(np.array([values[0]]), len(values))
    for value in values[1:]:
        total = fp.add(total, fp.encode_real(np.array([value]), len(values)))
    return float(fp.decode_real(total)[0])


@given(reals, st.randoms())
def test_the_order_of_sites_cannot_change_a_bit(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert np.float64(summed(values)).tobytes() == np.float64(summed(shuffled)).tobytes()


@given(reals)
def test_a_sum_is_the_exact_rational_sum_to_its_last_place(values: list[float]) -> None:
    exact = sum((Fraction(v) for v in values), Fraction(0))
    error = abs(Fraction(summed(values)) - exact)
    # Each value is rounded to 2^-64 once, and the decoded sum to a float64.
    assert error <= Fraction(len(values), 2**64) + abs(exact) * Fraction(1, 2**51)


@given(st.floats(-1e3, 1e3))
def test_one_real_survives_to_two_to_the_minus_64(value: float) -> None:
    assert abs(summed([value]) - value) <= 2.0**-64


def test_small_negative_values_are_exact() -> None:
    assert summed([-(2.0**-60)]) == -(2.0**-60)
    assert summed([-(2.0**-60), 1.0]) == 1.0 - 2.0**-60 or summed([-(2.0**-60), 1.0]) == 1.0
    assert summed([-(2.0**-60), 1.0, -1.0]) == -(2.0**-60)


@given(st.lists(st.integers(-(2**58), 2**58), min_size=1, max_size=8))
def test_counts_add_exactly(values: list[int]) -> None:
    total = fp.encode_count(np.array([values[0]]), len(values))
    for value in values[1:]:
        total = fp.add(total, fp.encode_count(np.array([value]), len(values)))
    assert int(fp.decode_count(total)[0]) == sum(values)


@pytest.mark.parametrize("value", [2.0**62, -(2.0**61), float("nan"), float("inf")])
def test_out_of_range_aborts_and_never_clips(value: float) -> None:
    with pytest.raises(FedmviError, match="504"):
        fp.encode_real(np.array([value]), 2)


def test_counts_and_updates_out_of_range_abort() -> None:
    with pytest.raises(FedmviError, match="504"):
        fp.encode_count(np.array([2**61]), 2)
    with pytest.raises(FedmviError, match="504"):
        fp.encode_update(np.array([2.0**40]), 24, 3)


def test_updates_keep_their_declared_bits() -> None:
    weights = np.array([0.25, -1.5, 3.0])
    both = fp.add(fp.encode_update(weights, 24, 2), fp.encode_update(weights, 24, 2))
    assert fp.decode_update(both, 24).tolist() == [0.5, -3.0, 6.0]


def test_random_masks_that_cancel_leave_the_sum_bit_for_bit() -> None:
    rng = np.random.default_rng(1)
    values = [rng.normal(size=1000) * 10.0 ** rng.integers(-12, 12, 1000) for _ in range(3)]
    encoded = [fp.encode_real(v, 3) for v in values]
    masks = [rng.integers(0, 2**64, encoded[0].shape, dtype=np.uint64) for _ in range(2)]
    zero = np.zeros_like(masks[0])

    def minus(limbs: fp.Limbs) -> fp.Limbs:
        one = zero.copy()
        one[0] = 1
        return fp.add(~limbs, one)

    masked = [fp.add(encoded[0], masks[0]), fp.add(encoded[1], masks[1]), encoded[2]]
    masked[2] = fp.add(fp.add(masked[2], minus(masks[0])), minus(masks[1]))
    plain = fp.decode_real(fp.add(fp.add(encoded[0], encoded[1]), encoded[2]))
    hidden = fp.decode_real(fp.add(fp.add(masked[0], masked[1]), masked[2]))
    assert plain.tobytes() == hidden.tobytes()


limbs = st.lists(st.sampled_from([0, 1, 2, 2**63, 2**64 - 2, 2**64 - 1]), min_size=12, max_size=12)


@given(limbs, limbs, st.sampled_from([(1, 12), (2, 6), (2, 2, 3), (3, 4)]))
def test_what_is_taken_in_and_out_in_place_carries_as_a_sum_does(
    mine: list[int], other: list[int], shape: tuple[int, ...]
) -> None:
    total, part = (np.array(numbers, dtype=np.uint64).reshape(shape) for numbers in (mine, other))
    more, less = total.copy(), total.copy()
    fp.take_in(more, part)
    fp.take_out(less, part)
    assert np.array_equal(more, fp.add(total, part))
    assert np.array_equal(less, fp.add(total, fp.negative(part)))
