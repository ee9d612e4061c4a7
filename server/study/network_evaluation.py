"""server/study: step: the frozen networks in the cohorts in which they are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.study.protocol import Study
from common.study.scores import calibrated_with
from server.study.checkpoints import Checkpoints
from server.study.network_development import Areas, Candidate, Developed, candidates, used, whole_member
from server.study.network_faults import attempt_unless_mendable
from server.study.network_scores import (
    Measured,
    MeasuredAlone,
    areas,
    in_batches,
    measure,
    measure_alone,
    score,
)


@dataclass(frozen=True)
class Evaluated:
    """A candidate in a cohort: of the first seed all that is measured, of the others the areas.

    In a cohort whose sites answer alone there is the first seed of the chosen combination only.
    """

    candidate: Candidate
    cohort: str
    found: Measured | MeasuredAlone | Areas | FedmviError


def evaluate_all(
    study: Study, developed: Sequence[Developed | FedmviError], checkpoints: Checkpoints
) -> Conclusion[list[list[Evaluated]]]:
    """Score and measure every frozen network in the cohorts that it names; a list for each network of the study."""
    found: list[list[Evaluated]] = []
    for network in developed:
        found.append([] if isinstance(network, FedmviError) else (yield from _evaluate(study, network, checkpoints)))
    return found


def score_calibrations(
    study: Study, developed: Sequence[Developed | FedmviError], checkpoints: Checkpoints
) -> Conclusion[None]:
    """Let the frozen networks score the patients in whom risks of models on their scores are corrected.

    Where a network cannot, the correction meets the missing score, and says so.
    """
    for network in developed:
        if isinstance(network, FedmviError) or network.chosen is None:
            continue
        chosen, declared = network.chosen, network.network
        job = network.trained[used(declared, (chosen, 0))]
        if isinstance(job, FedmviError) or isinstance(network.frozen[chosen, 0], FedmviError):
            continue
        for cohort in calibrated_with(study, declared):
            members = [whole_member(job, checkpoints)]
            yield from attempt_unless_mendable(score(declared, chosen, 0, cohort, members))


def _evaluate(study: Study, developed: Developed, checkpoints: Checkpoints) -> Conclusion[list[Evaluated]]:
    network = developed.network
    # A site that answers by itself does so for one network only: guarded tables of two would tell whom the two part.
    places = [
        (one, cohort)
        for one in candidates(network)
        for cohort in network.evaluate
        if one == (developed.chosen, 0) or not _alone(study, cohort)
    ]
    makers = [partial(_in_cohort, study, developed, one, cohort, checkpoints) for one, cohort in places]
    found = yield from in_batches(makers, network.federation.lock_step)
    return [Evaluated(one, cohort, f) for (one, cohort), f in zip(places, found, strict=True)]


def _alone(study: Study, cohort: str) -> bool:
    """Whether the cohort has too few sites to be summed, so that each answers by itself."""
    return len(study.cohort(cohort).sites) < study.limits.min_sites


def _in_cohort(
    study: Study, developed: Developed, candidate: Candidate, cohort: str, checkpoints: Checkpoints
) -> Conclusion[Measured | MeasuredAlone | Areas]:
    network, frozen = developed.network, developed.frozen[candidate]
    if isinstance(frozen, FedmviError):
        raise frozen
    job = developed.trained[used(network, candidate)]
    if isinstance(job, FedmviError):
        raise job
    projects = network.projection is not None and cohort in network.projection.cohorts and not _alone(study, cohort)
    project = projects and candidate == (developed.chosen, 0)
    yield from score(network, *candidate, cohort, [whole_member(job, checkpoints)], project=project)
    classes = developed.levels.size
    if _alone(study, cohort):
        return (yield from measure_alone(study, network, cohort, frozen, classes))
    if candidate[1]:
        return (yield from areas(study, network, cohort, frozen.model))
    return (yield from measure(study, network, cohort, frozen, classes))
