"""client/approval: what is asked of an adapted network: its scores with and without adaptation, where it is adapted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from client.approval.subject import Subject
from client.release.network_scope import ADAPTED_COLUMNS, OF_ADAPTED, OF_ADAPTED_ALONE
from common.federation.query import Mode
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import Complete, Made, Recipe

_MODEL = "0" * 64
NO_PART = "no part of it; answered if asked"


def adaptation_subjects(study: Study, network: Network) -> Iterator[Subject]:
    """Sums over all sites of a cohort; of too few sites each one's own areas, both in one answer."""
    if network.adaptation is None:
        return
    made = Made(_MODEL, network.name, ADAPTED_COLUMNS)
    keys = tuple(key for name in dict.fromkeys((network.grades, network.binary)) for key in study.endpoint(name).keys)
    recipe = Recipe((made, Complete(made.names[:1], keys)))
    for cohort in network.adaptation.cohorts:
        both = Subject(
            f"network {network.name}, adapted", cohort, OF_ADAPTED | {"query.score_counts"}, recipe, made.names,
            network.binary, ranges=((0.0, 1.0),) * 2, computed=False, modes=(Mode.TOTAL,),
        )  # fmt: skip
        if len(study.cohort(cohort).sites) >= study.limits.min_sites:
            yield both
        else:
            yield replace(both, questions=frozenset({OF_ADAPTED_ALONE}), modes=(Mode.EACH,))
        yield replace(
            both,
            part=NO_PART,
            questions=frozenset({"query.roc_alone"}),
            columns=made.names[:1],
            ranges=both.ranges[:1],
            modes=(Mode.EACH,),
        )
