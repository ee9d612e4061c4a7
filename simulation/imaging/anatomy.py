"""simulation/imaging: an upper abdomen of simple shapes: which tissue lies where.

Everything is a function of position in mm (z to the head, y to the back, x to the patient's left; the origin lies in
the middle of the liver's height), so that any grid and any part of one may be asked for. Shapes are ellipsoids, cut
and joined smoothly; later tissues are drawn over earlier ones. Sizes are those of an average adult, varied between
patients. A liver from a label map may take the place of ours (`liver_shape.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulation.imaging.noise import Axes, Box, Floats, SmoothNoise
from simulation.imaging.tissues import Tissue
from simulation.imaging.vessels import Tree, hepatic_trees

Labels = NDArray[np.uint8]
Bools = NDArray[np.bool_]
FIELD: Box = ((-230.0, -240.0, -240.0), (230.0, 240.0, 240.0))
"""Everything that is ever imaged lies in this box."""


class Shape(Protocol):
    """A solid: the signed distance in mm to its surface, negative inside; exact only near the surface."""

    def distance(self, axes: Axes) -> Floats:
        """(slices, rows, columns)."""
        ...


def columns(axes: Axes) -> tuple[Floats, Floats, Floats]:
    """Coordinates that broadcast to a volume."""
    z, y, x = axes
    return z[:, None, None], y[None, :, None], x[None, None, :]


def ellipsoid(axes: Axes, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Floats:
    """Squared normalised distance from the centre, 1 on the surface."""
    parts = [((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True)]
    z, y, x = columns((parts[0], parts[1], parts[2]))
    return z + (y + x)


def smooth_max(a: Floats, b: Floats, mm: float) -> Floats:
    """The larger of two distances, rounded over this length (quadratic blend)."""
    blend = np.maximum(mm - np.abs(a - b), 0) / np.float32(mm)
    joined: Floats = np.maximum(a, b) + blend * blend * np.float32(mm / 4)
    return joined


def smooth_min(a: Floats, b: Floats, mm: float) -> Floats:
    """The smaller of two distances, rounded over this length."""
    return -smooth_max(-a, -b, mm)


def _solid(axes: Axes, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Floats:
    """Approximate distance to an ellipsoid in mm: to first order in the distance from its surface."""
    far = np.sqrt(ellipsoid(axes, centre, radii))
    squares = (radii[0] ** 2, radii[1] ** 2, radii[2] ** 2)
    slope = np.sqrt(np.maximum(ellipsoid(axes, centre, squares), 1e-12))
    distance: Floats = far * (far - 1) / slope
    return distance


def wall_distance(axes: Axes, build: Build) -> Floats:
    """Depth in mm below the inner face of the trunk's wall, negative inside."""
    return _rounded(axes, build) + np.float32(build.fat_mm + build.wall_mm)


@dataclass(frozen=True)
class Build:
    """What differs between patients.

    Attributes
    ----------
    width, depth
        Half axes of the trunk's cross-section in mm.
    fat_mm, wall_mm
        Thickness of the subcutaneous fat and of the muscular wall.
    liver, spleen
        Factors on the organs' sizes.
    cirrhosis, ascites
        Findings that show.
    """

    width: float
    depth: float
    fat_mm: float
    wall_mm: float
    liver: float
    spleen: float
    cirrhosis: bool
    ascites: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, *, female: bool, cirrhosis: bool, ascites: bool) -> Build:
        """A patient of the given kind."""
        size = float(np.clip(rng.normal(0.96 if female else 1.0, 0.05), 0.85, 1.14))
        return cls(
            width=166 * size,
            depth=116 * size * float(np.clip(rng.normal(1, 0.04), 0.9, 1.1)),
            fat_mm=float(np.clip(rng.lognormal(np.log(19 if female else 14), 0.35), 6, 34)),
            wall_mm=float(np.clip(rng.normal(13, 1.5), 10, 17)),
            liver=size * float(np.clip(rng.normal(0.88 if cirrhosis else 0.92, 0.05), 0.75, 1.05)),
            spleen=size * float(np.clip(rng.normal(1.2 if cirrhosis else 1.0, 0.08), 0.85, 1.4)),
            cirrhosis=cirrhosis,
            ascites=ascites,
        )

    @property
    def scale(self) -> float:
        """Size of the body against the average."""
        return self.width / 166


class ParametricLiver:
    """Two lobes under the diaphragm, cut by the visceral surface, with hollows for what lies against it."""

    def __init__(self, build: Build, rng: np.random.Generator) -> None:
        self.build = build
        self.slope = float(rng.normal(0.59, 0.06))
        self.left = float(np.clip(rng.normal(1.0 if not build.cirrhosis else 1.12, 0.12), 0.7, 1.35))
        self.waves = SmoothNoise.draw(rng, FIELD, 38)
        self.nodules = SmoothNoise.draw(rng, FIELD, 8)

    def distance(self, axes: Axes) -> Floats:
        """See `Shape`."""
        s = self.build.liver
        z, y, x = columns(axes)
        right = _solid(axes, (-4 * s, 0, -62 * s), (96 * s, 86 * s, 80 * s))
        left = _solid(axes, (24 * s, -46 * s, 10 * s), (36 * s, 36 * s, 80 * s * self.left))
        solid = smooth_min(right, left, 30)
        solid = smooth_max(solid, z - (dome(axes, self.build) - 4), 6)
        bottom = -97 * s + self.slope * (x + 130 * s) - 0.25 * (y + 20)
        solid = smooth_max(solid, (bottom - z) * np.float32(0.85), 26)
        solid = smooth_max(
            solid, _rounded(axes, self.build) + np.float32(self.build.fat_mm + self.build.wall_mm + 3), 8
        )
        for centre, radii, gap in hollows(self.build):
            solid = smooth_max(solid, np.float32(gap) - _solid(axes, centre, radii), 10)
        solid = solid + self.waves.at(axes) * np.float32(2.2)
        return solid + self.nodules.at(axes) * np.float32(1.8 if self.build.cirrhosis else 0.25)


def _rounded(axes: Axes, build: Build) -> Floats:
    """Depth in mm below the skin, negative inside, (1, rows, columns) or by slice: the trunk narrows to the waist."""
    z, y, x = axes
    ring = (np.abs(y[:, None]) / build.depth) ** 2.4 + (np.abs(x[None, :]) / build.width) ** 2.4
    radius = ring ** (1 / 2.4)
    waist = 1 - 0.05 * np.clip((-z - 20) / 110, 0, 1) ** 2
    depth: Floats = ((radius[None] - waist[:, None, None]) * 0.5 * (build.width + build.depth)).astype(np.float32)
    return depth


def dome(axes: Axes, build: Build) -> Floats:
    """Height of the diaphragm in mm, (1, rows, columns)."""
    s = build.scale
    y, x = axes[1][:, None] / s, axes[2][None, :] / s
    right = 90 - 85 * (((x + 60) / 92) ** 2 + ((y + 4) / 96) ** 2)
    left = 80 - 85 * (((x - 66) / 84) ** 2 + ((y + 4) / 96) ** 2)
    height: Floats = np.maximum(np.maximum(right, left), -70).astype(np.float32)[None] * np.float32(s)
    return height


def hollows(build: Build) -> tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...]:
    """What presses into the liver: centre, radii and the gap kept, in mm."""
    s = build.scale
    return (
        ((-80 * s, 64 * s, -60 * s), (56 * s, 45 * s, 30 * s), 5),  # right kidney
        ((0, 64 * s, 0), (400, 46 * s, 42 * s), 0),  # spine and great vessels
        (_gallbladder(s)[0], _gallbladder(s)[1], 2),
        ((-30 * s, 22 * s, 12 * s), (40 * s, 30 * s, 44 * s), 0),  # porta hepatis
    )


def _gallbladder(s: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    return (-48 * s, -34 * s, -38 * s), (30 * s, 17 * s, 15 * s)


@dataclass(frozen=True)
class Anatomy:
    """The tissues of one patient, without the tumour.

    Attributes
    ----------
    build
        The patient's measures.
    trees
        Vessels inside the liver.
    bowel
        Decides where loops of bowel and their contents lie.
    couch
        Whether the couch is in the picture (CT).
    """

    build: Build
    trees: tuple[tuple[Tissue, Tree], ...]
    bowel: SmoothNoise
    couch: bool

    @classmethod
    def draw(cls, build: Build, rng: np.random.Generator, *, couch: bool) -> Anatomy:
        """An abdomen of this build."""
        return cls(build, hepatic_trees(rng, build.liver), SmoothNoise.draw(rng, FIELD, 21), couch)

    def labels(self, axes: Axes, liver: Floats) -> Labels:
        """The tissue of every voxel, where `liver` is the liver's distance on the same grid."""
        skin = _rounded(axes, self.build)
        z, y, x = columns(axes)
        inner = self.build.fat_mm + self.build.wall_mm
        out = np.full(skin.shape, Tissue.AIR, dtype=np.uint8)
        if self.couch:
            under = y - (self.build.depth + 9 - (x / 90) ** 2 * 4)
            out[np.broadcast_to((under > 0) & (under < 7) & (np.abs(x) < 210), out.shape)] = Tissue.COUCH
        out[skin < 0] = Tissue.FAT
        out[(skin < 0) & (skin > -2)] = Tissue.MUSCLE
        out[skin < -self.build.fat_mm] = Tissue.MUSCLE
        cavity = skin < -inner
        out[cavity] = Tissue.FAT
        self._ribs(out, skin, axes)
        self._hollow_organs(out, cavity, axes)
        self._solid_organs(out, cavity, axes)
        lung = cavity & (z > dome(axes, self.build))
        out[lung] = Tissue.LUNG
        out[lung & (ellipsoid(axes, (116, -28, 14), (58, 50, 58)) < 1)] = Tissue.HEART
        self._spine(out, axes)
        inside = liver < 0
        if self.build.ascites:
            thickness = 5 + 3 * self.bowel.at(axes) + 8 * np.clip(y / 60, 0, 1)
            beside = (liver < thickness) & (x < 40) & cavity & ~lung
            out[beside & (out == Tissue.FAT)] = Tissue.ASCITES
        out[inside] = Tissue.LIVER
        self._vessels(out, inside, axes)
        return out

    def _ribs(self, out: Labels, skin: Floats, axes: Axes) -> None:
        z, y, x = columns(axes)
        middle = -(self.build.fat_mm + 0.55 * self.build.wall_mm)
        course = np.mod(z - 0.55 * y + 400, 27)
        across = (np.abs(skin - middle) / 4.2) ** 2 + ((course - 13.5) / 6) ** 2
        rib = (across < 1) & (z > -95 - 0.3 * y) & ((np.abs(x) > 45) | (y > 0))
        out[rib] = Tissue.BONE
        out[rib & (across < 0.35)] = Tissue.MARROW

    def _hollow_organs(self, out: Labels, cavity: Bools, axes: Axes) -> None:
        y = columns(axes)[1]
        s = self.build.scale
        loops = self.bowel.at(axes)
        low = cavity & (ellipsoid(axes, (-85 * s, -32 * s, 4 * s), (105 * s, 60 * s, 125 * s)) < 1)
        out[low & (loops > -0.15)] = Tissue.BOWEL
        out[low & (loops > 0.55)] = Tissue.FLUID
        out[low & (loops > 0.55) & (y < -42 * s)] = Tissue.GAS
        stomach = ellipsoid(axes, (26 * s, -22 * s, 58 * s), (46 * s, 44 * s, 46 * s))
        stomach += np.float32(0.1) * loops
        out[cavity & (stomach < 1)] = Tissue.STOMACH
        out[cavity & (stomach < 0.8)] = Tissue.FLUID
        out[cavity & (stomach < 0.8) & (y < -30 * s)] = Tissue.GAS
        out[ellipsoid(axes, *_gallbladder(s)) < 1] = Tissue.FLUID

    def _solid_organs(self, out: Labels, cavity: Bools, axes: Axes) -> None:
        s, p = self.build.scale, self.build.spleen
        z, y, x = columns(axes)
        head = -18 * s - 0.12 * x + 10 * np.cos(x / 40)
        pancreas = ((z - head) / (11 * s)) ** 2 + ((y - 22 * s + 16 * np.exp(-(((x - 4) / 34) ** 2))) / (10 * s)) ** 2
        out[np.broadcast_to((pancreas < 1) & (x > -40 * s) & (x < 75 * s), out.shape) & cavity] = Tissue.PANCREAS
        out[cavity & (ellipsoid(axes, (22 * s, 40 * s, 104 * s), (52 * p, 44 * p, 31 * p)) < 1)] = Tissue.SPLEEN
        for side, height in ((-60, -80), (62, -62)):
            kidney = ellipsoid(axes, (height * s, 50 * s, side * s), (52 * s, 27 * s, 26 * s))
            sinus = ellipsoid(axes, (height * s, 44 * s, 0.8 * side * s), (22 * s, 12 * s, 14 * s))
            out[kidney < 1] = Tissue.CORTEX
            out[kidney < 0.5] = Tissue.MEDULLA
            out[(kidney < 1) & (sinus < 1)] = Tissue.FAT

    def _spine(self, out: Labels, axes: Axes) -> None:
        s = self.build.scale
        z, y, x = columns(axes)
        disc = np.broadcast_to(np.mod(z + 400, 32) < 7, out.shape)
        for side in (-1, 1):
            muscle = ((y - 92 * s) / (19 * s)) ** 2 + ((x - side * 33 * s) / (29 * s)) ** 2
            out[np.broadcast_to(muscle < 1, out.shape) & (out != Tissue.AIR)] = Tissue.MUSCLE
            psoas = ((y - 62 * s) / (17 * s)) ** 2 + ((x - side * 36 * s) / (14 * s)) ** 2
            out[np.broadcast_to((psoas < 1) & (z < -45 * s), out.shape)] = Tissue.MUSCLE
        body = ((y - 60 * s) / (17 * s)) ** 2 + (x / (21 * s)) ** 2
        arch = np.broadcast_to(
            (np.abs(x) < 26 * s - np.abs(y - 84 * s) * 0.9) & (y > 76 * s) & (y < 108 * s), out.shape
        )
        out[arch & ~disc] = Tissue.BONE
        out[np.broadcast_to(body < 1, out.shape)] = Tissue.BONE
        out[np.broadcast_to(body < 0.78, out.shape)] = Tissue.MARROW
        out[np.broadcast_to(body < 0.95, out.shape) & disc] = Tissue.DISC
        canal = ((y - 84 * s) / (8 * s)) ** 2 + (x / (10 * s)) ** 2
        out[np.broadcast_to(canal < 1, out.shape)] = Tissue.CANAL
        aorta = ((y - 33 * s) / (10 * s)) ** 2 + ((x - (9 + 4 * np.sin(z / 60)) * s) / (10 * s)) ** 2
        out[np.broadcast_to(aorta < 1, out.shape)] = Tissue.AORTA

    def _vessels(self, out: Labels, inside: Bools, axes: Axes) -> None:
        s = self.build.scale
        z, y, x = columns(axes)
        cava = ((y - 27 * s) / (9 * s)) ** 2 + ((x + 20 * s) / (12 * s)) ** 2
        out[np.broadcast_to((cava < 1) & (z < 95 * s), out.shape)] = Tissue.CAVA
        for tissue, tree in self.trees:
            tree.paint(out, tissue, axes, inside, inside | (out == Tissue.FAT))
