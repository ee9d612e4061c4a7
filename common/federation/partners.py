"""common/federation: with whom a site shares masks: with all sites of a roster, and on a large one with a hundred.

Masks of all pairs cost a site a stream for every other site. It is enough that the honest sites hang together by pairs:
then nothing less than the sum over all of them can be had (Bell et al., CCS 2020, section 3). So on a large roster the
sites stand in a circle, in an order that nobody chose, and each shares masks with the `DEGREE` / 2 before and behind it
(a circulant, or Harary, graph). The order comes from the mask keys that all sites have signed: the coordinator cannot
choose it, and who makes its key to steer it must try as often as the order falls badly by chance (`log2_apart`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb, log2

from common.study.fingerprint import canonical_json, digest

DEGREE = 100
"""With how many others a site of a large roster shares masks. With half of 1000 sites colluding the others fall apart
with a probability of 2^-90, with half of 5000 of 2^-79."""


def partners(site: str, keys: Mapping[str, str], degree: int = DEGREE) -> tuple[str, ...]:
    """The sites with whom a site shares masks, sorted.

    Parameters
    ----------
    keys
        The mask keys of all sites of the roster, the site's own too, by name, as hexadecimal digits.
    degree
        Even; everybody of a roster of no more than `degree` + 1 sites.
    """
    if len(keys) <= degree + 1:
        return tuple(sorted(name for name in keys if name != site))
    seed = digest(canonical_json(["circle", sorted(keys.items())]))
    circle = sorted(keys, key=lambda name: digest(canonical_json([seed, name])))
    place, n = circle.index(site), len(circle)
    steps = range(1, degree // 2 + 1)
    return tuple(sorted(circle[(place + step) % n] for one in steps for step in (one, -one)))


def log2_apart(sites: int, colluding: int, degree: int = DEGREE) -> float:
    """Logarithm to base 2 of a bound of the probability that the other sites do not hang together.

    They do unless at least two gaps between neighbours among them hold `degree` / 2 colluding sites and more. In a
    circle of random order all ways of filling the gaps are alike: the bound is the share of those that fill two given
    gaps, times the number of pairs of gaps. -inf where there are too few colluding sites for two such gaps.
    """
    others = sites - colluding
    if colluding < degree or others < 2:
        return -float("inf")
    ways = comb(colluding - degree + others - 1, others - 1)
    return log2(comb(others, 2)) + log2(ways) - log2(comb(sites - 1, others - 1))
