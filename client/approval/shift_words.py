"""client/approval: what leaves where a study compares hospitals, in words."""

from __future__ import annotations

from collections.abc import Iterator

from client.cohort.site import Site
from common.study.protocol import Study
from common.study.shifted import compared_by, compared_cohorts, compared_model


def shift_told(site: Site, study: Study) -> Iterator[str]:
    """What leaves for `[shift]`; nothing where the study has none."""
    by = compared_by(study)
    if by is None:
        return
    if compared_model(study) is None:
        others = ", ".join(compared_cohorts(study)) or "none"
        yield (
            f"Only a look before anything is trained: hospitals are compared by {len(by.predictors)} variables, "
            f"without a model or a score. Of outcomes it uses those of {by.cohort}, in sums, and none of the cohorts "
            f"that are compared with it ({others})."
        )
    if site.policy.tells:
        yield (
            "The names of columns of [shift] in which few of this site's patients differ from the others, signed when "
            "a run opens, so that no site tells means of them: what the others told would leave this site's."
        )
