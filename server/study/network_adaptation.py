"""server/study: step: networks of batch normalisation adapted to hospitals of external cohorts, and what that is worth.

Weights, shrinkage and the scores that hospitals judge themselves by are frozen before a cohort is opened. Each hospital
then estimates statistics from its images and keeps them with both scores; only afterwards are outcomes looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from common.errors import FedmviError
from common.federation.query import Receipt, Summary, each, perform
from common.federation.runner import Conclusion, attempt, together
from common.networks.adapting import ADAPTED, TOLD, UNADAPTED, AdaptNetwork
from common.statistics.areas_alone import AreasAlone
from common.statistics.calibration import Calibration, binned_risks, calibration
from common.statistics.refinement import order_keys
from common.statistics.roc import RocComparison, compare_areas
from common.statistics.score_mixture import GRID, ScoreClasses
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import Complete, Made, Recipe
from server.study.checkpoints import Checkpoints
from server.study.network_choice import Combination
from server.study.network_development import Developed, used, whole_member
from server.study.network_faults import attempt_unless_mendable
from server.study.network_scores import column_names, in_batches, scoring
from server.study.training import TrainedJob

COLUMNS = (ADAPTED, UNADAPTED)


@dataclass(frozen=True)
class Rule:
    """How a network is adapted: what is frozen beside the network itself.

    Attributes
    ----------
    combination
        Its chosen sequences.
    task
        As it is put to every cohort, without the cohort.
    """

    combination: Combination
    task: AdaptNetwork


@dataclass(frozen=True)
class Areas:
    """Over all sites of a cohort.

    Attributes
    ----------
    compared
        Areas of the same patients with and without adaptation.
    calibrations
        By column, or why there is none.
    """

    compared: RocComparison
    calibrations: Mapping[str, Calibration | FedmviError]


@dataclass(frozen=True)
class AdaptedCohort:
    """A network in a cohort.

    Attributes
    ----------
    told
        Verdicts of the sites that tell of themselves alone.
    found
        Over all sites; by site where each answers alone (`AreasAlone`); or why nothing is known.
    """

    cohort: str
    told: Mapping[str, str]
    found: Areas | Mapping[str, Summary | FedmviError] | FedmviError


def make_rules(
    study: Study, developed: Sequence[Developed | FedmviError], checkpoints: Checkpoints
) -> Conclusion[list[Rule | FedmviError | None]]:
    """The rule of every network that is to be adapted, by the scores of its training patients; none of the others."""
    rules: list[Rule | FedmviError | None] = yield from together(
        *(attempt_unless_mendable(_rule(study, network, checkpoints)) for network in developed)
    )
    return rules


def _rule(
    study: Study, developed: Developed | FedmviError, checkpoints: Checkpoints
) -> Conclusion[Rule | FedmviError | None]:
    if isinstance(developed, FedmviError) or developed.network.adaptation is None or developed.chosen is None:
        return None
    network, chosen = developed.network, developed.chosen
    frozen, job = developed.frozen[chosen, 0], developed.trained[used(network, (chosen, 0))]
    if isinstance(frozen, FedmviError):
        return frozen
    if not isinstance(job, TrainedJob):
        return job
    recipe = scoring(network, study, developed.out_of_fold[chosen])
    (column,) = column_names(network, (network.inference,))
    sums = yield from binned_risks(network.cohort, recipe, network.binary, column, order_keys(GRID))
    reference, patients = ScoreClasses.of(sums), developed.network.adaptation.patients
    member = whole_member(job, checkpoints)
    return Rule(chosen, AdaptNetwork("", network.name, chosen, 0, member, patients, reference))


def frozen_models(rules: Sequence[Rule | FedmviError | None]) -> set[str]:
    """Digests of the networks with their rules."""
    return {rule.task.model for rule in rules if isinstance(rule, Rule)}


def adapt_all(study: Study, rules: Sequence[Rule | FedmviError | None]) -> Conclusion[list[list[AdaptedCohort]]]:
    """Adapt and measure every network in its cohorts; a list for each network of the study."""
    found: list[list[AdaptedCohort]] = []
    for network, rule in zip(study.networks, rules, strict=True):
        found.append((yield from _adapt(study, network, rule)) if isinstance(rule, Rule) else [])
    return found


def _adapt(study: Study, network: Network, rule: Rule) -> Conclusion[list[AdaptedCohort]]:
    cohorts = network.adaptation.cohorts if network.adaptation is not None else ()
    makers = [partial(_in_cohort, study, network, rule, cohort) for cohort in cohorts]
    parts = yield from in_batches(makers, network.federation.lock_step)
    return [
        AdaptedCohort(cohort, {}, part) if isinstance(part, FedmviError) else part
        for cohort, part in zip(cohorts, parts, strict=True)
    ]


def _in_cohort(study: Study, network: Network, rule: Rule, cohort: str) -> Conclusion[AdaptedCohort]:
    task = AdaptNetwork(**{**vars(rule.task), "cohort": cohort})
    receipts: Mapping[str, Receipt] = yield perform(task)
    told = {site: str(receipt[TOLD]) for site, receipt in sorted(receipts.items()) if TOLD in receipt}
    names = column_names(network, COLUMNS)
    keys = tuple(key for name in dict.fromkeys((network.grades, network.binary)) for key in study.endpoint(name).keys)
    recipe = Recipe((Made(task.model, network.name, COLUMNS), Complete(names[:1], keys)))
    if len(study.cohort(cohort).sites) < study.limits.min_sites:
        limits = study.limits
        query = AreasAlone(cohort, recipe, network.binary, names, limits.min_test_class, min_cell=limits.min_cell)
        alone: Mapping[str, Summary | FedmviError] = yield each(query)
        return AdaptedCohort(cohort, told, alone)
    return AdaptedCohort(cohort, told, (yield from attempt_unless_mendable(_areas(network, cohort, recipe, names))))


def _areas(network: Network, cohort: str, recipe: Recipe, names: tuple[str, ...]) -> Conclusion[Areas]:
    compared, *lines = yield from together(
        compare_areas(cohort, recipe, network.binary, names),
        *(attempt(calibration(cohort, recipe, network.binary, name)) for name in names),
    )
    return Areas(compared, dict(zip(COLUMNS, lines, strict=True)))
