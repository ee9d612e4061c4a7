"""common/networks: a network's vector of a sequence in a few numbers: a public random projection; loads no library.

A vector has hundreds of numbers (`Architecture.dimension`), and the sums of their products over a few hundred patients
would give the patients away. A projection on a few directions that know nothing of any patient keeps distances between
patients, and between means of groups, about as they are (Johnson & Lindenstrauss, Contemp Math 1984;26:189); signs that
are drawn by coin do as well as normal draws (Achlioptas, J Comput Syst Sci 2003;66:671, theorem 1.1).
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from common.study.fingerprint import canonical_json

LARGEST = 100.0
"""Largest absolute number of a projection; more is cut. Vectors of a trained network have numbers around 1."""

DECIMALS = 4
"""Decimals of a projection: digits must not carry more than a comparison of groups needs (see `SCORE_DECIMALS`)."""


def projection_matrix(model: str, sequence: str, length: int, dimensions: int) -> NDArray[np.float64]:
    """(length, dimensions) of +-1 / sqrt(length), the same wherever it is made.

    Parameters
    ----------
    model
        Digest of the frozen network: another network has other directions.
    sequence
        Whose vectors are projected.
    length, dimensions
        Numbers of a vector, and of its projection.
    """
    named = canonical_json(["projection", model, sequence, length, dimensions]).encode()
    count = length * dimensions
    blocks = [hashlib.sha256(named + b"%d" % i).digest() for i in range(-(-count // 256))]
    bits = np.unpackbits(np.frombuffer(b"".join(blocks), dtype=np.uint8))[:count]
    one = 1.0 / math.sqrt(length)
    return np.where(bits.reshape(length, dimensions) == 1, one, -one)


def projected(vectors: NDArray[np.float64], model: str, sequence: str, dimensions: int) -> NDArray[np.float64]:
    """(n, dimensions) of (n, length) vectors, bounded and rounded; what is no number becomes 0.

    Sums are sums over the numbers as they are here, so that bounds and rounding belong to what is compared.
    """
    matrix = projection_matrix(model, sequence, vectors.shape[1], dimensions)
    with np.errstate(invalid="ignore", over="ignore"):
        product = np.nan_to_num(vectors @ matrix, posinf=LARGEST, neginf=-LARGEST)
    return np.asarray(np.round(np.clip(product, -LARGEST, LARGEST), DECIMALS), dtype=np.float64)


def projected_columns(sequence: str, dimensions: int) -> tuple[str, ...]:
    """What the numbers are called among the columns that a network made: `t1v.1`, `t1v.2`, ..."""
    return tuple(f"{sequence}.{i + 1}" for i in range(dimensions))
