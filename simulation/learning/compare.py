"""simulation: learning: pooled, alone and federated training of a study's network on simulated sites, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.membership import members, patient_keys, site_secret
from client.cohort.site import Site
from client.cohort.store import load_prepared, store_folder
from client.learning.dataset import Learners, load_learners
from client.learning.workbench import dealt_folds
from common.errors import FedmviError
from common.study.networks import Network, in_order
from common.study.protocol import Study
from common.study.recipe import Fold, Recipe
from simulation.learning.communication import Traffic, traffic
from simulation.learning.comparison import Row, Scored, compare
from simulation.learning.ways import Trained, Ways

FEDERATED, POOLED, OWN = "federated", "pooled (simulation only)", "each alone, own patients"
EMPTY_GRADE = 602
"""Its sentence is about a cohort; what is of interest here is which grade a hospital lacks."""
BOOTSTRAP_SEED = 20220
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Compared:
    """What all ways of training came to.

    Attributes
    ----------
    rows
        A row for every way in every cohort.
    not_estimable
        The ways that could not be trained, and why; the other ways are compared without them.
    rounds
        By way, rounds of the final training of each seed.
    bytes_from_sites
        By way of more than one site, what left the sites in the whole training, as metered.
    traffic
        Of one round.
    weights
        (p,) of the federated training on everybody, first seed: those that a run of the study exports.
    """

    study: str
    network: Network
    combination: tuple[str, ...]
    rows: tuple[Row, ...]
    not_estimable: Mapping[str, str]
    rounds: Mapping[str, tuple[int, ...]]
    bytes_from_sites: Mapping[str, int]
    traffic: tuple[Traffic, ...]
    notes: tuple[str, ...]
    weights: NDArray[np.float32]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "study": self.study,
            "simulated": True,
            "network": self.network.model_dump(mode="json"),
            "combination": list(self.combination),
            "reference": FEDERATED,
            "rows": [row.as_json() for row in self.rows],
            "not_estimable": dict(self.not_estimable),
            "rounds": {way: list(rounds) for way, rounds in self.rounds.items()},
            "bytes_from_sites": dict(self.bytes_from_sites),
            "traffic": [each.as_json() for each in self.traffic],
            "notes": list(self.notes),
        }


def compare_training(
    study: Study,
    sites: Mapping[str, Site],
    network: str | None = None,
    combination: tuple[str, ...] | None = None,
    progress: Progress = lambda _: None,
) -> Compared:
    """Train one network pooled, at each site alone, and federated, and score the same patients with all of them.

    Parameters
    ----------
    study
        With networks.
    sites
        Simulated sites with prepared stores, by name.
    network
        Its name; None for the first.
    combination
        Sequences; None for the combination of most, of equals the first.
    progress
        Told what is being done.

    Raises
    ------
    FedmviError
        816 no such network; 817 sites that are not simulated; 212, 322 and 390 of the sites; 602, 680, 681 and 682 of
        the federated training.
    """
    chosen = _network(study, network)
    wanted = _combination(study, chosen, combination)
    for site in sites.values():
        if not site.site.simulated:
            raise FedmviError(817, site=site.name)
    patients = {name: _cohorts(site, study, chosen, wanted) for name, site in sites.items()}
    with TemporaryDirectory(prefix="fedmvi-compare-") as scratch:
        held = {name: cohorts for name, cohorts in patients.items() if cohorts}
        secrets = {name: site_secret(site) for name, site in sites.items()}
        ways = Ways(study, chosen, wanted, held, Path(scratch), secrets)
        trained, failed = _trained(ways, progress)
        rows = []
        for cohort in (chosen.cohort, *chosen.evaluate):
            progress(f"score {cohort}")
            rows += _rows(ways, trained, cohort)
    return Compared(
        study.study.name,
        chosen,
        wanted,
        tuple(rows),
        failed,
        {way: tuple(each.rounds.values()) for way, each in trained.items()},
        {way: each.meter.bytes_from_sites for way, each in trained.items() if len(each.sites) > 1},
        tuple(traffic(chosen, wanted, len(study.endpoint(chosen.grades).level_names))),
        _notes(ways, trained),
        trained[FEDERATED].members[0][-1].weights,
    )


def _network(study: Study, name: str | None) -> Network:
    for network in study.networks:
        if name in (None, network.name):
            return network
    raise FedmviError(816, f"network {name}", study=study.study.name)


def _combination(study: Study, network: Network, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    if wanted is None:
        return max(network.combinations, key=len)
    if in_order(wanted) not in network.combinations:
        raise FedmviError(816, f"combination {', '.join(wanted)}", study=study.study.name)
    return in_order(wanted)


def _trained(ways: Ways, progress: Progress) -> tuple[dict[str, Trained], dict[str, str]]:
    """What could be trained, and why the others could not; without the federation there is nothing to compare with."""
    trained, failed = dict[str, Trained](), dict[str, str]()
    for way, train in _ways(ways).items():
        progress(f"train {ways.network.title}: {way}")
        try:
            trained[way] = train()
        except FedmviError as error:
            if way == FEDERATED:
                raise
            failed[way] = error.local if error.number == EMPTY_GRADE else error.what
    return trained, failed


def _notes(ways: Ways, trained: Mapping[str, Trained]) -> tuple[str, ...]:
    network = ways.network
    own = (
        "Training cohort: out-of-fold scores; a patient is scored by networks of which neither training nor stopping "
        "saw his outer fold."
    )
    if network.development == "published":
        own = "Training cohort: selected and optimistic; the fold that is reported stopped the training."
    layers = ""
    if ways.central_layers != network.normalisation:
        layers = (
            f", and their normalisation is {ways.central_layers} where the federation's is {network.normalisation}: "
            "who is in one place has no statistics to keep from others"
        )
    return (
        "All patients are simulated; pooled training exists in simulations only.",
        own,
        f"Other cohorts: the final networks, {network.seeds} seed(s). Areas are means over seeds; intervals are of the "
        "patients, by a paired bootstrap, and hold no spread between seeds.",
        f"Pooled and alone have no federated optimiser{layers}; all else is the protocol's: settings, seeds, folds, "
        "first weights, most rounds, patience.",
        _steps(trained),
    )


def _steps(trained: Mapping[str, Trained]) -> str:
    """A round is not the same amount of training everywhere."""
    each = {way: sorted(one.steps.values()) for way, one in trained.items()}
    said = (f"{way} {s[0]}" if s[0] == s[-1] else f"{way} {s[0]} to {s[-1]} at each site" for way, s in each.items())
    return (
        f"Steps of the optimiser in a round of the training on everybody: {', '.join(said)}. Pooled training takes the "
        "steps of all sites one after the other, the federation those of each site at once; rounds are counted alike."
    )


def _ways(ways: Ways) -> dict[str, Callable[[], Trained]]:
    alone = {f"{site} alone": partial(ways.alone, site) for site in ways.training_sites}
    return {FEDERATED: ways.federated, POOLED: ways.pooled, **alone}


def _rows(ways: Ways, trained: Mapping[str, Trained], cohort: str) -> list[Row]:
    """One table: everybody whom all ways scored."""
    held = [site for site in sorted(ways.sites) if cohort in ways.sites[site]]
    labels = np.concatenate([ways.sites[site][cohort].labels for site in held])
    of_site = np.repeat(held, [ways.sites[site][cohort].n for site in held])
    scored = {way: ways.scored(each, cohort) for way, each in trained.items()}
    if cohort == ways.network.cohort and all(f"{site} alone" in trained for site in held):
        scored[OWN] = _own(scored, of_site)
    known = labels >= 0
    for each in scored.values():
        known &= ~np.isnan(each.present).any(axis=0)
    return compare(
        cohort, labels[known], {way: each.of(known) for way, each in scored.items()}, FEDERATED, BOOTSTRAP_SEED
    )


def _own(scored: Mapping[str, Scored], of_site: np.ndarray) -> Scored:
    """Every patient's score by the network of his own hospital, as if there were no federation."""
    present, likeliest = (np.empty_like(getattr(scored[FEDERATED], name)) for name in ("present", "likeliest"))
    for site in np.unique(of_site):
        rows = of_site == site
        present[:, rows] = scored[f"{site} alone"].present[:, rows]
        likeliest[:, rows] = scored[f"{site} alone"].likeliest[:, rows]
    return Scored(present, likeliest)


def _cohorts(site: Site, study: Study, network: Network, combination: tuple[str, ...]) -> dict[str, Learners]:
    """A site's patients by cohort, with their labels: simulated patients have nothing to hide."""
    table = load_prepared(site, study)
    found = {}
    for cohort in (network.cohort, *network.evaluate):
        rows = members(site, table, study, study.cohort(cohort))
        if not rows.any():
            continue
        frame = Recipe().apply(table, rows, (network.grades,), patient_keys(site, table))
        folds = Fold(dealt_folds(network), network.grades).apply(frame).columns["fold"].astype(np.int64)
        labels = np.nan_to_num(frame.endpoints[network.grades], nan=-1.0).astype(np.int64)
        ids = [patient for patient, inside in zip(table.patients, rows, strict=True) if inside]
        found[cohort] = load_learners(store_folder(site, study), ids, labels, folds, combination, network)
    return found
