"""client/release: the site's mask key and the keys of the other hospitals that it trusts, in `peers.toml`.

The keys come from the other hospitals themselves (by telephone, paper or signed mail). A coordinator who could choose
them would stand between every pair of sites and could take the masks off.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from client.cohort.membership import site_secret
from client.cohort.site import Site
from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.federation.fixedpoint import Limbs
from common.federation.masks import KEY_BYTES, mask, mask_context, private_key, public_key
from common.federation.query import Ask
from common.files import write_whole

PEERS = "peers.toml"


def own_key(site: Site) -> str:
    """The public key that the other hospitals need, as 64 hexadecimal digits."""
    return public_key(private_key(site_secret(site))).hex()


def peers(site: Site) -> dict[str, bytes]:
    """The trusted keys of other sites by name; error 417 if `peers.toml` is damaged."""
    path = site.folder / PEERS
    if not path.exists():
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: _key(str(text)) for name, text in table.items()}
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError, ValueError) as error:
        raise FedmviError(417, f"{path}: {error}", site="") from error


def trust(site: Site, name: str, key: str) -> None:
    """Trust a key as that of another site; a different key of that name must be removed by hand first.

    Raises
    ------
    FedmviError
        417 no key, or another one is trusted already under that name.
    """
    try:
        wanted = _key(key)
    except ValueError as error:
        raise FedmviError(417, str(error), site=name) from error
    known = peers(site)
    if known.get(name, wanted) != wanted:
        raise FedmviError(417, f"another key of '{name}' is in {PEERS}; remove its line if it was replaced", site=name)
    write_peers(site.folder / PEERS, {**{n: k.hex() for n, k in known.items()}, name: wanted.hex()})


def write_peers(path: Path, keys: Mapping[str, str]) -> None:
    """Write `peers.toml`: one line a site."""
    lines = [f"{json.dumps(name)} = {json.dumps(key)}\n" for name, key in sorted(keys.items())]
    write_whole(path, "".join(lines).encode())


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {2 * KEY_BYTES} hexadecimal digits")
    return key


class MaskKeys:
    """What masks need of a site, read once a message: its own key and those that it trusts."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @cached_property
    def _own(self) -> X25519PrivateKey:
        return private_key(site_secret(self._site))

    @cached_property
    def _trusted(self) -> dict[str, bytes]:
        return peers(self._site)

    def masked(self, ticket: Ticket, ask: Ask, blocks: Mapping[str, Limbs]) -> dict[str, Limbs]:
        """The blocks of a total as they may leave: masked against every other site of the roster.

        Raises
        ------
        FedmviError
            417 a site of the roster whose key this hospital does not trust.
        """
        others = [name for name in ticket.roster(ask.cohort) if name != self._site.name]
        for name in others:
            if name not in self._trusted:
                raise FedmviError(417, site=name)
        keys = {name: self._trusted[name] for name in others}
        try:
            return mask(blocks, self._site.name, self._own, keys, mask_context(ticket, ask))
        except ValueError as error:  # a trusted key that is none
            raise FedmviError(417, f"{PEERS}: {error}", site="") from error
