"""client/images: which files are a patient's images and masks, before and after they are read.

Images in memory are SimpleITK's: voxels with spacing, origin and direction in DICOM's patient coordinates (x to the
left, y to the back, z to the head, in mm). CT is HU, int16 wherever that loses nothing; everything else is float32.
Masks are uint8 of 0 and 1 on the grid of the image that they were drawn on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813


_OF_WINDOWS = frozenset({"thumbs.db", "desktop.ini"})


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system leaves where somebody looked: it is nobody's image."""
    return name.startswith(".") or name.lower() in _OF_WINDOWS


@dataclass(frozen=True)
class ImageSource:
    """Where the image of one phase is.

    Attributes
    ----------
    phase
        Name of the phase, as the protocol writes it.
    path
        A NIfTI, NRRD or multi-frame DICOM file, or a folder of DICOM files.
    series
        SeriesInstanceUID, where the folder holds several series; "" for the only one.
    volume
        Which of several volumes of a series (time points, b-values), from 1; 0 where there is one.
    seconds, agent, tesla, vendor, b_value
        What the manifest says of how it was made: seconds between the injection of contrast and the image, contrast
        agent, field strength, manufacturer, and diffusion weighting in s/mm²; None or "" where it says nothing.
    """

    phase: str
    path: Path
    series: str = ""
    volume: int = 0
    seconds: float | None = None
    agent: str = ""
    tesla: float | None = None
    vendor: str = ""
    b_value: float | None = None

    def described(self, about: Acquisition) -> Acquisition:
        """What headers say, with what the manifest says in its stead: a person's word, and NIfTI has no headers."""
        return replace(
            about,
            seconds=about.seconds if self.seconds is None else self.seconds,
            agent=self.agent or about.agent,
            tesla=self.tesla or about.tesla,
            manufacturer=self.vendor or about.manufacturer,
            b_value=about.b_value if self.b_value is None else self.b_value,
        )


@dataclass(frozen=True)
class MaskSource:
    """Where one mask is.

    Attributes
    ----------
    region
        `tumour`, `liver`, or another outlined region such as `vessels`.
    reader
        1 for the first reader.
    phase
        The phase it was drawn on.
    path
        NIfTI, NRRD, DICOM SEG or RTSTRUCT.
    segment
        Label of the segment or contour in the file; "" for the only one, or the one called like the region.
    """

    region: str
    reader: int
    phase: str
    path: Path
    segment: str = ""


@dataclass(frozen=True)
class Case:
    """One patient's files.

    Attributes
    ----------
    patient
        Id, as in the table.
    images
        By phase, in the protocol's order.
    masks
        All masks.
    """

    patient: str
    images: Mapping[str, ImageSource]
    masks: tuple[MaskSource, ...] = ()


@dataclass(frozen=True)
class Acquisition:
    """What headers say of how an image was made; "" and None where they do not (NIfTI says nothing).

    What the manifest says of it goes before them.

    Attributes
    ----------
    series, frame_of_reference
        Unique identifiers.
    instances
        SOPInstanceUIDs of the slices, in the order of the image's z axis.
    acquired
        Date and time of the acquisition, as `YYYYMMDDHHMMSS.ffffff`.
    manufacturer, model, kernel, description, agent
        As the headers write them.
    tesla, b_value, repetition_ms, echo_ms
        MR.
    kilovolt
        CT.
    seconds
        From the start of the injection of contrast to the acquisition.
    """

    series: str = ""
    frame_of_reference: str = ""
    instances: tuple[str, ...] = ()
    acquired: str = ""
    manufacturer: str = ""
    model: str = ""
    kernel: str = ""
    description: str = ""
    agent: str = ""
    tesla: float | None = None
    b_value: float | None = None
    repetition_ms: float | None = None
    echo_ms: float | None = None
    kilovolt: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ReadImage:
    """An image and what its headers say."""

    image: sitk.Image
    about: Acquisition = field(default_factory=Acquisition)


MaskKey = tuple[str, int, str]
"""Region, reader, phase."""


@dataclass(frozen=True)
class Scan:
    """A patient's images and masks in memory.

    Attributes
    ----------
    patient
        Id.
    images
        By phase.
    masks
        Each on the grid of its phase's image, see `MaskKey`.
    """

    patient: str
    images: Mapping[str, ReadImage]
    masks: Mapping[MaskKey, sitk.Image]

    def mask(self, region: str, phase: str, reader: int = 1) -> sitk.Image | None:
        """The mask of a region on a phase, where there is one."""
        return self.masks.get((region, reader, phase))
