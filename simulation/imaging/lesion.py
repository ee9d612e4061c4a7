"""simulation/imaging: the tumour: its shape, what is inside it, and what microvascular invasion does to its pictures.

The three latent processes of a patient (`Findings`) change the picture like this; all sizes are assumed.

* `tumour`: the amplitude of the texture inside the tumour, and the share of it that is necrotic.
* `ring`: the amplitude of the texture, and patchy arterial hyperperfusion, in the 10 mm of liver around it.
* `temporal`: arterial inflow up and distribution volume down, that is, more enhancement early and more washout late.
  Attenuation without contrast medium and the dose vary between patients by more, so that a single phase tells little
  and a difference of phases tells most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from simulation.imaging.anatomy import Build, smooth_max, wall_distance
from simulation.imaging.findings import Findings
from simulation.imaging.noise import Axes, Box, Floats, SmoothNoise
from simulation.imaging.tissues import MATERIALS, Circulation, Material, Tissue

RING_MM = 10.0
_BRIGHTEST = 330.0  # ceiling of a T1-weighted signal
Point = tuple[float, float, float]
_TEXTURE_HU = 7.0
_RING_HU = 5.0
_BY_PHASE = {"plain": 0.35, "t1": 0.35, "portal": 0.8, "t1v": 0.8, "delayed": 0.6, "t1d": 0.6}
"""Visibility of a texture of perfusion by phase; 1 where nothing else is said."""


@dataclass(frozen=True)
class Surface:
    """The surface of a lesion: a stretched ball with waves, as a distance from its centre.

    Attributes
    ----------
    centre
        z, y, x in mm.
    radius
        Mean radius in mm.
    stretch
        Factors on the three half axes; their product is 1.
    waves
        Directions times wave numbers, (m, 3).
    phases, heights
        Of every wave, (m,); heights as shares of the radius.
    """

    centre: Point
    radius: float
    stretch: Point
    waves: NDArray[np.float32]
    phases: NDArray[np.float32]
    heights: NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator, centre: Point, radius: float, irregular: float) -> Surface:
        """A surface whose largest diameter is twice the radius on average, with waves of this relative height."""
        stretch = np.exp(rng.normal(0, 0.12, 3))
        stretch /= stretch.max()  # the declared size is the largest diameter
        directions = rng.standard_normal((14, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        numbers = rng.uniform(1.5, 7.0, 14)
        heights = rng.standard_normal(14) / numbers**0.5
        heights *= irregular / math.sqrt(float(np.sum(heights**2)) / 2)
        return cls(
            centre, radius, (float(stretch[0]), float(stretch[1]), float(stretch[2])),
            (directions * numbers[:, None]).astype(np.float32),
            rng.uniform(0, 2 * np.pi, 14).astype(np.float32), heights.astype(np.float32),
        )  # fmt: skip

    def distance(self, axes: Axes) -> Floats:
        """Approximate signed distance in mm, negative inside, (slices, rows, columns)."""
        z, y, x = (((a - c) / s).astype(np.float32) for a, c, s in zip(axes, self.centre, self.stretch, strict=True))
        z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
        away = np.sqrt(z * z + (y * y + x * x))
        unit = 1 / np.maximum(away, 1e-3)
        wave = np.zeros_like(away)
        near = away < self.radius * 1.6 + 3 * RING_MM  # farther off nobody asks
        zz, yy, xx = ((np.broadcast_to(a, away.shape) * unit)[near] for a in (z, y, x))
        total = np.zeros_like(zz)
        for (kz, ky, kx), phase, height in zip(self.waves, self.phases, self.heights, strict=True):
            total += height * np.cos(kz * zz + ky * yy + kx * xx + phase)
        wave[near] = total
        distance: Floats = away - np.float32(self.radius) * (1 + wave)
        return distance


@dataclass(frozen=True)
class Lesion:
    """A tumour of one patient, ready to be drawn on any grid.

    Attributes
    ----------
    findings
        What it shows.
    build
        The trunk that it cannot grow out of.
    surface
        Its outline.
    satellite
        A second nodule, outside the outline; None where there is one tumour.
    material
        The tumour's own constants, changed by the temporal process and by chance.
    texture, ring_texture
        Amplitudes in HU.
    necrotic
        Share of the interior without perfusion.
    patches_hu
        Arterial hyperperfusion of the patches in the ring.
    noise
        Fields in the lesion's box: fine, coarse, necrosis, ring, patches.
    """

    findings: Findings
    build: Build
    surface: Surface
    satellite: Surface | None
    material: Material
    texture: float
    ring_texture: float
    necrotic: float
    patches_hu: float
    noise: tuple[SmoothNoise, ...]

    @classmethod
    def draw(cls, findings: Findings, build: Build, centre: Point, rng: np.random.Generator) -> Lesion:
        """A lesion with these findings around a point of the liver."""
        radius = 5.0 * findings.size_cm
        surface = Surface.draw(rng, centre, radius, 0.04 if findings.smooth_margin else 0.12)
        satellite = None
        if findings.multiple:
            away = rng.standard_normal(3)
            away *= (radius + rng.uniform(12, 22)) / np.linalg.norm(away)
            small = float(np.clip(rng.normal(0.35, 0.08) * radius, 4, 14))
            at = (centre[0] + float(away[0]), centre[1] + float(away[1]), centre[2] + float(away[2]))
            satellite = Surface.draw(rng, at, small, 0.03)
        plain = MATERIALS[Tissue.TUMOUR]
        material = replace(
            plain,
            hu=plain.hu + float(rng.normal(0, 9)),
            arterial=plain.arterial * math.exp(0.25 * findings.temporal + float(rng.normal(0, 0.10))),
            volume=plain.volume * math.exp(-0.10 * findings.temporal + float(rng.normal(0, 0.07))),
            t1=plain.t1 + float(rng.normal(0, 9)),
            t2=plain.t2 + float(rng.normal(0, 18)),
            dwi=plain.dwi + float(rng.normal(0, 22)),
        )
        box = _box(centre, 1.6 * radius + 3 * RING_MM)
        scales = (3.5, 9.0, max(5.0, 0.25 * radius), 4.5, 9.0)
        return cls(
            findings, build, surface, satellite, material,
            texture=_TEXTURE_HU * math.exp(0.40 * findings.tumour + float(rng.normal(0, 0.2))),
            ring_texture=_RING_HU * math.exp(0.60 * findings.ring + float(rng.normal(0, 0.2))),
            necrotic=NormalDist().cdf(-2.0 + 0.45 * findings.tumour + 0.12 * (findings.size_cm - 5)),
            patches_hu=7.0 * findings.ring + float(rng.normal(3, 3)),
            noise=tuple(SmoothNoise.draw(rng, box, scale) for scale in scales),
        )  # fmt: skip

    def distance(self, axes: Axes) -> Floats:
        """Signed distance in mm to the outline, negative inside: the surface, flattened where it meets the wall."""
        return smooth_max(self.surface.distance(axes), wall_distance(axes, self.build) + 3, 10)

    def box(self, axes: Axes) -> tuple[slice, slice, slice]:
        """The part of a grid that the lesion, its ring and its satellite can reach."""
        low, high = _box(self.surface.centre, 1.5 * self.surface.radius + 2.8 * RING_MM + 16)
        z, y, x = (
            slice(int(np.searchsorted(a, lo)), int(np.searchsorted(a, hi, side="right")))
            for a, lo, hi in zip(axes, low, high, strict=True)
        )
        return z, y, x

    def on(self, axes: Axes, labels: NDArray[np.uint8]) -> Drawn:
        """The lesion's fields on a (small) grid with the tissues there; the grid is that of `box`."""
        fine, coarse, dead, ring, patches = (field.at(axes) for field in self.noise)
        distance = self.distance(axes)
        threshold = NormalDist().inv_cdf(1 - min(max(self.necrotic, 1e-3), 0.6))
        parenchyma = (labels == Tissue.LIVER) & (distance > 0) & (distance < RING_MM)
        edge = np.clip(np.minimum(distance, RING_MM - distance) / 1.5, 0, 1) * parenchyma
        return Drawn(
            lesion=self,
            distance=distance,
            satellite=None if self.satellite is None else self.satellite.distance(axes),
            texture=(0.75 * fine + 0.66 * coarse) * np.float32(self.texture),
            # 0.9 and 0.43 keep the variance of 1, on which the necrotic share depends.
            necrosis=np.clip((0.9 * dead + 0.43 * fine - np.float32(threshold)) * 2 + 0.5, 0, 1)
            * np.clip((-distance - 3) / 2, 0, 1),
            ring=ring * edge * np.float32(self.ring_texture),
            patches=np.clip((patches - 0.2) * 2, 0, 1) * edge * np.float32(self.patches_hu),
            halo=self._halo(axes, edge, patches),
        )

    def _halo(self, axes: Axes, edge: Floats, patches: Floats) -> Floats:
        """The wedge of early enhancement beside the tumour that a radiologist calls peritumoral enhancement."""
        if not self.findings.halo:
            return np.zeros_like(edge)
        direction = self.surface.waves[0] / np.linalg.norm(self.surface.waves[0])
        z, y, x = (a - c for a, c in zip(axes, self.surface.centre, strict=True))
        towards = z[:, None, None] * direction[0] + y[None, :, None] * direction[1] + x[None, None, :] * direction[2]
        wedge: Floats = np.clip(towards / np.float32(self.surface.radius) + 0.2 * patches, 0, 1) * edge
        return wedge * np.float32(26)


@dataclass(frozen=True)
class Drawn:
    """A lesion's fields on a grid, (slices, rows, columns): distances in mm, textures in HU, necrosis as a share."""

    lesion: Lesion
    distance: Floats
    satellite: Floats | None
    texture: Floats
    necrosis: Floats
    ring: Floats
    patches: Floats
    halo: Floats

    def draw_on(self, picture: Floats, phase: str, circulation: Circulation, at_s: float, per_hu: Signal) -> None:
        """Draw the lesion over a picture of the anatomy, in place.

        Parameters
        ----------
        picture
            Attenuation or signal in the lesion's box.
        phase
            Name of the phase.
        circulation, at_s
            Contrast medium of the patient, and the time of the phase.
        per_hu
            Turns a material with its enhancement into the picture's unit.
        """
        early = phase in ("arterial", "t1a")
        visible = np.float32(_BY_PHASE.get(phase, 1.0) * per_hu.texture)
        findings = self.lesion.findings

        def level(material: Material) -> np.float32:
            return np.float32(per_hu.of(material, circulation.enhancement(material, at_s)))

        inside = level(self.lesion.material)
        tumour = inside + self.texture * visible
        if findings.rim and early:
            tumour += np.clip((self.distance + 6) / 3, 0, 1) * np.float32(30 * per_hu.texture) - np.float32(
                8 * per_hu.texture
            )
        tumour += self.necrosis * (level(MATERIALS[Tissue.NECROSIS]) - tumour)
        picture += self.ring * visible
        if early:
            picture += (self.patches + self.halo) * np.float32(per_hu.texture)
        for distance, what in ((self.satellite, inside), (self.distance, tumour)):
            if distance is not None:
                share = np.clip(0.5 - distance / 1.6, 0, 1)
                picture += share * (what - picture)
        if findings.capsule:
            shell = np.clip(2.2 - np.abs(self.distance - 0.8), 0, 1)
            picture += shell * (level(MATERIALS[Tissue.CAPSULE]) - picture)


@dataclass(frozen=True)
class Signal:
    """How a picture shows a material: CT in HU, MR as signal with the liver near 100.

    Attributes
    ----------
    weighting
        `hu`, `t1`, `t2` or `dwi`.
    texture
        Picture units for one HU of texture.
    relaxivity
        T1-weighted MR: how fast the signal rises to its ceiling, per HU of enhancement.
    """

    weighting: str
    texture: float = 1.0
    relaxivity: float = 0.0

    def of(self, material: Material, enhancement: float) -> float:
        """The picture's value for a material at this enhancement in HU."""
        plain = float(getattr(material, self.weighting))
        if self.weighting == "hu":
            return plain + enhancement
        # The rise saturates at one signal for all tissues: a shorter T1 the sequence cannot tell.
        return plain + (_BRIGHTEST - plain) * (1 - math.exp(-self.relaxivity * enhancement))


def _box(centre: Point, reach: float) -> Box:
    low = (centre[0] - reach, centre[1] - reach, centre[2] - reach)
    high = (centre[0] + reach, centre[1] + reach, centre[2] + reach)
    return low, high
