"""client/images/reading: one DICOM slice as its header describes it, before its pixels are read."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from common.errors import FedmviError

# pydicom warns of every value that is not as the standard has it; those that matter are checked here.
config.settings.reading_validation_mode = config.IGNORE

BAD_BYTES = (
    ArithmeticError, AssertionError, AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError,
    NotImplementedError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom and its decoders raise on bytes that are not what the standard says: it parses values when they are
asked for, lets whatever the conversion raises through, and unpacks files that are compressed as a whole."""

NO_DATE = "00010101"
"""The day of an image whose headers hold a time and no date, as de-identification often leaves them."""

DAY_S = 86_400.0

Fact = str | float
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice, or a frame of a multi-frame file.

    Attributes
    ----------
    path, frame
        Its file, and the frame in it from 0; None for a file of one slice.
    instance
        SOPInstanceUID of the file.
    number
        Instance Number, for messages only: scanners number by time, place or not at all.
    position
        Centre of the first voxel in mm; None where the header has none.
    row, column
        Directions in which the column index and the row index grow; unit vectors.
    size, spacing
        Rows and columns; distance of rows and of columns in mm.
    thickness
        Spacing Between Slices, else Slice Thickness, in mm; 0 where neither is given.
    slope, intercept
        From stored to real values.
    facts
        What may tell volumes of one series apart, by DICOM keyword; see `fact_names`.
    acquired
        `YYYYMMDDHHMMSS.ffffff`; "" where the header has no time.
    """

    path: Path
    frame: int | None
    instance: str
    number: int
    position: Triple | None
    row: Triple
    column: Triple
    size: tuple[int, int]
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float
    facts: Mapping[str, Fact]
    acquired: str

    @property
    def label(self) -> str:
        """How a message names it."""
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame + 1}"


def image_problem(number: int, patient: str, path: Path, what: str) -> FedmviError:
    """An error of an image: the patient and the path come first, for the machine that it happened on."""
    return FedmviError(number, f"{patient}: {path}: {what}")


def text(header: Dataset, keyword: str) -> str:
    r"""An attribute as text, its values joined by `\`; "" where it is absent or cannot be read."""
    try:
        value = header.get(keyword)
        several = not isinstance(value, str | bytes) and hasattr(value, "__iter__")
        return "\\".join(str(v) for v in value).strip() if several else str(value if value is not None else "").strip()
    except BAD_BYTES:
        return ""


def numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    """An attribute's finite numbers; empty where it is absent, or one of them is not a finite number."""
    try:
        value: Any = header.get(keyword)
        values = value if not isinstance(value, str | bytes) and hasattr(value, "__iter__") else [value]
        found = tuple(float(v) for v in values if v is not None and v != "")
    except BAD_BYTES:
        return ()
    return found if all(math.isfinite(v) for v in found) else ()


def number(header: Dataset, keyword: str) -> float | None:
    """The first of an attribute's numbers; None as `numbers` is empty."""
    found = numbers(header, keyword)
    return found[0] if found else None


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent or cannot be read."""
    try:
        return list(header.get(keyword) or ())
    except BAD_BYTES:
        return []


def agent_in(header: Dataset) -> str:
    r"""The contrast agents: their name, or the meanings of their codes, as enhanced objects have them, joined by `\`.

    "NONE" for a frame that is from before the injection of what the file names.
    """
    if text(header, "ContrastBolusAgentAdministered").upper() == "NO":
        return "NONE"
    if named := text(header, "ContrastBolusAgent"):
        return named
    return "\\".join(filter(None, (text(item, "CodeMeaning") for item in items(header, "ContrastBolusAgentSequence"))))


def route_in(header: Dataset) -> str:
    """How contrast was given: its route, or the meanings of the routes' codes."""
    if named := text(header, "ContrastBolusRoute"):
        return named
    agents = items(header, "ContrastBolusAgentSequence")
    coded = (one for agent in agents for one in items(agent, "ContrastBolusAdministrationRouteSequence"))
    return "\\".join(filter(None, (text(one, "CodeMeaning") for one in coded)))


def slice_of(header: Dataset, path: Path, frame: int | None, patient: str) -> Slice:
    """Take from a header what places the slice and tells it from others.

    Parameters
    ----------
    header
        Of one slice; of a multi-frame file, `multiframe.frame_header`'s.
    path, frame, patient
        Where it is from.

    Raises
    ------
    FedmviError
        330 without a usable size or rescaling, 334 with a position, orientation or pixel width that is none.
    """
    rows, columns = (int(number(header, name) or 0) for name in ("Rows", "Columns"))
    if rows < 1 or columns < 1:
        raise image_problem(330, patient, path, "the header has no Rows and Columns; the file is damaged")
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if slope == 0 or (slope is None and text(header, "RescaleSlope")):
        raise image_problem(330, patient, path, f"Rescale Slope is {text(header, 'RescaleSlope')!r}")
    position, axes, spacing = _placed(header, path, patient)
    return Slice(
        path=path,
        frame=frame,
        instance=text(header, "SOPInstanceUID"),
        number=int(number(header, "InstanceNumber") or 0),
        position=position,
        row=axes[0],
        column=axes[1],
        size=(rows, columns),
        spacing=spacing,
        thickness=abs(number(header, "SpacingBetweenSlices") or number(header, "SliceThickness") or 0.0),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        facts=_facts(header),
        acquired=acquired(header),
    )


def _placed(
    header: Dataset, path: Path, patient: str
) -> tuple[Triple | None, tuple[Triple, Triple], tuple[float, float]]:
    """Position, directions of rows and columns, and pixel width (PS3.3 C.7.6.2)."""
    position = numbers(header, "ImagePositionPatient")
    cosines = numbers(header, "ImageOrientationPatient")
    spacing = numbers(header, "PixelSpacing")
    if not position and not cosines:
        return None, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), (1.0, 1.0)
    if len(position) != 3 or len(cosines) != 6 or len(spacing) != 2 or min(spacing) <= 0:
        what = f"Image Position {position}, Image Orientation {cosines}, Pixel Spacing {spacing}"
        raise image_problem(334, patient, path, f"the header does not say where the slice lies: {what}")
    row, column = cosines[:3], cosines[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    # Cosines of three decimals are common; whatever is further off is no pair of directions.
    if any(abs(length - 1) > 2e-3 for length in lengths) or abs(
        sum(a * b for a, b in zip(row, column, strict=True))
    ) > (2e-3):
        raise image_problem(334, patient, path, f"Image Orientation {cosines} are not two right-angled directions")
    return _triple(position), (_triple(row, lengths[0]), _triple(column, lengths[1])), (spacing[0], spacing[1])


def _triple(values: tuple[float, ...], over: float = 1.0) -> Triple:
    return values[0] / over, values[1] / over, values[2] / over


_NUMBERS = (
    "DiffusionBValue", "EchoTime", "InversionTime", "FlipAngle", "KVP", "TemporalPositionIdentifier",
    "AcquisitionNumber", "TriggerTime",
)  # fmt: skip
_TEXTS = ("ImageType", "StackID", "DiffusionGradientOrientation", "DimensionIndexValues")
TIMES = ("AcquisitionTime", "ContentTime")
"""Facts that are moments, `YYYYMMDDHHMMSS.ffffff`."""


def fact_names() -> tuple[str, ...]:
    """What may tell volumes apart, the most telling first: contrast mechanisms, then time, then what is left."""
    return ("DiffusionBValue", "EchoTime", "InversionTime", "KVP", "ImageType", "TemporalPositionIdentifier",
            "AcquisitionNumber", "TriggerTime", *TIMES, "FlipAngle", "StackID", "DiffusionGradientOrientation",
            "DimensionIndexValues")  # fmt: skip


def _facts(header: Dataset) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for name in _NUMBERS:
        value = b_value(header) if name == "DiffusionBValue" else number(header, name)
        if value is not None:
            facts[name] = value
    for name in _TEXTS:
        if found := text(header, name):
            facts[name] = found
    for name in TIMES:
        if found := _moment(header, name):
            facts[name] = found
    return facts


def acquired(header: Dataset) -> str:
    """When the slice was acquired, from the most direct attribute that the header has; "" where it has none."""
    for name in ("FrameAcquisitionDateTime", "AcquisitionDateTime"):
        if found := _date_time(text(header, name)):
            return found
    for name in ("AcquisitionTime", "ContentTime", "SeriesTime"):
        if found := _moment(header, name):
            return found
    return ""


def _moment(header: Dataset, name: str) -> str:
    """Date and time of an attribute such as AcquisitionTime, its day from its own date or the series' or study's."""
    time = text(header, name)
    if not time:
        return ""
    dates = (text(header, day) for day in (name.replace("Time", "Date"), "SeriesDate", "StudyDate"))
    return _date_time((next((day for day in dates if day), "") or NO_DATE) + time)


def _date_time(written: str) -> str:
    """DICOM's DT, or DA and TM joined, as `YYYYMMDDHHMMSS.ffffff`; the dots and colons of old files are dropped."""
    found = re.fullmatch(
        r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?(?:[+-]\d{4})?", written
    )
    if not found:
        return ""
    *whole, fraction = (part or "0" for part in found.groups())
    year, month, day, hour, minute, second = (int(part) for part in whole)
    try:
        moment = datetime(year, month, day, hour, minute, second, int(f"{fraction:0<6}"))
    except ValueError:
        return ""
    return f"{moment.year:04d}{moment:%m%d%H%M%S.%f}"


def read_moment(written: str) -> datetime | None:
    """A moment as `acquired` writes it; None for "" and for what is none."""
    try:
        return datetime.strptime(written, "%Y%m%d%H%M%S.%f") if written else None
    except ValueError:
        return None


def after_injection(header: Dataset, moment: datetime | None) -> float | None:
    """Seconds from Contrast/Bolus Start Time, which has no date of its own, to the acquisition; None without both."""
    started = re.match(r"(\d{2}):?(\d{2}):?(\d{2}(?:\.\d{1,6})?)", text(header, "ContrastBolusStartTime"))
    if moment is None or not started:
        return None
    hours, minutes, seconds = (float(part) for part in started.groups())
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    later = (moment - midnight).total_seconds() - (3600 * hours + 60 * minutes + seconds)
    # Over midnight the shorter way round is meant.
    return round((later + DAY_S / 2) % DAY_S - DAY_S / 2, 3)


_PRIVATE_B_VALUES = {
    "siemens": (0x0019, 0x100C),
    "ge": (0x0043, 0x1039),
    "philips": (0x2001, 0x1003),
    "uih": (0x0065, 0x1009),
}
"""Where vendors write the b-value, from their published DICOM conformance statements."""


def b_value(header: Dataset) -> float | None:
    """The diffusion weighting in s/mm²: DICOM's attribute, else the vendor's own; None where neither is there.

    GE adds multiples of 10⁹ as a flag, which are taken off.
    """
    value = number(header, "DiffusionBValue")
    if value is not None:
        return value
    maker = text(header, "Manufacturer").lower()
    for vendor, tag in _PRIVATE_B_VALUES.items():
        if maker.startswith(vendor) and tag in header:
            return _private_number(header, tag)
    return None


def _private_number(header: Dataset, tag: tuple[int, int]) -> float | None:
    """The first number of a private element, whose bytes are untyped where its dictionary is not known."""
    try:
        value: Any = header[tag].value
        if isinstance(value, bytes):
            if len(value) in (4, 8) and not re.fullmatch(rb"[\d .\\+-]+\x00?", value):
                value = struct.unpack("<f" if len(value) == 4 else "<d", value)[0]
            else:
                value = value.rstrip(b"\0 ").split(b"\\")[0].decode("ascii")
        elif not isinstance(value, str) and hasattr(value, "__iter__"):
            value = next(iter(value))
        found = float(value)
    except (*BAD_BYTES, StopIteration):
        return None
    return found % 1e9 if math.isfinite(found) else None
