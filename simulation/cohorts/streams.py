"""simulation/cohorts: streams of random numbers, one for each purpose at each hospital.

A stream depends on the consortium's name, the seed, the hospital's name and the purpose only. A hospital therefore has
the same patients whichever other hospitals there are, no two consortia share a patient, and a change to what is lost
or mistyped leaves the patients as they were.
"""

from __future__ import annotations

import hashlib

import numpy as np


def entropy(consortium: str, seed: int, site: str, purpose: str) -> list[int]:
    """What seeds one purpose at one hospital; parameters as for `stream`."""
    # The slash cannot occur in the names of consortia and hospitals, so no two sets of names share a hash.
    digest = hashlib.sha256(f"{consortium}/{site}/{purpose}".encode()).digest()
    return [seed, int.from_bytes(digest, "big")]


def stream(consortium: str, seed: int, site: str, purpose: str) -> np.random.Generator:
    """The generator of one purpose at one hospital.

    Parameters
    ----------
    consortium
        The consortium's name: no two of them share patients, whatever the seed.
    seed
        Any non-negative integer.
    site
        The hospital's name; empty for what all hospitals share.
    purpose
        What the numbers are for, in words of the caller's choice.
    """
    return np.random.default_rng(np.random.SeedSequence(entropy(consortium, seed, site, purpose)))
