"""server/study: step: the chosen networks at each hospital of the cohorts in which they are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import FedmviError
from common.federation.query import each
from common.federation.runner import Conclusion, attempt, together
from common.published.results import Result
from common.statistics.by_centre import CentreAlone
from common.study.centres import cut_at
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import Recipe
from common.study.scores import source_column
from common.study.scoring import frozen_prefixes
from server.study.centres import Told, published_by_centre
from server.study.network_development import Developed
from server.study.network_development_results import result_base
from server.study.network_evaluation import Evaluated
from server.study.network_scores import INFERENCES, Frozen, Measured, scoring

KEPT = (408, 438)
"""The numbers with which hospitals keep what is theirs, and what would leave another's: their right, and no fault."""


@dataclass(frozen=True)
class NetworkByCentre:
    """What the sites of a cohort say of the chosen network; `measured` is over all of them."""

    network: Network
    cohort: str
    cutoff: float | None
    measured: Measured
    told: Told | FedmviError


def frozen_network(found: Developed) -> Frozen | None:
    """The chosen network of the first seed, which is the one that is reported."""
    frozen = None if found.chosen is None else found.frozen[found.chosen, 0]
    return frozen if isinstance(frozen, Frozen) else None


def cutoff_of_network(network: Network, frozen: Frozen) -> float | None:
    """Of the score that stands for the network; None where none could be chosen."""
    return None if frozen.cutoffs is None else float(frozen.cutoffs[INFERENCES.index(network.inference)])


def network_at_cutoff(study: Study, network: Network, frozen: Frozen) -> Recipe:
    """From a site's table to the network's score, and to its frozen cut-off where there is one."""
    recipe, cutoff = scoring(network, study, frozen.model), cutoff_of_network(network, frozen)
    return recipe if cutoff is None else recipe.then(cut_at(network.name, source_column(network), cutoff))


def frozen_cutoffs(study: Study, networks: Sequence[Developed | FedmviError]) -> set[str]:
    """Digests of the recipes up to the cut-offs of the chosen networks: frozen with them."""
    developed = [one for one in networks if isinstance(one, Developed) and one.network.evaluate]
    found = [(one.network, frozen_network(one)) for one in developed]
    recipes = [network_at_cutoff(study, network, frozen) for network, frozen in found if frozen is not None]
    return set().union(*(frozen_prefixes(recipe) for recipe in recipes))


def by_centre(
    study: Study, networks: Sequence[Developed | FedmviError], evaluated: Sequence[Sequence[Evaluated]]
) -> Conclusion[list[NetworkByCentre]]:
    """Every chosen network at every hospital, in one round; cohorts whose sites answer alone have told it already."""
    asked: list[tuple[Network, str, Frozen, Measured]] = []
    for found, cohorts in zip(networks, evaluated, strict=True):
        frozen = frozen_network(found) if isinstance(found, Developed) else None
        if isinstance(found, FedmviError) or frozen is None:
            continue
        asked += [
            (found.network, one.cohort, frozen, one.found)
            for one in cohorts
            if one.candidate == (found.chosen, 0) and isinstance(one.found, Measured)
        ]
    told = yield from together(*(attempt(_ask(study, network, cohort, frozen)) for network, cohort, frozen, _ in asked))
    return [
        NetworkByCentre(network, cohort, cutoff_of_network(network, frozen), measured, answer)
        for (network, cohort, frozen, measured), answer in zip(asked, told, strict=True)
    ]


def _ask(study: Study, network: Network, cohort: str, frozen: Frozen) -> Conclusion[Told]:
    recipe, limits = network_at_cutoff(study, network, frozen), study.limits
    told: Told = yield each(
        CentreAlone(
            cohort, recipe, network.binary, source_column(network), limits.min_test_class, min_cell=limits.min_cell
        )
    )
    return told


def publish_by_centre(study: Study, found: Sequence[NetworkByCentre]) -> list[Result]:
    """One result a network and cohort."""
    return [_published(study, one) for one in found]


def _published(study: Study, one: NetworkByCentre) -> Result:
    network = one.network
    title = f"Performance by hospital, cohort {one.cohort}"
    base = result_base(study, network, f"by-centre.{one.cohort}", "network-centres", title, one.cohort)
    base |= {"how": "site-alone"}
    pooled = one.measured.tables.get(network.inference)
    result = published_by_centre(study, base, one.told, pooled, one.cutoff)
    if result.status != "refused" or not _all_keep_it(one.told):
        return result
    # That hospitals keep what is theirs is no refusal that anybody should mend: the performance over all is told.
    return result.model_copy(update={"status": "not-estimable", "note": f"No hospital tells its own. {result.note}"})


def _all_keep_it(told: Told | FedmviError) -> bool:
    answers = [told] if isinstance(told, FedmviError) else list(told.values())
    return all(isinstance(answer, FedmviError) and answer.number in KEPT for answer in answers)
