"""common/federation: pairwise masks: what a site sends of a sum tells nothing until all sites' answers are added.

Each pair of sites derives the same stream of numbers; one adds it, the other subtracts it, so that the masks cancel
in the sum, bit for bit, because sums are integers modulo a power of two (Bonawitz et al., CCS 2017, without its
recovery of drop-outs: a roster does not shrink, so a missing answer ends the round and its masks protect the rest).

Nothing is remembered between messages. A pair's secret is X25519 of the two sites' keys, which the hospitals exchange
themselves; the stream is AES-256-CTR under HKDF-SHA256 of that secret and of everything that names the question:
study, run, question, roster. A question has one answer (the reply store), so no stream hides two.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from numpy.typing import NDArray

from common.federation import fixedpoint
from common.federation.envelope import Ticket, roster_digest
from common.federation.query import Ask
from common.study.fingerprint import canonical_json

KEY_BYTES = 32
_MASK_KEY = b"fedmvi mask key 1"
_STREAM = b"fedmvi mask stream 1|"


def private_key(secret: bytes) -> X25519PrivateKey:
    """A site's key for masks, derived from its own secret, so that there is one secret to keep."""
    return X25519PrivateKey.from_private_bytes(_derive(secret, _MASK_KEY))


def public_key(key: X25519PrivateKey) -> bytes:
    """The 32 bytes that the other sites must have, from the site itself and not from the coordinator."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def mask(
    blocks: Mapping[str, fixedpoint.Limbs], site: str, key: X25519PrivateKey, peers: Mapping[str, bytes], context: bytes
) -> dict[str, fixedpoint.Limbs]:
    """The encoded blocks of one site's answer with a mask for every peer added.

    Parameters
    ----------
    blocks
        Encoded blocks by name, (limbs, *shape) each.
    site, peers
        The site's name, and the public keys of all other sites of the roster by name.
    context
        Names study, run, question and roster; two questions never have the same.
    """
    names = sorted(blocks)
    masked = {name: blocks[name] for name in names}
    for peer, public in sorted(peers.items()):
        shared = key.exchange(X25519PublicKey.from_public_bytes(public))
        stream = _stream(_derive(shared, _STREAM + context), sum(blocks[name].size for name in names))
        position = 0
        for name in names:
            part = stream[position : position + blocks[name].size].reshape(blocks[name].shape)
            position += blocks[name].size
            masked[name] = fixedpoint.add(masked[name], part if site < peer else fixedpoint.negative(part))
    return masked


def mask_context(ticket: Ticket, ask: Ask) -> bytes:
    """Names a question of a run, for `mask`: study, run, question and roster."""
    roster = roster_digest(ask.cohort, ticket.roster(ask.cohort))
    return canonical_json([ticket.study, ticket.run_id, ask.digest, roster]).encode()


def _derive(secret: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def _stream(key: bytes, numbers: int) -> NDArray[np.uint64]:
    # A key is used for one stream only, so its counter may start at zero.
    encryptor = Cipher(AES(key), CTR(bytes(16))).encryptor()
    return np.frombuffer(encryptor.update(bytes(8 * numbers)) + encryptor.finalize(), dtype="<u8").astype(np.uint64)
