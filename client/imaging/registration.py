"""client/imaging: a phase in the space of the reference phase: rigid first, then a displacement field, each kept only
where it is better than what was there before.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from client.images.case import ReadImage
from client.imaging.deformable import Field, faded, field_transform, find_field, fitting_box
from client.imaging.intensity import body_mask
from client.imaging.quality import PairQuality, dice, jacobian, normalised_mutual_information
from client.imaging.resampling import Grid, bounding_box, resample_image, resample_mask, shrink, whole_grid
from client.imaging.rigid import find_rigid
from client.imaging.threads import one_thread
from common.errors import FedmviError
from common.study.preparation import Modality, Preparation, Registration

CLIP_HU = (-200.0, 300.0)
"""Fat to enhanced vessels; bone, air and metal would outweigh the organs."""
CLIP_PERCENTILES = (1.0, 99.0)
"""MR: of the body."""
AROUND_MM = 10.0
"""The region of a registration is the liver and this much around it, where it is outlined, else the body. Much of what
lies farther, as the ribs, does not move with the liver."""
BEYOND_MM = 12.0
"""The field is found in the region's box and this much beyond."""

_ABOUT, _FIELD = "registration.json", "field.npy.gz"

Masks = Mapping[str, tuple[sitk.Image, sitk.Image | None]]


@dataclass(frozen=True)
class Registered:
    """A phase's way into the space of the reference phase.

    Attributes
    ----------
    rigid
        From points of the reference phase to points of the phase.
    field
        Displacements in the reference phase's space before the rigid part: (z, y, x, 3) in voxels of `grid`,
        components in the order z, y, x; None where none is applied.
    grid
        Where the field lies.
    quality
        How well it worked.
    """

    rigid: sitk.Euler3DTransform
    field: Field | None
    grid: Grid | None
    quality: PairQuality

    @property
    def transform(self) -> sitk.Transform:
        """From points of the reference phase to points of the phase."""
        if self.field is None or self.grid is None:
            return self.rigid
        # The last one is applied first.
        return sitk.CompositeTransform([self.rigid, field_transform(self.field, self.grid)])

    def save(self, folder: Path) -> None:
        """Write `registration.json`, and `field.npy.gz` where there is a field; the same bytes every time."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "centre": self.rigid.GetCenter(),
            "parameters": self.rigid.GetParameters(),
            "grid": asdict(self.grid) if self.grid else None,
            "quality": asdict(self.quality),
        }
        if self.field is not None:
            voxels = io.BytesIO()
            np.save(voxels, self.field, allow_pickle=False)
            (folder / _FIELD).write_bytes(gzip.compress(voxels.getvalue(), compresslevel=1, mtime=0))
        (folder / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Registered:
        """Read what `save` wrote."""
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        rigid = sitk.Euler3DTransform()
        rigid.SetCenter(about["centre"])
        rigid.SetParameters(about["parameters"])
        grid = field = None
        if about["grid"]:
            grid = Grid(**{name: tuple(values) for name, values in about["grid"].items()})
            field = np.load(io.BytesIO(gzip.decompress((folder / _FIELD).read_bytes())), allow_pickle=False)
        return cls(rigid, field, grid, load_quality(folder))


def load_quality(folder: Path) -> PairQuality:
    """How well a saved registration worked; its field, which may be large, is not read."""
    return PairQuality(**json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["quality"])


def register(fixed: ReadImage, moving: ReadImage, phase: str, preparation: Preparation, masks: Masks) -> Registered:
    """Bring a phase into the space of the reference phase.

    Both are clipped (CT to -200..300 HU, MR to the 1st and 99th percentile of the body) and seen on voxels of
    `spacing_mm`. The rigid part and the field are found in a region: the liver and 10 mm around it, where it is
    outlined on the reference phase, else the body. A step is kept only where normalised mutual information in the
    region rises by it; a field also only where it folds and reaches no farther than the protocol allows.

    Parameters
    ----------
    fixed
        The reference phase.
    moving
        The phase.
    phase
        The phase's name.
    preparation
        `registration` and `modality` are used.
    masks
        By region: its outline on the reference phase, and on the phase where it is outlined there too. `liver` bounds
        the region; `liver` and `tumour` are compared.

    Raises
    ------
    FedmviError
        370 where an image is constant in the region, or no metric can be taken.
    """
    with one_thread():
        return _registered(fixed, moving, phase, preparation, masks)


def _registered(fixed: ReadImage, moving: ReadImage, phase: str, preparation: Preparation, masks: Masks) -> Registered:
    settings = preparation.registration
    pair = _seen(fixed.image, moving.image, phase, preparation, masks.get("liver", (None, None))[0])
    still = settings.method == "none" or pair.identical
    found = pair.unmoved() if still else pair.rigid()
    if settings.method == "deformable" and not still:
        found = pair.deformable(found, settings)
    overlap = {name: _overlap(masks.get(name), found.transform) for name in ("liver", "tumour")}
    quality = replace(found.quality, dice_liver=overlap["liver"], dice_tumour=overlap["tumour"])
    return replace(found, quality=quality)


def _overlap(outlines: tuple[sitk.Image, sitk.Image | None] | None, transform: sitk.Transform) -> float | None:
    return None if outlines is None or outlines[1] is None else dice(outlines[0], outlines[1], transform)


@dataclass(frozen=True)
class _Pair:
    """Both phases as they are registered: clipped, on coarse voxels.

    Attributes
    ----------
    phase
        The moving phase's name.
    fixed, moving
        Both phases, float32.
    region
        uint8 on the grid of `fixed`.
    identical
        Whether both phases are the same image.
    """

    phase: str
    fixed: sitk.Image
    moving: sitk.Image
    region: sitk.Image
    identical: bool

    @cached_property
    def box(self) -> Grid:
        """The region's box and what is beyond it, as a field can be found in it."""
        return fitting_box(Grid.of(self.fixed), *bounding_box(self.region), BEYOND_MM)

    @cached_property
    def here(self) -> sitk.Image:
        """`fixed` in the box."""
        return resample_image(self.fixed, self.box, "linear")

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which voxels of the box are the region's."""
        found: NDArray[np.bool_] = sitk.GetArrayFromImage(resample_mask(self.region, self.box, "nearest")) != 0
        return found

    def there(self, transform: sitk.Transform) -> sitk.Image:
        """`moving` in the box, under a transform from `fixed` to `moving`."""
        return resample_image(self.moving, self.box, "linear", transform)

    def agreement(self, transform: sitk.Transform) -> float:
        """Normalised mutual information in the region under a transform."""
        first, second = (sitk.GetArrayFromImage(image) for image in (self.here, self.there(transform)))
        return normalised_mutual_information(first[self.inside], second[self.inside])

    def unmoved(self) -> Registered:
        """Both phases as they were scanned."""
        nmi = self.agreement(sitk.Transform(3, sitk.sitkIdentity))
        quality = PairQuality(self.phase, "none", "", nmi, nmi, nmi, None, None, 0.0, 0.0, 0.0, 0.0)
        return Registered(sitk.Euler3DTransform(), None, None, quality)

    def rigid(self) -> Registered:
        """Both phases after the rigid part, or as they were scanned where that agrees no less."""
        unmoved = self.unmoved()
        try:
            rigid = find_rigid(self.fixed, self.moving, self.region)
        except RuntimeError as error:
            raise FedmviError(370, f"{self.phase}: {error}") from error
        nmi = self.agreement(rigid)
        before = unmoved.quality.nmi_before
        if nmi <= before:
            reason = f"the rigid part does not raise the NMI of {before:.4f} ({nmi:.4f})"
            return replace(unmoved, quality=replace(unmoved.quality, fell_back=reason))
        middle = np.array(rigid.GetCenter())
        moved = float(np.linalg.norm(np.array(rigid.TransformPoint(middle.tolist())) - middle))
        trace = float(np.trace(np.reshape(rigid.GetMatrix(), (3, 3))))
        turned = float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))
        quality = replace(
            unmoved.quality,
            method="rigid",
            nmi_rigid=nmi,
            nmi_after=nmi,
            translation_mm=moved,
            rotation_degrees=turned,
        )
        return Registered(rigid, None, None, quality)

    def deformable(self, start: Registered, settings: Registration) -> Registered:
        """Both phases after a field upon the rigid part, or `start` where the field is not believed."""
        try:
            field = find_field(self.here, self.there(start.rigid))
        except RuntimeError as error:
            return replace(start, quality=replace(start.quality, fell_back=f"no field was found: {error}"))
        if not np.isfinite(field).all():
            return replace(start, quality=replace(start.quality, fell_back="the field is not finite"))
        folding = float((jacobian(field)[self.inside] <= 0).mean())
        reach = float(np.linalg.norm(field[self.inside] * self.box.spacing[::-1], axis=-1).max())
        found = Registered(start.rigid, *faded(field, self.box), start.quality)
        nmi, before = self.agreement(found.transform), start.quality.nmi_rigid
        if folding > settings.max_folding:
            reason = f"the field folds in {folding:.4%} of the region, more than {settings.max_folding:.4%}"
        elif reach > settings.max_displacement_mm:
            reason = f"the field reaches {reach:.1f} mm, farther than {settings.max_displacement_mm:.1f} mm"
        elif nmi <= before:
            reason = f"the field does not raise the NMI of {before:.4f} ({nmi:.4f})"
        else:
            reason = ""
        measured = replace(start.quality, folding=folding, max_displacement_mm=reach, fell_back=reason)
        if reason:
            return replace(start, quality=measured)
        return replace(found, quality=replace(measured, method="deformable", nmi_after=nmi))


def _seen(
    fixed: sitk.Image, moving: sitk.Image, phase: str, preparation: Preparation, liver: sitk.Image | None
) -> _Pair:
    """Both phases as they are registered."""
    spacing, modality = preparation.registration.spacing_mm, preparation.modality
    coarse = []
    for image in (fixed, moving):
        small = resample_image(shrink(image, spacing), whole_grid(image, (spacing,) * 3), "linear")
        coarse.append(_clipped(small, modality, phase))
    here, there = coarse
    region = body_mask(here, modality)
    if liver is not None:
        around = _around(resample_mask(liver, Grid.of(here), "nearest"))
        region = around if around is not None else region
    same = Grid.of(fixed) == Grid.of(moving) and bool(
        (sitk.GetArrayViewFromImage(fixed) == sitk.GetArrayViewFromImage(moving)).all()
    )
    return _Pair(phase, here, there, region, same)


def _clipped(image: sitk.Image, modality: Modality, phase: str) -> sitk.Image:
    low, high = CLIP_HU
    if modality == "mr":
        # A view would outlive the mask that nothing else holds.
        body = sitk.GetArrayFromImage(body_mask(image, modality)) != 0
        low, high = (float(value) for value in np.percentile(sitk.GetArrayViewFromImage(image)[body], CLIP_PERCENTILES))
    clipped: sitk.Image = sitk.Clamp(image, sitk.sitkFloat32, low, high)
    voxels = sitk.GetArrayViewFromImage(clipped)
    if voxels.min() == voxels.max():
        raise FedmviError(370, f"{phase}: an image of the pair has one value only between {low:g} and {high:g}")
    return clipped


def _around(liver: sitk.Image) -> sitk.Image | None:
    """The liver and `AROUND_MM` around it; None where it is empty."""
    inside = sitk.GetArrayViewFromImage(liver) != 0
    if not inside.any():
        return None
    near = distance_transform_edt(~inside, liver.GetSpacing()[::-1]) <= AROUND_MM
    out = sitk.GetImageFromArray(near.astype(np.uint8))
    out.CopyInformation(liver)
    return out
