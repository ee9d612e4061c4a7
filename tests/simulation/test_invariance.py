"""simulation: what must not change an exact result: the order of sites and patients, and the cut into sites.

Every exactness case is rearranged; what depends on the cut into sites by its definition is listed, with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.federation.runner import conclude
from simulation.exactness import CASES, Absent, Case
from simulation.views import federation_of, row_keys

NOT_SITE_INVARIANT: dict[str, str] = {
    "t_tests_within_sites": "compares patients with those of their own site",
    "stratified_ranks": "compares patients with those of their own site",
    "pearson_within_sites": "compares patients with those of their own site",
    "rank_correlations_within_sites": "compares patients with those of their own site",
    "redundancy_within_sites": "compares patients with those of their own site",
    "readers_by_site": "an average of the sites' own coefficients",
    "harmonised": "every site is a batch",
    "harmonised_unseen": "every site is a batch",
    "harmonised_scanners": "every site is a batch",
    "each_alone_within_sites": "an intercept for each site",
    "each_alone_many_within_sites": "an intercept for each site",
    "within_sites": "an intercept for each site",
    "combined": "a summary of the sites' own estimates",
    "log_rank_within_sites": "risk sets inside sites",
    "log_rank_within_sites_with_ties": "risk sets inside sites",
    "drawn_replicates": "resampled inside sites",
    "stability": "half-samples drawn inside sites",
    "stratified_regressions_by_week": "a baseline hazard for each site",
    "stratified_regressions_by_day": "a baseline hazard for each site",
    "stratified_regressions_by_month": "a baseline hazard for each site",
    "stratified_cause_by_day": "a baseline hazard for each site",
    "stratified_cause_by_month": "a baseline hazard for each site",
    "stratified_proportionality_by_week": "a baseline hazard for each site",
    "stratified_proportionality_by_day": "a baseline hazard for each site",
    "stratified_proportionality_by_month": "a baseline hazard for each site",
    "concordance_inside_sites_by_day": "pairs inside sites",
    "concordance_inside_sites_by_month": "pairs inside sites",
    "voom": "a level of each gene for each site",
    "tpm": "a level of each gene for each site",
    "penalised_hazards": "a baseline hazard for each site",
    "penalised_hazards_in_one_stratum": "a baseline hazard for each site",
}
"""Cases whose statistic is defined by the sites themselves, and why."""

TOLERANCE = 1e-10
OF_THE_RUN = {"rounds_", "sites_", "informative_sites_", "left_out_", "estimates_", "variances_"}
"""Attributes that tell how a result came about, not what it is."""

SLOW = {"lasso", "elastic", "wide", "drawn"}
"""Cases that are rearranged once only, as they take seconds."""

NAMES = [maker.__name__ for maker in CASES]
REARRANGED = [(name, seed) for name in NAMES for seed in ((1,) if name in SLOW else (1, 2))]


def case_named(name: str) -> Case:
    try:
        return next(maker for maker in CASES if maker.__name__ == name)()
    except Absent as why:
        pytest.skip(str(why))


def results(case: Case, order: NDArray[np.int64], site: NDArray[np.int64]) -> list[Any]:
    """The case's results with rows in another order and other labels of sites (both by the original rows)."""
    table = case.table
    port = federation_of(
        {name: values[order] for name, values in table.columns.items()},
        {name: values[order] for name, values in table.endpoints.items()},
        site[order],
        keys=row_keys(order.size)[order],
    )
    return conclude(port, case.conclusions())


@cache
def straight(name: str) -> list[Any]:
    """The case's results with rows and sites as they are."""
    case = case_named(name)
    return results(case, np.arange(case.table.site.size), case.table.site)


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and word in a result, by where it is."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.name not in OF_THE_RUN:
                yield from numbers(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, Mapping):
        for key in value:
            yield from numbers(value[key], f"{path}[{key}]")
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            yield from numbers(item, f"{path}[{i}]")
    else:
        yield path, value


def assert_alike(first: list[Any], second: list[Any]) -> None:
    ours, theirs = dict(numbers(first)), dict(numbers(second))
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        if (isinstance(value, np.ndarray) and value.dtype.kind == "f") or isinstance(value, float):
            np.testing.assert_allclose(value, theirs[path], rtol=TOLERANCE, atol=TOLERANCE, err_msg=path)
        else:
            np.testing.assert_array_equal(value, theirs[path], err_msg=path)


@pytest.mark.parametrize(("name", "seed"), REARRANGED)
def test_neither_the_order_of_sites_nor_that_of_patients_changes_a_result(name: str, seed: int):
    case = case_named(name)
    n = case.table.site.size
    rng = np.random.default_rng(seed)
    names = rng.permutation(int(case.table.site.max()) + 1)
    assert_alike(straight(name), results(case, rng.permutation(n), names[case.table.site]))


@pytest.mark.parametrize("name", NAMES)
def test_a_site_that_is_split_in_two_changes_nothing(name: str):
    case = case_named(name)
    site = case.table.site.copy()
    largest = int(np.argmax(np.bincount(site)))
    rows = np.random.default_rng(3).permutation(np.flatnonzero(site == largest))
    site[rows[: rows.size // 2]] = int(site.max()) + 1
    split = results(case, np.arange(site.size), site)
    if name in NOT_SITE_INVARIANT:
        with pytest.raises(AssertionError):
            assert_alike(straight(name), split)
    else:
        assert_alike(straight(name), split)


def test_what_is_listed_as_defined_by_the_sites_exists_and_no_two_cases_have_one_name():
    assert set(NOT_SITE_INVARIANT) | SLOW <= set(NAMES)
    assert len(set(NAMES)) == len(NAMES)
