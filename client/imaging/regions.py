"""client/imaging: the regions whose features are computed: tumour, liver, and rings around the tumour in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.imaging.lesion import Box, box_of, image_like, index_lesion
from common.errors import FedmviError
from common.study.preparation import Preparation

_ROUNDING_MM = 1e-3
"""A voxel at a ring's width belongs to it, whatever the last digit of its spacing."""

Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Made:
    """Regions of one patient.

    Attributes
    ----------
    masks
        By region, uint8 on the tumour's grid. `liver` is there only where the liver is outlined. A mask may be empty.
    lost
        For each ring, the share of its voxels that lie beyond the liver's surface, beyond the image, or in an excluded
        region: 0 for a whole ring, 1 for an empty one. Voxels of tumour are never of a ring, and so are not lost.
    parts
        Of how many parts the tumour mask is.
    """

    masks: Mapping[str, sitk.Image]
    lost: Mapping[str, float]
    parts: int


def make_regions(
    tumour: sitk.Image, liver: sitk.Image | None, excluded: Sequence[sitk.Image], preparation: Preparation
) -> Made:
    """Make the regions that a protocol asks for.

    A ring of width w holds the voxels outside of the tumour whose centre is at most w mm from the centre of a voxel of
    the tumour, with the true spacing of all three axes (Maurer et al., IEEE Trans Pattern Anal Mach Intell 2003; 25:
    265, SimpleITK). Tumour and ring together are therefore what a dilation of the tumour by a ball of w mm gives, and
    along an axis a ring is w mm thick to the voxel below: on voxels of 1 mm the rings of 5 and 10 mm of a sphere have
    2 to 6 % less than the volume of the shell. Distances from the faces of voxels would err as far to the other
    side. Coarser voxels round more: at 3 mm the ring of 5 mm lacks 30 %.

    With `lesion = "largest"`, distances are those to the index lesion; a ring holds no voxel of any lesion.

    Parameters
    ----------
    tumour
        All lesions, 0 and 1, on the working grid.
    liver
        The liver, with or without its tumours, on the same grid, where it is outlined.
    excluded
        Regions that rings leave out, on the same grid.
    preparation
        Says which regions, which lesion, and whether rings end at the liver's surface.

    Raises
    ------
    FedmviError
        374 where `limit_to_liver = "required"` and there is no liver.
    """
    rule = preparation.regions
    if liver is None and rule.limit_to_liver == "required":
        raise FedmviError(374, "the liver is not outlined")
    wanted = preparation.radiomics.regions if preparation.radiomics else ()
    index, parts = index_lesion(tumour, rule.lesion)
    masks = {"tumour": index}
    lost = {}
    if "liver" in wanted and liver is not None:
        masks["liver"] = sitk.And(sitk.Cast(liver != 0, sitk.sitkUInt8), sitk.Cast(tumour == 0, sitk.sitkUInt8))
    limit = liver if rule.limit_to_liver != "never" else None
    around = _Around.of(index, max(preparation.rings_mm, default=0.0))
    for width in preparation.rings_mm:
        name = f"peritumour-{width:g}mm"
        masks[name], lost[name] = around.ring(width, tumour, limit, excluded)
    return Made(masks, lost, parts)


@dataclass(frozen=True)
class _Around:
    """Distances to a lesion, in a box around it that reaches as far as the widest ring.

    Attributes
    ----------
    distance
        In mm; 0 in the lesion. Empty where there is no lesion.
    part
        What of the image lies in the box.
    inner
        What of the box lies in the image.
    like
        Grid of the image.
    """

    distance: NDArray[np.float32]
    part: Box
    inner: Box
    like: sitk.Image

    @classmethod
    def of(cls, lesion: sitk.Image, reach_mm: float) -> _Around:
        voxels = sitk.GetArrayViewFromImage(lesion) != 0
        spacing = lesion.GetSpacing()[::-1]
        box = box_of(voxels)
        if box is None:
            nothing = (slice(0, 0),) * 3
            return cls(np.zeros((0, 0, 0), dtype=np.float32), nothing, nothing, lesion)
        # The box may reach beyond the image: what a ring would hold there is lost too.
        reach = [int(np.ceil((reach_mm + _ROUNDING_MM) / step)) for step in spacing]
        start = [span.start - more for span, more in zip(box, reach, strict=True)]
        stop = [span.stop + more for span, more in zip(box, reach, strict=True)]
        part = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(start, stop, voxels.shape, strict=True))
        inner = tuple(slice(p.start - a, p.stop - a) for p, a in zip(part, start, strict=True))
        held = np.zeros([b - a for a, b in zip(start, stop, strict=True)], dtype=np.uint8)
        held[inner] = voxels[part]
        image = sitk.GetImageFromArray(held)
        image.SetSpacing(lesion.GetSpacing())
        signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        distance = np.where(held != 0, np.float32(0), sitk.GetArrayViewFromImage(signed))
        return cls(distance, part, inner, lesion)

    def ring(
        self, width_mm: float, tumour: sitk.Image, liver: sitk.Image | None, excluded: Sequence[sitk.Image]
    ) -> tuple[sitk.Image, float]:
        """A ring on the whole grid, and the share of it that is lost."""
        whole = (self.distance > 0) & (self.distance <= width_mm + _ROUNDING_MM)
        whole[self.inner] &= ~self._bits(tumour)
        kept = whole[self.inner].copy()
        if liver is not None:
            kept &= self._bits(liver)
        for region in excluded:
            kept &= ~self._bits(region)
        mask = np.zeros(self.like.GetSize()[::-1], dtype=np.uint8)
        mask[self.part] = kept
        count = int(whole.sum())
        return image_like(mask, self.like), 1.0 - int(kept.sum()) / count if count else 1.0

    def _bits(self, mask: sitk.Image) -> Bits:
        bits: Bits = sitk.GetArrayViewFromImage(mask)[self.part] != 0
        return bits
