"""simulation: benchmarks: shift: one slice of two phases a patient, drawn for thousands at once.

A slice holds fat, spleen or muscle, liver and one lesion with a rim around it. MVI shows in three ways, each by a trait
of `patients`: the rim enhances more in the arterial phase, the lesion is less even, and its margin less sharp. Sizes of
anatomy, contrasts and their variation between patients are assumed. What a scanner does is done to the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from simulation.benchmarks.shift.patients import TRAITS, Mask, Patients
from simulation.benchmarks.shift.scenarios import Scanner

Images = NDArray[np.float32]

PLAIN, ARTERIAL = "t1", "t1a"
SIZE, PIXEL_MM = 40, 3.5
RIM_MM = 7.0
MARGIN_MM = 3.5
"""Half the width of the band that is looked at for the margin."""
_PSF_MM = 2.0
_NOISE = 5.0
_EXAMINATION_GAIN = 0.05
_FIELD_VARIES = 0.3
_TEXTURE_PIXELS = 1.0
_FAT_FROM_MM = 60.0


@dataclass(frozen=True)
class Pictures:
    """Slices of n patients.

    Attributes
    ----------
    phases
        `PLAIN` and `ARTERIAL`: (n, size, size) each.
    core, rim, margin, liver
        (n, size, size) regions as a reader would outline them; liver is what lesion and rim leave of it.
    radius_mm
        (n,) of the outline.
    """

    phases: dict[str, Images]
    core: Mask
    rim: Mask
    margin: Mask
    liver: Mask
    radius_mm: NDArray[np.float32]


def draw_pictures(patients: Patients, scanner: Scanner, draw: np.random.Generator) -> Pictures:
    """Picture patients with a scanner."""
    trait = dict(zip(TRAITS, patients.traits.astype(np.float32).T, strict=True))
    n = patients.n

    def varied(mean: float, spread: float) -> Images:
        values: Images = mean + spread * draw.standard_normal((n, 1, 1), dtype=np.float32)
        return values

    radius = np.clip(14.0 * np.exp(0.3 * trait["size"]), 8.0, 28.0)
    distance, liver, fat = _places(n, draw)
    width = np.clip(2.5 * np.exp(0.45 * trait["margin"]), 0.5, 10.0)[:, None, None]
    lesion = 1.0 / (1.0 + np.exp(np.clip((distance - radius[:, None, None]) / width, -30.0, 30.0)))
    around = distance - radius[:, None, None]
    ring = np.exp(-0.5 * np.square((around - 0.5 * RIM_MM) / (0.4 * RIM_MM))) * liver
    texture = _texture(n, draw) * lesion * (8.0 * np.exp(0.35 * trait["heterogeneity"]))[:, None, None]
    base = np.where(liver, varied(100.0, 4.0), np.where(fat, varied(170.0, 8.0), varied(75.0, 4.0)))
    plain = base + lesion * (varied(85.0, 5.0) - base) + 0.5 * texture
    uptake = np.where(liver, varied(20.0, 4.0) * (1.0 + 0.8 * scanner.late), np.where(fat, 2.0, varied(70.0, 10.0)))
    slower = 1.0 - 0.6 * scanner.late
    uptake = uptake + lesion * (varied(55.0, 10.0) * slower - uptake)
    uptake = uptake + ring * (14.0 + 7.0 * trait["rim"][:, None, None]) * slower
    field, gain = _field(n, scanner, draw), np.exp(varied(np.log(scanner.gain), _EXAMINATION_GAIN))
    images = {
        name: _scanned(signal + _texture(n, draw) * 3.0, scanner, field, gain, draw)
        for name, signal in ((PLAIN, plain), (ARTERIAL, plain + uptake + 0.5 * texture))
    }
    outlined = radius * np.exp(0.03 * draw.standard_normal(n, dtype=np.float32))
    from_outline = distance - outlined[:, None, None]
    rim = (from_outline > 0.0) & (from_outline <= RIM_MM) & liver
    return Pictures(
        images,
        core=from_outline <= 0.0,
        rim=rim,
        margin=np.abs(from_outline) <= MARGIN_MM,
        liver=liver & (from_outline > RIM_MM),
        radius_mm=outlined,
    )


def _places(n: int, draw: np.random.Generator) -> tuple[Images, Mask, Mask]:
    """Distance from the lesion's centre in mm, liver and fat."""
    at = ((np.arange(SIZE) - 0.5 * (SIZE - 1)) * PIXEL_MM).astype(np.float32)
    y, x = at[None, :, None], at[None, None, :]
    axes = (np.array([48.0, 44.0]) + 3.0 * draw.standard_normal((n, 2))).astype(np.float32)
    liver = np.square((x + 8.0) / axes[:, :1, None]) + np.square(y / axes[:, 1:, None]) <= 1.0
    fat = np.broadcast_to(np.hypot(x, y) > _FAT_FROM_MM, liver.shape) & ~liver
    angle, away = draw.uniform(0.0, 2.0 * np.pi, n), 16.0 * np.sqrt(draw.random(n))
    centre_x = (-8.0 + away * np.cos(angle)).astype(np.float32)[:, None, None]
    centre_y = (away * np.sin(angle)).astype(np.float32)[:, None, None]
    distance: Images = np.hypot(x - centre_x, y - centre_y)
    return distance, liver, fat


def _texture(n: int, draw: np.random.Generator) -> Images:
    """(n, size, size) a smooth random field of standard deviation 1."""
    white = draw.standard_normal((n, SIZE, SIZE), dtype=np.float32)
    smooth: Images = gaussian_filter(white, (0.0, _TEXTURE_PIXELS, _TEXTURE_PIXELS), mode="wrap", truncate=3.0)
    return smooth * np.float32(2.0 * np.sqrt(np.pi) * _TEXTURE_PIXELS)


def _field(n: int, scanner: Scanner, draw: np.random.Generator) -> Images:
    """A coil in front: brighter there, by more in some patients than in others, and a little towards the sides."""
    at = np.linspace(-1.0, 1.0, SIZE, dtype=np.float32)
    pattern = -at[:, None] + 0.4 * (np.square(at)[None, :] - 1.0 / 3.0)
    strength = scanner.bias * np.exp(_FIELD_VARIES * draw.standard_normal((n, 1, 1), dtype=np.float32))
    field: Images = np.exp(strength * pattern)
    return field


def _scanned(signal: Images, scanner: Scanner, field: Images, gain: Images, draw: np.random.Generator) -> Images:
    spread = np.hypot(_PSF_MM, scanner.blur_mm) / PIXEL_MM
    seen = gaussian_filter(signal.astype(np.float32), (0.0, spread, spread), mode="nearest", truncate=3.0)
    noise = draw.standard_normal(signal.shape, dtype=np.float32)
    acquired = field * seen + _NOISE * scanner.noise * noise
    if scanner.spacing_mm:
        through = _through(scanner.spacing_mm)
        acquired = through @ acquired @ through.T
    found: Images = (gain * acquired + scanner.offset).astype(np.float32)
    return found


@cache
def _through(spacing_mm: float) -> Images:
    """(size, size) from pixels to pixels, along one axis, by way of wider ones: their means, and a cubic spline.

    As in `client.imaging.resampling`: the outer corner of the first pixel stays where it is, and the wider ones are as
    many as have their centre in the field of view.
    """
    ratio = spacing_mm / PIXEL_MM
    edges, wide = np.arange(SIZE + 1), np.arange(np.ceil(SIZE / ratio - 0.5) + 1) * ratio
    shared = np.minimum(edges[1:], wide[1:, None]) - np.maximum(edges[:-1], wide[:-1, None])
    means = np.clip(shared, 0.0, None)
    means /= means.sum(axis=1, keepdims=True)
    at = (np.arange(SIZE) + 0.5) / ratio - 0.5
    spline = [map_coordinates(row, at[np.newaxis], order=3, mode="mirror") for row in np.eye(len(means))]
    through: Images = (np.array(spline).T @ means).astype(np.float32)
    return through
