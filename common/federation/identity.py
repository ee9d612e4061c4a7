"""common/federation: identities: how hospitals recognise each other, and what each of them signs when a run opens.

A site has one long-term Ed25519 key (RFC 8032), derived from its own secret; the hospitals tell each other its public
half themselves. With it a site signs, for one run: the study, all rosters, its mask key for the study, how many
patients it has in each cohort, whether it may be left out, and what it tells of itself alone. Whoever has
checked every site's signature knows that all of them saw the same study and rosters, whose the keys are, and over how
many patients sums are, although everything was carried by a coordinator whom nobody needs to trust for it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.federation.envelope import Ticket
from common.federation.masks import derive
from common.study.fingerprint import canonical_json

_IDENTITY = b"fedmvi identity 1"
_ROSTER = "fedmvi signed roster 1"


def identity_key(secret: bytes) -> Ed25519PrivateKey:
    """A site's long-term key for signatures, derived from its own secret."""
    return Ed25519PrivateKey.from_private_bytes(derive(secret, _IDENTITY))


def identity(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes by which other sites know the site; they get them from the site and not from the coordinator."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@dataclass(frozen=True)
class Claim:
    """What a site says of itself when a run opens.

    Attributes
    ----------
    mask_key
        Its public mask key for the study, in hexadecimal.
    patients
        JSON: its patients in each of its cohorts, rounded down.
    alone
        Whether its own sums may be told: then a study may go on without it.
    tells
        Whether it tells guarded results of itself alone: what others tell leaves of a sum what those tell who do not.
    hides
        JSON: by cohort the columns of which it tells nothing even so, because few of its patients differ in them.
    """

    mask_key: str
    patients: str
    alone: bool
    tells: bool
    hides: str


def statement(ticket: Ticket, site: str, claim: Claim) -> bytes:
    """What `site` signs: study, run, the sites of every cohort, its name, and what it says of itself."""
    rosters = tuple((cohort, tuple(sites)) for cohort, sites in ticket.rosters.items())
    return f"{_run(ticket.study, ticket.run_id, rosters)[:-1]},{canonical_json([site, asdict(claim)])[1:]}".encode()


@lru_cache(maxsize=2)
def _run(study: str, run_id: str, rosters: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    """What all statements of a run begin with: a site checks as many as there are other sites."""
    return canonical_json([_ROSTER, study, run_id, {cohort: list(sites) for cohort, sites in rosters}])


def sign_roster(key: Ed25519PrivateKey, ticket: Ticket, site: str, claim: Claim) -> str:
    """The site's signature of a run, in hexadecimal; the same whenever it is asked for."""
    return key.sign(statement(ticket, site, claim)).hex()


def has_signed(identity_: bytes, ticket: Ticket, site: str, claim: Claim, signature: str) -> bool:
    """Whether the signature is that of the site with this identity over the run as the ticket tells it."""
    try:
        Ed25519PublicKey.from_public_bytes(identity_).verify(bytes.fromhex(signature), statement(ticket, site, claim))
    except (ValueError, InvalidSignature):
        return False
    return True
