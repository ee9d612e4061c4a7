"""client/images/finding: `fedmvi-site discover`: a PACS export of any nesting as a manifest to correct."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from client.cohort.problems import worst_first
from client.images.case import is_litter
from client.images.finding.drawn import DrawnFile, drawn_lines, is_drawn, owner_of, read_drawn
from client.images.finding.facts import Facts, facts_of
from client.images.finding.manifest import Line
from client.images.finding.mask_objects import MaskObject, Outlined, read_mask_object
from client.images.finding.proposals import Candidate, Proposal, propose
from client.images.reading.series import FoundSeries, find_series, read_header
from client.images.reading.slices import text
from client.images.reading.volumes import FoundVolume
from common.errors import FedmviError, Severity
from common.errors.unforeseen import failed_on
from common.parallel import in_processes

Progress = Callable[[int, int, str], None]
"""Folders done, of how many, and the last of them."""

_MOMENTS = frozenset({"TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "AcquisitionTime",
                      "ContentTime"})  # fmt: skip
"""What tells the time points of one series apart."""

_NOT_UTF8 = "its path is not UTF-8, and no table can hold it"
_LISTED = 5
_MANY = 32
"""From so many folders on it is worth the seconds that other processes take to start."""

SeriesVolume = tuple[str, int]
"""SeriesInstanceUID, and which volume of it from 0."""


@dataclass(frozen=True)
class Discovered:
    """What an export holds.

    Attributes
    ----------
    lines
        A row for every volume and every outlined region.
    undecided
        Rows of volumes whose phase is not known.
    problems
        Worst first: what cannot be read, and 353 for each volume or mask that a person must look at.
    """

    lines: tuple[Line, ...]
    undecided: tuple[Line, ...]
    problems: tuple[FedmviError, ...]


@dataclass
class _Part:
    """What one folder holds: volumes with their PatientID and key, the volume of every slice, and masks."""

    folder: Path
    volumes: list[tuple[str, SeriesVolume, Candidate]] = field(default_factory=list)
    instances: dict[str, SeriesVolume] = field(default_factory=dict)
    masks: list[MaskObject] = field(default_factory=list)
    drawn: list[DrawnFile] = field(default_factory=list)
    problems: list[FedmviError] = field(default_factory=list)


class _Export:
    """What all folders hold together."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self.candidates: dict[str, list[tuple[SeriesVolume, Candidate]]] = defaultdict(list)
        self.folders: dict[str, set[str]] = defaultdict(set)
        self.instances: dict[str, SeriesVolume] = {}
        for part in parts:
            self.instances.update(part.instances)
            for patient, key, candidate in part.volumes:
                self.candidates[patient].append((key, candidate))
                self.folders[key[0]].add(str(part.folder))
        self.masks = [mask for part in parts for mask in part.masks]
        self.drawn = [file for part in parts for file in part.drawn]
        self.problems = [problem for part in parts for problem in part.problems]


def discover(
    folder: Path,
    base: Path,
    *,
    ids: Mapping[str, str] | None = None,
    workers: int | None = 1,
    progress: Progress | None = None,
) -> Discovered:
    """Propose a row for every volume and mask of an export.

    Volumes are grouped by PatientID and Study Instance UID wherever their files lie. Localizers and pictures of
    screens are no volumes and get no row.

    Parameters
    ----------
    folder
        The export; read, never changed.
    base
        Folder from which paths in the manifest go; what lies elsewhere gets an absolute path.
    ids
        Ids of the table of patients by PatientID, where they are others.
    workers
        Processes; as many as there are processors where None.
    progress
        Told after every folder.

    Raises
    ------
    FedmviError
        330 where the folder cannot be read, 388 where it is not there.
    """
    folders = _parts(folder)
    parts = []
    for part in in_processes(_gather, [(one, base) for one in folders], workers if len(folders) >= _MANY else 1):
        parts.append(part)
        if progress:
            progress(len(parts), len(folders), part.folder.name)
    return _proposed(_Export(parts), folder, base, ids or {})


def _parts(folder: Path) -> list[Path]:
    """Folders to look through one after the other: those below the first that branches, unless images lie beside."""
    if not folder.is_dir():
        raise FedmviError(388, f"{folder}: this is a file; name its folder" if folder.exists() else
                          f"{folder}: there is no such folder")  # fmt: skip
    try:
        entries = sorted(path for path in folder.iterdir() if not is_litter(path.name))
    except OSError as error:
        raise FedmviError(330, f"{folder}: {error.strerror}") from error
    folders = [path for path in entries if path.is_dir()]
    if any(_is_image(path) for path in entries if not path.is_dir()) or not folders:
        return [folder]
    masks = [path for path in entries if not path.is_dir()]
    return (_parts(folders[0]) if len(folders) == 1 else folders) + masks


def _is_image(path: Path) -> bool:
    try:
        return read_header(path, path.name) is not None
    except FedmviError:
        return False


def _gather(task: tuple[Path, Path]) -> _Part:
    """What one folder holds (in a process of its own); the other path is the manifest's base."""
    folder, base = task
    part = _Part(folder)
    found: list[FoundSeries] = []
    with _kept(part.problems, folder.name):
        found = find_series(folder, folder.name)
    part.problems += [series.problem for series in found if series.problem]
    usable = [series for series in found if series.volumes]
    known = {path for series in usable for volume in series.volumes for path in volume.files}
    # A series that could not be sorted has no files here, and may lie in any of these folders.
    unclear = any(series.uid and series.problem for series in found)
    homes = [{path.parent for volume in series.volumes for path in volume.files} for series in usable]
    for number, series in enumerate(usable):
        place = _place(series)
        others = set().union(*homes[:number], *homes[number + 1 :])
        alone = not unclear and not any(home.is_relative_to(place) for home in others)
        with _kept(part.problems, folder.name):
            _add_volumes(series, place, alone, base, part)
    images = _homes(usable)
    for path in _files(folder):
        if path in known:
            continue
        with _kept(part.problems, folder.name):
            if is_drawn(path):
                part.drawn.append(read_drawn(path, images))
            else:
                mask = read_mask_object(path, folder.name)
                part.masks += [mask] if mask else []
    return part


def _homes(found: Sequence[FoundSeries]) -> dict[Path, set[str]]:
    """Folders of slices, with the PatientIDs of these."""
    homes: dict[Path, set[str]] = defaultdict(set)
    for volume in (volume for series in found for volume in series.volumes):
        for path in volume.files:
            homes[path.parent].add(text(volume.header, "PatientID"))
    return homes


@contextmanager
def _kept(problems: list[FedmviError], whose: str) -> Iterator[None]:
    """What goes wrong with one folder, series, file or patient is told, and stops no other."""
    try:
        yield
    except FedmviError as problem:
        problems.append(problem)
    except MemoryError:
        problems.append(FedmviError(378, f"{whose}: too large for the memory"))
    except Exception as error:  # noqa: BLE001 - a fault of the program that one file meets must not stop the others
        problems.append(failed_on(whose, error))


def _add_volumes(series: FoundSeries, place: Path, alone: bool, base: Path, part: _Part) -> None:
    nameless = "" if alone or series.uid else "the series has no identifier, and others lie in its folder"
    points = _points(series)
    for at, volume in enumerate(series.volumes):
        facts = _facts(series, volume, points[at])
        candidate = Candidate(_line(series, at, place, base, facts, alone), facts, nameless)
        part.volumes.append((text(volume.header, "PatientID"), (series.uid, at), candidate))
        part.instances.update({one.instance: (series.uid, at) for one in volume.slices if one.instance})


def _files(part: Path) -> list[Path]:
    if not part.is_dir():
        return [part]
    return sorted(Path(place) / name for place, _, names in os.walk(part) for name in names if not is_litter(name))


def _place(series: FoundSeries) -> Path:
    """The multi-frame file, or the folder of all slices."""
    files = [path for volume in series.volumes for path in volume.files]
    if len(set(files)) == 1 and series.volumes[0].frames:
        return files[0]
    return Path(os.path.commonpath([path.parent for path in files]))


def _points(series: FoundSeries) -> list[tuple[int, int]]:
    """For every volume, which of how many time points of the series it is."""
    moments = [tuple((k, v) for k, v in volume.told_apart.items() if k in _MOMENTS) for volume in series.volumes]
    order = list(dict.fromkeys(moments))
    return [(order.index(moment) + 1, len(order)) for moment in moments]


def _facts(series: FoundSeries, volume: FoundVolume, point: tuple[int, int]) -> Facts:
    same = len({one.acquired for one in series.volumes}) == 1 and len(series.volumes) > 1
    triggers = [one.trigger_ms for one in series.volumes if one.trigger_ms is not None]
    later = (volume.trigger_ms - min(triggers)) / 1000 if same and volume.trigger_ms is not None else 0.0
    return facts_of(volume.header, len(volume.slices), when=volume.acquired, later_s=later, point=point[0],
                    points=point[1])  # fmt: skip


def _line(series: FoundSeries, at: int, place: Path, base: Path, facts: Facts, alone: bool) -> Line:
    """The row, as far as it does not depend on other volumes."""
    several = len(series.volumes) > 1
    tesla = facts.tesla if facts.tesla and 0 < facts.tesla <= 30 else None
    b_value = facts.b_value if facts.b_value is not None and facts.b_value >= 0 else None
    return Line(
        kind="image", path=written(place, base), series="" if alone else series.uid, volume=at + 1 if several else 0,
        b_value=b_value, agent=facts.agent, tesla=tesla, vendor=facts.manufacturer, use="no",
    )  # fmt: skip


def written(path: Path, base: Path) -> str:
    """A path as the manifest has it: from the base where it lies below it, else absolute."""
    absolute, root = path.absolute(), base.absolute()
    return str(absolute.relative_to(root) if absolute.is_relative_to(root) else absolute)


def _proposed(export: _Export, folder: Path, base: Path, ids: Mapping[str, str]) -> Discovered:
    lines: list[Line] = []
    problems = list(export.problems)
    undecided: list[Line] = []
    phases: dict[SeriesVolume, Line] = {}
    for patient, found in sorted(export.candidates.items()):
        name = ids.get(patient, patient)
        with _kept(problems, name or "no id"):
            proposals = propose([_of_patient(candidate, key, name, export) for key, candidate in found])
            for (key, _), proposal in zip(found, proposals, strict=True):
                phases[key] = proposal.line
                lines.append(proposal.line)
                undecided += [proposal.line] if proposal.decision.confidence == "unknown" else []
            problems += _to_look_at(name, proposals)
    masks = [line for mask in export.masks for line in _mask_lines(mask, export, phases, base, ids)]
    names = {patient: ids.get(patient, patient) for patient in export.candidates}
    owners = [(file, owner_of(file, folder, names)) for file in export.drawn]
    masks += [line for file, owner in owners if owner for line in _drawn_lines(file, owner, base)]
    masks = _without_rivals(masks)
    problems += _masks_to_look_at(masks)
    nobodys = [file.path for file, owner in owners if not owner]
    if nobodys and (lines or masks):
        what = "not in the manifest, since it cannot be told whose: no folder is called after a patient, and not one "
        what += "patient's images in DICOM alone lie nearest"
        local = f"{folder}: {len(nobodys)} file(s) in NIfTI or NRRD, such as {nobodys[0]}: {what}"
        problems.append(FedmviError(353, local, severity=Severity.WARNING))
    return Discovered((*lines, *masks), tuple(undecided), tuple(worst_first(problems)))


def _of_patient(candidate: Candidate, key: SeriesVolume, name: str, export: _Export) -> Candidate:
    """The candidate with the patient's id, and refused where that or the series is not whole."""
    refused = candidate.refused
    places = export.folders[key[0]]
    if not name:
        refused = "the headers have no PatientID"
    elif key[0] and len(places) > 1:
        refused = f"parts of the series lie in {' and '.join(sorted(places))}"
    elif not _writable(candidate.line.path):
        refused = _NOT_UTF8
    return Candidate(candidate.line.model_copy(update={"patient_id": name}), candidate.facts, refused)


def _writable(path: str) -> bool:
    """Whether the path is the same after it was written and read; names in other encodings are not."""
    return path.strip() == path and not any("\ud800" <= c <= "\udfff" or c in "\0\r\n" for c in path)


def _to_look_at(patient: str, proposals: Sequence[Proposal]) -> list[FedmviError]:
    """353 for volumes whose phase is not sure, unless the phase is in use from another volume."""
    used = {one.line.phase for one in proposals if one.line.use == "yes"}
    return [
        FedmviError(353, f"{patient}: {one.line.path}: {one.line.why}", severity=Severity.WARNING)
        for one in proposals
        if one.line.use == "no" and one.decision.confidence != "left-out" and one.line.phase not in used
    ]


def _masks_to_look_at(masks: Sequence[Line]) -> list[FedmviError]:
    """353 for every file with regions that are not in use; a note where others of the file are."""
    files: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for mask in masks:
        files[mask.patient_id, mask.path].append(mask)
    problems = []
    for (patient, path), lines in files.items():
        unused = [line.why for line in lines if line.use == "no"]
        if unused:
            severity = Severity.WARNING if len(unused) == len(lines) else Severity.NOTE
            more = f" and {len(unused) - _LISTED} more" if len(unused) > _LISTED else ""
            detail = f"{patient}: {path}: {'; '.join(unused[:_LISTED])}{more}"
            problems.append(FedmviError(353, detail, severity=severity))
    return problems


def _mask_lines(
    mask: MaskObject, export: _Export, phases: Mapping[SeriesVolume, Line], base: Path, ids: Mapping[str, str]
) -> list[Line]:
    """A row for every region of a mask object, on the phase of the volume that it refers to."""
    keys = {export.instances[one] for one in mask.instances if one in export.instances}
    if not keys:
        keys = {key for key in phases if key[0] in mask.series}
    images = [phases[key] for key in keys]
    phase = images[0].phase if len(images) == 1 else ""
    if not _writable(str(mask.path)):
        doubt = _NOT_UTF8
    elif len(images) == 1 and images[0].use == "yes":
        doubt = ""
    elif len(images) > 1:
        doubt = "it refers to several volumes"
    else:
        named = "the images that it names are not here" if mask.instances or mask.series else "it names no images"
        doubt = "the phase of its image is not settled" if images else named
    name = ids.get(mask.patient, mask.patient)
    return [_mask_line(mask, one, phase, doubt, name, written(mask.path, base)) for one in mask.outlined]


def _drawn_lines(file: DrawnFile, patient: str, base: Path) -> list[Line]:
    path = written(file.path, base)
    lines = drawn_lines(file, patient, path)
    if _writable(path):
        return lines
    return [line.model_copy(update={"use": "no", "why": _NOT_UTF8}) for line in lines]


def _mask_line(mask: MaskObject, one: Outlined, phase: str, doubt: str, patient: str, path: str) -> Line:
    why = doubt if one.region else "; ".join(filter(None, [doubt, "its label names no region that is known"]))
    use: Literal["yes", "no"] = "yes" if one.region and not doubt and patient else "no"
    return Line(
        patient_id=patient, kind="mask", phase=phase, region=one.region, reader=mask.reader, path=path,
        segment="" if one.only else one.label, use=use, why=f"segment '{one.label}'{': ' + why if why else ''}",
    )  # fmt: skip


def _without_rivals(masks: list[Line]) -> list[Line]:
    """Masks of one region, reader and phase of a patient exclude each other."""
    rivals = Counter((m.patient_id, m.phase, m.region, m.reader) for m in masks if m.use == "yes")
    kept = []
    for mask in masks:
        count = rivals[mask.patient_id, mask.phase, mask.region, mask.reader]
        if mask.use == "yes" and count > 1:
            why = f"{mask.why}: {count} masks are this region: choose, or set `reader`"
            kept.append(mask.model_copy(update={"use": "no", "why": why}))
        else:
            kept.append(mask)
    return kept
