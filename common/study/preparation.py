"""common/study: `[preparation]`: how a hospital turns images into radiomics features and ROI stacks.

Everything that changes a number is written here, with the presets of CT and MR filled in when the protocol is read, so
that the preparation's fingerprint names numbers and not the version of a preset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from common.spelling import nearest
from common.study.features import CLASSES, FEATURE, LANDMARKS, FeatureClass, feature_name, filter_names

Modality = Literal["ct", "mr"]
PHASES: dict[str, tuple[str, ...]] = {
    "ct": ("plain", "arterial", "portal", "delayed"),
    "mr": ("t1", "t1-in", "t1-opposed", "t1a", "t1v", "t1d", "hepatobiliary", "t2", "dwi", "adc"),
}
"""Phases by modality. `t1` is T1 before contrast; the hepatobiliary phase is a phase of its own, never `t1d`."""

RINGS = tuple(f"peritumour-{width}mm" for width in range(1, 100))
"""Regions that are computed: rings around the tumour."""

REGIONS = ("tumour", "liver")
"""Regions that are outlined and of which features may be computed."""

Millimetres = Annotated[float, Field(gt=0, le=100)]
VoxelWidth = Annotated[float, Field(ge=0.2, le=100)]
"""In mm. Images of finer voxels than scanners make would only fill the memory."""

Range = tuple[float, float]

_Names = TypeVar("_Names", bound=tuple[object, ...])
_Limits = TypeVar("_Limits", bound=Range)


def _each_once(names: _Names) -> _Names:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is named twice")
    return names


def _margin(limits: _Limits) -> _Limits:
    if not 0 <= limits[0] <= limits[1]:
        raise ValueError("a margin is at least 0, and its lower limit comes first")
    return limits


def _outlined(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name in REGIONS or name in RINGS:
            raise ValueError(f"'{name}' cannot be left out of the rings: name other outlined regions, such as vessels")
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
            raise ValueError(f"{name!r} is not written in small letters, digits and hyphens, as in 'portal-vein'")
    return names


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Registration(_Table):
    """`[preparation.registration]`: how every phase is brought into the space of the reference phase."""

    method: Literal["deformable", "rigid", "none"] = Field(
        default="deformable", description="deformable (rigid first, then a displacement field), rigid, or none."
    )
    spacing_mm: Annotated[float, Field(ge=1, le=6)] = Field(
        default=3.0, description="Voxel width at which the displacement field is found."
    )
    max_folding: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Largest share of voxels in which the field may fold; beyond it, rigid is used."
    )
    max_displacement_mm: Millimetres = Field(
        default=40.0, description="Largest displacement that is believed; beyond it, rigid is used."
    )
    min_dice: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.8, description="Overlap of the livers, where both phases have one outlined, below which a pair is "
        "flagged."
    )  # fmt: skip


class Resampling(_Table):
    """`[preparation.resampling]`: the voxels on which features are computed."""

    spacing_mm: tuple[VoxelWidth, VoxelWidth, VoxelWidth] = Field(
        default=(1.0, 1.0, 1.0),
        description="Width of voxels along the reference image's own axes: of an axial scan x, y and z.",
    )
    image: Literal["b-spline", "linear"] = Field(default="b-spline", description="Interpolation of images.")
    mask: Literal["nearest", "shape-based"] = Field(
        default="shape-based", description="Interpolation of masks: nearest neighbour, or of signed distances."
    )


class Regions(_Table):
    """`[preparation.regions]`: which lesion is meant, and how rings around the tumour are limited."""

    lesion: Literal["largest", "all"] = Field(
        default="largest",
        description="In a mask of several parts, the tumour is the largest part by volume (the index lesion), or all.",
    )
    limit_to_liver: Literal["where-outlined", "required", "never"] = Field(
        default="where-outlined",
        description="Whether rings end at the liver's surface: where the liver is outlined, always (a patient without "
        "a liver mask cannot be prepared), or never.",
    )
    exclude: Annotated[tuple[str, ...], AfterValidator(_each_once), AfterValidator(_outlined)] = Field(
        default=(), description="Outlined regions that rings leave out, such as vessels, where a patient has them."
    )


class Kind(_Table):
    """Intensities of one kind of image."""

    clip: Range | None = Field(default=None, description="Values outside are set to the nearer limit; in HU for CT.")
    bin_width: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Width of grey-level bins, in the units of the scale: HU for CT. Features need one; the preset "
        "depends on the modality and, for MR, on `scale`.",
    )


class Intensity(_Table):
    """`[preparation.intensity]`: from stored intensities to comparable ones. ROI stacks are stored before this."""

    n4: bool = Field(default=False, description="MR: correct the bias field (N4).")
    scale: Literal["none", "z-score", "nyul"] = Field(
        default="none",
        description="MR: none; z-score in the body, times 100; or Nyul's piecewise linear scale on `landmarks`.",
    )
    landmarks: dict[str, tuple[float, ...]] = Field(
        default_factory=dict,
        description=f"nyul: for each phase the standard scale at the percentiles {', '.join(map(str, LANDMARKS))} of "
        "the body, from 0 to 100; learned by a study of the columns `<phase>.body.original_landmark_P<percentile>`.",
    )
    phase: Kind = Field(default=Kind(), description="Images as acquired.")
    subtraction: Kind = Field(default=Kind(), description="Subtraction images.")


class Radiomics(_Table):
    """`[preparation.radiomics]`: which features are computed."""

    regions: Annotated[tuple[str, ...], AfterValidator(_each_once)] = Field(
        default=("tumour", "peritumour-5mm", "peritumour-10mm"),
        min_length=1,
        description="Regions of which features are computed.",
    )
    classes: Annotated[tuple[FeatureClass, ...], AfterValidator(_each_once)] = Field(
        default=tuple(CLASSES), min_length=1, description="Classes of features."
    )
    log_sigma_mm: Annotated[tuple[Annotated[float, Field(ge=0.5, le=10)], ...], AfterValidator(_each_once)] = Field(
        default=(1.0, 3.0, 5.0), description="Widths of Laplacian-of-Gaussian filters; empty for none."
    )
    wavelet: Literal["coif1", "haar", "db2", "none"] = Field(default="coif1", description="Wavelet of the filters.")
    second_reader: bool = Field(
        default=False, description="Also compute the features of the second reader's tumours, for their agreement."
    )

    @property
    def filters(self) -> tuple[str, ...]:
        """Names of the filters, `original` first."""
        return filter_names(self.log_sigma_mm, self.wavelet != "none")


class Stacks(_Table):
    """`[preparation.stacks]`: the rectangles around the tumour that the CNN sees."""

    slices: Annotated[int, Field(ge=1, le=9)] = Field(
        default=3, description="Consecutive slices, around the one where the tumour is widest."
    )
    margin: Literal["mm", "published"] = Field(
        default="mm",
        description="How the rectangle is enlarged: by `margin_mm` on a common spacing, or by pixels, as published.",
    )
    margin_mm: Annotated[Range, AfterValidator(_margin)] = Field(
        default=(5.0, 10.0), description="mm: limits between which the margin is drawn."
    )
    margin_pixels: Annotated[tuple[int, int], AfterValidator(_margin)] = Field(
        default=(5, 10), description="published: the same in pixels."
    )
    spacing_mm: VoxelWidth = Field(default=0.8, description="mm: pixel width in the plane before the resize.")
    size: Annotated[int, Field(ge=32, le=512)] = Field(default=320, description="Rows and columns of the result.")
    fit: Literal["pad", "stretch"] = Field(
        default="pad", description="pad keeps the aspect ratio; stretch, as published, does not."
    )


class Preparation(_Table):
    """`[preparation]`: images, regions and features; a tabular study has none."""

    modality: Modality = Field(description="ct or mr.")
    phases: Annotated[tuple[str, ...], AfterValidator(_each_once)] = Field(
        min_length=1, description="Phases that are used."
    )
    optional: Annotated[tuple[str, ...], AfterValidator(_each_once)] = Field(
        default=(), description="Those of them that a patient may lack."
    )
    reference: str = Field(description="The phase whose space all others are brought into; masks are drawn on it.")
    subtractions: Annotated[tuple[str, ...], AfterValidator(_each_once)] = Field(
        default=(), description="Differences of registered phases, as `arterial-minus-plain`."
    )
    registration: Registration = Registration()
    resampling: Resampling = Resampling()
    regions: Regions = Regions()
    intensity: Intensity = Intensity()
    radiomics: Radiomics | None = Field(default=None, description="Absent: no features are computed.")
    stacks: Stacks | None = Field(default=None, description="Absent: no ROI stacks are made.")

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, data: Any) -> Any:
        """Fill in the numbers that depend on the modality and on the scale of its intensities."""
        if not isinstance(data, dict) or data.get("modality") not in ("ct", "mr"):
            return data
        given = data.get("intensity", {})
        if not isinstance(given, dict):
            return data
        nyul = data["modality"] == "mr" and given.get("scale") == "nyul"
        usual = PRESETS["mr with nyul" if nyul else data["modality"]]
        kinds = {name: {**usual[name], **given.get(name, {})} for name in ("phase", "subtraction")
                 if isinstance(given.get(name, {}), dict)}  # fmt: skip
        return {**data, "intensity": {**usual["intensity"], **given, **kinds}}

    @model_validator(mode="after")
    def _coherent(self) -> Preparation:
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> Iterator[str]:
        known = PHASES[self.modality]
        for name in (*self.phases, self.reference):
            if name not in known:
                yield f"{name!r} is not a phase of {self.modality}: {', '.join(known)}{nearest(name, known)}"
        if self.reference not in self.phases or self.reference in self.optional:
            yield "`reference` is one of `phases` and not optional"
        if not set(self.optional) <= set(self.phases):
            yield "`optional` names phases that `phases` does not"
        for name in self.subtractions:
            first, _, second = name.partition("-minus-")
            if first not in self.phases or second not in self.phases or first == second:
                yield f"subtraction '{name}' is not written as <phase>-minus-<phase> with two of `phases`"
        if self.radiomics is None and self.stacks is None:
            yield "there is nothing to prepare: neither `radiomics` nor `stacks`"
        if self.radiomics:
            yield from _unknown_regions(self.radiomics.regions)
            yield from _unbinned(self)
        yield from _odd_intensities(self)

    @property
    def images(self) -> tuple[str, ...]:
        """Phases, then subtractions."""
        return (*self.phases, *self.subtractions)

    @property
    def rings_mm(self) -> tuple[float, ...]:
        """Widths of the rings of which features are computed."""
        named = self.radiomics.regions if self.radiomics else ()
        return tuple(sorted(ring_mm(name) for name in named if name not in REGIONS))

    def kind(self, image: str) -> Kind:
        """Intensities of an image."""
        return self.intensity.subtraction if image in self.subtractions else self.intensity.phase

    def feature_names(self) -> tuple[str, ...]:
        """Every column of the table of features, in order: by image, region, filter, class and name.

        Shape does not depend on the image: its columns bear the reference phase's name and the filter `original`.
        """
        names = []
        if self.modality == "mr" and self.radiomics is not None:
            names += [f"{phase}.body.original_landmark_P{at}" for phase in self.phases for at in LANDMARKS]
        if self.radiomics is None:
            return tuple(names)
        for image in self.images:
            for region in self.radiomics.regions:
                for filtered in self.radiomics.filters:
                    for kind in self.radiomics.classes:
                        if kind != "shape" or (image == self.reference and filtered == "original"):
                            names += [feature_name(image, region, filtered, kind, n) for n in CLASSES[kind]]
        return tuple(names)

    def has_feature(self, name: str) -> bool:
        """Whether a column is one of `feature_names`."""
        found = FEATURE.fullmatch(name)
        if found is None:
            return False
        image, region, filtered, kind, feature = found.group("image", "region", "filter", "kind", "name")
        if kind == "landmark":
            marks = (f"P{at}" for at in LANDMARKS)
            mine = self.modality == "mr" and self.radiomics is not None and image in self.phases
            return mine and region == "body" and filtered == "original" and feature in marks
        wanted = self.radiomics
        if wanted is None or image not in self.images or kind not in wanted.classes or feature not in CLASSES[kind]:
            return False
        if kind == "shape" and (image != self.reference or filtered != "original"):
            return False
        return region in wanted.regions and filtered in wanted.filters


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "ct": {
        "intensity": {},
        "phase": {"clip": (-200.0, 400.0), "bin_width": 25.0},
        "subtraction": {"clip": (-200.0, 300.0), "bin_width": 10.0},
    },
    "mr": {
        "intensity": {"n4": True, "scale": "z-score"},
        "phase": {"bin_width": 10.0},
        "subtraction": {"bin_width": 10.0},
    },
    "mr with nyul": {
        "intensity": {"n4": True},
        "phase": {"bin_width": 2.0},
        "subtraction": {"bin_width": 2.0},
    },
}
"""Presets. CT: bins of 25 HU as pyradiomics has them, narrower ones for differences, which span less. MR: a tenth of
the body's standard deviation, which the z-score makes 100; Nyul's scale runs from 0 to 100, so that bins of 2 are 50
levels of the body."""


def phases_of(image: str) -> tuple[str, ...]:
    """The phase of an image, or both phases of a subtraction."""
    return tuple(image.split("-minus-"))


def ring_mm(region: str) -> float:
    """The width of a ring from its region's name."""
    return float(region.removeprefix("peritumour-").removesuffix("mm"))


def _odd_intensities(preparation: Preparation) -> Iterator[str]:
    intensity = preparation.intensity
    if preparation.modality == "ct" and (intensity.n4 or intensity.scale != "none"):
        yield "HU are comparable as they are: `n4` and `scale` are for mr"
    if any(kind.clip and kind.clip[0] >= kind.clip[1] for kind in (intensity.phase, intensity.subtraction)):
        yield "`clip` has its lower limit first"
    if (intensity.scale == "nyul") != bool(intensity.landmarks):
        yield '`landmarks` belong to `scale = "nyul"`, which needs them'
    elif intensity.landmarks and set(intensity.landmarks) != set(preparation.phases):
        yield "`landmarks` are needed for every phase, and for nothing else"
    for name, scale in intensity.landmarks.items():
        if len(scale) != len(LANDMARKS) or list(scale) != sorted(set(scale)):
            yield f"`landmarks` of '{name}' are {len(LANDMARKS)} rising numbers"


def _unknown_regions(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if name not in REGIONS and name not in RINGS:
            hint = nearest(name, (*REGIONS, *RINGS))
            yield f"region {name!r} is neither tumour nor liver nor a ring such as peritumour-10mm{hint}"


def _unbinned(preparation: Preparation) -> Iterator[str]:
    used = {"phase": preparation.phases, "subtraction": preparation.subtractions}
    for name, images in used.items():
        if images and getattr(preparation.intensity, name).bin_width is None:
            yield f"`bin_width` of `intensity.{name}` is needed for features"
