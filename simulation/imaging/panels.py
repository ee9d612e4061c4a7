"""simulation/imaging: planes through an examination, sampled in the patient's coordinates, and drawn as pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from simulation.imaging.volume import Examination, Grid, Volume

Floats = NDArray[np.float32]
Window = tuple[float, float]
"""The values shown black and white."""

_STEPS = 30
# Okabe & Ito, and a pink that shows on grey; each line also has a style of its own.
_LINES = {"liver": ("#56b4e9", "-"), "tumour": ("#f0e442", "-"), "tumour.reader2": ("#ff7fc8", "--")}
_BAND = (0.90, 0.45, 0.0, 0.4)


def points_of(grid: Grid) -> Floats:
    """The position z, y, x of every voxel in mm, (3, slices, rows, columns)."""
    return np.stack(np.meshgrid(*grid.axes(), indexing="ij"))


def sampled(volume: Volume, points: Floats) -> Floats:
    """A volume at points of the patient (3, ...) in mm by linear interpolation; NaN where it was not imaged."""
    grid = volume.grid
    return _at(volume.voxels.astype(np.float32), grid, points, outside=np.nan)


def _at(values: Floats, grid: Grid, points: Floats, outside: float | None) -> Floats:
    """Values on a grid at points (3, ...) in mm; beyond the grid those of its edge unless told otherwise."""
    start, step = (np.reshape(v, (3,) + (1,) * (points.ndim - 1)) for v in (grid.origin, grid.spacing))
    # Rounding must not push the outermost voxels out of the image.
    places = np.round((points - start) / step, 3)
    mode, fill = ("nearest", 0.0) if outside is None else ("constant", outside)
    return np.asarray(ndimage.map_coordinates(values, places, order=1, mode=mode, cval=fill, output=np.float32))


def displaced(examination: Examination, phase: str, points: Floats) -> Floats:
    """Displacement in mm at points (3, ...) of a phase: they show what lies so much farther in the reference phase."""
    if phase == examination.reference:
        return np.zeros_like(points)
    field = examination.motion[phase]
    return np.stack([_at(part, examination.motion_grid, points, outside=None) for part in field])


def found_in(examination: Examination, phase: str, points: Floats) -> Floats:
    """Where a phase shows what lies at these points (3, ...) of the reference phase, in mm.

    The displacement is undone by fixed point iteration (Chen et al., Med Phys 2008;35:81), which converges because
    neighbouring points move by less than their distance.
    """
    places = points
    for _ in range(_STEPS):
        places = points - displaced(examination, phase, places)
    return places


@dataclass(frozen=True)
class Plane:
    """A flat grid that is shown: axial as seen from the feet, coronal as seen from the front.

    Attributes
    ----------
    grid
        One slice where axial, one row where coronal.
    coronal
        Which of the two.
    """

    grid: Grid
    coronal: bool = False

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top of the picture in mm."""
        (z, y, x), (dz, dy, dx), (nz, ny, nx) = self.grid.origin, self.grid.spacing, self.grid.shape
        down = (z - dz / 2, z + (nz - 0.5) * dz) if self.coronal else (y + (ny - 0.5) * dy, y - dy / 2)
        return x - dx / 2, x + (nx - 0.5) * dx, *down

    def show(self, volume: Volume) -> Floats:
        """A volume on this plane, (rows, columns), the uppermost row first."""
        return self.flat(sampled(volume, points_of(self.grid)))

    def flat(self, values: Floats) -> Floats:
        """Drop the axis without extent."""
        return values[::-1, 0] if self.coronal else values[0]


def picture(
    plane: Plane, values: Floats, window: Window, bar_mm: int = 50, masks: Mapping[str, Volume] | None = None
) -> str:
    """A plane in grey with the patient's sides and a scale bar, as a data URI.

    Parameters
    ----------
    plane, values
        What is shown, (rows, columns) as `Plane.show` gives them; NaN is black.
    window
        Values shown black and white.
    bar_mm
        Length of the scale bar, in whole centimetres.
    masks
        Drawn on top: `ring` as a shaded band, `liver`, `tumour` and `tumour.reader2` as lines.
    """
    left, right, bottom, top = plane.extent
    wide, high = right - left, abs(top - bottom)
    figure = Figure(figsize=(5.6, 5.6 * high / wide), dpi=100, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(values, cmap="gray", vmin=window[0], vmax=window[1], extent=plane.extent, interpolation="bicubic")
    for name, mask in (masks or {}).items():
        _draw(axes, plane, name, mask)
    _mark(axes, bar_mm, bar_mm / wide)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", facecolor="black", pil_kwargs={"quality": 88})
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _draw(axes: Axes, plane: Plane, name: str, mask: Volume) -> None:
    """A mask, where it meets the plane: the ring as a band, anything else as a line."""
    seen = plane.show(mask)
    if not (seen < 0.5).any() or not (seen > 0.5).any():
        return
    if name == "ring":
        band = np.zeros((*seen.shape, 4))
        band[seen > 0.5] = _BAND
        axes.imshow(band, extent=plane.extent, interpolation="nearest")
        return
    colour, style = _LINES[name]
    axes.contour(seen, [0.5], colors=colour, linestyles=style, linewidths=1.8, extent=plane.extent, origin="upper")


def _mark(axes: Axes, bar_mm: int, share: float) -> None:
    """The patient's right and left, and a bar that is this share of the picture's width."""
    edge = withStroke(linewidth=2.5, foreground="black")
    put: dict[str, Any] = {"transform": axes.transAxes, "color": "white", "path_effects": [edge]}
    axes.text(0.03, 0.5, "R", size=20, ha="center", va="center", **put)
    axes.text(0.97, 0.5, "L", size=20, ha="center", va="center", **put)
    axes.plot((0.97 - share, 0.97), (0.04, 0.04), lw=4, **put)
    axes.text(0.97 - share / 2, 0.055, f"{bar_mm // 10} cm", size=17, ha="center", va="bottom", **put)
