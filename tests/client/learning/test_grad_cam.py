"""tests/client/learning: Grad-CAM lights up where the signal is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.learning.grad_cam import heat_maps
from common.networks.architecture import Architecture
from common.networks.network import MviNetwork, build

SIZE = 32


def spotted(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.int64]]:
    """Noise of two sequences and two slices; with class 1 the first sequence has a bright spot, somewhere.

    Also the spots' middles, (n, 2).
    """
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((n, 2, 2, SIZE, SIZE)).astype(np.float32) * 0.3
    labels = np.arange(n) % 2
    middles = rng.integers(6, SIZE - 6, (n, 2))
    for image, (row, column), label in zip(images, middles, labels, strict=True):
        image[0, :, row - 4 : row + 4, column - 4 : column + 4] += 2.0 * label
    return torch.from_numpy(images), torch.from_numpy(labels), middles


@pytest.fixture(scope="module")
def trained() -> MviNetwork:
    """A tiny network that has learned to see the spot."""
    net = build(Architecture(("t1a", "t1v"), 2, "group", width=8, blocks=1), seed=1)
    images, labels, _ = spotted(24, seed=1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(images[:, :, 0]), labels)
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.item() < 0.1
    return net


def test_the_map_is_hottest_where_the_signal_is(trained: MviNetwork) -> None:
    images, labels, middles = spotted(16, seed=2)
    heat = heat_maps(trained, images)
    assert heat.shape == images.shape
    assert float(heat.min()) >= 0
    ill = labels.numpy() == 1
    assert heat[ill, 0].sum() > 3 * heat[ill, 1].sum()  # in the sequence that has it
    away = [
        np.abs(np.array(np.unravel_index(of_slice.argmax(), of_slice.shape)) - middle).max()
        for of_patient, middle in zip(heat[ill, 0], middles[ill], strict=True)
        for of_slice in of_patient
    ]
    # A pixel of the bottleneck is 8 wide and the spot 8: by chance one map in ten would be as near.
    assert float(np.mean(np.array(away) <= 8)) >= 0.8, away


def test_with_one_slice_and_a_linear_head_the_maps_add_up_to_the_log_odds(trained: MviNetwork) -> None:
    # The mean over pixels of sum_c w_c A_c is the branch's part of the log-odds; Grad-CAM keeps its positive pixels.
    images = spotted(3, seed=3)[0]
    images = images[:, :, :1]
    with torch.no_grad():
        maps = trained.trunk.maps(images.reshape(6, 1, SIZE, SIZE)).reshape(3, 2, -1, 4, 4)
        weights = trained.head.weight.reshape(2, 2, -1)
        raw = torch.einsum("nkdhw,kd->nkhw", maps, weights[1] - weights[0])
        odds = raw.mean((2, 3)).sum(1) + trained.head.bias[1] - trained.head.bias[0]
        logits = trained(images[:, :, 0])
    assert torch.allclose(odds, logits[:, 1] - logits[:, 0], atol=1e-4)
    coarse = torch.relu(raw) / 16  # by equation 1 the weight is the mean gradient, w_c / pixels
    expected = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    assert np.allclose(heat_maps(trained, images)[:, :, 0], expected.numpy(), atol=1e-6)


def test_a_missing_sequence_has_no_heat_and_the_network_is_left_as_it_was(trained: MviNetwork) -> None:
    images = spotted(2, seed=4)[0]
    present = torch.tensor([[True, False], [False, True]])
    trained.train()
    heat = heat_maps(trained, images, present)
    assert not heat[0, 1].any()
    assert not heat[1, 0].any()
    assert trained.training
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in trained.parameters())
    assert np.array_equal(heat, heat_maps(trained, images, present))
