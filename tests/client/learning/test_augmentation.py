"""tests/client/learning: slices are varied as the protocol says, each by itself, whoever else is in the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from client.learning.augmentation import Variation, draw_variation, varied
from common.study.networks import Augmentation

IDS = tuple(f"p{i:03d}" for i in range(200))
STILL: dict[str, Any] = {"flip": 0.0, "crop": (1.0, 1.0), "scale": (1.0, 1.0), "noise": 0.0}


def draw(ids: tuple[str, ...] = IDS, epoch: int = 0, **given: Any) -> Variation:
    return draw_variation(Augmentation(**(STILL | given)), b"seed", epoch, ids, 2, 3)


def ramp(n: int = 1) -> Tensor:
    """(n, 2, 3, 16, 16) brighter downwards, and ten times as much to the right."""
    down, across = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    return (down + 10 * across).expand(n, 2, 3, 16, 16).contiguous()


def test_nothing_drawn_leaves_slices_as_they_are() -> None:
    torch.testing.assert_close(varied(ramp(), draw(IDS[:1]), 0.0), ramp(), atol=1e-4, rtol=0)


def test_a_certain_flip_turns_rows_and_columns() -> None:
    flipped = varied(ramp(), draw(IDS[:1], flip=1.0), 0.0)
    torch.testing.assert_close(flipped, ramp().flip(-1, -2), atol=1e-4, rtol=0)


def test_half_of_the_slices_are_flipped_each_way_independently() -> None:
    signs = draw(flip=0.5).maps[..., [0, 1], [0, 1]] < 0
    assert signs[..., 0].mean() == pytest.approx(0.5, abs=0.05)
    assert (signs[..., 0] & signs[..., 1]).mean() == pytest.approx(0.25, abs=0.05)


def test_crops_lie_within_the_slice_and_have_every_size_and_place() -> None:
    maps = draw(crop=(0.75, 1.0)).maps
    side, place = maps[..., 0, 0], maps[..., 0, 2]
    assert (np.abs(place) + side <= 1 + 1e-6).all()
    assert 0.75 <= side.min() < 0.76
    assert 0.99 < side.max() <= 1
    assert place.min() < -0.2
    assert place.max() > 0.2


def test_a_crop_is_the_part_enlarged() -> None:
    maps = np.zeros((1, 2, 3, 2, 3), dtype=np.float32)
    maps[..., [0, 1], [0, 1]] = 0.5
    maps[..., 0, 2] = 0.5
    made = varied(ramp(), Variation(maps, (0,)), 0.0)[0, 0, 0]
    # The right half of the columns and the middle half of the rows, at half a pixel's distance.
    torch.testing.assert_close(made[0], 10 * (7.75 + torch.arange(16.0) / 2).clamp(max=15) + 3.75, atol=1e-3, rtol=0)
    torch.testing.assert_close(made[:, 0], 77.5 + 3.75 + torch.arange(16.0) / 2, atol=1e-3, rtol=0)


def test_noise_has_the_deviation_that_is_asked_and_is_new_on_every_slice() -> None:
    images = torch.zeros(2, 2, 3, 64, 64)
    noise = varied(images, draw(IDS[:2]), 0.2)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.02)
    slices = noise.reshape(12, -1)
    assert float(torch.corrcoef(slices).fill_diagonal_(0).abs().max()) < 0.1


def test_a_patient_is_varied_alike_whoever_is_beside_him_and_anew_in_each_epoch() -> None:
    settings = {"flip": 0.5, "crop": (0.75, 1.0), "scale": (0.9, 1.1)}
    together, alone = draw(IDS[:5], **settings), draw(IDS[3:4], **settings)
    images = torch.randn(5, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(varied(images, together, 0.1)[3:4], varied(images[3:4], alone, 0.1))
    assert not np.array_equal(alone.maps, draw(IDS[3:4], epoch=1, **settings).maps)
    assert alone.noise_seeds != draw(IDS[3:4], epoch=1, **settings).noise_seeds
