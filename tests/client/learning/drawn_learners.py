"""tests/client/learning: a few patients with small stacks, and a small network, without a store."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.learning.dataset import Learners
from common.networks.architecture import architecture_of
from common.networks.network import build
from common.networks.weights import to_vector
from common.study.features import LANDMARKS
from common.study.networks import Network

SEQUENCES = ("t1a", "t1v")
NO_VARIATE = np.zeros(0, dtype=np.float32)
BODY = np.linspace(0, 200, len(LANDMARKS)).astype(np.float32)
"""Percentiles of a body whose intensities are uniform."""


def drawn_learners(
    n: int, *, classes: int = 2, sequences: tuple[str, ...] = SEQUENCES, slices: int = 2, size: int = 32, seed: int = 1
) -> Learners:
    """Patients of noise, with labels in turn and five folds."""
    rng = np.random.default_rng(seed)
    k = len(sequences)
    return Learners(
        ids=tuple(f"p{i:02d}" for i in range(n)),
        images=rng.normal(100, 60, (n, k, slices, size, size)).astype(np.float32),
        present=np.ones((n, k), dtype=bool),
        labels=np.arange(n, dtype=np.int64) % classes,
        folds=np.arange(n, dtype=np.int64) % 5,
        body=np.broadcast_to(BODY, (n, k, len(LANDMARKS))).astype(np.float32),
        sequences=sequences,
    )


def small_network(
    training: dict[str, Any] | None = None, federation: dict[str, Any] | None = None, **given: Any
) -> Network:
    """Width 8, one bottleneck of each half, 32 pixels; plain SGD in float32 without augmentation unless given."""
    plain = {
        "optimiser": "sgd", "learning_rate": 0.05, "momentum": 0.0, "weight_decay": 0.0, "augmentation": False,
        "precision": "fp32", "batch": 2, "clip_norm": False,
    }  # fmt: skip
    return Network.model_validate(
        {
            "name": "dl",
            "endpoint": "mvi",
            "cohort": "train",
            "combinations": (SEQUENCES,),
            "width": 8,
            "blocks": 1,
            "size": 32,
            "training": {**plain, **(training or {})},
            "federation": federation or {},
            **given,
        }
    )


def first_weights(
    network: Network, *, classes: int = 2, sequences: tuple[str, ...] = SEQUENCES, seed: int = 3
) -> NDArray[np.float32]:
    """(p,)"""
    return to_vector(build(architecture_of(network, sequences, classes), seed))
