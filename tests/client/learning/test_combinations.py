"""tests/client/learning: combinations of slices are all of them, or different ones that were drawn."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from client.learning.combinations import combination_logits, drawn_combinations
from common.networks.architecture import Architecture
from common.networks.network import build

NET = build(Architecture(("t1a", "t1v", "t1d"), 3, "group", 8, 1), seed=2)
VECTORS = torch.randn(4, 3, 3, 64, generator=torch.Generator().manual_seed(0))
PRESENT = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [True, True, True]])
IDS = ("a", "b", "c", "d")


def test_every_combination_is_one_slice_of_each_sequence() -> None:
    logits = combination_logits(NET, VECTORS, PRESENT)
    assert logits.shape == (4, 27, 3)
    for number, slices in enumerate(itertools.product(range(3), repeat=3)):
        alone = NET.classify(torch.stack([VECTORS[:, i, j] for i, j in enumerate(slices)], dim=1), PRESENT)
        torch.testing.assert_close(logits[:, number], alone, atol=1e-6, rtol=1e-5)


def test_drawn_combinations_are_those_of_all() -> None:
    drawn = drawn_combinations(b"seed", 0, IDS, 3, 3, 10)
    assert drawn is not None
    rows = torch.arange(4)[:, None]
    expected = combination_logits(NET, VECTORS, PRESENT)[rows, torch.from_numpy(drawn)]
    torch.testing.assert_close(combination_logits(NET, VECTORS, PRESENT, drawn), expected, atol=1e-6, rtol=1e-5)


def test_a_cap_draws_different_combinations_for_every_patient_and_epoch() -> None:
    assert drawn_combinations(b"seed", 0, IDS, 3, 3, 27) is None
    epochs = [drawn_combinations(b"seed", epoch, IDS, 3, 6, 27) for epoch in range(60)]
    drawn = np.array([epoch for epoch in epochs if epoch is not None])
    assert drawn.shape == (60, 4, 27)
    assert all(len(set(row)) == 27 for row in drawn.reshape(-1, 27).tolist())
    assert len({tuple(row) for row in drawn.reshape(-1, 27).tolist()}) == 240
    # 6,480 draws of 729: everyone is drawn, none much more often than another.
    counts = np.bincount(drawn.ravel(), minlength=729)
    assert counts.min() > 0
    assert counts.max() < 30
    alone = drawn_combinations(b"seed", 0, ("c",), 3, 6, 27)
    np.testing.assert_array_equal(drawn[0, 2], alone[0] if alone is not None else [])
