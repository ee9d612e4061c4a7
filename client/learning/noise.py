"""client/learning: random numbers that nobody can foretell who lacks the site's secret.

For the noise of private training a generator of torch will not do: on a CPU it is a Mersenne twister that takes 32 bits
of its seed, so that whoever has the noise of a few hundred weights has all of it, and all seeds can be tried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray
from scipy.special import ndtri

from common.federation.masks import derive

_PURPOSE = b"fedmvi training 1|"
_BITS = 52
"""Bits of a number between 0 and 1: with them the middle of every cell is a float64, and never 0 or 1."""


class KeyedStream:
    """AES-256-CTR under HKDF-SHA256 (RFC 5869) of a secret and of all that the numbers are for.

    The same secret and the same context give the same numbers. Another context gives numbers that have nothing to do
    with them, so that no two computations ever share their noise, and a repeated one does not draw again.

    Parameters
    ----------
    secret
        Bytes that do not leave the site.
    context
        Everything that the numbers are for, in any number of parts.
    """

    def __init__(self, secret: bytes, context: Iterable[bytes]) -> None:
        total = hashlib.sha256()
        for part in context:
            total.update(len(part).to_bytes(8, "big"))
            total.update(part)
        self._cipher = Cipher(AES(derive(secret, _PURPOSE + total.digest())), CTR(bytes(16))).encryptor()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """(count,) independent numbers between 0 and 1, both excluded."""
        words = np.frombuffer(self._cipher.update(bytes(8 * count)), dtype="<u8")
        shares: NDArray[np.float64] = ((words >> np.uint64(64 - _BITS)).astype(np.float64) + 0.5) * 2.0**-_BITS
        return shares

    def normal(self, count: int) -> NDArray[np.float64]:
        """(count,) independent standard normal numbers, by inversion of the distribution function."""
        drawn: NDArray[np.float64] = ndtri(self.uniform(count))
        return drawn
