"""client/images/masks: what all formats of masks have in common: names of regions, identifiers, and errors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from client.images.case import Acquisition, MaskSource
from client.images.reading.slices import image_problem
from client.images.region_words import REGION_WORDS, region_called, region_in
from common.errors import FedmviError

LISTED = 12
"""As many segments are listed in an error."""


@dataclass(frozen=True)
class MaskFile:
    """Which mask of whom is read, for errors.

    Attributes
    ----------
    patient
        Id.
    source
        The mask.
    """

    patient: str
    source: MaskSource

    def refused(self, number: int, detail: str) -> FedmviError:
        """The error of this file; its local text names patient and path."""
        return image_problem(number, self.patient, self.source.path, detail)


@dataclass(frozen=True)
class Segment:
    """One region that a file holds.

    Attributes
    ----------
    number
        Number in the file: of a segment or contour, or the label of a label map.
    label
        What a person called it; "" where a file has no names.
    kind
        What it is by its coded property type; "" where it says nothing.
    """

    number: int
    label: str = ""
    kind: str = ""

    def __str__(self) -> str:
        named = f" '{self.label}'" if self.label else ""
        return f"{self.number}{named}" + (f" ({self.kind})" if self.kind else "")


def choose(file: MaskFile, segments: Sequence[Segment]) -> int:
    """Which of a file's segments is meant.

    `segment` of the source is a label, or else a number. Without it, it is the only segment, unless that is called as
    another region is; of several it is the one labelled like the region, else by a synonym, else of such a kind.

    Returns
    -------
    int
        Its place in `segments`.

    Raises
    ------
    FedmviError
        342 there is none, it is another region, or several are meant; with all that the file holds.
    """
    held = "; the file holds " + (", ".join(map(str, segments[:LISTED])) or "none")
    held += f" and {len(segments) - LISTED} more" if len(segments) > LISTED else ""
    wanted, region = file.source.segment.strip(), file.source.region
    if wanted:
        found = [at for at, one in enumerate(segments) if one.label.strip().casefold() == wanted.casefold()]
        if not found and wanted.isdecimal():
            found = [at for at, one in enumerate(segments) if one.number == int(wanted)]
        named = f"segment '{wanted}'"
    elif len(segments) == 1:
        if _is_other(segments[0], region):
            raise file.refused(342, f"its only segment is not called '{region}'{held}")
        return 0
    else:
        found = _called(segments, region)
        named = f"a segment called '{region}'"
    if len(found) == 1:
        return found[0]
    raise file.refused(342, f"{named} is there {len(found)} times{held}" if found else f"{named} is missing{held}")


def _called(segments: Sequence[Segment], region: str) -> list[int]:
    """Places of segments of a region by the surest sign that any of them bears."""
    signs = (
        [one.label.strip().casefold() == region.casefold() for one in segments],
        [region_called(one.label) == region for one in segments],
        [region_called(one.kind) == region for one in segments],
    )
    for matches in signs:
        if any(matches):
            return [at for at, match in enumerate(matches) if match]
    return []


def _is_other(segment: Segment, region: str) -> bool:
    if segment.label.strip().casefold() == region.casefold():
        return False
    # A region that is not in the table may be a part of one that is, as `liver cyst`.
    told = region_in if region in REGION_WORDS else region_called
    return (told(segment.label) or told(segment.kind)) not in ("", region)


def check_belongs(
    file: MaskFile,
    about: Acquisition,
    *,
    frames_of_reference: Collection[str],
    series: Collection[str],
    instances: Collection[str],
) -> None:
    """Hold the identifiers that a mask refers to against those of its image, where both have them.

    A frame of reference of its own is forgiven where the mask names the image's series or slices, since common writers
    of structure sets make one up.

    Parameters
    ----------
    file
        For errors.
    about
        The image's headers.
    frames_of_reference, series, instances
        Unique identifiers to which the mask refers; empty where it does not.

    Raises
    ------
    FedmviError
        343 with both identifiers.
    """
    if about.series and series and about.series not in series:
        raise file.refused(343, f"refers to series {_some(series)}, but the image is series {about.series}")
    if about.instances and instances and not set(about.instances) & set(instances):
        raise file.refused(
            343, f"refers to slices ({_some(instances)}) of which the image of series {about.series} has none"
        )
    shares = (about.series and about.series in series) or set(about.instances) & set(instances)
    own = about.frame_of_reference
    if own and frames_of_reference and own not in frames_of_reference and not shares:
        raise file.refused(343, f"its frame of reference is {_some(frames_of_reference)}, the image's {own}")


def _some(identifiers: Collection[str]) -> str:
    first = sorted(identifiers)
    return first[0] if len(first) == 1 else f"{first[0]} and {len(first) - 1} more"
