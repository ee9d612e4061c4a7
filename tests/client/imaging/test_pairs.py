"""Pictures of pairs: what is registered fits, and what is not is seen not to."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from client.imaging.pairs import PAIR, draw_pair, shown_pair
from client.imaging.quality import PairQuality
from client.imaging.registration import Registered

QUALITY = PairQuality("arterial", "rigid", "", 1.1, 1.2, 1.2, None, 0.8, 0.0, 0.0, 12.0, 0.0)


def ball(at: tuple[float, float, float], inside: int, outside: int, kind: type) -> sitk.Image:
    z, y, x = np.indices((30, 60, 60)) * np.array([6.0, 3.0, 3.0]).reshape(3, 1, 1, 1)
    near = (x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2 <= 30**2
    image = sitk.GetImageFromArray(np.where(near, inside, outside).astype(kind))
    image.SetSpacing((3.0, 3.0, 6.0))
    return image


def tiles(picture: bytes) -> list[np.ndarray]:
    """Axial as scanned, axial registered, coronal as scanned, coronal registered."""
    whole = np.asarray(Image.open(io.BytesIO(picture))).astype(int)
    down, across = whole.shape[0] // 2, whole.shape[1] // 2
    return [part[:, side] for part in (whole[: down - 2], whole[down + 2 :])
            for side in (slice(0, across - 2), slice(across + 2, None))]  # fmt: skip


def test_both_outlines_lie_on_each_other_after_registration_only() -> None:
    here, there = (90.0, 90.0, 90.0), (102.0, 90.0, 108.0)
    way = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, np.subtract(there, here).tolist())
    images = [ball(at, 100, -50, np.int16) for at in (here, there)]
    masks = [ball(at, 1, 0, np.uint8) for at in (here, there)]
    drawn = tiles(draw_pair(*images, Registered(way, None, None, QUALITY), *masks, "ct"))
    yellow, blue = ([(np.abs(tile - colour).sum(axis=-1) == 0) for tile in drawn]
                    for colour in ((240, 228, 66), (86, 180, 233)))  # fmt: skip
    assert all(one.sum() > 100 for one in yellow)
    # Yellow is drawn over blue: little blue is left where they coincide.
    assert blue[0].sum() > 50 and blue[2].sum() > 100
    assert blue[1].sum() < 0.3 * blue[0].sum() and blue[3].sum() < 0.3 * blue[2].sum()
    # The head is above: the other phase's ball lies higher as scanned.
    assert np.argwhere(blue[2])[:, 0].mean() < np.argwhere(yellow[2])[:, 0].mean() - 5


def test_a_pair_without_outlines_is_shown_around_the_middle_and_says_why_it_fell_back(tmp_path: Path) -> None:
    image = ball((90.0, 90.0, 90.0), 300, 20, np.float32)
    registered = Registered(sitk.Euler3DTransform(), None, None, replace(QUALITY, fell_back="the field folds"))
    (tmp_path / PAIR).write_bytes(draw_pair(image, image, registered, None, None, "mr"))
    shown = shown_pair(tmp_path, registered.quality)
    assert shown.flags == ("The field folds.",) and "overlap of the tumours 0.80" in shown.note
    drawn = tiles(next(iter(shown.pictures.values())))
    assert np.array_equal(drawn[0], drawn[1]) and len(np.unique(drawn[0])) > 1
