"""client/images/reading: frames of Enhanced CT and MR, each with a header as a file of one slice has it.

Enhanced objects keep what differs between frames in functional groups (DICOM PS3.3 C.7.6.16). Laid out flat under the
names that single-slice objects use, they can be placed, split and sorted by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

_CLASSICAL = {
    "EffectiveEchoTime": "EchoTime",
    "FrameType": "ImageType",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "NominalCardiacTriggerDelayTime": "TriggerTime",
    "InversionTimes": "InversionTime",
}
"""Attributes of functional groups by the name that the same thing has in files of one slice."""

_PLACES = ("ImagePositionPatient", "InStackPositionNumber", "StackID")
"""Dimensions that say where a frame lies and not which volume it belongs to."""


def is_multiframe(header: Dataset) -> bool:
    """Whether the header has functional groups, one for each frame."""
    return "PerFrameFunctionalGroupsSequence" in header


def frame_headers(header: Dataset) -> Iterator[Dataset]:
    """The header of every frame, in the order of storage.

    Parameters
    ----------
    header
        Of the file, with its functional groups.

    Yields
    ------
    Dataset
        The file's attributes with the frame's laid over them. Datasets share their elements with `header`.

    Raises
    ------
    ValueError
        Where there are not as many groups as frames.
    """
    groups = header.PerFrameFunctionalGroupsSequence
    if int(header.get("NumberOfFrames") or 0) != len(groups):
        raise ValueError(f"{header.get('NumberOfFrames')} frames, but {len(groups)} headers of frames")
    common = Dataset()
    common.update({tag: header[tag] for tag in sorted(set(header.keys()) - {Tag(name) for name in GROUPS})})
    for shared in header.get(GROUPS[0]) or ():
        _lay_flat(common, shared)
    kept = _dimensions(header)
    for group in groups:
        frame = Dataset()
        frame.update(common)
        _lay_flat(frame, group)
        _keep_dimensions(frame, kept)
        yield frame


def _lay_flat(target: Dataset, groups: Dataset) -> None:
    """Put the attributes of every functional group into `target`, under classical names too."""
    for macro in groups:
        if macro.VR != "SQ" or not macro.value or macro.tag.is_private:
            continue
        item = macro.value[0]
        target.update({element.tag: element for element in item})
        for name, classical in _CLASSICAL.items():
            if name in item:
                setattr(target, classical, item[name].value)
        directions = item.get("DiffusionGradientDirectionSequence")
        if directions:
            target.update({element.tag: element for element in directions[0]})


def _dimensions(header: Dataset) -> tuple[int, ...] | None:
    """Which of a frame's dimension indexes tell volumes apart; None where dimensions are not described."""
    described = header.get("DimensionIndexSequence")
    if not described:
        return None
    places: set[BaseTag] = {Tag(name) for name in _PLACES}
    return tuple(i for i, item in enumerate(described) if item.get("DimensionIndexPointer") not in places)


def _keep_dimensions(frame: Dataset, kept: tuple[int, ...] | None) -> None:
    values = frame.get("DimensionIndexValues")
    if values is None:
        return
    indexes = list(values) if hasattr(values, "__iter__") else [values]
    if kept:
        frame.DimensionIndexValues = [indexes[i] for i in kept if i < len(indexes)]
    else:
        del frame.DimensionIndexValues
