"""tests/client/learning: a private round clips each patient as a whole; other questions get other noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.learning.dataset import Learners
from client.learning.engine import Trained, train
from client.learning.privacy import STEPS, Budget
from common.errors import FedmviError
from common.networks.architecture import architecture_of
from common.networks.intensity import normalised
from common.networks.network import build
from common.study.networks import Network
from tests.client.learning.drawn_learners import NO_VARIATE, SEQUENCES, drawn_learners, first_weights, small_network

SEED = b"of this site's secret, 32 bytes."
CLASS_WEIGHTS = (0.7, 1.9)
Weights = NDArray[np.float32]


def network(*, batch: int = 3, epsilon: float = 5.0, norm: float = 0.5, rounds: int = 4) -> Network:
    return small_network(
        {"batch": batch, "learning_rate": 0.1},
        {"rounds": rounds},
        privacy={"epsilon": epsilon, "delta": 1e-3, "max_grad_norm": norm},
    )


@pytest.fixture(scope="module")
def learners() -> Learners:
    return drawn_learners(9)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return first_weights(network())


def a_round(settings: Network, people: Learners, weights: Weights, round: int = 0, **given: Any) -> Trained:
    asked = {"class_weights": CLASS_WEIGHTS, "seed": SEED, "variate": NO_VARIATE, "local": {}} | given
    return train(settings, people, weights, round=round, **asked)


def test_without_noise_a_round_of_one_step_is_the_clipped_mean_over_patients(
    learners: Learners, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "noise_multiplier", 0.0)
    update = a_round(network(batch=9), learners, weights).update
    net = build(architecture_of(network(), SEQUENCES, 2), seed=3)
    images = normalised(torch.from_numpy(learners.images), torch.from_numpy(learners.body))
    expected, norms = np.zeros_like(weights), []
    for stack, label in zip(images, torch.from_numpy(learners.labels), strict=True):
        net.zero_grad()
        pairs = torch.stack([stack[[0, 1], [a, b]] for a in range(2) for b in range(2)])  # each combination by itself
        loss = torch.nn.functional.cross_entropy(net(pairs), label.repeat(4)) * CLASS_WEIGHTS[int(label)]
        torch.autograd.backward(loss)
        one = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).numpy()
        norms.append(float(np.linalg.norm(one)))
        expected -= 0.1 * one * min(1.0, 0.5 / norms[-1]) / 9
    assert max(norms) > 0.5
    assert np.abs(update - expected).max() < 1e-6


def test_a_patient_moves_a_step_by_no_more_than_the_norm(
    learners: Learners, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "noise_multiplier", 0.0)
    settings, loud = network(batch=9), learners.images.copy()
    loud[4] *= 50
    one, other = (a_round(settings, replace(learners, images=x), weights) for x in (learners.images, loud))
    assert float(np.linalg.norm(one.update - other.update)) <= 0.1 * 2 * 0.5 / 9 + 1e-6  # one gradient for another


def test_the_noise_of_a_step_is_as_calibrated(learners: Learners, weights: Weights) -> None:
    settings = network(batch=9, epsilon=1.0)
    update = a_round(settings, learners, weights).update
    sigma = 0.1 * Budget.of(settings, 9).noise_multiplier * 0.5 / 9
    # Nine clipped gradients are at most 0.05 long, which is nothing beside so many noisy weights.
    assert float(np.std(update)) == pytest.approx(sigma, rel=0.03)


def test_the_same_question_gets_the_same_bytes(learners: Learners, weights: Weights) -> None:
    one, two = (a_round(network(), learners, weights) for _ in range(2))
    assert np.array_equal(one.update, two.update)
    assert one.local[STEPS] == two.local[STEPS] == 3


def other_patients(learners: Learners) -> Learners:
    images = learners.images.copy()
    images[0, 0, 0, 0, 0] += 1
    return replace(learners, images=images)


@pytest.mark.parametrize("what", ["weights", "patients", "round", "classes", "secret"])
def test_no_two_questions_share_their_noise(what: str, learners: Learners, weights: Weights) -> None:
    settings = network(epsilon=1.0)
    first = a_round(settings, learners, weights)
    asked: dict[str, Any] = {"settings": settings, "people": learners, "weights": weights}
    changes: dict[str, dict[str, Any]] = {
        "weights": {"weights": weights + np.float32(1e-6)},
        "patients": {"people": other_patients(learners)},
        "round": {"round": 1, "local": first.local},
        "classes": {"class_weights": (0.7, 1.9001)},
        "secret": {"seed": b"of another site's secret, bytes."},
    }
    second = a_round(**asked | changes[what])
    # Shared noise would leave next to nothing of the difference; unrelated noise leaves more than either has.
    assert np.linalg.norm(first.update - second.update) > 1.2 * np.linalg.norm(first.update)


def test_rounds_go_on_until_the_budget_is_spent(learners: Learners, weights: Weights) -> None:
    settings = network(rounds=2)
    local: dict[str, Weights] = {}
    for round in range(2):
        trained = a_round(settings, learners, weights, round, local=local)
        local, weights = trained.local, weights + trained.update
        assert int(local[STEPS]) == 3 * (round + 1)
    with pytest.raises(FedmviError, match="399"):
        a_round(settings, learners, weights, 2, local=local)
    with pytest.raises(FedmviError, match="399"):
        a_round(settings, learners, weights, 1)


def test_moments_are_of_noisy_gradients_and_go_on(learners: Learners, weights: Weights) -> None:
    settings = network()
    training = settings.training.model_copy(update={"keep_optimiser": True, "optimiser": "adam"})
    settings = settings.model_copy(update={"training": training})
    first = a_round(settings, learners, weights)
    assert any(name.startswith("optimiser.") for name in first.local)
    fresh = a_round(settings, learners, weights, 1, local={STEPS: first.local[STEPS]})
    assert not np.array_equal(a_round(settings, learners, weights, 1, local=first.local).update, fresh.update)


def test_training_in_private_still_learns_when_the_budget_is_large(learners: Learners, weights: Weights) -> None:
    images = learners.images.copy()
    images[learners.labels == 1, 0, :, :16, :16] += 150
    bright, settings = replace(learners, images=images), network(batch=9, epsilon=1e5, norm=5.0, rounds=8)
    losses: list[float] = []
    local: dict[str, Weights] = {}
    for round in range(8):
        trained = a_round(settings, bright, weights, round, local=local)
        losses.append(trained.loss)
        local, weights = trained.local, weights + trained.update
    assert losses[-1] < 0.9 * losses[0]
