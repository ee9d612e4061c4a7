"""client/images/finding: what the headers of one volume say that may tell its phase."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta

import numpy as np
from pydicom.dataset import Dataset

from client.images.finding.phase_words import NO_AGENT, ORAL, normal
from client.images.reading.slices import (
    DAY_S,
    acquired,
    after_injection,
    agent_in,
    b_value,
    number,
    numbers,
    read_moment,
    route_in,
    text,
)

_GAUSS = 10_000.0


@dataclass(frozen=True)
class Facts:
    """One volume as its headers describe it; "" and None where they do not.

    Attributes
    ----------
    study, series
        Unique identifiers.
    modality
        As DICOM has it: CT, MR, ...
    description, protocol
        Series Description and Protocol Name.
    image_type
        Values of Image Type, in capitals.
    slices
        How many.
    axial
        Whether the slices lie across the body.
    agent
        Contrast agent as written.
    enhanced
        True where an agent is named, False where the headers say that none was given, None where they say nothing.
    acquired
        When.
    seconds
        Since the start of the injection, from Contrast/Bolus Start Time.
    scanning
        Values of Scanning Sequence, in capitals.
    echo_ms, repetition_ms, tesla, b_value, thickness_mm
        Numbers of the headers.
    kernel, manufacturer
        As written.
    point, points
        Which of how many volumes of its series that differ in time; 1 of 1 where there is one.
    """

    study: str = ""
    series: str = ""
    modality: str = ""
    description: str = ""
    protocol: str = ""
    image_type: tuple[str, ...] = ()
    slices: int = 0
    axial: bool = True
    agent: str = ""
    enhanced: bool | None = None
    acquired: datetime | None = None
    seconds: float | None = None
    scanning: tuple[str, ...] = ()
    echo_ms: float | None = None
    repetition_ms: float | None = None
    tesla: float | None = None
    b_value: float | None = None
    thickness_mm: float | None = None
    kernel: str = ""
    manufacturer: str = ""
    point: int = 1
    points: int = 1


def facts_of(
    header: Dataset, slices: int, *, when: str = "", later_s: float = 0.0, point: int = 1, points: int = 1
) -> Facts:
    """Gather the facts of a volume.

    Parameters
    ----------
    header
        Of its first slice; of a frame laid flat where it is of a multi-frame file.
    slices
        How many it has.
    when
        Moment of its acquisition, `YYYYMMDDHHMMSS.ffffff`; "" to take it from the header.
    later_s
        Seconds that Trigger Time adds, where the time points of a series bear one moment.
    point, points
        Which of how many time points of its series.
    """
    moment = read_moment(when or acquired(header))
    if moment is not None and 0 < later_s < DAY_S and moment.year < MAXYEAR:
        moment += timedelta(seconds=later_s)
    agent = agent_in(header)
    tesla = number(header, "MagneticFieldStrength")
    return Facts(
        study=text(header, "StudyInstanceUID"),
        series=text(header, "SeriesInstanceUID"),
        modality=text(header, "Modality").upper(),
        description=text(header, "SeriesDescription"),
        protocol=text(header, "ProtocolName"),
        image_type=tuple(part for part in text(header, "ImageType").upper().split("\\") if part),
        slices=slices,
        axial=_axial(header),
        agent=agent,
        enhanced=was_given(agent, route_in(header)),
        acquired=moment,
        seconds=after_injection(header, moment),
        scanning=tuple(part for part in text(header, "ScanningSequence").upper().split("\\") if part),
        echo_ms=number(header, "EchoTime") or None,
        repetition_ms=number(header, "RepetitionTime") or None,
        # Old scanners write gauss.
        tesla=tesla / _GAUSS if tesla is not None and tesla > 100 else tesla,
        b_value=b_value(header),
        thickness_mm=number(header, "SliceThickness"),
        kernel=text(header, "ConvolutionKernel"),
        manufacturer=text(header, "Manufacturer"),
        point=point,
        points=points,
    )


def was_given(agent: str, route: str = "") -> bool | None:
    """Whether contrast was given into a vein, by the agent's name and route; None where they do not say.

    What was drunk does not count.
    """
    written = normal(agent.casefold())
    if not written or ORAL.match(written):
        return None
    if NO_AGENT.match(written):
        return False
    by_mouth = re.search(r"\b(oral|rectal|po)\b", normal(route)) and "iv" not in normal(route)
    return None if by_mouth else True


def _axial(header: Dataset) -> bool:
    cosines = numbers(header, "ImageOrientationPatient")
    if len(cosines) != 6:
        return True
    normal_direction = np.cross(cosines[:3], cosines[3:])
    return bool(abs(normal_direction[2]) == np.abs(normal_direction).max())
