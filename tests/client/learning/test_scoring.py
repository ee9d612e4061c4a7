"""tests/client/learning: scores are means of probabilities, and estimated statistics are those of the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from client.learning.model import Arrays
from client.learning.scoring import FEWEST, estimate_statistics, probabilities
from common.errors import FedmviError
from common.networks.architecture import architecture_of
from common.networks.intensity import normalised
from common.networks.network import MviNetwork, build
from common.networks.weights import load_local_state, load_vector
from tests.client.learning.drawn_learners import SEQUENCES, drawn_learners, first_weights, small_network


def rebuilt(kind: str, weights: np.ndarray, local: Arrays) -> MviNetwork:
    network = small_network(normalisation=kind)
    net = build(architecture_of(network, SEQUENCES, 3), seed=0)
    load_vector(net, weights)
    load_local_state(net, local)
    return net.eval()


def test_the_mean_is_over_all_combinations_and_the_first_is_of_the_first_slices() -> None:
    network, people = small_network({"precision": "bf16"}), drawn_learners(3, classes=3)
    weights = first_weights(network, classes=3)
    net = rebuilt("group", weights, {})
    images = normalised(torch.from_numpy(people.images), torch.from_numpy(people.body))
    with torch.no_grad():
        pairs = [net(torch.stack([images[:, 0, i], images[:, 1, j]], 1)).softmax(-1) for i in (0, 1) for j in (0, 1)]
    scores = probabilities(network, people, weights, None)
    np.testing.assert_allclose(scores["mean"], torch.stack(pairs).mean(0), atol=1e-6)
    np.testing.assert_allclose(scores["first"], pairs[0], atol=1e-6)
    assert scores["mean"].shape == (3, 3)


def test_labels_do_not_change_a_score_and_neither_does_company() -> None:
    network, people = small_network(), drawn_learners(5)
    weights = first_weights(network)
    all_, alone = (probabilities(network, p, weights, {})["mean"] for p in (people, people.keep(np.array([3]))))
    np.testing.assert_allclose(all_[3:4], alone, atol=1e-6)


@pytest.mark.parametrize("kind", ["fedbn", "silobn"])
def test_statistics_are_estimated_where_the_site_has_none(kind: str) -> None:
    network, people = small_network(normalisation=kind), drawn_learners(FEWEST, classes=3)
    weights = first_weights(network, classes=3)
    estimated = estimate_statistics(network, people, weights)
    images = normalised(torch.from_numpy(people.images), torch.from_numpy(people.body)).reshape(-1, 1, 32, 32)
    with torch.no_grad():
        stem = rebuilt(kind, weights, estimated).trunk.stem(images)
    np.testing.assert_allclose(estimated["trunk.stem_norm.running_mean"], stem.mean((0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(estimated["trunk.stem_norm.running_var"], stem.var((0, 2, 3)), rtol=1e-4)
    scores, given = (probabilities(network, people, weights, local) for local in (None, estimated))
    np.testing.assert_array_equal(scores["mean"], given["mean"])


def test_too_few_patients_to_estimate_on_are_refused() -> None:
    network = small_network(normalisation="silobn")
    with pytest.raises(FedmviError) as raised:
        probabilities(network, drawn_learners(FEWEST - 1), first_weights(network), None)
    assert raised.value.number == 393
    assert raised.value.facts == {"fewest": FEWEST}


def test_nobody_has_no_score() -> None:
    network = small_network()
    nobody = drawn_learners(2).keep(np.zeros(2, dtype=bool))
    assert probabilities(network, nobody, first_weights(network), {})["mean"].shape == (0, 2)
