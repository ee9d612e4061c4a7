"""client/learning: a hospital hands on a network whose normalisation is its own: a bundle with its statistics.

The coordinator has no statistics of FedBN and SiloBN, so only a hospital can complete such a network. Statistics of
normalisation layers are means and variances over all of a hospital's slices; whoever gets the bundle gets them.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import numpy as np

from client.cohort.site import Site
from client.cohort.store import load_prepared, store_folder
from client.learning.dataset import UNKNOWN, load_learners
from client.learning.model import Arrays
from client.learning.scoring import estimate_statistics
from client.learning.work import Works, work_folder
from common.errors import FedmviError
from common.networks.architecture import architecture_of
from common.networks.bundle import describe
from common.networks.exporting import hand_on
from common.networks.model_card import Exported
from common.networks.network import build
from common.networks.normalisation import MIN_ESTIMATED
from common.networks.weights import load_local_state, load_vector, local_round, local_state, read_weights
from common.published.networks import frozen_cutoffs
from common.published.results import Results
from common.study.fingerprint import study_fingerprint
from common.study.networks import Network
from common.study.protocol import Study


class Source(StrEnum):
    """Where the statistics of normalisation layers come from."""

    OWN = "own"
    RE_ESTIMATED = "re-estimated"


_STATISTICS = {
    Source.OWN: "Statistics of its normalisation layers: one hospital's own, learned there in training.",
    Source.RE_ESTIMATED: (
        f"Statistics of its normalisation layers: estimated at one hospital on {MIN_ESTIMATED} or more patients, whose "
        "grades were not used; of FedBN scales and shifts are as before training."
    ),
}


def own_statistics(site: Site, run_id: str, shared: Path) -> Arrays:
    """What the hospital's own training left, that goes with a run's shared weights.

    Raises
    ------
    FedmviError
        391 the hospital did not train in that run, or has forgotten it; 687 no file of weights.
    """
    task = local_round(shared)
    works = Works(work_folder(site, run_id))
    if not task or not works.done(task):
        raise FedmviError(391, f"run {run_id}, task {task or 'none'}")
    return works.local(task)


def estimated_statistics(site: Site, study: Study, network: Network, shared: Path) -> Arrays:
    """Statistics of all prepared patients of the hospital who have the images; their grades are not looked at.

    Raises
    ------
    FedmviError
        390 nobody has the images, 393 too few have, 687 no file of weights; and those of the prepared store.
    """
    architecture, vector = read_weights(shared)
    patients = load_prepared(site, study).patients
    unknown = np.full(len(patients), UNKNOWN, dtype=np.int64)
    store = store_folder(site, study)
    learners = load_learners(store, patients, unknown, unknown, architecture.sequences, network)
    return estimate_statistics(network, learners, vector)


def export_here(
    to: Path, study: Study, network: Network, shared: Path, local: Arrays, source: Source, results: Results | None
) -> None:
    """Write the bundle, the ONNX graph and the model card of a network with this hospital's statistics.

    Parameters
    ----------
    to
        A new folder.
    study, network
        The protocol's.
    shared
        The shared weights: `models/<network>/<sequences>/seed0.safetensors` of the coordinator's run.
    local, source
        What belongs to the hospital, and where it is from: `own_statistics` or `estimated_statistics`.
    results
        What the coordinator published of the run, with performance and cut-offs; without it neither is given.

    Raises
    ------
    FedmviError
        213 `to` holds something, 686 or 687 weights that are not whole or of another network, 688 no statistics, 704
        results of another study.
    """
    if results is not None and results.study_fingerprint != study_fingerprint(study):
        raise FedmviError(704, "the results are of another protocol than the study that is given")
    architecture, vector = read_weights(shared)
    if architecture != architecture_of(network, architecture.sequences, architecture.classes):
        raise FedmviError(686, architecture.text)
    net = build(architecture, seed=0)
    needed = local_state(net)
    if not set(needed) <= set(local):
        raise FedmviError(688, normalisation=network.normalisation, patients=MIN_ESTIMATED)
    load_vector(net, vector)
    load_local_state(net, {name: local[name] for name in needed})
    cutoffs = () if results is None else frozen_cutoffs(network, results, architecture.sequences)
    about = describe(study, network, architecture, _STATISTICS[source], cutoffs)
    hand_on(to, net.eval(), Exported(study, network, results, architecture, about, None, vector.size))
