"""server/study: step: whether a network sees the patients of one cohort as others than those of another.

Of every sequence of the chosen combination: the sites project their patients' vectors, which stay there
(`common/networks/projection.py`); groups of patients are compared by sums, and cohorts by a cross-fitted test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from common.errors import FedmviError
from common.federation.runner import Conclusion, together
from common.networks.projection import projected_columns
from common.published.results import Estimate, Result
from common.statistics.frechet import frechet
from common.statistics.projection import Group, Halves, Projected, halves, level_groups, project
from common.statistics.two_sample import BINS, TwoSample, two_sample
from common.study.analyses import FOLDS
from common.study.networks import Network, Projection
from common.study.protocol import Study
from common.study.recipe import Complete, Fold, Made, Recipe
from server.study.models import refusal
from server.study.network_development import Developed
from server.study.network_development_results import result_base
from server.study.network_evaluation import Evaluated
from server.study.network_faults import attempt_unless_mendable
from server.study.network_scores import Frozen, Measured, in_batches

FEWEST = 20
"""Patients of a group whose mean is shown."""

_ROUNDED = 5

TOO_FEW_SITES = (
    "fewer than {sites} sites. Both the two-sample test and the Frechet distance need means and products of the "
    "vectors, which leave hospitals as sums of several only (FEDMVI-406): of one hospital they could tell a single "
    "patient's, if a network was made for it"
)

WHAT = (
    "The vector that the frozen network makes of a patient's slices of this sequence, averaged over slices and "
    "projected at the hospital on {dimensions} random directions, which are public and know of no patient; distances "
    "are kept about as they are, so that a difference may be weakened by it and none is made. Axes: the two principal "
    "components of the covariance within groups. Each centre is the mean of a group; the interval along either axis "
    "is that of the ellipse that holds the true mean with 95 % confidence (Hotelling, pooled covariance). Two-sample "
    "AUC: Fisher's discriminant between the cohorts trained on one half of their patients and measured on the other, "
    f"and crossed, from counts in {BINS} bins; DeLong's interval. 0.5: the network sees the cohorts alike. Within a "
    "grade the same discriminant is measured among its patients, whom no difference in the shares of grades tells "
    "apart. Frechet distance: of the projected vectors as of normal distributions, in squares of their own units; "
    "even cohorts that do not differ have one, about `frechet_expected` for cohorts of these sizes, by the distance of "
    "the halves of each (`frechet_halves`). Training "
    "patients are left out: the network has seen them."
)


@dataclass(frozen=True)
class Place:
    """A cohort as it is compared: its sums, the groups that all its patients belong to, by which endpoint (or "")."""

    cohort: str
    sums: Halves
    groups: tuple[Group, ...]
    by: str


@dataclass(frozen=True)
class Seen:
    """A sequence in all cohorts that could be asked.

    Attributes
    ----------
    places
        The cohorts.
    projected
        Their groups.
    pairs
        How well the first cohort of the study's list is told from others, by their names; or why that is not known.
    levels
        Within which patients are compared too.
    """

    places: tuple[Place, ...]
    projected: Projected
    pairs: Mapping[str, TwoSample | FedmviError]
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """A network: its sequences, each as it was seen, and the cohorts that are left out, each with the reason."""

    sequences: Mapping[str, Seen | FedmviError]
    left_out: Mapping[str, str]


def project_all(
    study: Study, developed: Sequence[Developed | FedmviError], evaluated: Sequence[Sequence[Evaluated]]
) -> Conclusion[list[Compared | None]]:
    """Compare cohorts by every network that the study says; the sites have projected when they scored."""
    found: list[Compared | None] = []
    for network, cohorts in zip(developed, evaluated, strict=True):
        found.append(None if isinstance(network, FedmviError) else (yield from _compare(study, network, cohorts)))
    return found


def _compare(study: Study, developed: Developed, evaluated: Sequence[Evaluated]) -> Conclusion[Compared | None]:
    network, chosen = developed.network, developed.chosen
    frozen = None if chosen is None else developed.frozen[chosen, 0]
    if chosen is None or not isinstance(frozen, Frozen) or network.projection is None:
        return None
    scored = {e.cohort: e.found for e in evaluated if e.candidate == (chosen, 0)}
    left_out = {name: why for name in network.projection.cohorts if (why := _absent(study, name, scored.get(name)))}
    cohorts = [name for name in network.projection.cohorts if name not in left_out]
    if not cohorts:
        return Compared({}, left_out)
    makers = [partial(_see, study, network, frozen.model, sequence, cohorts) for sequence in chosen]
    found = yield from in_batches(makers, network.federation.lock_step)
    return Compared(dict(zip(chosen, found, strict=True)), left_out)


def _absent(study: Study, cohort: str, found: object) -> str:
    """Why a cohort is not compared; "" where it is."""
    if len(study.cohort(cohort).sites) < study.limits.min_sites:
        return TOO_FEW_SITES.format(sites=study.limits.min_sites)
    return "" if isinstance(found, Measured) else "its patients could not be scored"


def _see(study: Study, network: Network, model: str, sequence: str, cohorts: Sequence[str]) -> Conclusion[Seen]:
    """One sequence; a cohort that refuses ends it."""
    projection = _declared(network)
    made = Made(model, network.name, projected_columns(sequence, projection.dimensions))
    keys = tuple(key for name in dict.fromkeys((network.grades, network.binary)) for key in study.endpoint(name).keys)
    recipe = Recipe((made, Complete(made.names, keys)))
    dealt = recipe.then(Fold(FOLDS, network.binary))
    places = yield from together(*(_place(study, network, cohort, recipe, dealt, made.names) for cohort in cohorts))
    seen = project([(place.sums, place.groups) for place in places])
    if len(cohorts) < 2 or cohorts[0] != projection.cohorts[0]:
        return Seen(tuple(places), seen, {})
    sums, by = [place.sums for place in places], _finest(network, places)
    levels = study.endpoint(by).level_names if by else ("",)
    asked = two_sample(cohorts, [dealt] * len(cohorts), made.names, sums, by, len(levels))
    pairs = yield from attempt_unless_mendable(asked)
    others = cohorts[1:]
    told = dict.fromkeys(others, pairs) if isinstance(pairs, FedmviError) else dict(zip(others, pairs, strict=True))
    return Seen(tuple(places), seen, told, levels)


def _finest(network: Network, places: Sequence[Place]) -> str:
    """The endpoint within whose levels all cohorts may be compared: grades are enough for presence, too."""
    found = {place.by for place in places}
    return "" if "" in found else network.grades if found == {network.grades} else network.binary


def _declared(network: Network) -> Projection:
    if network.projection is None:
        raise FedmviError(901, f"{network.name} has no projection")
    return network.projection


def _place(
    study: Study, network: Network, cohort: str, recipe: Recipe, dealt: Recipe, names: tuple[str, ...]
) -> Conclusion[Place]:
    """A cohort by grade; by presence where a hospital has too few patients of a grade; or else as a whole."""
    sums, *_ = yield from together(halves(cohort, dealt, names))
    for endpoint in dict.fromkeys((network.grades, network.binary)):
        levels = study.endpoint(endpoint).level_names
        groups = yield from attempt_unless_mendable(level_groups(cohort, recipe, names, endpoint, levels))
        # A group that is too small to be told could be worked out from the others.
        if not isinstance(groups, FedmviError) and min(group.n for group in groups) >= study.limits.min_cell:
            return Place(cohort, sums, groups, endpoint)
    return Place(cohort, sums, (sums.whole,), "")


# ---------------------------------------------------------------------------------------------------- publishing


def publish_projections(
    study: Study, developed: Sequence[Developed | FedmviError], found: Sequence[Compared | None]
) -> list[Result]:
    """A result for each sequence of each network that compares cohorts; of a network that could compare none, one."""
    results = []
    for network, compared in zip(developed, found, strict=True):
        if compared is None or isinstance(network, FedmviError):
            continue
        if not compared.sequences:
            base = _base(study, network.network, "none", "Cohorts as the network sees them", [])
            note = f"Not estimable: {_left_out(compared)}"
            results.append(Result.model_validate({**base, "status": "not-estimable", "note": note}))
        for sequence, seen in compared.sequences.items():
            results.append(_published(study, network.network, sequence, seen, compared))
    return results


def _left_out(compared: Compared) -> str:
    return " ".join(f"Cohort {name} is left out: {why}." for name, why in compared.left_out.items())


def _base(study: Study, network: Network, part: str, title: str, cohorts: Sequence[str]) -> dict[str, Any]:
    named = list(cohorts) or list(_declared(network).cohorts)
    base = result_base(study, network, f"projection.{part}", "network-projection", title, named[0])
    sites = sorted({site for name in named for site in study.cohort(name).sites})
    return {**base, "sites": sites, "how": f"binned({BINS})"}


def _published(study: Study, network: Network, sequence: str, seen: Seen | FedmviError, compared: Compared) -> Result:
    cohorts = [name for name in _declared(network).cohorts if name not in compared.left_out]
    base = _base(study, network, sequence, f"Cohorts by {sequence.upper()}", cohorts)
    note = " ".join((WHAT.format(dimensions=_declared(network).dimensions), _left_out(compared))).strip()
    if isinstance(seen, FedmviError):
        status, why = refusal(seen)
        return Result.model_validate({**base, "status": status, "note": f"{why} {_left_out(compared)}".strip()})
    estimates = [
        Estimate(name="share_of_variance", term=f"axis {i + 1}", value=float(share))
        for i, share in enumerate(seen.projected.share_)
    ]
    estimates += [*_areas(seen), *_distances(seen)]
    estimates += _centres(seen, rounded=network.missing == "mask")
    if network.missing == "mask":
        note += (
            f" Patients of a group are told, and its ellipse is drawn, for the next lower multiple of {_ROUNDED}: the "
            "number who lack a sequence may be small."
        )
    sizes = [int(place.sums.n_.sum()) for place in seen.places]
    n = None if network.missing == "mask" else sum(sizes)
    return Result.model_validate({**base, "n": n, "estimates": estimates, "note": note})


def _areas(seen: Seen) -> list[Estimate]:
    """How well cohorts are told apart."""
    first = seen.places[0].cohort
    estimates = []
    for other, found in seen.pairs.items():
        term = f"{first} v {other}"
        if isinstance(found, FedmviError):
            estimates.append(Estimate(name="two_sample_auc", term=term, value=None, note=refusal(found)[1]))
            continue
        estimates.append(_area(term, found))
        for level, within in zip(seen.levels, found.levels_, strict=bool(found.levels_)):
            if within is None or int(within.n_.min()) < FEWEST:
                why = f"fewer than {FEWEST} patients"
                estimates.append(Estimate(name="two_sample_auc", term=f"{term}, {level}", value=None, note=why))
            else:
                estimates.append(_area(f"{term}, {level}", within))
    return estimates


def _distances(seen: Seen) -> list[Estimate]:
    """The Frechet distances of the first cohort from the others, with what chance alone makes of these sizes."""
    first, *others = seen.places if seen.pairs else seen.places[:1]
    estimates: list[Estimate] = []
    for other in others:
        term, found = f"{first.cohort} v {other.cohort}", frechet(first.sums, other.sums)
        if not estimates:
            estimates.append(Estimate(name="frechet_halves", term=first.cohort, value=found.halves_[0]))
        estimates.append(Estimate(name="frechet_halves", term=other.cohort, value=found.halves_[1]))
        estimates.append(Estimate(name="frechet", term=term, value=found.distance_))
        estimates.append(Estimate(name="frechet_expected", term=term, value=found.expected_))
    return estimates


def _area(term: str, found: TwoSample) -> Estimate:
    low, high = found.interval
    return Estimate(name="two_sample_auc", term=term, value=found.auc_, low=low, high=high, std_err=found.std_err_)


def _centres(seen: Seen, *, rounded: bool) -> list[Estimate]:
    """Patients and centre of every group, in the order of cohorts and levels."""
    named = [(place.cohort, group) for place in seen.places for group in place.groups]
    estimates: list[Estimate] = []
    for (cohort, group), centre in zip(named, seen.projected.centres_.tolist(), strict=True):
        term = f"{cohort}, {group.name}" if group.name else cohort
        n = group.n - group.n % _ROUNDED if rounded else group.n
        if n < FEWEST:
            estimates.append(Estimate(name="centre", term=term, value=None, note=f"fewer than {FEWEST} patients"))
            continue
        estimates.append(Estimate(name="patients", term=term, value=n))
        for axis, (value, half) in enumerate(zip(centre, seen.projected.region(n).tolist(), strict=True), start=1):
            limits = {"value": value, "low": value - half, "high": value + half}
            estimates.append(Estimate(name="centre", term=f"{term}, axis {axis}", **limits))
    return estimates
