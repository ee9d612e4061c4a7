"""common/federation: pairwise masks: what a site sends of a sum tells nothing until all sites' answers are added.

Each pair of sites derives the same stream of numbers; one adds it, the other subtracts it, so that the masks cancel
in the sum, bit for bit, because sums are integers modulo a power of two (Bonawitz et al., CCS 2017, without its
recovery of drop-outs: a roster does not shrink, so a missing answer ends the round and its masks protect the rest).

Nothing is remembered between messages. A site has one X25519 key a study, derived from its secret; the others know it
by the site's signature (`identity`). A pair's secret is made of the exchange of their two keys (RFC 7748) once a
message; the stream of a question is AES-256-CTR under HKDF-SHA256 (RFC 5869) of that secret and of everything that
names the question: study, run, question, roster. A question has one answer (the reply store), so no stream hides two.
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
_MASK_KEY = b"fedmvi mask key 2|"
_PAIR = b"fedmvi mask pair 2|"
_STREAM = b"fedmvi mask stream 2|"


def private_key(secret: bytes, study: str, store: str = "") -> X25519PrivateKey:
    """A site's key for the masks of one study over the data with one digest, derived from its own secret.

    So there is one secret to keep, and other data never meet the stream of a question that was answered before.
    """
    return X25519PrivateKey.from_private_bytes(derive(secret, _MASK_KEY + f"{study}|{store}".encode()))


def public_key(key: X25519PrivateKey) -> bytes:
    """The 32 bytes that the other sites must have, signed by the site."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def pair_secret(site: str, key: X25519PrivateKey, peer: str, public: bytes) -> bytes:
    """The 32 bytes that only the two sites know; the same for both.

    Raises
    ------
    ValueError
        A public key that is none (of low order).
    """
    shared = key.exchange(X25519PublicKey.from_public_bytes(public))
    return derive(shared, _PAIR + canonical_json(sorted((site, peer))).encode())


def mask(
    blocks: Mapping[str, fixedpoint.Limbs], site: str, secrets: Mapping[str, bytes], context: bytes
) -> dict[str, fixedpoint.Limbs]:
    """The encoded blocks of one site's answer with a mask for every peer added.

    Parameters
    ----------
    blocks
        Encoded blocks by name, (limbs, *shape) each.
    site, secrets
        The site's name, and its `pair_secret` with every other site of the roster by name.
    context
        Names study, run, question and roster; two questions never have the same.
    """
    masked = {name: blocks[name].copy(order="C") for name in sorted(blocks)}
    numbers = sum(block.size for block in masked.values())
    for peer, secret in sorted(secrets.items()):
        stream = _stream(derive(secret, _STREAM + context), numbers)
        change = fixedpoint.take_in if site < peer else fixedpoint.take_out
        position = 0
        for block in masked.values():
            change(block, stream[position : position + block.size].reshape(block.shape))
            position += block.size
    return masked


def mask_context(ticket: Ticket, ask: Ask) -> bytes:
    """Names a question of a run, for `mask`: study, run, question and roster."""
    roster = roster_digest(ask.cohort, ticket.roster(ask.cohort))
    return canonical_json([ticket.study, ticket.run_id, ask.digest, roster]).encode()


def derive(secret: bytes, info: bytes) -> bytes:
    """32 bytes of HKDF-SHA256 for one purpose, which `info` names."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def _stream(key: bytes, numbers: int) -> NDArray[np.uint64]:
    # A key is used for one stream only, so its counter may start at zero.
    encryptor = Cipher(AES(key), CTR(bytes(16))).encryptor()
    return np.frombuffer(encryptor.update(bytes(8 * numbers)) + encryptor.finalize(), dtype="<u8").astype(np.uint64)
