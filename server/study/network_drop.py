"""server/study: step: what the fall of a chosen network's performance is made of, and what is published of it.

Its steps are those of a model's fall (`drop`) but the first: hospitals score their training patients by networks that
never saw them, and by no other, so that apparent performance is nobody's to ask for. The `published` development has no
such scores; what it reports in training is of the patients who stopped it, and stands as apparent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.published.results import Result
from common.statistics.case_mix import BINS
from common.study.networks import Network
from common.study.protocol import Study
from common.study.scores import source_column
from common.study.table import FloatArray
from server.study.drop import Expected, expected_of
from server.study.drop_steps import (
    NO_CUTOFF,
    Fall,
    Measure,
    area_of,
    balanced_of,
    expected_at,
    expected_over,
    published_fall,
)
from server.study.evaluation import alone_base
from server.study.network_centres import cutoff_of_network, frozen_network, network_at_cutoff
from server.study.network_choice import Combination
from server.study.network_development import Developed
from server.study.network_development_results import cohort_note, joined_name, result_base
from server.study.network_evaluation import Evaluated
from server.study.network_results import BY_CUTOFF
from server.study.network_scores import Frozen, MeasuredAlone

NOT_ASKED = (
    "not told by design: hospitals score their training patients only by networks that were trained and stopped without"
    " them"
)
SELECTED_ONLY = "of the patients who also decided when training stopped"
NO_FOLDS = "unknown: the published development scores no training patient out of fold"

SURE = (
    "A network that is surer of its scores than it may be promises too much: then `case_mix` is too low and "
    "`remaining` too large, by the same amount; see its calibration. In training the folds' networks scored, here that "
    "on everybody."
)
WINNER = (
    "The out-of-fold area is that of the sequences which it chose, and so a little high; the nested area stands with "
    "their choice."
)


@dataclass(frozen=True)
class NetworkSteps:
    """The fall of the chosen network, first seed, in one cohort: how it was measured there, and what was expected."""

    found: Developed
    chosen: Combination
    evaluated: Evaluated
    frozen: Frozen | None
    expected: Expected | FedmviError

    @property
    def network(self) -> Network:
        """The declared network."""
        return self.found.network


def split_drops(
    study: Study, networks: Sequence[Developed | FedmviError], evaluated: Sequence[Sequence[Evaluated]]
) -> Conclusion[list[NetworkSteps]]:
    """Ask what the fall of every chosen network is made of, in every cohort in which it is evaluated; one round."""
    asked = [
        (found, found.chosen, one)
        for found, cohorts in zip(networks, evaluated, strict=True)
        if isinstance(found, Developed) and found.chosen is not None
        for one in cohorts
        if one.candidate == (found.chosen, 0)
    ]
    told = yield from together(*(attempt(_expected(study, found, one)) for found, _, one in asked))
    return [
        NetworkSteps(found, chosen, one, frozen_network(found), expected)
        for (found, chosen, one), expected in zip(asked, told, strict=True)
    ]


def _expected(study: Study, found: Developed, one: Evaluated) -> Conclusion[Expected]:
    frozen = frozen_network(found)
    if isinstance(one.found, FedmviError):
        raise one.found
    if frozen is None:
        raise FedmviError(604, model=found.network.name)
    recipe = network_at_cutoff(study, found.network, frozen)
    return (yield from expected_of(study, one.cohort, recipe, source_column(found.network)))


def publish_drops(study: Study, found: Sequence[NetworkSteps], performances: Sequence[Result]) -> list[Result]:
    """One result a network and cohort; of a cohort of too few sites one a site. `performances` have the areas."""
    by_id = {result.id: result for result in performances}
    published = []
    for steps in found:
        # A site that was not asked at all, because nothing could be scored, has no result of its own.
        alone = isinstance(steps.evaluated.found, MeasuredAlone)
        sites = sorted(study.cohort(steps.evaluated.cohort).sites) if alone else [None]
        published += [published_fall(_fall(study, steps, site, by_id)) for site in sites]
    return published


def _fall(study: Study, steps: NetworkSteps, site: str | None, by_id: Mapping[str, Result]) -> Fall:
    network, cohort = steps.network, steps.evaluated.cohort
    base = result_base(study, network, f"drop.{cohort}", "performance-drop", "", cohort)
    title = f"What the fall of {network.title} on {', '.join(steps.chosen).upper()} is made of, cohort {cohort}"
    base |= {"title": title, "how": f"binned({BINS})"}
    performance = f"network.{network.name}.performance.{joined_name(steps.chosen)}"
    training = by_id[f"{performance}.{network.cohort}"]
    observed = by_id[f"{performance}.{cohort}" if site is None else f"{performance}.{cohort}.{site}"]
    expected = expected_over(steps.expected) if site is None else expected_at(steps.expected, site)
    cutoff = None if steps.frozen is None else cutoff_of_network(network, steps.frozen)
    areas, balanced = (area_of(training, network.inference), _balanced(training, network, cutoff))
    there = (area_of(observed, network.inference), _balanced(observed, network, cutoff))
    return Fall(
        base if site is None else alone_base(base, site),
        observed,
        [*_in_training(network, areas), expected[0], there[0]],
        [*_in_training(network, balanced), expected[1], there[1]],
        _table(observed, network),
        cutoff,
        what="network",
        further=_further(study, network),
    )


def _in_training(network: Network, told: Measure) -> tuple[Measure, Measure]:
    """Apparent and out of fold, of which a development tells one."""
    if network.development != "published":
        return Measure(why=NOT_ASKED), told
    return Measure(told.value, told.std_err, told.why or SELECTED_ONLY, told.low, told.high), Measure(why=NO_FOLDS)


def _balanced(result: Result, network: Network, cutoff: float | None) -> Measure:
    if result.status != "estimated":
        return Measure(why=result.note)
    return balanced_of(_table(result, network), "" if cutoff is not None else NO_CUTOFF)


def _table(result: Result, network: Network) -> FloatArray | None:
    """(2, 2) patients by class and test at the cut-off, where all of it is published."""
    name = f"{network.inference}, {BY_CUTOFF}"
    cells = [cell for table in result.tables if table.name == name for row in table.cells for cell in row]
    return np.array(cells, dtype=np.float64).reshape(2, 2) if cells and None not in cells else None


def _further(study: Study, network: Network) -> str:
    several = len(network.combinations) > 1 and network.development != "published"
    return " ".join(
        part for part in (cohort_note(study, network, network.cohort), WINNER if several else "", SURE) if part
    )
