"""simulation: benchmarks: baselines: the network trained as a PyTorch tutorial does it.

A sample is one combination of slices of one patient, 27 of them for three sequences of three slices, and each is
loaded, augmented on the processor and sent through the trunk by itself: DataLoader, float32, eager, batches of two.
The network, the scale of intensities, the loss and the augmentations (World J Surg Oncol 2022: flips, crops of 0.75 to
1, scaling, Gaussian noise) are those of our engine, and nothing else of it is used.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from client.learning.dataset import Learners
from common.networks.intensity import normalised
from common.networks.network import MviNetwork
from common.study.networks import Augmentation

BATCH = 2
"""Samples of a step, as published."""


class Combinations(Dataset[tuple[Tensor, int]]):
    """Every combination of slices of every patient.

    Parameters
    ----------
    learners
        The patients.
    augmentation
        None: slices are normalised only.
    """

    def __init__(self, learners: Learners, augmentation: Augmentation | None) -> None:
        self._learners, self._augmentation = learners, augmentation
        sequences, slices = learners.images.shape[1:3]
        self._choices = list(itertools.product(range(slices), repeat=sequences))

    def __len__(self) -> int:
        """Patients times combinations."""
        return self._learners.n * len(self._choices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """(k, h, w) float32 and the class."""
        patient, at = divmod(index, len(self._choices))
        images, body = self._learners.images[patient], torch.from_numpy(self._learners.body[patient])
        slices = []
        for branch, chosen in enumerate(self._choices[at]):
            image = torch.from_numpy(images[branch, chosen])[None, None, None]
            slices.append(varied(normalised(image, body[None, branch, None])[0, 0, 0], self._augmentation))
        return torch.stack(slices), int(self._learners.labels[patient])


def varied(image: Tensor, augmentation: Augmentation | None) -> Tensor:
    """One slice, (h, w), augmented step by step, from torch's global generator."""
    if augmentation is None:
        return image
    for axis in (0, 1):
        if torch.rand(()) < augmentation.flip:
            image = image.flip(axis)
    size = image.shape[-1]
    side = max(round(size * _uniform(augmentation.crop)), 1)
    top, left = (int(torch.randint(size - side + 1, ())) for _ in range(2))
    image = _resized(image[top : top + side, left : left + side], size)
    image = _fitted(_resized(image, max(round(size * _uniform(augmentation.scale)), 1)), size)
    return image + augmentation.noise * torch.randn_like(image)


def _uniform(limits: tuple[float, float]) -> float:
    return float(torch.empty(()).uniform_(*limits))


def _resized(image: Tensor, size: int) -> Tensor:
    return functional.interpolate(image[None, None], (size, size), mode="bilinear", align_corners=False)[0, 0]


def _fitted(image: Tensor, size: int) -> Tensor:
    """The middle of a larger image, or a smaller one with its border repeated."""
    excess = image.shape[-1] - size
    if excess >= 0:
        first = excess // 2
        return image[first : first + size, first : first + size]
    before = -excess // 2
    sides = (before, -excess - before)
    return functional.pad(image[None, None], (*sides, *sides), mode="replicate")[0, 0]


@dataclass
class PlainLoop:
    """The loop.

    Attributes
    ----------
    network
        Trained in place.
    dataset
        Its samples.
    device
        Where the network is.
    class_weights
        Of the loss.
    learning_rate
        Of Adam.
    workers
        Processes that load samples; 0: this one.
    """

    network: MviNetwork
    dataset: Combinations
    device: torch.device
    class_weights: Sequence[float]
    learning_rate: float
    workers: int = 0

    def __post_init__(self) -> None:
        self.network.to(self.device).train()
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        weights = torch.tensor(self.class_weights, dtype=torch.float32, device=self.device)
        self._loss = torch.nn.CrossEntropyLoss(weight=weights, reduction="sum")

    def epoch(self) -> float:
        """Train on every sample once; returns the mean loss."""
        losses = [self._step(images, labels) for images, labels in self._batches()]
        return float(np.mean(losses))

    def seconds_a_step(self, steps: int) -> list[tuple[float, float]]:
        """Seconds, and seconds of processors, of each of so many steps after one that is not counted; with loading."""
        batches = self._batches()
        self._step(*next(batches))
        seconds = []
        for _ in range(steps):
            begun = time.perf_counter(), time.process_time()
            self._step(*next(batches))
            seconds.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
        return seconds

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            self.dataset, batch_size=BATCH, shuffle=True, num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )  # fmt: skip
        yield from loader

    def _step(self, images: Tensor, labels: Tensor) -> float:
        images, labels = images.to(self.device), labels.to(self.device)
        self._optimiser.zero_grad()
        loss = self._loss(plain_logits(self.network, images), labels) / len(labels)
        loss.backward()
        self._optimiser.step()
        return float(loss.detach())


def plain_logits(network: MviNetwork, images: Tensor) -> Tensor:
    """(n, classes) of (n, k, h, w): all slices of a batch pass the trunk together, as a plain program has it."""
    vectors = network.features(images.flatten(0, 1)[:, None])
    return network.classify(vectors.reshape(*images.shape[:2], -1))
