"""client/learning: what a task does with deep learning; imported only where there is something to train or to score.

So a message without networks loads neither torch nor anything that needs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from client.learning.dataset import Learners
from client.learning.device import computing
from client.learning.engine import loss_sum, train
from client.learning.model import images_of, load_network
from client.learning.scoring import estimate_statistics, mean_vectors, probabilities
from common.federation.learning import LARGEST_CHANGE, TrainRound
from common.networks.adapting import AdaptNetwork
from common.networks.architecture import architecture_of
from common.networks.weights import vector_size
from common.study.networks import Network

if TYPE_CHECKING:
    from client.learning.adapting import Adapted

Arrays = Mapping[str, NDArray[Any]]


def size(network: Network, combination: tuple[str, ...], classes: int) -> int:
    """How many weights of a network are shared."""
    return vector_size(architecture_of(network, combination, classes))


def round_of(
    network: Network, task: TrainRound, training: Learners, validation: Learners, local: Arrays, seed: bytes
) -> tuple[dict[str, NDArray[Any]], Arrays]:
    """One round at one site.

    Parameters
    ----------
    training, validation
        Whom to train on, and who is only measured.
    local
        What the round before left at the site.
    seed
        Of all that is random.

    Returns
    -------
    The blocks of `RoundLoss` and, if the round trains, of `RoundUpdate`, all bounded whatever the images are; and what
    is left for the next round.
    """
    made: dict[str, NDArray[Any]] = {}
    for part, people in (("training", training), ("validation", validation)):
        n = people.labels.size
        sum_ = loss_sum(network, people, task.weights, task.class_weights, local) if n else 0.0
        made[f"{part}_loss"] = np.array(sum_, dtype=np.float64)
        made[f"{part}_patients"] = np.array(n, dtype=np.int64)
    if not task.train:
        return made, local
    trained = train(
        network,
        training,
        task.weights,
        class_weights=task.class_weights,
        seed=seed,
        round=task.round,
        variate=task.variate,
        local=local,
    )
    made["patients"] = np.array(trained.patients, dtype=np.int64)
    made["update"] = _times(trained.patients, trained.update)
    if task.variate.size:
        made["variate"] = _times(trained.patients, trained.variate_change)
    return made, {name: np.asarray(np.nan_to_num(array)) for name, array in trained.local.items()}


def epsilon_hundredths(network: Network, patients: int, left: Arrays) -> int:
    """Hundredths of epsilon that private training of so many patients has spent, by what its last round left."""
    from client.learning.privacy import STEPS, Budget

    budget = Budget.of(network, patients)
    steps = int(left[STEPS]) if STEPS in left else 0
    return math.ceil(100 * budget.spent(budget.noise_multiplier, steps))


def _times(patients: int, change: NDArray[np.float32]) -> NDArray[np.float32]:
    # In double precision first, so that there is one rounding.
    product = np.nan_to_num(patients * change.astype(np.float64))
    bounded: NDArray[np.float32] = np.clip(product, -LARGEST_CHANGE, LARGEST_CHANGE).astype(np.float32)
    return bounded


def state_for(network: Network, cohort: Learners, weights: NDArray[np.float32], own: Arrays | None) -> Arrays:
    """What of a network is the site's: its own, or statistics of normalisation estimated on a cohort's images."""
    if own is not None or not network.statistics_stay:
        return own or {}
    return estimate_statistics(network, cohort, weights)


def scores_of(
    network: Network, patients: Learners, weights: NDArray[np.float32], state: Arrays
) -> dict[str, NDArray[np.float64]]:
    """(n, classes) probabilities by way of inference."""
    scored = probabilities(network, patients, weights, state)
    return {name: np.asarray(values, dtype=np.float64) for name, values in scored.items()}


def adapted(network: Network, patients: Learners, task: AdaptNetwork, seed: bytes) -> Adapted:
    """Statistics of normalisation by a site's own images, whether they are used, and the scores either way."""
    from client.learning.adapting import adapt

    return adapt(network, patients, task, seed)


def vectors_of(
    network: Network, patients: Learners, weights: NDArray[np.float32], state: Arrays
) -> NDArray[np.float64]:
    """(n, k, d) a patient's vector of each sequence, zeros where he lacks it."""
    return mean_vectors(network, patients, weights, state)


def explain(
    network: Network,
    patients: Learners,
    weights: NDArray[np.float32],
    state: Arrays,
    folder: Path,
    title: str,
    *,
    simulated: bool,
) -> None:
    """Draw where the network looked in the patients with the highest and the lowest scores."""
    from client.learning.explaining import Explained, extremes, write_page
    from client.learning.grad_cam import heat_maps

    patients = patients.keep(np.flatnonzero(patients.present.any(axis=1)))  # of others there is nothing to show
    scores = scores_of(network, patients, weights, state)["mean"][:, 1:].sum(axis=1)
    chosen = np.array(extremes(patients.ids, scores), dtype=np.int64)
    with computing(network.training) as device:
        net = load_network(network, patients.sequences, weights, state, device)
        heat = heat_maps(net, *images_of(patients, chosen, device))
    shown = [
        Explained(patients.ids[row], float(scores[row]), patients.images[row], warm, patients.present[row])
        for row, warm in zip(chosen, heat, strict=True)
    ]
    write_page(folder, title, patients.sequences, shown, simulated=simulated)
