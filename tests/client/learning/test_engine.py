"""tests/client/learning: a round is what a plain loop over all samples makes; its corrections are the papers'."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from client.learning import model
from client.learning.corrections import VARIATE
from client.learning.dataset import Learners
from client.learning.engine import Trained, loss_sum, train
from common.errors import FedmviError
from common.federation.learning import LARGEST_LOSS
from common.networks.architecture import architecture_of
from common.networks.intensity import normalised
from common.networks.network import MviNetwork, build
from common.networks.weights import load_vector, local_state, to_vector
from common.study.networks import Network
from tests.client.learning.drawn_learners import NO_VARIATE, SEQUENCES, drawn_learners, first_weights, small_network

SEED = b"of a round"
CLASS_WEIGHTS = (0.7, 1.9)
Weights = NDArray[np.float32]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_round(network: Network, people: Learners, weights: Weights, **given: Any) -> Trained:
    settings: dict[str, Any] = {
        "class_weights": CLASS_WEIGHTS, "seed": SEED, "round": 0, "variate": NO_VARIATE, "local": {},
    }  # fmt: skip
    return train(network, people, weights, **(settings | given))


def plain_loss(net: MviNetwork, people: Learners, row: int) -> torch.Tensor:
    """One patient's loss by passing every one of his combinations of slices through the network."""
    images = normalised(torch.from_numpy(people.images[[row]]), torch.from_numpy(people.body[[row]]))[0]
    _, s = images.shape[:2]
    samples = itertools.product(range(s), repeat=len(people.sequences))
    batch = torch.stack([torch.stack([images[i, j] for i, j in enumerate(sample)]) for sample in samples])
    labels = torch.full((len(batch),), int(people.labels[row]))
    present = torch.from_numpy(people.present[[row]]).expand(len(batch), -1)
    return CLASS_WEIGHTS[labels[0]] * functional.cross_entropy(net(batch, present), labels)


def by_hand(network: Network, people: Learners, weights: Weights, rows: list[list[int]]) -> Weights:
    """The weights after one step of SGD on each of these batches."""
    net = build(architecture_of(network, people.sequences, 2), seed=0)
    load_vector(net, weights)
    for batch in rows:
        net.zero_grad()
        torch.stack([plain_loss(net, people, row) for row in batch]).mean().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.sub_(network.training.learning_rate * parameter.grad)
    return to_vector(net)


def order_of(people: Learners, epoch: int = 0) -> list[int]:
    import hashlib
    import hmac

    keys = [hmac.new(SEED, f"order|{epoch}|{i}".encode(), hashlib.sha256).hexdigest() for i in people.ids]
    return sorted(range(people.n), key=lambda row: keys[row])


def test_an_epoch_of_sgd_is_that_of_a_plain_loop_over_all_combinations_of_slices() -> None:
    network, people = small_network(), drawn_learners(5, slices=3)
    weights = first_weights(network)
    order = order_of(people)
    expected = by_hand(network, people, weights, [order[:2], order[2:4], order[4:]])
    made = a_round(network, people, weights)
    assert np.abs(expected - weights).max() > 1e-3
    np.testing.assert_allclose(weights + made.update, expected, atol=1e-6)
    assert made.patients == 5
    assert made.local == {}


def test_the_branch_of_a_sequence_that_a_patient_lacks_enters_as_zeros() -> None:
    network, people = small_network(missing="mask"), drawn_learners(3, slices=2)
    present = np.array([[True, True], [True, False], [False, True]])
    people = replace(people, present=present, images=people.images * present[:, :, None, None, None])
    weights = first_weights(network)
    order = order_of(people)
    np.testing.assert_allclose(
        weights + a_round(network, people, weights).update,
        by_hand(network, people, weights, [order[:2], order[2:]]),
        atol=1e-6,
    )


def test_a_batch_that_holds_everybody_makes_sites_add_up_to_the_pooled_step() -> None:
    network, people = small_network({"batch": 64}), drawn_learners(7)
    weights = first_weights(network)
    pooled = a_round(network, people, weights)
    sites = [a_round(network, people.keep(rows), weights) for rows in (np.arange(3), np.arange(3, 7))]
    mean = sum(site.patients * site.update for site in sites) / people.n
    np.testing.assert_allclose(mean, pooled.update, atol=1e-6)


def test_small_batches_that_are_accumulated_are_one_large_batch() -> None:
    people = drawn_learners(6)
    whole, parts = small_network({"batch": 6}), small_network({"batch": 2, "accumulate": 3})
    weights = first_weights(whole)
    large, added = a_round(whole, people, weights), a_round(parts, people, weights)
    np.testing.assert_allclose(large.update, added.update, atol=1e-7)


def test_a_step_in_portions_is_the_step_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, people = small_network({"batch": 6}), drawn_learners(6)
    weights = first_weights(network)
    at_once = a_round(network, people, weights)
    monkeypatch.setattr(model, "patients_at_once", lambda *_: 1)
    np.testing.assert_allclose(a_round(network, people, weights).update, at_once.update, atol=1e-7)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    network = small_network({"augmentation": {}, "optimiser": "adamw", "precision": "bf16"})
    people, weights = drawn_learners(4), first_weights(network)
    torch.manual_seed(1)
    first = a_round(network, people, weights)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = a_round(network, people, weights)
    assert first.update.tobytes() == again.update.tobytes()
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not np.array_equal(first.update, a_round(network, people, weights, seed=b"another").update)


def test_the_order_of_a_sites_table_does_not_matter() -> None:
    network = small_network({"augmentation": {}, "max_combinations": 3})
    people, weights = drawn_learners(5), first_weights(network)
    turned = people.keep(np.array([3, 0, 4, 2, 1]))
    np.testing.assert_array_equal(a_round(network, people, weights).update, a_round(network, turned, weights).update)


def test_fedprox_without_its_term_is_fedavg_and_with_it_stays_nearer() -> None:
    people, weights = drawn_learners(6), first_weights(small_network())
    made = {
        mu: a_round(small_network({}, {"strategy": "fedprox", "proximal": mu, "epochs_per_round": 3}), people, weights)
        for mu in (0.0, 5.0)
    }
    plain = a_round(small_network({}, {"epochs_per_round": 3}), people, weights)
    np.testing.assert_array_equal(made[0.0].update, plain.update)
    assert np.linalg.norm(made[5.0].update) < 0.9 * np.linalg.norm(plain.update)


def test_scaffold_with_variates_of_zero_moves_as_fedavg_does() -> None:
    network, people = small_network({}, {"strategy": "scaffold"}), drawn_learners(6)
    weights = first_weights(network)
    with_variates = a_round(network, people, weights, variate=np.zeros_like(weights))
    np.testing.assert_array_equal(with_variates.update, a_round(small_network(), people, weights).update)


def test_a_variate_is_that_of_scaffolds_option_two() -> None:
    network, people = small_network({}, {"strategy": "scaffold"}), drawn_learners(6)
    weights = first_weights(network)
    rng = np.random.default_rng(4)
    server, own = (rng.normal(0, 0.01, weights.size).astype(np.float32) for _ in range(2))
    made = a_round(network, people, weights, variate=server, local={VARIATE: own})
    steps, rate = 3, network.training.learning_rate
    expected = own - server - made.update / (steps * rate)
    np.testing.assert_allclose(made.local[VARIATE], expected, atol=1e-5)
    np.testing.assert_allclose(made.variate_change, expected - own, atol=1e-5)


def test_one_step_at_everybodys_batch_leaves_variates_that_sum_to_the_servers() -> None:
    network, people = small_network({"batch": 64}, {"strategy": "scaffold"}), drawn_learners(7)
    weights = first_weights(network)
    sites = [people.keep(rows) for rows in (np.arange(3), np.arange(3, 7))]
    zero = np.zeros_like(weights)
    made = [a_round(network, site, weights, variate=zero) for site in sites]
    server = sum(site.patients * site.variate_change for site in made) / people.n
    pooled = a_round(network, people, weights, variate=zero)
    np.testing.assert_allclose(server, pooled.variate_change, atol=1e-6)
    corrected = [a_round(network, p, weights, variate=server, local=m.local) for p, m in zip(sites, made, strict=True)]
    for site in corrected:
        np.testing.assert_allclose(site.update, pooled.update, atol=1e-6)


def test_clipping_bounds_the_step() -> None:
    network, people = small_network({"batch": 64, "clip_norm": 1e-3}), drawn_learners(6)
    made = a_round(network, people, first_weights(network))
    assert np.linalg.norm(made.update) == pytest.approx(network.training.learning_rate * 1e-3, rel=1e-3)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_two_rounds_with_kept_moments_are_one_round_of_two_epochs(optimiser: str) -> None:
    settings = {"optimiser": optimiser, "keep_optimiser": True, "momentum": 0.9, "learning_rate": 0.01, "batch": 64}
    people, weights = drawn_learners(4), first_weights(small_network())
    one = a_round(small_network(settings), people, weights)
    two = a_round(small_network(settings), people, weights + one.update, local=one.local)
    both = a_round(small_network(settings, {"epochs_per_round": 2}), people, weights)
    np.testing.assert_allclose(one.update + two.update, both.update, atol=2e-6)
    forgetful = a_round(small_network(settings | {"keep_optimiser": False}), people, weights + one.update)
    assert np.abs(forgetful.update - two.update).max() > 1e-4


@pytest.mark.parametrize(("kind", "shared"), [("batch", True), ("silobn", False), ("fedbn", False)])
def test_statistics_of_normalisation_stay_at_the_site_where_they_should(kind: str, shared: bool) -> None:
    network, people = small_network(normalisation=kind), drawn_learners(5)
    weights = first_weights(network)
    made = a_round(network, people, weights)
    fresh = local_state(build(architecture_of(network, SEQUENCES, 2), seed=3))
    assert set(made.local) == set(fresh)
    assert bool(made.local) is not shared
    assert all(not np.array_equal(made.local[name], fresh[name]) for name in fresh if name.endswith("running_mean"))
    before = loss_sum(network, people, weights, CLASS_WEIGHTS, {})
    assert shared or loss_sum(network, people, weights, CLASS_WEIGHTS, made.local) != before


def test_no_batch_of_batch_normalisation_has_one_patient() -> None:
    network, people = small_network(normalisation="batch"), drawn_learners(5)
    weights = first_weights(network)
    order = order_of(people)
    pairs = [people.keep(np.array(order[:2])), people.keep(np.array(order[2:]))]
    first = a_round(small_network({"batch": 5}, normalisation="batch"), pairs[0], weights)
    then = a_round(small_network({"batch": 5}, normalisation="batch"), pairs[1], weights + first.update)
    np.testing.assert_allclose(a_round(network, people, weights).update, first.update + then.update, atol=1e-6)


def test_losses_are_sums_over_patients_of_the_mean_over_combinations() -> None:
    network, people = small_network(), drawn_learners(5, slices=3)
    weights = first_weights(network)
    net = build(architecture_of(network, SEQUENCES, 2), seed=0)
    load_vector(net, weights)
    expected = sum(plain_loss(net, people, row).item() for row in range(5))
    assert loss_sum(network, people, weights, CLASS_WEIGHTS, {}) == pytest.approx(expected, rel=1e-6)
    everybody = a_round(small_network({"batch": 64}), people, weights)
    assert everybody.loss == pytest.approx(expected, rel=1e-6)


def test_training_goes_down_the_loss() -> None:
    network = small_network({"optimiser": "adam", "learning_rate": 3e-3}, {"epochs_per_round": 15})
    people, weights = drawn_learners(6), first_weights(network)
    trained = weights + a_round(network, people, weights).update
    before, after = (loss_sum(network, people, w, CLASS_WEIGHTS, {}) for w in (weights, trained))
    assert after < 0.5 * before


def test_a_loss_is_told_up_to_a_bound_and_the_one_of_a_patient_without_a_number_is_the_bound() -> None:
    network, weights = small_network(), first_weights(small_network())
    weights[-2:] = (0.0, 1e4)  # the biases: 1e4 is the loss of everybody of the first class
    people = drawn_learners(4)
    assert loss_sum(network, people, weights, (1.0, 1.0), {}) == pytest.approx(2 * LARGEST_LOSS)
    people.images[1, 0, 0] = np.nan
    assert loss_sum(network, people, weights, (1.0, 1.0), {}) == pytest.approx(3 * LARGEST_LOSS)
    assert a_round(network, people, weights).loss <= 4 * LARGEST_LOSS


def test_nobody_without_a_label_is_trained_on() -> None:
    people = drawn_learners(4)
    people = replace(people, labels=np.array([0, 1, -1, 0]))
    with pytest.raises(ValueError, match="without label"):
        a_round(small_network(), people, first_weights(small_network()))


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(FedmviError) as raised:
        a_round(small_network(), drawn_learners(3), np.zeros(7, dtype=np.float32))
    assert raised.value.number == 686
