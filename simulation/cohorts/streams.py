"""simulation/cohorts: streams of random numbers, one for each purpose at each hospital.

A stream depends on the seed, the hospital's name and the purpose only. A hospital therefore has the same patients
whichever other hospitals there are, and a change to what is lost or mistyped leaves the patients as they were.
"""

from __future__ import annotations

import hashlib

import numpy as np


def entropy(seed: int, site: str, purpose: str) -> list[int]:
    """What seeds one purpose at one hospital; parameters as for `stream`."""
    # The slash cannot occur in the name of a hospital, so no two pairs of names share a hash.
    digest = hashlib.sha256(f"{site}/{purpose}".encode()).digest()
    return [seed, int.from_bytes(digest, "big")]


def stream(seed: int, site: str, purpose: str) -> np.random.Generator:
    """The generator of one purpose at one hospital.

    Parameters
    ----------
    seed
        Any non-negative integer.
    site
        The hospital's name; empty for what all hospitals share.
    purpose
        What the numbers are for, in words of the caller's choice.
    """
    return np.random.default_rng(np.random.SeedSequence(entropy(seed, site, purpose)))
