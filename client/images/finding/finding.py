"""client/images/finding: which files are each patient's images and masks: from the manifest, or from names of files.

    images/<patient>/<phase>.nii.gz              or .nii, .nrrd, .dcm, or a folder <phase> of DICOM files
    masks/<patient>/[<phase>.]<region>[.reader2].nii.gz     or .nii, .nrrd, .dcm (SEG or RTSTRUCT)

Capitals do not matter in phases, regions and endings. A name that is not understood is told together with the
nearest one that is; nothing is guessed.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from client.cohort.problems import Place, worst_first
from client.cohort.site import Site
from client.images.case import Case, ImageSource, MaskSource, is_litter
from client.images.finding.manifest import KNOWN_PHASES, Line, bad_line, read_manifest
from client.images.finding.names import ENDINGS, mask_named, stem
from common.errors import FedmviError, Severity
from common.spelling import nearest
from common.study.preparation import REGIONS, Preparation

_LISTED = 5
_UNREADABLE = 330
_MISSING = frozenset({351, 352, 359})


@dataclass
class _Found:
    """What was found of one patient."""

    images: dict[str, list[ImageSource]] = field(default_factory=dict)
    masks: list[MaskSource] = field(default_factory=list)
    odd: list[tuple[Path, str]] = field(default_factory=list)
    """Paths whose names are not understood, with `image` or `mask` for the folder that they are in."""
    refused: list[Path] = field(default_factory=list)
    """Masks of the folder that rows of the manifest have with `use` no."""


def find_cases(
    site: Site, preparation: Preparation, patients: Sequence[str], *, incomplete: bool = False
) -> tuple[dict[str, Case], list[FedmviError]]:
    """The files of every patient.

    The manifest is used if it is there, else the folders of `[images]`; masks of a patient of whom the manifest has no
    mask in use are those of the folder, too. No image is opened.

    Parameters
    ----------
    site
        The site; its folder is looked through.
    preparation
        Which phases and regions the study needs.
    patients
        Ids of the table of patients.
    incomplete
        Also give what there is of patients who lack something, or of whom something is not clear: of two files for
        one thing the first. They cannot be prepared, but looked at.

    Returns
    -------
    cases
        In the order of `patients`: those of whom every phase and mask is there that the study needs and no problem is
        an error; none where a problem of severity error is nobody's in particular. Images are those of the study's
        phases, in its order; masks those of tumour, liver and excluded regions on these phases.
    problems
        Worst first; the local text begins with the patient wherever it is one patient's: 330 a folder that may not be
        read, 350 a bad manifest, 351 a missing phase, 352 no tumour mask, 354 images of somebody else, 356 two files
        for one thing, or none for all, 357 a name that is not understood, 359 a missing optional phase. Whatever is
        wrong with somebody who is not one of `patients` is a warning.
    """
    manifest = site.folder / site.images.manifest
    images = site.folder / site.images.images
    problems: list[FedmviError] = []
    masks = site.folder / site.images.masks
    of_masks: list[FedmviError] = []
    by_name: dict[str, _Found] = {}
    _add_by_name(images, _add_images, by_name, problems)
    _add_by_name(masks, _add_masks, by_name, of_masks)
    if manifest.is_file():
        read = read_manifest(manifest)
        problems = list(read.problems)
        found = _by_manifest(manifest, site.folder, read.lines, preparation, problems)
        problems += _described_twice(site, read.lines, found, by_name, preparation.reference)
        blind = _add_masks_of_folder(site, read.lines, found, by_name)
        problems += [problem for problem in of_masks if problem.local.partition(":")[0] in blind]
        source = site.images.manifest
        named = read.patients | frozenset(by_name)
    else:
        found = by_name
        problems += of_masks
        source = f"{site.images.images}/"
        for folder in (images, masks):
            if not folder.exists():
                detail = f"{folder}: no such folder, and there is no {manifest.name}"
                return {}, worst_first([*problems, FedmviError(356, detail)])
        named = frozenset(by_name)
    problems += _strangers(found, patients, source)
    unread = {problem.local.partition(":")[0] for problem in problems if problem.number == _UNREADABLE}
    cases = {}
    for patient in patients:
        cases[patient], told = _case(patient, found.get(patient), preparation, source)
        # What lies where nothing may be read is not missing.
        problems += [one for one in told if patient not in unread or one.number not in _MISSING]
    others = tuple(f"{name}:" for name in named.difference(patients))
    for problem in problems:
        if problem.local.startswith(others):
            problem.severity = min(problem.severity, Severity.WARNING)
    blamed = {problem.local.partition(":")[0] for problem in problems if problem.severity is Severity.ERROR}
    if incomplete:
        return {patient: case for patient, case in cases.items() if case.images}, worst_first(problems)
    if any(name not in cases for name in blamed):
        cases = {}
    return {patient: case for patient, case in cases.items() if patient not in blamed}, worst_first(problems)


def _add_by_name(
    top: Path,
    add: Callable[[Path, _Found, list[FedmviError]], None],
    found: dict[str, _Found],
    problems: list[FedmviError],
) -> None:
    """Every patient's images, or masks, by the convention of names, whatever the study needs."""
    with _readable(top, problems):
        for folder in _entries(top) if top.exists() else ():
            if folder.is_dir():
                with _readable(folder, problems, folder.name):
                    add(folder, found.setdefault(folder.name, _Found()), problems)


@contextmanager
def _readable(path: Path, problems: list[FedmviError], patient: str = "") -> Iterator[None]:
    """330 where a file or folder may not be read: the patient's whose it is, or nobody's."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename or path}: {error.strerror}"
        problems.append(FedmviError(_UNREADABLE, f"{patient}: {where}" if patient else where))


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, in order, without hidden files and those of the system."""
    return sorted(path for path in folder.iterdir() if not is_litter(path.name))


def _add_images(folder: Path, found: _Found, problems: list[FedmviError]) -> None:
    for path in _entries(folder):
        with _readable(path, problems, folder.name):
            whole = path.is_dir()
            phase = path.name.lower() if whole else stem(path)
            if phase not in KNOWN_PHASES:
                found.odd.append((path, "image"))
            elif not whole or _entries(path):
                found.images.setdefault(phase, []).append(ImageSource(phase, path))


def _add_masks(folder: Path, found: _Found, _: list[FedmviError]) -> None:
    for path in _entries(folder):
        named = mask_named(path) if path.is_file() else None
        if named is None:
            found.odd.append((path, "mask"))
        else:
            found.masks.append(MaskSource(named.region, named.reader, named.phase, path))


def _by_manifest(
    manifest: Path,
    folder: Path,
    lines: Sequence[tuple[int, Line]],
    preparation: Preparation,
    problems: list[FedmviError],
) -> dict[str, _Found]:
    """Every patient's files in use; 350 for a path where there is nothing."""
    found: dict[str, _Found] = {}
    for number, line in lines:
        if line.use == "no":
            continue
        patient = found.setdefault(line.patient_id, _Found())
        path, there = folder / line.path, None
        with _readable(path, problems, line.patient_id):
            there = path.exists()
        if there is False:
            problems.append(
                bad_line(Place(manifest.name, number, "path"), line.patient_id, f"{path}: nothing is there")
            )
        if not there:
            continue
        if line.kind == "mask":
            phase = line.phase or preparation.reference
            patient.masks.append(MaskSource(line.region, line.reader, phase, path, line.segment))
        else:
            source = ImageSource(
                line.phase, path, line.series, line.volume, line.seconds_after_injection, line.agent, line.tesla,
                line.vendor, line.b_value,
            )  # fmt: skip
            patient.images.setdefault(line.phase, []).append(source)
    return found


def _described_twice(
    site: Site,
    lines: Sequence[tuple[int, Line]],
    found: Mapping[str, _Found],
    by_name: Mapping[str, _Found],
    reference: str,
) -> list[FedmviError]:
    """356 where the folders hold what the manifest does not speak of: which of the two is meant?

    Masks that it does not speak of are only a question where it has others of the patient.
    """
    spoken = _spoken(site, lines)
    problems = []
    for patient, named in by_name.items():
        of = found.get(patient, _Found())
        meant = {phase: sources[0].path for phase, sources in of.images.items()}
        meant |= {_drawn(mask, reference): mask.path for mask in of.masks}
        held = [(phase, source.path) for phase, sources in named.images.items() for source in sources]
        held += [(_drawn(mask, reference), mask.path) for mask in named.masks if of.masks]
        for what, path in held:
            if not _under(_whole(path), spoken):
                has = f"the manifest has {meant[what]} for {what}" if what in meant else "the manifest does not name it"
                severity = Severity.ERROR if what in meant else Severity.WARNING
                problems.append(FedmviError(356, f"{patient}: {path}: {has}", severity=severity))
    return problems


def _drawn(mask: MaskSource, reference: str) -> str:
    return f"{mask.region} of reader {mask.reader} on {mask.phase or reference}"


def _add_masks_of_folder(
    site: Site, lines: Sequence[tuple[int, Line]], found: Mapping[str, _Found], by_name: Mapping[str, _Found]
) -> set[str]:
    """The masks of the folder for patients of whom the manifest has none in use, but for those that it refuses.

    Returns
    -------
    set
        Whose folders these are: the patients, and the folder of all where there are such.
    """
    spoken = _spoken(site, lines)
    lacking = {patient for patient, of in found.items() if not of.masks}
    for patient, of in found.items():
        named = by_name.get(patient)
        if named is not None and not of.masks:
            refused = {mask.path for mask in named.masks if _whole(mask.path) in spoken}
            of.masks = [mask for mask in named.masks if mask.path not in refused]
            of.odd += [pair for pair in named.odd if pair[1] == "mask" and _whole(pair[0]) not in spoken]
            of.refused = sorted(refused)
    return {*lacking, str(site.folder / site.images.masks)} if lacking else set()


def _spoken(site: Site, lines: Sequence[tuple[int, Line]]) -> set[str]:
    """Whatever a row names, in use or not."""
    return {_whole(site.folder / line.path) for _, line in lines if line.path}


def _whole(path: Path) -> str:
    return os.path.realpath(path)


def _under(path: str, spoken: set[str]) -> bool:
    """Whether the manifest names the path, a folder above it, or something in it."""
    parents = {str(parent) for parent in Path(path).parents}
    return path in spoken or bool(parents & spoken) or any(other.startswith(path + os.sep) for other in spoken)


def _strangers(found: Mapping[str, _Found], patients: Sequence[str], source: str) -> list[FedmviError]:
    """354 for patients of the files whom the table does not have."""
    known = set(patients)
    problems = []
    for patient in sorted(set(found) - known):
        of = found[patient]
        paths = (
            [each.path for sources in of.images.values() for each in sources]
            + [m.path for m in of.masks]
            + [p for p, _ in of.odd]
        )
        where = paths[0] if paths else Path(source) / patient
        detail = f"{patient}: {where}: not in the table of patients{ids_near(patient, patients)}"
        problems.append(FedmviError(354, detail, severity=Severity.WARNING))
    return problems


def ids_near(patient: str, known: Sequence[str]) -> str:
    """The id of the table that may be meant by one that it does not have, as a part of a sentence; or nothing."""
    folded = [one for one in known if one.lower() == patient.lower()]
    close = folded or difflib.get_close_matches(patient, known, n=1, cutoff=0.8)
    return f"; the table has '{close[0]}'" if close else ""


def _case(patient: str, found: _Found | None, preparation: Preparation, source: str) -> tuple[Case, list[FedmviError]]:
    """One patient's case, and what is missing or not understood."""
    if found is None or not (found.images or found.masks or found.odd):
        return Case(patient, {}), [FedmviError(351, f"{patient}: {source}: there are no images of this patient")]
    problems = [_not_understood(patient, path, kind, preparation) for path, kind in found.odd[:_LISTED]]
    if len(found.odd) > _LISTED:
        more = f"{patient}: {found.odd[-1][0].parent}: {len(found.odd) - _LISTED} names more are not understood"
        problems.append(FedmviError(357, more, severity=Severity.WARNING))
    images = {}
    for phase in preparation.phases:
        sources = found.images.get(phase, [])
        if len(sources) > 1:
            both = " and ".join(str(each.path) for each in sources)
            problems.append(FedmviError(356, f"{patient}: {both} are both the phase {phase}"))
        if sources:
            images[phase] = sources[0]
        else:
            problems.append(_missing(patient, phase, found, preparation, source))
    masks = _masks(patient, found, images, preparation, problems)
    return Case(patient, images, masks), problems


def _not_understood(patient: str, path: Path, kind: str, preparation: Preparation) -> FedmviError:
    """357 for a name that is not one of the convention, with the nearest that is."""
    word = path.name.lower() if path.is_dir() else stem(path)
    if not word or (path.is_dir() and kind == "mask"):
        detail = f"{patient}: {path}: {kind}s are files that end in {', '.join(ENDINGS)}"
        return FedmviError(357, detail, severity=Severity.NOTE)
    if kind == "image":
        what = f"'{word}' is not a phase{nearest(word, (*preparation.phases, *KNOWN_PHASES))}"
    else:
        hint = nearest(word.split(".")[0], (*KNOWN_PHASES, *_regions(preparation)))
        what = f"'{word}' is not [<phase>.]<region>[.reader2]{hint}"
    return FedmviError(357, f"{patient}: {path}: {what}", severity=Severity.WARNING)


def _missing(patient: str, phase: str, found: _Found, preparation: Preparation, source: str) -> FedmviError:
    """351 or 359; with files of odd names that may be meant."""
    if phase in preparation.optional:
        return FedmviError(359, f"{patient}: {source}: no {phase}", severity=Severity.NOTE)
    have = ", ".join(sorted(found.images)) or "no phase at all"
    odd = [path.name for path, kind in found.odd if kind == "image"][:_LISTED]
    names = f"; not understood: {', '.join(odd)}" if odd else ""
    return FedmviError(351, f"{patient}: {source}: no {phase}; there is {have}{names}")


def _regions(preparation: Preparation) -> tuple[str, ...]:
    return (*REGIONS, *preparation.regions.exclude)


def _masks(
    patient: str,
    found: _Found,
    images: Mapping[str, ImageSource],
    preparation: Preparation,
    problems: list[FedmviError],
) -> tuple[MaskSource, ...]:
    """The masks that the study uses; 352, 356 and 357 where they are not as they should be."""
    kept: dict[tuple[str, int, str], MaskSource] = {}
    known = _regions(preparation)
    for mask in found.masks:
        phase = mask.phase or preparation.reference
        key = (mask.region, mask.reader, phase)
        if mask.region not in known:
            hint = nearest(mask.region, known)
            severity = Severity.WARNING if hint else Severity.NOTE
            detail = f"{patient}: {mask.path}: '{mask.region}' is not a region of the study{hint}"
            problems.append(FedmviError(357, detail, severity=severity))
        elif phase not in images:
            if phase in preparation.phases:
                detail = f"{patient}: {mask.path}: drawn on {phase}, of which there is no image"
                problems.append(FedmviError(351, detail, severity=Severity.WARNING))
        elif key in kept:
            detail = f"{patient}: {kept[key].path} and {mask.path} are both {mask.region} of reader {mask.reader}"
            problems.append(FedmviError(356, f"{detail} on {phase}"))
        else:
            kept[key] = MaskSource(mask.region, mask.reader, phase, mask.path, mask.segment)
    if not any(region == "tumour" and reader == 1 for region, reader, _ in kept):
        there = [mask.path.name for mask in found.masks]
        there += [f"{path.name} (not understood)" for path, kind in found.odd if kind == "mask"]
        there += [f"{path.name} (the manifest has it with `use` no)" for path in found.refused]
        names = ", ".join(there[:_LISTED]) or "no mask at all"
        detail = f"{patient}: no tumour of the first reader on {', '.join(images) or 'any image'}; there is {names}"
        problems.append(FedmviError(352, detail))
    order = {key: (known.index(key[0]), key[1], preparation.phases.index(key[2])) for key in kept}
    return tuple(kept[key] for key in sorted(kept, key=order.__getitem__))
