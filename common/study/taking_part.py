"""common/study: which sites a study goes on with when one stays away, where its protocol lets it go on at all."""

from __future__ import annotations

from collections.abc import Collection

from common.errors import FedmviError
from common.study.contradictions import contradictions
from common.study.protocol import Study


def taking_part(study: Study, left_out: Collection[str]) -> Study:
    """The study over the sites that are left; the fingerprint that counts stays that of the protocol itself.

    Raises
    ------
    FedmviError
        517 the protocol has it stop, a cohort would have nobody left, or a sum over too few sites.
    """
    if not left_out:
        return study
    named = ", ".join(sorted(left_out))
    if study.federation.missing_site != "leave-out":
        raise FedmviError(517, '[federation] has missing_site = "stop"', sites=named)
    cohorts = tuple(
        cohort.model_copy(update={"sites": tuple(site for site in cohort.sites if site not in left_out)})
        for cohort in study.cohorts
    )
    empty = [cohort.name for cohort in cohorts if not cohort.sites]
    if empty:
        raise FedmviError(517, f"no site of cohort {empty[0]} would be left", sites=named)
    for before, after in zip(study.cohorts, cohorts, strict=True):
        # Under this many a cohort is answered by each site alone, which is another study.
        if len(after.sites) < study.limits.min_sites <= len(before.sites):
            raise FedmviError(517, f"cohort {after.name} would have {len(after.sites)} site(s)", sites=named)
    left = study.model_copy(update={"cohorts": cohorts})
    found = contradictions(left)
    if found:
        raise FedmviError(517, found[0][1], sites=named)
    return left
