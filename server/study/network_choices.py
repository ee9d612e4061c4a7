"""server/study: which of several networks a choice takes, by training hospitals that each of them never saw.

A remedy (another strategy, another normalisation) is judged where it must help, at hospitals that took no part in the
training, before any outcome of another cohort is looked at. The choice is named in the freeze; every network is
evaluated and reported all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.errors import FedmviError
from common.published.results import Estimate, Result
from common.statistics.distributions import Z975
from common.study.modelling import Choice
from common.study.protocol import Study
from common.study.scores import named_network, network_choices
from server.study.centre_areas import Area, best_of, mean_area, mean_std_err
from server.study.models import refusal
from server.study.network_development import Developed

_NOTE = (
    "The largest mean area over training hospitals, each scored by a network that never saw it, decides; the area of "
    "the chosen one is a little too good for it. Limits are those of the mean over these very hospitals (DeLong). "
    "Named in the freeze, before any outcome of another cohort was looked at; all networks are reported."
)


@dataclass(frozen=True)
class ChosenNetwork:
    """A choice among networks.

    Attributes
    ----------
    areas
        By network and hospital, of the sequences that the network chose; the error that its development met.
    network
        The best; "" where none could be compared.
    """

    choice: Choice
    areas: Mapping[str, Mapping[str, Area | FedmviError] | FedmviError]
    network: str


def choose_networks(study: Study, developed: Sequence[Developed | FedmviError]) -> list[ChosenNetwork]:
    """The network with the largest mean area over left-out hospitals of each choice; of equal ones the first."""
    by_name = {network.name: found for network, found in zip(study.networks, developed, strict=True)}
    found = []
    for choice in network_choices(study):
        areas = {name: one if isinstance(one := by_name[name], FedmviError) else one.at_centres
                 for name in choice.models}  # fmt: skip
        best = best_of({name: of for name, of in areas.items() if not isinstance(of, FedmviError)})
        found.append(ChosenNetwork(choice, areas, best))
    return found


def chosen_networks(study: Study, developed: Sequence[Developed | FedmviError]) -> tuple[str, ...]:
    """The network that each choice took, for the freeze; none of a choice that could compare nothing."""
    return tuple(one.network for one in choose_networks(study, developed) if one.network)


def publish_network_choices(study: Study, developed: Sequence[Developed | FedmviError]) -> list[Result]:
    """Mean area and worst hospital of every network of each choice, and which was taken."""
    return [_published(study, chosen) for chosen in choose_networks(study, developed)]


def _published(study: Study, chosen: ChosenNetwork) -> Result:
    first = named_network(study, chosen.choice.models[0])
    if first is None:
        raise ValueError("a choice among networks that the study does not have")
    base = {
        "id": f"choice.{chosen.choice.name}",
        "statistic": "choice",
        "title": f"Choice of the network, {chosen.choice.title}",
        "cohort": first.cohort,
        "sites": sorted(study.cohort(first.cohort).sites),
        "how": "site-alone",
    }
    estimates = [one for name, areas in chosen.areas.items() for one in _of(name, areas, chosen.network)]
    if not chosen.network:
        why = "Not estimable: no network has an area at a hospital that was left out."
        return Result.model_validate({**base, "status": "not-estimable", "estimates": estimates, "note": why})
    return Result.model_validate({**base, "estimates": estimates, "note": _NOTE})


def _of(name: str, areas: Mapping[str, Area | FedmviError] | FedmviError, chosen: str) -> list[Estimate]:
    if isinstance(areas, FedmviError):
        return [Estimate(name="auc", term=name, value=None, note=refusal(areas)[1])]
    known = [area.auc for area in areas.values() if isinstance(area, Area)]
    if not known:
        met = next((area for area in areas.values() if isinstance(area, FedmviError)), None)
        why = "it chose no sequences" if met is None else refusal(met)[1]
        return [Estimate(name="auc", term=name, value=None, note=why)]
    mean, half = mean_area(areas), Z975 * mean_std_err(areas)
    low, high, note = max(0.0, mean - half), min(1.0, mean + half), "chosen" if name == chosen else ""
    worst = Estimate(name="worst_auc", term=name, value=min(known))
    return [Estimate(name="auc", term=name, value=mean, low=low, high=high, note=note), worst]
