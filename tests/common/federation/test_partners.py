"""common: on a large roster a site shares masks with a hundred others, and the honest ones still hang together."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from common.federation import fixedpoint as fp
from common.federation.masks import mask, pair_secret, private_key, public_key
from common.federation.partners import DEGREE, log2_apart, partners


def keys_of(sites: int, salt: str = "") -> dict[str, str]:
    return {f"site-{i}": f"{salt}{i:064x}"[-64:] for i in range(sites)}


def test_everybody_of_a_small_roster_is_a_partner() -> None:
    keys = keys_of(DEGREE + 1)
    assert partners("site-7", keys) == tuple(sorted(set(keys) - {"site-7"}))


def test_a_site_of_a_large_roster_has_a_hundred_partners_whose_partner_it_is() -> None:
    keys = keys_of(150)
    found = {site: partners(site, keys) for site in keys}
    assert {len(set(names)) for names in found.values()} == {DEGREE}
    assert all(site in found[other] and other != site for site, names in found.items() for other in names)


def test_who_is_a_partner_depends_on_every_sites_key_and_not_on_the_order_of_names() -> None:
    keys = keys_of(300)
    before = partners("site-1", keys)
    assert partners("site-1", dict(reversed(keys.items()))) == before
    changed = partners("site-1", {**keys, "site-299": "f" * 64})
    assert 0 < len(set(before) & set(changed)) < 60  # of 100, as of any two draws: a third


def apart(circle: tuple[bool, ...], degree: int) -> bool:
    """Whether the honest (True) sites of a circle fall apart, by a search through the graph."""
    n = len(circle)
    steps = [step for one in range(1, degree // 2 + 1) for step in (one, -one)]
    pairs = [(i, (i + step) % n) for i in range(n) for step in steps if circle[i] and circle[(i + step) % n]]
    graph = csr_array((np.ones(len(pairs)), tuple(zip(*pairs, strict=True)) if pairs else ([], [])), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    return len({label for label, honest in zip(labels.tolist(), circle, strict=True) if honest}) > 1


@pytest.mark.parametrize(("sites", "colluding", "degree"), [(10, 4, 4), (11, 5, 4), (9, 5, 2), (12, 6, 6)])
def test_the_bound_holds_over_all_orders_of_a_small_circle(sites: int, colluding: int, degree: int) -> None:
    bad = total = 0
    for places in itertools.combinations(range(sites), colluding):
        circle = tuple(i not in places for i in range(sites))
        bad, total = bad + apart(circle, degree), total + 1
    bound = 2.0 ** log2_apart(sites, colluding, degree)
    assert bad / total <= bound * (1 + 1e-12)
    assert bad > 0 and bound < 3 * bad / total, "a bound that says something"


def test_too_few_colluding_sites_cannot_part_the_others() -> None:
    assert log2_apart(1000, DEGREE - 1) == -math.inf
    assert not any(apart(tuple(i not in places for i in range(9)), 4) for places in itertools.combinations(range(9), 3))


@pytest.mark.parametrize(
    ("sites", "colluding", "log2"), [(1000, 333, -157), (1000, 500, -90), (5000, 2500, -79), (1000, 666, -46)]
)
def test_the_probabilities_of_the_documents(sites: int, colluding: int, log2: int) -> None:
    assert math.ceil(log2_apart(sites, colluding)) == log2


def test_masks_of_partners_cancel_in_the_sum_of_a_large_roster() -> None:
    names = [f"site-{i}" for i in range(120)]
    private = {name: private_key(name.encode() * 8, "study") for name in names}
    public = {name: public_key(key) for name, key in private.items()}
    keys = {name: key.hex() for name, key in public.items()}
    total = plain = None
    for i, name in enumerate(names):
        part = {"x": fp.encode_real(np.array([0.1 * i, -3.0]), len(names))}
        secrets = {other: pair_secret(name, private[name], other, public[other]) for other in partners(name, keys)}
        hidden = mask(part, name, secrets, b"x")["x"]
        assert not np.any(hidden == part["x"])
        total = hidden if total is None else fp.add(total, hidden)
        plain = part["x"] if plain is None else fp.add(plain, part["x"])
    assert total is not None and np.array_equal(total, plain)
