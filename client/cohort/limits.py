"""client/cohort: what the gate would refuse for want of patients, told before anything is asked."""

from __future__ import annotations

import numpy as np

from client.cohort.membership import members
from client.cohort.site import Site
from common.errors import FedmviError, Severity
from common.study.genomics import ExpressionComparison
from common.study.protocol import Cohort, Study
from common.study.shifted import compared_by
from common.study.table import SiteTable


def under_limits(site: Site, table: SiteTable, study: Study) -> list[FedmviError]:
    """403 and 405 for every cohort of the site, as warnings: the site may lower its limits until the day.

    Of a cohort whose expression is compared only patients with RNA count.
    """
    cohorts = [cohort for cohort in study.cohorts if site.name in cohort.sites]
    return [hint for cohort in cohorts for hint in _too_few(site, table, study, cohort)]


def _too_few(site: Site, table: SiteTable, study: Study, cohort: Cohort) -> list[FedmviError]:
    """403 and 405 as warnings: the gate refuses on the day, but the site may lower its limits until then."""
    inside = members(site, table, study, cohort)
    if _compared(study, cohort) and table.expression is not None:
        inside = inside & ~np.isnan(table.expression.library)
    count = int(np.count_nonzero(inside))
    limit = max(study.limits.min_patients, site.policy.min_patients)
    if count < limit:
        local = f"{count} patients"
        return [FedmviError(403, local, severity=Severity.WARNING, cohort=cohort.name, limit=limit)]
    hints: list[FedmviError] = []
    fewest = max(study.limits.min_class, site.policy.min_class)
    asked = [model.endpoint for model in study.models if cohort.name in (model.cohort, *model.evaluate)]
    looked = compared_by(study)
    asked += [looked.endpoint] if looked is not None and looked.cohort == cohort.name else []
    asked += [a.endpoint for a in study.analyses if a.endpoint is not None and a.cohort == cohort.name]
    known = {endpoint.name for endpoint in study.endpoints}
    asked += [one.group for one in _compared(study, cohort) if one.group in known]
    for endpoint in map(study.endpoint, dict.fromkeys(asked)):
        if endpoint.timed:
            continue
        outcome = table.endpoints[endpoint.name][inside]
        counts = [int(np.count_nonzero(outcome == code)) for code in range(len(endpoint.codes))]
        if sum(counts) == 0:
            continue  # its column is missing, or empty: 207 or 313 says so
        # A site may lack levels of an ordinal endpoint, as long as it has two.
        present = sorted(filter(None, counts))
        smallest = min(counts) if endpoint.kind == "binary" or len(present) < 2 else present[0]
        if smallest < fewest:
            facts = {"endpoint": endpoint.name, "cohort": cohort.name}
            local = f"{counts[1]} with, {counts[0]} without"
            if endpoint.kind == "ordinal":
                local = ", ".join(f"{n} {level}" for n, level in zip(counts, endpoint.level_names, strict=True))
            hints.append(FedmviError(405, local, severity=Severity.WARNING, limit=fewest, **facts))
    return hints


def without_rna(site: Site, table: SiteTable, study: Study) -> list[FedmviError]:
    """222 for every cohort whose expression is compared and of whose patients some have none."""
    found = []
    for cohort in (cohort for cohort in study.cohorts if site.name in cohort.sites and _compared(study, cohort)):
        inside = members(site, table, study, cohort)
        lacking = inside if table.expression is None else inside & np.isnan(table.expression.library)
        if lacking.any():
            local = f"{np.count_nonzero(lacking)} of {np.count_nonzero(inside)} patients"
            found.append(FedmviError(222, local, severity=Severity.NOTE, cohort=cohort.name))
    return found


def _compared(study: Study, cohort: Cohort) -> list[ExpressionComparison]:
    return [one for one in study.genomics.comparisons if one.cohort == cohort.name] if study.genomics else []
