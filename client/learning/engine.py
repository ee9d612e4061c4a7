"""client/learning: one round of training at a site: from broadcast weights to their mean change.

In each epoch every slice is varied once and passes the trunk once; its vector serves all combinations of slices that it
is part of, and a patient's loss is the mean over them. The plain loop instead lets each combination pass the trunk anew
(81 passes for 27 combinations of 3 x 3 slices, here 9) and steps after every batch of combinations; here a step's
gradient is the mean of those that the combinations of its patients have at the same weights. With batch normalisation
the statistics are those of the batch's distinct slices.

Order. Patients of an epoch are in the order of HMAC-SHA256(seed, "order|<epoch>|<id>"); `batch` of them are a batch and
`accumulate` batches a step, the last ones what is left. With group normalisation patients do not touch each other, so a
step may pass in portions of any size, as memory allows, and its gradient is the same to rounding. Otherwise a batch
passes whole, and a last one of one patient joins the one before.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.learning.augmentation import draw_variation, varied
from client.learning.combinations import combination_logits, drawn_combinations
from client.learning.corrections import Corrections
from client.learning.dataset import UNKNOWN, Learners
from client.learning.device import Device, computing
from client.learning.losses import patient_losses, told
from client.learning.model import (
    Arrays,
    images_of,
    load_network,
    portions,
    slice_vectors,
)
from client.learning.optimisers import make_optimiser, moments
from common.networks.network import MviNetwork
from common.networks.weights import local_state, to_vector
from common.study.networks import Network


@dataclass(frozen=True, eq=False)
class Trained:
    """What a round made at a site; after a training that diverged with numbers that are none.

    Attributes
    ----------
    update
        (p,) change of the shared weights.
    variate_change
        (p,) change of the site's variate; empty without SCAFFOLD.
    local
        What stays for the next round: normalisation, moments, variate.
    patients
        How many were trained on.
    loss
        Sum over patients of the loss (`told`) as met in the last epoch: varied slices, at weights that moved meanwhile.
    """

    update: NDArray[np.float32]
    variate_change: NDArray[np.float32]
    local: dict[str, NDArray[np.float32]] = field(repr=False)
    patients: int
    loss: float


@dataclass(frozen=True, eq=False)
class Lesson:
    """Patients as they are trained on: their losses, slices varied and combinations drawn.

    Attributes
    ----------
    network, learners
        The protocol's, and the patients; every label is known.
    class_weights
        One a class.
    seed
        Of all that is random.
    device
        Where.
    """

    network: Network
    learners: Learners
    class_weights: Sequence[float]
    seed: bytes
    device: Device

    def __post_init__(self) -> None:
        if (self.learners.labels == UNKNOWN).any():
            raise ValueError("a patient without label cannot be trained on")

    def losses(self, net: MviNetwork, rows: NDArray[np.int64], epoch: int) -> Tensor:
        """(n,) losses of the patients at these rows in an epoch of the round."""
        training, learners = self.network.training, self.learners
        ids, k = [learners.ids[row] for row in rows], len(learners.sequences)
        images, present = images_of(learners, rows, self.device)
        if training.augmentation is not None:
            variation = draw_variation(training.augmentation, self.seed, epoch, ids, k, learners.slices)
            images = varied(images, variation, training.augmentation.noise)
        drawn = drawn_combinations(self.seed, epoch, ids, learners.slices, k, training.max_combinations)
        logits = combination_logits(net, slice_vectors(net, images, present, self.device), present, drawn)
        labels = torch.from_numpy(learners.labels[rows]).to(self.device.device)
        return patient_losses(logits, labels, self.class_weights)

    def steps(self, epoch: int) -> Iterator[list[NDArray[np.int64]]]:
        """Rows of each step of an epoch, in portions that pass the trunk together."""
        training, order = self.network.training, self._order(epoch)
        if self.network.normalisation == "group":
            step = training.batch * training.accumulate
            for at in range(0, order.size, step):
                yield list(portions(self.learners, order[at : at + step], self.device))
            return
        batches = [order[at : at + training.batch] for at in range(0, order.size, training.batch)]
        if len(batches) > 1 and batches[-1].size == 1 and training.batch > 1:
            batches[-2:] = [np.concatenate(batches[-2:])]
        for at in range(0, len(batches), training.accumulate):
            yield batches[at : at + training.accumulate]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        named = [f"order|{epoch}|{patient}".encode() for patient in self.learners.ids]
        keys = [hmac.digest(self.seed, name, hashlib.sha256) for name in named]
        return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def train(
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
    """Train from broadcast weights for the protocol's `epochs_per_round`.

    Parameters
    ----------
    network
        The protocol's; with `privacy` the training is differentially private (`private.py`).
    learners
        n patients to train on, each with a label.
    weights
        (p,) shared weights.
    class_weights
        One a class: 2 or 3.
    seed
        Secret bytes; the same seed gives the same weights on the same device in deterministic mode.
    round
        From 0.
    variate
        (p,) the server's of SCAFFOLD, or empty.
    local
        `Trained.local` of the round before; empty before the first.

    Raises
    ------
    FedmviError
        392 out of memory; 398, 399 the privacy budget; 686 weights of another network.
    """
    if network.privacy is not None:
        from client.learning.private import train_private

        return train_private(
            network,
            learners,
            weights,
            class_weights=class_weights,
            seed=seed,
            round=round,
            variate=variate,
            local=local,
        )
    with computing(network.training) as device:
        net = load_network(network, learners.sequences, weights, local, device).train()
        lesson = Lesson(network, learners, class_weights, seed, device)
        optimiser = make_optimiser(network.training, net, local)
        corrections = Corrections(net, network.federation, variate, local)
        loss = 0.0
        for epoch in range(network.federation.epochs_per_round):
            loss = _epoch(net, lesson, epoch, optimiser, corrections)
        change, kept = corrections.finish()
        local_now = {**local_state(net), **moments(network.training, optimiser), **kept}
        return Trained(to_vector(net) - weights, change, local_now, learners.n, loss)


def _epoch(
    net: MviNetwork, lesson: Lesson, epoch: int, optimiser: torch.optim.Optimizer, corrections: Corrections
) -> float:
    """One epoch; the sum of the losses that were met."""
    sums, clip = [], lesson.network.training.clip_norm
    for step in lesson.steps(epoch):
        optimiser.zero_grad(set_to_none=True)
        count = sum(rows.size for rows in step)
        for rows in step:
            losses = lesson.losses(net, rows, epoch)
            (losses.sum() / count).backward()  # type: ignore[no-untyped-call]
            sums.append(told(losses).sum())
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        corrections.add()
        optimiser.step()
    return float(torch.stack(sums).sum()) if sums else 0.0


def loss_sum(
    network: Network,
    learners: Learners,
    weights: NDArray[np.float32],
    class_weights: Sequence[float],
    local: Arrays,
) -> float:
    """Sum over patients of the loss (`told`), of their slices as they are, over all combinations.

    Parameters as for `train`.

    Raises
    ------
    FedmviError
        392 out of memory; 686 weights of another network.
    """
    with computing(network.training) as device, torch.inference_mode():
        net = load_network(network, learners.sequences, weights, local, device).eval()
        total = 0.0
        for rows in portions(learners, np.arange(learners.n), device):
            images, present = images_of(learners, rows, device)
            logits = combination_logits(net, slice_vectors(net, images, present, device), present)
            labels = torch.from_numpy(learners.labels[rows]).to(device.device)
            total += float(told(patient_losses(logits, labels, class_weights)).sum())
        return total
