"""client/release: the site's keys, and the identities of the other hospitals that it trusts, in `peers.toml`.

An identity is the public half of a hospital's long-term signing key. It comes from that hospital itself (by telephone,
paper or signed mail): a coordinator who could choose identities would stand between every pair of sites and could take
the masks off. Mask keys are made for each study and signed, so they may travel by way of the coordinator.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from client.cohort.membership import site_secret
from client.cohort.site import Site, refuse_root_at
from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.federation.fixedpoint import Limbs
from common.federation.identity import Claim, has_signed, identity, identity_key, sign_roster
from common.federation.masks import KEY_BYTES, derive, mask, mask_context, pair_secret, private_key, public_key
from common.federation.partners import partners
from common.federation.query import Ask
from common.federation.tasks import SignedKey
from common.files import write_whole
from common.study.fingerprint import canonical_json, digest

PEERS = "peers.toml"
_CONSENTS = b"fedmvi consents 1|"


class Consent(NamedTuple):
    """What a site signed for a run: whether it may be left out, whether it tells of itself, and the columns that it
    hides even so; as of `Claim`."""

    alone: bool
    tells: bool
    hides: str


def own_key(site: Site) -> str:
    """The public key of the site's identity, which the other hospitals need, as 64 hexadecimal digits."""
    return identity(identity_key(site_secret(site))).hex()


def peers(site: Site) -> dict[str, bytes]:
    """The trusted identities of other sites by name.

    Raises
    ------
    FedmviError
        417 `peers.toml` is damaged, or holds one key twice or the site's own: one hospital would count as two.
    """
    path = site.folder / PEERS
    if not path.exists():
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        known = {name: _key(str(text)) for name, text in table.items()}
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError, ValueError) as error:
        raise FedmviError(417, f"{path}: {error}", site="") from error
    _refuse_doubles(site, known)
    return known


def peers_digest(site: Site) -> str:
    """Names what `peers.toml` says; "" where there is none. Of a thousand peers that is known long before they are."""
    path = site.folder / PEERS
    return digest(path.read_bytes()) if path.exists() else ""


def trust(site: Site, name: str, key: str) -> None:
    """Trust a key as the identity of another site; a different key of that name must be removed by hand first.

    Raises
    ------
    FedmviError
        417 no key, another one is trusted already under that name, or this one under another name; 728 root in another
        user's folder.
    """
    refuse_root_at(site)
    try:
        wanted = _key(key)
    except ValueError as error:
        raise FedmviError(417, str(error), site=name) from error
    known = peers(site)
    if known.get(name, wanted) != wanted:
        raise FedmviError(417, f"another key of '{name}' is in {PEERS}; remove its line if it was replaced", site=name)
    _refuse_doubles(site, {**known, name: wanted})
    write_peers(site.folder / PEERS, {**{n: k.hex() for n, k in known.items()}, name: wanted.hex()})


def write_peers(path: Path, keys: Mapping[str, str]) -> None:
    """Write `peers.toml`: one line a site."""
    lines = [f"{json.dumps(name)} = {json.dumps(key)}\n" for name, key in sorted(keys.items())]
    write_whole(path, "".join(lines).encode())


def _refuse_doubles(site: Site, known: Mapping[str, bytes]) -> None:
    holders: dict[bytes, str] = {bytes.fromhex(own_key(site)): site.name}
    for name, key in sorted(known.items()):
        if key in holders:
            told = (
                f"'{name}' and '{holders[key]}' have the same key; if a name was mistyped, remove its line in {PEERS}"
            )
            raise FedmviError(417, told, site=name)
        holders[key] = name


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {2 * KEY_BYTES} hexadecimal digits")
    return key


def mask_key(site: Site, study: str, store: str) -> str:
    """The site's public mask key for a study, by its fingerprint, and prepared data, by their digest; hexadecimal."""
    return public_key(private_key(site_secret(site), study, store)).hex()


def signature_of(site: Site, ticket: Ticket, claim: Claim) -> str:
    """The site's signature over the run as the ticket tells it, and what it says of itself."""
    return sign_roster(identity_key(site_secret(site)), ticket, site.name, claim)


def verified(site: Site, ticket: Ticket, signed: Sequence[SignedKey]) -> dict[str, SignedKey]:
    """What all other sites of the run signed, by name, each by an identity that this hospital trusts.

    What they signed is compared with the rosters of the site's own ticket, never with what came beside a signature.

    Raises
    ------
    FedmviError
        417 an identity that is not trusted, 419 a site that has not signed this.
    """
    trusted, given = peers(site), {entry.site: entry for entry in signed}
    found: dict[str, SignedKey] = {}
    for name in ticket.roster(""):
        if name == site.name:
            continue
        if name not in trusted:
            raise FedmviError(417, site=name)
        entry = given.get(name)
        if entry is None:
            raise FedmviError(419, site=name)
        claim = Claim(entry.key, entry.patients, entry.alone, entry.tells, entry.hides)
        if not has_signed(trusted[name], ticket, name, claim, entry.signature):
            raise FedmviError(419, site=name)
        found[name] = entry
    return found


class MaskKeys:
    """What masks of one run need, made once a message: the site's secret with every other site of the run.

    Parameters
    ----------
    keys
        The others' mask keys by name, as they were verified when the run was opened.
    study, store
        The study's fingerprint, and the digest of the site's prepared data at the opening.
    consents
        By site, what this one holds it to have consented to. Secrets are made of both sites' consents too: where two
        hold different ones, because somebody was shown a signature that was kept, their masks do not cancel.
    """

    def __init__(
        self,
        site: Site,
        study: str,
        store: str,
        keys: Mapping[str, str],
        consents: Mapping[str, Consent],
    ) -> None:
        self._site, self._study, self._store, self._keys, self._consents = site, study, store, keys, consents

        self._secrets: dict[str, bytes] = {}
        self._partners: dict[tuple[str, ...], tuple[str, ...]] = {}

    @cached_property
    def _own(self) -> X25519PrivateKey:
        return private_key(site_secret(self._site), self._study, self._store)

    def _secret(self, name: str) -> bytes:
        if name not in self._secrets:
            try:
                shared = pair_secret(self._site.name, self._own, name, bytes.fromhex(self._keys[name]))
                both = {one: self._consents[one] for one in (name, self._site.name)}
                self._secrets[name] = derive(shared, _CONSENTS + canonical_json(both).encode())
            except ValueError as error:  # signed, and yet no key
                raise FedmviError(419, str(error), site=name) from error
        return self._secrets[name]

    def _partners_on(self, roster: tuple[str, ...]) -> tuple[str, ...]:
        if roster not in self._partners:
            keys = {name: self._keys[name] for name in roster if name != self._site.name}
            self._partners[roster] = partners(self._site.name, {**keys, self._site.name: public_key(self._own).hex()})
        return self._partners[roster]

    def masked(self, ticket: Ticket, ask: Ask, blocks: Mapping[str, Limbs]) -> dict[str, Limbs]:
        """The blocks of a total as they may leave: masked against every other site of the roster, or on a large one
        against its `partners`.

        Raises
        ------
        FedmviError
            419 a site of the roster without a usable key.
        """
        roster = ticket.roster(ask.cohort)
        for name in roster:
            if name != self._site.name and name not in self._keys:
                raise FedmviError(419, site=name)
        secrets = {name: self._secret(name) for name in self._partners_on(roster)}
        return mask(blocks, self._site.name, secrets, mask_context(ticket, ask))
