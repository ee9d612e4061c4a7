"""client/learning: one round of differentially private training at a site: the engine's round, by DP-SGD.

Noise and draws are a function, keyed with the site's secret, of all that the gradients depend on. A question that is
asked again gets the same bytes, so that a resumed run draws no second time for one release; other weights, patients,
settings or state, in this run or in another, get noise that has nothing to do with it. A seed of job and round alone
would repeat the noise for other weights, and the difference of two answers would be free of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from client.learning.corrections import Corrections
from client.learning.dataset import Learners
from client.learning.device import computing
from client.learning.engine import Lesson, Trained
from client.learning.losses import told
from client.learning.model import Arrays, load_network
from client.learning.noise import KeyedStream
from client.learning.optimisers import make_optimiser, moments
from client.learning.privacy import STEPS, Budget, PrivateGradient, steps_taken
from common.networks.network import MviNetwork
from common.networks.weights import local_state, to_vector
from common.study.fingerprint import canonical_json
from common.study.networks import Network


def train_private(
    network: Network,
    learners: Learners,
    weights: NDArray[np.float32],
    *,
    class_weights: Sequence[float],
    seed: bytes,
    round: int,
    variate: NDArray[np.float32],
    local: Arrays,
) -> Trained:
    """As `engine.train`, with each patient's gradient clipped and noise added to every step.

    In each of `Budget.steps_per_round` steps every patient takes part with probability `Budget.rate`; his slices are
    varied anew. One patient passes at a time. `clip_norm` does not apply: the norm is that of `privacy`.

    Raises
    ------
    FedmviError
        392 out of memory; 398, 399 the privacy budget; 686 weights of another network.
    """
    privacy = network.privacy
    if privacy is None:
        raise ValueError(f"{network.name} is not trained in private")
    budget = Budget.of(network, learners.n)
    steps = steps_taken(budget, round, local)
    multiplier = budget.noise_multiplier
    stream = KeyedStream(seed, _dependences(network, learners, weights, class_weights, round, local))
    with computing(network.training) as device:
        net = load_network(network, learners.sequences, weights, local, device).train()
        lesson = Lesson(network, learners, class_weights, seed, device)
        optimiser = make_optimiser(network.training, net, local)
        corrections = Corrections(net, network.federation, variate, local)
        gradient = PrivateGradient(
            optimiser,
            noise_multiplier=multiplier,
            max_grad_norm=privacy.max_grad_norm,
            expected=budget.batch,
            stream=stream,
        )
        losses = []
        for step in range(budget.steps_per_round):
            chosen = np.flatnonzero(stream.uniform(learners.n) < budget.rate)
            losses.append(_step(net, lesson, chosen, step, gradient))
            corrections.add()
            optimiser.step()
        change, kept = corrections.finish()
        account = {STEPS: np.array(steps + budget.steps_per_round, dtype=np.float32)}
        local_now = {**local_state(net), **moments(network.training, optimiser), **kept, **account}
        last = losses[-(budget.steps_per_round // budget.epochs_per_round) :]
        return Trained(to_vector(net) - weights, change, local_now, learners.n, sum(last))


def _step(net: MviNetwork, lesson: Lesson, chosen: NDArray[np.int64], step: int, gradient: PrivateGradient) -> float:
    """Put the noisy mean gradient of these patients into the network's parameters; the sum of their losses."""
    total, parameters = 0.0, list(net.parameters())
    for row in chosen:
        loss = lesson.losses(net, np.array([row]), step)
        # A patient without any of the sequences passes by the trunk, which then has no gradient of him.
        gradient.add(torch.autograd.grad(loss.sum(), parameters, materialize_grads=True))
        total += told(loss).sum().item()
    gradient.finish()
    return total


def _dependences(
    network: Network,
    learners: Learners,
    weights: NDArray[np.float32],
    class_weights: Sequence[float],
    round: int,
    local: Arrays,
) -> Iterator[bytes]:
    """All that a round's gradients depend on."""
    yield b"private"
    yield canonical_json(network.model_dump(mode="json")).encode()
    yield canonical_json([learners.ids, learners.sequences, list(class_weights), round]).encode()
    arrays = {"weights": weights, **{f"local {name}": array for name, array in local.items()}}
    arrays |= {name: getattr(learners, name) for name in ("images", "present", "labels", "body")}
    for name, array in sorted(arrays.items()):
        yield f"{name}|{array.dtype}|{array.shape}".encode()
        yield hashlib.sha256(np.ascontiguousarray(array).data).digest()
