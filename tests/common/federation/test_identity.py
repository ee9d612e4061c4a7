"""common: a signature says who saw which study, run, rosters and key, and nothing but exactly these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from common.federation.envelope import Ticket
from common.federation.identity import Claim, has_signed, identity, identity_key, sign_roster, statement
from common.federation.masks import private_key, public_key

SECRET = b"s" * 32
KEY = identity_key(SECRET)
CLAIM = Claim("ab" * 32, '{"train":60}', alone=False, tells=False, hides="{}")
TICKET = Ticket("run1", "f" * 64, {"train": ("a", "b", "c"), "test": ("d", "e", "f")})
SIGNATURE = sign_roster(KEY, TICKET, "a", CLAIM)

CHANGES: dict[str, Callable[[Ticket], Ticket]] = {
    "another run": lambda t: replace(t, run_id="run2"),
    "another study": lambda t: replace(t, study="e" * 64),
    "a site less": lambda t: replace(t, rosters={**t.rosters, "train": ("a", "b")}),
    "a site more": lambda t: replace(t, rosters={**t.rosters, "train": ("a", "b", "c", "d")}),
    "a site in another cohort": lambda t: replace(t, rosters={"train": ("a", "b", "d"), "test": ("c", "e", "f")}),
    "a cohort less": lambda t: replace(t, rosters={"train": ("a", "b", "c")}),
    "cohorts exchanged": lambda t: replace(t, rosters={"train": t.rosters["test"], "test": t.rosters["train"]}),
    "one name instead of two": lambda t: replace(t, rosters={**t.rosters, "train": ('a","b', "c")}),
}


def test_a_signature_holds_for_what_was_signed_and_is_the_same_again() -> None:
    assert has_signed(identity(KEY), TICKET, "a", CLAIM, SIGNATURE)
    assert sign_roster(identity_key(SECRET), TICKET, "a", CLAIM) == SIGNATURE
    reordered = replace(TICKET, rosters=dict(reversed(TICKET.rosters.items())))
    assert has_signed(identity(KEY), reordered, "a", CLAIM, SIGNATURE), "cohorts have no order"


@pytest.mark.parametrize("change", CHANGES)
def test_a_signature_does_not_hold_for_another_run_study_or_roster(change: str) -> None:
    changed = CHANGES[change](TICKET)
    assert statement(changed, "a", CLAIM) != statement(TICKET, "a", CLAIM)
    assert not has_signed(identity(KEY), changed, "a", CLAIM, SIGNATURE)


def test_a_signature_does_not_hold_for_another_site_key_or_identity() -> None:
    assert not has_signed(identity(KEY), TICKET, "b", CLAIM, SIGNATURE)
    assert not has_signed(identity(KEY), TICKET, "a", replace(CLAIM, patients='{"train":600}'), SIGNATURE)
    assert not has_signed(identity(KEY), TICKET, "a", replace(CLAIM, mask_key="cd" * 32), SIGNATURE)
    assert not has_signed(identity(KEY), TICKET, "a", replace(CLAIM, alone=True), SIGNATURE)
    assert not has_signed(identity(KEY), TICKET, "a", replace(CLAIM, tells=True), SIGNATURE)
    assert not has_signed(identity(KEY), TICKET, "a", replace(CLAIM, hides='{"train":["age"]}'), SIGNATURE)
    assert not has_signed(identity(identity_key(b"t" * 32)), TICKET, "a", CLAIM, SIGNATURE)


@pytest.mark.parametrize("signature", ["", "00", "zz" * 64, "00" * 64, SIGNATURE[:-2], SIGNATURE + "00", "\ud83d"])
def test_what_is_no_signature_is_none(signature: str) -> None:
    assert not has_signed(identity(KEY), TICKET, "a", CLAIM, signature)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"short"])
def test_an_identity_that_is_no_key_has_signed_nothing(point: bytes) -> None:
    assert not has_signed(point, TICKET, "a", CLAIM, SIGNATURE)


def test_identity_and_mask_keys_of_one_secret_have_nothing_in_common() -> None:
    keys = {identity(KEY), public_key(private_key(SECRET, "")), public_key(private_key(SECRET, "f" * 64))}
    assert len(keys) == 3
