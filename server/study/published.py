"""server/study: the counts of a study as they may be published: by site and pooled, hidden where they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.errors import FedmviError
from common.federation.query import HIDDEN
from common.published.results import ALL_SITES, Count, Result
from common.statistics.counts import SiteCounts
from common.study.protocol import Cohort, Study
from server.study.counts import Counted, flow_keys
from server.study.suppression import CountSystem, Key

POOLED = ""
"""Stands for a site in the key of a pooled count."""


@dataclass(frozen=True)
class Published:
    """Published counts, looked up by cohort and row."""

    values: Mapping[Key, int | None]
    large: frozenset[Key]
    study: Study

    def row(self, cohort: str, name: str, quantity: Key) -> Count:
        """One row of a table: a quantity at each site of the cohort, and pooled."""
        sites = sorted(self.study.cohort(cohort).sites)
        by_site = {site: self.values[cell(self.study, cohort, quantity, site)] for site in sites}
        key = cell(self.study, cohort, quantity, POOLED)
        large = [site for site in sites if cell(self.study, cohort, quantity, site) in self.large]
        large += [ALL_SITES] if key in self.large else []
        if key in self.values:
            pooled = self.values[key]
            small = pooled is not None and 0 < pooled < self.study.limits.min_cell
            return Count(name=name, by_site=by_site, pooled=None if small else pooled, large=large)
        known = [count for count in by_site.values() if count is not None]
        pooled = sum(known) if len(known) == len(sites) else None
        return Count(name=name, by_site=by_site, pooled=pooled, large=large)


def left_out(result: Result, published: Published, endpoint: str, why: str = "a predictor is missing") -> Result:
    """A result of a model or network with the patients counted whom it leaves out, as they lack what it needs."""
    if result.n is None or result.statistic not in ("multivariable-logistic", "auc", "network-performance"):
        return result
    one = result.sites[0] if result.how == "site-alone" and len(result.sites) == 1 else None
    known = 0
    for i in ("0", "1"):
        row = published.row(result.cohort, "", ("class", endpoint, i))
        count = row.pooled if one is None else row.by_site.get(one)
        if count is None:
            return result
        known += count
    return _counted_out(result, published, ("in the cohort, endpoint known", known), why)


def not_sequenced(result: Result, published: Published) -> Result:
    """A comparison of gene expression with the patients counted whom it leaves out, as they lack what it needs."""
    if result.n is None or result.statistic != "differential-expression" or result.how == "site-alone":
        return result
    known = published.row(result.cohort, "", ("n",)).pooled
    if known is None:
        return result
    return _counted_out(result, published, ("in the cohort", known), "no RNA-seq, or another value is missing")


def _counted_out(result: Result, published: Published, whole: tuple[str, int], why: str) -> Result:
    name, known = whole
    less = known - (result.n or 0)
    shown = None if 0 < less < published.study.limits.min_cell else less
    rows = [
        Count(name=name, pooled=known),
        Count(name=f"left out: {why}", pooled=shown),
        Count(name="in the analysis", pooled=result.n),
    ]
    return result.model_copy(update={"counts": rows})


def selection(study: Study, cohort: Cohort, site: str) -> str:
    """Names which patients of a site a cohort takes, so that cohorts that take the same share their counts."""
    label = cohort.label or ""
    if cohort.split is not None:
        return f"split {cohort.name}"
    drawn = [c for c in study.cohorts if c.split is not None and site in c.sites and (c.label or "") == label]
    if drawn and cohort.role in ("train", "external-test"):
        return f"rest {label}"
    return f"all {label}"


def cell(study: Study, cohort: str, quantity: Key, site: str) -> Key:
    """The key of a count: steps that all cohorts share are keyed by site alone."""
    if site == POOLED:
        return ("pooled", cohort, *quantity)
    if quantity[0] in ("start", "rule"):
        return (*quantity, site)
    if quantity[0] in ("label", "role"):
        return (quantity[0], cohort, site)
    return (quantity[0], selection(study, study.cohort(cohort), site), *quantity[1:], site)


def published_counts(study: Study, counts: Counted) -> Published:
    """Enter all counts and all equations between them, and hide what must be hidden."""
    system = CountSystem()
    for cohort in study.cohorts:
        flow = [key for _, key in flow_keys(study)]
        _enter(system, study, cohort, flow, counts.flows[cohort.name])
        for place in (*sorted(cohort.sites), POOLED):
            keys = [cell(study, cohort.name, key, place) for key in flow]
            if all(key in system.values for key in keys):
                system.sums(keys[0], keys[1:])
                system.reluctant |= {keys[0], keys[-1]}
        for endpoint in study.endpoints:
            classes: list[Key] = [("class", endpoint.name, str(i)) for i in range(3)]
            _enter(system, study, cohort, classes, counts.classes[cohort.name, endpoint.name])
            for place in (*sorted(cohort.sites), POOLED):
                whole = cell(study, cohort.name, ("n",), place)
                if whole in system.values:
                    system.sums(whole, [cell(study, cohort.name, key, place) for key in classes])
        answer = counts.missing.get(cohort.name)
        if answer is not None and not isinstance(answer, FedmviError):
            variables: list[Key] = [("missing", v) for v in counts.variables[cohort.name]]
            _enter(system, study, cohort, variables, answer)
        _mark(system, study, cohort)
    _overlaps(system, study)
    values = system.protect(study.limits.min_cell)
    return Published(values, system.not_small(study.limits.min_cell), study)


def _enter(system: CountSystem, study: Study, cohort: Cohort, quantities: Sequence[Key], answer: SiteCounts) -> None:
    """A table of (site, quantity): each site's counts, and the pooled ones that are their sums."""
    for i, quantity in enumerate(quantities):
        keys = [cell(study, cohort.name, quantity, site) for site in answer.sites]
        for key, value in zip(keys, answer.by_site[:, i].tolist(), strict=True):
            system.put(key, None if value == HIDDEN else value)
        if answer.pooled is None:
            continue
        whole = cell(study, cohort.name, quantity, POOLED)
        value = int(answer.pooled[i])
        system.values[whole] = value
        if 0 < value < study.limits.min_cell and not _is_missingness(quantity):
            system.small.add(whole)
        system.reluctant.add(whole)
        system.sums(whole, keys)


def _is_missingness(quantity: Key) -> bool:
    """Pooled numbers of patients without a value need no complement: nobody's attribute, and every n tells them."""
    return quantity[0] == "missing" or (quantity[0] == "class" and quantity[2] == "2")


def _mark(system: CountSystem, study: Study, cohort: Cohort) -> None:
    """Counts that cannot be hidden because evaluations print them: a site's own AUC comes with its n and events."""
    evaluated = [m.endpoint for m in study.models if cohort.name in (m.cohort, *m.evaluate)]
    evaluated += [n.binary for n in study.networks if cohort.name in (n.cohort, *n.evaluate)]
    for endpoint in evaluated:
        for i in ("0", "1"):
            system.fixed.add(cell(study, cohort.name, ("class", endpoint, i), POOLED))
            if len(cohort.sites) < study.limits.min_sites:
                system.fixed |= {cell(study, cohort.name, ("class", endpoint, i), site) for site in cohort.sites}


def _overlaps(system: CountSystem, study: Study) -> None:
    """Where a cohort takes all of a site's patients, they are those set aside and the rest."""
    for site in study.sites():
        for cohort in study.cohorts:
            if site not in cohort.sites or not selection(study, cohort, site).startswith("all "):
                continue
            same = [c for c in study.cohorts if site in c.sites and (c.label or "") == (cohort.label or "")]
            parts = [c for c in same if not selection(study, c, site).startswith("all ")]
            if not any(selection(study, c, site).startswith("rest ") for c in parts):
                continue
            quantities: list[Key] = [("n",)]
            quantities += [("class", e.name, str(i)) for e in study.endpoints for i in range(3)]
            for quantity in quantities:
                keys = {cell(study, c.name, quantity, site) for c in parts}
                system.sums(cell(study, cohort.name, quantity, site), sorted(keys))
