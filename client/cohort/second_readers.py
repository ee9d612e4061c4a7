"""client/cohort: what two readers' agreement lacks of this site, told before anything is asked."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from client.cohort.membership import Flags, members
from client.cohort.site import Site
from common.errors import Fact, FedmviError, Severity
from common.statistics.chi_square import cross_counts
from common.statistics.kappa import enough_read
from common.study.drafting import MIN_READ_TWICE
from common.study.protocol import Analysis, Study
from common.study.readings import second_column
from common.study.table import SiteTable


def unread_traits(site: Site, table: SiteTable, study: Study) -> list[FedmviError]:
    """224 for the traits of an analysis that no second reader has read here, 225 for those of which too few were read.

    A note where other sites are enough without this one, a warning where nothing can be estimated without it.

    Raises
    ------
    FedmviError
        322 a split without a usable site.secret.
    """
    asked = [a for a in study.analyses if a.statistic == "reader-kappa" and site.name in study.cohort(a.cohort).sites]
    return [problem for analysis in asked for problem in _lacking(site, table, study, analysis)]


def undrawn_tumours(site: Site, table: SiteTable, study: Study, drawn_twice: Collection[str]) -> list[FedmviError]:
    """226 for models whose features are left out by two readers' agreement, where too few tumours are outlined twice.

    `drawn_twice` are the patients of whose tumour there is a second reader's outline.

    Raises
    ------
    FedmviError
        322 a split without a usable site.secret.
    """
    found = []
    twice = np.array([patient in drawn_twice for patient in table.patients], dtype=bool)
    for model in (model for model in study.models if study.is_read_twice(model)):
        cohort = study.cohort(model.cohort)
        if site.name not in cohort.sites:
            continue
        count = int(np.count_nonzero(members(site, table, study, cohort) & twice))
        if count < MIN_READ_TWICE:
            facts: dict[str, Fact] = {"model": model.name, "cohort": cohort.name, "limit": MIN_READ_TWICE}
            found.append(FedmviError(226, f"{count} patients", severity=Severity.NOTE, **facts))
    return found


def _lacking(site: Site, table: SiteTable, study: Study, analysis: Analysis) -> list[FedmviError]:
    cohort, limits = study.cohort(analysis.cohort), study.limits
    inside, cell = members(site, table, study, cohort), max(limits.min_cell, site.policy.min_cell)
    unread, few = [], []
    for name in (term.variable for term in analysis.predictors):
        read = _read(table, name, inside)
        if read == 0:
            unread.append(second_column(name))
        elif not _counts(table, name, inside, cell):
            few.append(f"{second_column(name)} ({read} patients)")
    severity = Severity.NOTE if len(cohort.sites) > limits.min_sites else Severity.WARNING
    facts: dict[str, Fact] = {"cohort": cohort.name, "sites": len(cohort.sites), "limit": limits.min_sites}
    found = []
    if unread:
        found.append(FedmviError(224, ", ".join(unread), severity=severity, count=len(unread), **facts))
    if few:
        enough: dict[str, Fact] = {"patients": MIN_READ_TWICE, "cell": cell}
        found.append(FedmviError(225, ", ".join(few), severity=severity, count=len(few), **enough, **facts))
    return found


def _read(table: SiteTable, name: str, inside: Flags) -> int:
    """Patients of the cohort whom the second reader has read."""
    return int(np.count_nonzero(~np.isnan(table.second[name].values[inside])))


def _counts(table: SiteTable, name: str, inside: Flags, cell: int) -> bool:
    """Whether the site's table of first by second reading counts."""
    column, k = table.columns[name], len(table.columns[name].levels)
    return enough_read(cross_counts(column.values[inside], table.second[name].values[inside], (k, k)), cell)
