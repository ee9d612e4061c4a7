"""client/cohort: what the gate would refuse for want of patients, told before anything is asked."""

from __future__ import annotations

import numpy as np

from client.cohort.membership import members
from client.cohort.site import Site
from common.errors import FedmviError, Severity
from common.study.protocol import Cohort, Study
from common.study.table import SiteTable


def under_limits(site: Site, table: SiteTable, study: Study) -> list[FedmviError]:
    """403 and 405 for every cohort of the site, as warnings: the site may lower its limits until the day."""
    cohorts = [cohort for cohort in study.cohorts if site.name in cohort.sites]
    return [hint for cohort in cohorts for hint in _too_few(site, table, study, cohort)]


def _too_few(site: Site, table: SiteTable, study: Study, cohort: Cohort) -> list[FedmviError]:
    """403 and 405 as warnings: the gate refuses on the day, but the site may lower its limits until then."""
    inside = members(site, table, study, cohort)
    count = int(np.count_nonzero(inside))
    limit = max(study.limits.min_patients, site.policy.min_patients)
    if count < limit:
        local = f"{count} patients"
        return [FedmviError(403, local, severity=Severity.WARNING, cohort=cohort.name, limit=limit)]
    hints: list[FedmviError] = []
    fewest = max(study.limits.min_class, site.policy.min_class)
    asked = [model.endpoint for model in study.models if cohort.name in (model.cohort, *model.evaluate)]
    for endpoint in dict.fromkeys(asked):
        outcome = table.endpoints[endpoint][inside]
        present, absent = int(np.count_nonzero(outcome == 1)), int(np.count_nonzero(outcome == 0))
        if present + absent == 0:
            continue  # its column is missing, or empty: 207 or 313 says so
        if min(present, absent) < fewest:
            facts = {"endpoint": endpoint, "cohort": cohort.name}
            local = f"{present} with, {absent} without"
            hints.append(FedmviError(405, local, severity=Severity.WARNING, limit=fewest, **facts))
    return hints
