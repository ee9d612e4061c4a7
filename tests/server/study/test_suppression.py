"""server: nobody can work out a small count from all that a report shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp

from common.federation.query import HIDDEN
from common.published.results import Result
from common.statistics.counts import SiteCounts, hide_in_flow, hide_in_row
from common.study.loader import parse_study
from server.study.count_tables import publish
from server.study.counts import Counted
from server.study.published import POOLED, cell, published_counts

SITES = ("a", "b", "c", "d")
STUDY = parse_study("""
[study]
name = "s"
title = "S"
[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
[[endpoints]]
name = "os"
kind = "survival"
columns = ["os_days", "os_event"]
unit = "days"
[eligibility.resection]
accept = ["yes"]
[eligibility.histology_available]
accept = ["yes"]
[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]
[[cohorts]]
name = "internal"
role = "internal-test"
sites = ["a", "b", "c"]
split = { fraction = 0.3, stratify = "mvi" }
[[cohorts]]
name = "external"
role = "external-test"
sites = ["d"]
[[cohorts]]
name = "all"
role = "outcome"
sites = ["a", "b", "c", "d"]
[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = ["age", "sex"]
evaluate = ["internal", "external"]
""")


def truth(seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Each patient of each site: the rule they fail, the part they are drawn into, classes, missing predictors."""
    rng = np.random.default_rng(seed)
    sites = {}
    for site in SITES:
        n = int(rng.integers(30, 80))
        sites[site] = {
            "rule": rng.choice(3, n, p=[0.9, 0.05, 0.05]),  # 0: eligible
            "part": (rng.random(n) < 0.3).astype(int) if site != "d" else np.zeros(n, int),
            "mvi": rng.choice(3, n, p=[0.6, 0.36, 0.04]),
            "os": rng.choice(3, n, p=[0.8, 0.16, 0.04]),
            "age": rng.random(n) < 0.05,
            "sex": rng.random(n) < 0.02,
        }
    return sites


def asked(sites: dict[str, dict[str, np.ndarray]], limit: int = 5) -> Counted:
    """What the sites answer, hidden as they hide it."""
    flows, classes, missing = {}, {}, {}
    for cohort in STUDY.cohorts:
        names = tuple(sorted(cohort.sites))
        inside = {}
        for name in names:
            patients = sites[name]
            eligible = patients["rule"] == 0
            wanted = {"train": patients["part"] == 0, "internal": patients["part"] == 1}.get(cohort.name)
            inside[name] = eligible if wanted is None else eligible & wanted
        flow = np.array([
            [len(p["rule"]), (p["rule"] == 1).sum(), (p["rule"] == 2).sum(), 0,
             ((p["rule"] == 0) & ~inside[s]).sum(), inside[s].sum()]
            for s in names for p in [sites[s]]
        ])  # fmt: skip
        pooled = len(names) >= 3
        flows[cohort.name] = SiteCounts(
            names, np.array([hide_in_flow(row, limit) for row in flow]), flow.sum(axis=0) if pooled else None
        )
        for endpoint in ("mvi", "os"):
            table = np.array([[(sites[s][endpoint][inside[s]] == k).sum() for k in range(3)] for s in names])
            shown = np.array([hide_in_row(row, limit) for row in table])
            classes[cohort.name, endpoint] = SiteCounts(names, shown, table.sum(axis=0) if pooled else None)
        if cohort.name == "train":
            table = np.array([[sites[s][v][inside[s]].sum() for v in ("age", "sex")] for s in names])
            shown = np.where((table > 0) & (table < limit), HIDDEN, table)
            missing["train"] = SiteCounts(names, shown, table.sum(axis=0))
    return Counted(flows, classes, missing, {"train": ("age", "sex")})


def attacker(results: list[Result], sites: dict[str, dict[str, np.ndarray]]) -> tuple[list[str], LinearConstraint]:
    """Everything that the tables say, as an integer program over (site, rule, part, mvi, os) cells.

    Written from the meaning of the tables, not from the program's own equations.
    """
    index = {key: i for i, key in enumerate(itertools.product(SITES, range(3), range(2), range(3), range(3)))}

    def matching(site: str, **wanted: int) -> np.ndarray:
        row = np.zeros(len(index))
        for (s, rule, part, mvi, os), i in index.items():
            have = {"rule": rule, "part": part, "mvi": mvi, "os": os}
            row[i] = float(s == site and all(have[k] == v for k, v in wanted.items()))
        return row

    rows, values = [], []
    nobody = [matching("d", part=1)]
    rows += nobody
    values += [0.0]
    inside = {
        "train": {"rule": 0, "part": 0},
        "internal": {"rule": 0, "part": 1},
        "external": {"rule": 0},
        "all": {"rule": 0},
    }
    for result in results:
        for i, count in enumerate(result.counts):
            if result.statistic == "patient-flow":
                wanted = [{}, {"rule": 1}, {"rule": 2}, None, None, inside[result.cohort]][i]
            elif result.statistic == "endpoint-counts":
                wanted = {**inside[result.cohort], result.id.split(".")[-1]: i}
            else:
                continue
            if wanted is None:
                continue
            for site, shown in count.by_site.items():
                if shown is not None:
                    rows.append(matching(site, **wanted))
                    values.append(float(shown))
            if count.pooled is not None:
                rows.append(sum(matching(site, **wanted) for site in result.sites))
                values.append(float(count.pooled))
    names = list(map(str, index))
    return names, LinearConstraint(np.array(rows), np.array(values), np.array(values))


def secrets(sites: dict[str, dict[str, np.ndarray]]) -> list[tuple[str, dict[str, int], int]]:
    """All small per-site counts of the tables."""
    found = []
    for site, p in sites.items():
        forms = [{"rule": 1}, {"rule": 2}]
        scopes = [{"rule": 0}] if site == "d" else [{"rule": 0}, {"rule": 0, "part": 0}, {"rule": 0, "part": 1}]
        forms += [{**scope, e: k} for scope in scopes for e in ("mvi", "os") for k in range(3)]
        for form in forms:
            count = int(np.logical_and.reduce([p[k] == v for k, v in form.items()]).sum())
            if 0 < count < 5:
                found.append((site, form, count))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_every_small_count_of_a_site_stays_uncertain(seed: int) -> None:
    sites = truth(seed)
    counts = asked(sites)
    results = publish(STUDY, counts, published_counts(STUDY, counts))
    names, constraint = attacker(results, sites)
    for site, form, count in secrets(sites):
        goal = np.zeros(len(names))
        for i, key in enumerate(itertools.product(SITES, range(3), range(2), range(3), range(3))):
            have = dict(zip(("rule", "part", "mvi", "os"), key[1:], strict=True))
            goal[i] = float(key[0] == site and all(have[k] == v for k, v in form.items()))
        ends = []
        for sign in (1, -1):
            found = milp(sign * goal, constraints=[constraint], integrality=np.ones(len(names)))
            ends.append(sign * found.fun if found.status == 0 else np.inf)
        low, high = round(ends[0]), ends[1]
        assert low < high, f"site {site} {form}: {count} is known"
        assert low <= count <= high


@pytest.mark.parametrize("seed", range(20, 24))
def test_what_is_shown_is_true_and_small_counts_are_not_shown(seed: int) -> None:
    sites = truth(seed)
    full = asked(sites, limit=0)
    shown = published_counts(STUDY, asked(sites))
    for (cohort, endpoint), answer in full.classes.items():
        for i in range(3):
            row = shown.row(cohort, "", ("class", endpoint, str(i)))
            for site, value in zip(answer.sites, answer.by_site[:, i], strict=True):
                assert row.by_site[site] in (None, value)
                assert row.by_site[site] is None or not 0 < value < 5
            if answer.pooled is not None and i < 2 and not 0 < answer.pooled[i] < 5:
                assert row.pooled in (None, answer.pooled[i])


def test_counts_without_small_ones_are_all_shown() -> None:
    names = ("a", "b", "c")
    table = np.array([[40, 30, 0], [50, 20, 0], [60, 10, 0]])
    shown = published_counts(
        STUDY,
        Counted(
            {c.name: SiteCounts(tuple(sorted(c.sites)), np.array([[70, 0, 0, 0, 0, 70]] * len(c.sites)),
                                np.array([70, 0, 0, 0, 0, 70]) * len(c.sites) if len(c.sites) > 2 else None)
             for c in STUDY.cohorts},
            {(c.name, e): SiteCounts(tuple(sorted(c.sites)), np.array([[40, 30, 0]] * len(c.sites)),
                                     np.array([40, 30, 0]) * len(c.sites) if len(c.sites) > 2 else None)
             for c in STUDY.cohorts for e in ("mvi", "os")},
            {},
            {},
        ),
    )  # fmt: skip
    assert table.shape == (len(names), 3)
    assert None not in shown.values.values()


def test_cohorts_that_take_the_same_patients_share_their_counts() -> None:
    quantity = ("class", "mvi", "1")
    assert cell(STUDY, "external", quantity, "d") == cell(STUDY, "all", quantity, "d")
    assert cell(STUDY, "train", quantity, "a") != cell(STUDY, "all", quantity, "a")
    assert cell(STUDY, "train", quantity, POOLED)[0] == "pooled"


@pytest.mark.parametrize("row", [[40, 3, 2], [40, 30, 1], [3, 0, 0], [2, 2, 2], [100, 5, 4]])
def test_a_site_hides_at_least_two_counts_that_hold_enough_patients(row: list[int]) -> None:
    shown = hide_in_row(np.array(row), 5)
    hidden = [value for value, s in zip(row, shown, strict=True) if s == HIDDEN]
    assert len(hidden) >= 2
    assert sum(hidden) >= 5 or len(hidden) == len(row)
