"""server/study: the steps of a study in their order: what each is called, and how many rounds it takes, if known.

Opening, counting and freezing take as many rounds as they have questions. Trainings take at most those that the
protocol allows. All else asks until it has converged: how often, the patients decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.federation.learning import left_out_parts
from common.study.networks import Network
from common.study.protocol import Study

OPEN = "open the run at every site"
COUNT = "count patients and events"
FIT = "fit the models"
COMPARE = "finish the models, and compare hospitals"
FREEZE = "freeze the models"
CORRECT = "recalibrate the models and freeze the corrections"
EVALUATE = "evaluate the models and compare survival"


@dataclass(frozen=True)
class Step:
    """A step of a study.

    Attributes
    ----------
    words
        What it is called while it goes on.
    least, most
        Rounds that it takes; `most` is None where the patients decide.
    network
        The network that is trained in it; its rounds last longer than others. "" elsewhere.
    """

    words: str
    least: int = 0
    most: int | None = None
    network: str = ""


def steps_of(study: Study) -> list[Step]:
    """All steps of a study that is conducted, over the sites that take part in it."""
    steps = [Step(OPEN, 2, 2), Step(COUNT, 1, 1), Step(FIT)]
    for network in study.networks:
        steps += _development(study, network)
    if study.networks:
        steps.append(Step(COMPARE))
    steps.append(Step(FREEZE, 0, 1))
    if study.recalibrations:
        steps.append(Step(CORRECT))
    steps.append(Step(EVALUATE))
    return steps + [Step(pictures(network)) for network in study.networks]


def _development(study: Study, network: Network) -> list[Step]:
    """Trainings with, before the first, a round that counts the classes.

    One more round than are trained tells the loss of the last weights, where some patients decide about rounds; where
    hospitals are left out, one in the end tells the areas there.
    """
    rounds, together = network.federation.rounds, network.federation.lock_step
    parts = len(left_out_parts(network, study.cohort(network.cohort).sites))
    candidates = len(network.combinations) * network.seeds
    held_out = 1 + math.ceil(candidates * parts / together) * (rounds + 1)
    everybody = math.ceil(candidates / together) * rounds + (1 if network.by_centre else 0)
    found = [
        Step(train_without(network, candidates * parts), 1, held_out, network.name),
        Step(score_training(network)),
    ]
    if network.development != "published":
        found.append(Step(train_on_everybody(network), 0, everybody, network.name))
    return found


def train_without(network: Network, trainings: int) -> str:
    """The trainings that leave out patients or hospitals."""
    on = "without one hospital each" if network.by_centre else "one fold held out"
    return f"train {network.title}: {trainings} trainings, {on}"


def train_on_everybody(network: Network) -> str:
    """The trainings of what is used."""
    return f"train {network.title}: on everybody"


def score_training(network: Network) -> str:
    """Scores of the patients of the cohort that it is trained in."""
    whom = "who stopped the training" if network.development == "published" else "out of fold"
    return f"score the training patients of {network.title}: {whom}"


def pictures(network: Network) -> str:
    """Pictures that stay at the sites."""
    return f"let the sites make pictures of what {network.title} looks at"
