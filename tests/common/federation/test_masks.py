"""common: masks cancel in the sum bit for bit, and nothing less than the whole sum tells anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.federation import fixedpoint as fp
from common.federation.masks import mask, pair_secret, private_key, public_key

SITES = ("a", "b", "c", "d")
KEYS = {site: private_key(site.encode() * 32, "study") for site in SITES}
PUBLIC = {site: public_key(key) for site, key in KEYS.items()}


def secrets_of(site: str, public: dict[str, bytes]) -> dict[str, bytes]:
    return {peer: pair_secret(site, KEYS[site], peer, key) for peer, key in public.items() if peer != site}


def masked_by_all(parts: dict[str, dict[str, fp.Limbs]], context: bytes = b"x") -> dict[str, dict[str, fp.Limbs]]:
    return {
        site: mask(part, site, secrets_of(site, {p: PUBLIC[p] for p in parts}), context) for site, part in parts.items()
    }


def encoded(seed: int, sites: tuple[str, ...] = SITES) -> dict[str, dict[str, fp.Limbs]]:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-15, 15, (3, 4))
    return {
        site: {
            "real": fp.encode_real(rng.normal(size=(3, 4)) * scale, len(sites)),
            "count": fp.encode_count(rng.integers(0, 99, 7), len(sites)),
            "one": fp.encode_real(np.array(rng.normal()), len(sites)),
        }
        for site in sites
    }


def total(parts: dict[str, dict[str, fp.Limbs]], name: str) -> fp.Limbs:
    result, *rest = (part[name] for part in parts.values())
    for part in rest:
        result = fp.add(result, part)
    return result


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 4))
def test_masked_and_plain_sums_are_equal_bit_for_bit(seed: int, k: int) -> None:
    plain = encoded(seed, SITES[:k])
    hidden = masked_by_all(plain)
    for name in ("real", "count", "one"):
        assert np.array_equal(total(plain, name), total(hidden, name))


def test_what_one_site_sends_looks_like_noise_whatever_it_holds() -> None:
    zeros = {site: {"real": fp.encode_real(np.zeros(20_000), 3)} for site in SITES[:3]}
    bits = np.unpackbits(masked_by_all(zeros)["a"]["real"].view(np.uint8))
    assert abs(bits.mean() - 0.5) < 0.002
    words = masked_by_all(zeros)["a"]["real"].view(np.uint8)
    assert stats.chisquare(np.bincount(words.ravel(), minlength=256)).pvalue > 1e-6


def test_a_sum_that_lacks_one_site_tells_nothing() -> None:
    plain = encoded(1, SITES[:3])
    hidden = masked_by_all(plain)
    del hidden["c"], plain["c"]
    assert not np.any(fp.decode_real(total(hidden, "real")) == fp.decode_real(total(plain, "real")))


def test_two_questions_never_share_a_mask() -> None:
    plain = encoded(2, SITES[:3])
    first, second = masked_by_all(plain, b"first"), masked_by_all(plain, b"second")
    assert not np.any(first["a"]["real"] == second["a"]["real"])


def test_a_key_that_is_not_the_peers_gives_noise_not_a_sum() -> None:
    plain = encoded(3, SITES[:3])
    hidden = masked_by_all(plain)
    wrong = {"b": public_key(private_key(b"e" * 32, "study")), "c": PUBLIC["c"]}
    hidden["a"] = mask(plain["a"], "a", secrets_of("a", wrong), b"x")
    assert not np.array_equal(total(plain, "real"), total(hidden, "real"))


@pytest.mark.parametrize("point", [bytes(32), bytes([1]) + bytes(31)])
def test_a_key_of_low_order_is_refused(point: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        pair_secret("a", KEYS["a"], "b", point)


def test_a_site_has_another_key_for_every_study() -> None:
    other = private_key(b"a" * 32, "another study")
    assert public_key(other) != PUBLIC["a"]
    assert pair_secret("a", other, "b", PUBLIC["b"]) != pair_secret("a", KEYS["a"], "b", PUBLIC["b"])


def test_a_pairs_secret_is_the_same_on_both_sides_and_that_of_no_other_pair() -> None:
    secrets = {(s, p): pair_secret(s, KEYS[s], p, PUBLIC[p]) for s in SITES for p in SITES if s != p}
    assert all(secrets[s, p] == secrets[p, s] for s, p in secrets)
    assert len(set(secrets.values())) == len(secrets) // 2


def test_masks_of_sites_with_one_secret_do_not_cancel_within_one_answer() -> None:
    """A copied secret protects nobody, but b, between a and c, must not send its sums bare for it."""
    key = private_key(b"copied" * 6, "study")
    secrets = {peer: pair_secret("b", key, peer, public_key(key)) for peer in ("a", "c")}
    plain = encoded(4, SITES[:3])["b"]
    hidden = mask(plain, "b", secrets, b"x")
    assert not np.any(hidden["real"] == plain["real"])
