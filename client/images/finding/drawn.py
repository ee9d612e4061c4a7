"""client/images/finding: masks in NIfTI or NRRD beside DICOM: whose they are and what they show, as names tell it.

Such files have no headers that name a patient or a series. Their voxels are not read here; whether a mask lies on its
image is seen by `fedmvi-site check`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.images.finding.manifest import KNOWN_PHASES, Line
from client.images.finding.mask_objects import Outlined, outlined, reader_in
from client.images.finding.names import mask_named, stem
from client.images.masks.masks import named_segments
from client.images.region_words import region_called, region_in

_LOOK = "it has no headers: look, fill in what is missing, and set `use` to yes"


@dataclass(frozen=True)
class DrawnFile:
    """A file in NIfTI or NRRD.

    Attributes
    ----------
    path
        The file.
    beside
        PatientIDs of the nearest images: in its folder and those below, else in the folder above, and so on.
    outlined
        What it holds, where its segments have names.
    """

    path: Path
    beside: frozenset[str]
    outlined: tuple[Outlined, ...]


def is_drawn(path: Path) -> bool:
    """Whether a file is NIfTI or NRRD by its name."""
    return path.name.lower().endswith((".nii", ".nii.gz", ".nrrd"))


def read_drawn(path: Path, homes: Mapping[Path, set[str]]) -> DrawnFile:
    """What can be told of a file by itself.

    Parameters
    ----------
    path
        The file.
    homes
        Folders of images, with the PatientIDs of these.

    Raises
    ------
    FedmviError
        340 where an NRRD has no readable header.
    """
    segments = named_segments(path, path.parent.name) if path.suffix.lower() == ".nrrd" else []
    beside: frozenset[str] = frozenset()
    for place in path.parents:
        near = [patients for home, patients in homes.items() if home.is_relative_to(place)]
        if near:
            beside = frozenset().union(*near)
            break
    return DrawnFile(path, beside, tuple(outlined([(str(one.number), one.label, "") for one in segments])))


def owner_of(file: DrawnFile, root: Path, names: Mapping[str, str]) -> str:
    """Whose a file is: the patient after whom a folder is called, else the only one of the nearest images.

    Parameters
    ----------
    file
        The file.
    root
        The export, in which folders are looked at.
    names
        The id of every patient of the export, by PatientID.

    Returns
    -------
    str
        The id; "" where it is nobody's or may be that of several.
    """
    known = {name: name for name in names.values()} | dict(names)
    folders = {known[part] for part in file.path.relative_to(root).parts[:-1] if known.get(part)}
    owners = folders or {names.get(patient, "") for patient in file.beside}
    return owners.pop() if len(owners) == 1 else ""


def drawn_lines(file: DrawnFile, patient: str, path: str) -> list[Line]:
    """The rows of a file: in use where its name is one of the convention and its region is known.

    Parameters
    ----------
    file, patient
        The file, and whose it is.
    path
        As the manifest has it.
    """
    words, named = stem(file.path), mask_named(file.path)
    if words in KNOWN_PHASES:
        why = f"an image by its name; {_LOOK}"
        return [Line(patient_id=patient, kind="image", phase=words, path=path, use="no", why=why)]
    region = region_called(named.region) if named else ""
    if named and region:
        why = f"called {words}" + ("" if named.phase else ": drawn on the study's reference phase")
        return [Line(patient_id=patient, kind="mask", phase=named.phase, region=region, reader=named.reader, path=path,
                     use="yes", why=why)]  # fmt: skip
    phases = {word for word in re.split(r"[^a-z0-9-]+", words) if word in KNOWN_PHASES}
    phase = phases.pop() if len(phases) == 1 else ""
    held = file.outlined or (Outlined("", region_in(words), only=True),)
    return [
        Line(patient_id=patient, kind="mask", phase=phase, region=one.region, reader=reader_in(words), path=path,
             segment="" if one.only else one.label, use="no", why=_why(one))
        for one in held
    ]  # fmt: skip


def _why(one: Outlined) -> str:
    segment = f"segment '{one.label}': " if one.label else ""
    return segment + _LOOK if one.region else f"{segment}no name tells a region that is known; {_LOOK}"
