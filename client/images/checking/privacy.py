"""client/images/checking: headers that tell who a patient is, or that text may be burnt into the pixels.

Nothing of a header leaves a site, and exports of a PACS usually hold names; a hospital should know all the same, before
it shows images to anybody. Attributes are named here, values never: no text of this module holds one.
"""

from __future__ import annotations

import gzip
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pydicom
import SimpleITK as sitk  # noqa: N813
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from client.images.case import Case
from client.images.reading.series import files_under
from client.images.reading.slices import BAD_BYTES
from common.errors import FedmviError, Severity

PATIENT = frozenset(
    {
        "PatientName", "PatientID", "PatientBirthDate", "PatientBirthTime", "PatientBirthName", "OtherPatientNames",
        "OtherPatientIDs", "OtherPatientIDsSequence", "PatientMotherBirthName", "PatientAddress",
        "PatientTelephoneNumbers", "PatientTelecomInformation", "MedicalRecordLocator", "InsurancePlanIdentification",
        "MilitaryRank", "BranchOfService", "Occupation", "CountryOfResidence", "RegionOfResidence",
        "PatientReligiousPreference", "ResponsiblePerson", "AdmissionID", "ServiceEpisodeID",
    }
)  # fmt: skip
"""Attributes by which a patient is found: a part of the Basic Application Level Confidentiality Profile (DICOM PS3.15,
Annex E, Table E.1-1). Dates of the examination are needed to tell phases and are not reported."""

OTHERS = frozenset(
    {
        "AccessionNumber", "ReferringPhysicianName", "ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers",
        "ConsultingPhysicianName", "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy",
        "PhysiciansOfRecord", "RequestingPhysician", "ReviewerName", "PersonName", "InstitutionName",
        "InstitutionAddress", "InstitutionalDepartmentName", "RequestingService", "ScheduledPerformingPhysicianName",
        "IssuerOfPatientID",
    }
)  # fmt: skip
"""Attributes of the same profile that name staff and hospital, by which a patient may be found."""

_BRIEF = [
    "SeriesInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "BurnedInAnnotation", "SyntheticData",
    "QualityControlSubject",
]  # fmt: skip
_NOBODY = re.compile(
    r"(an|pseud)onym\w*|anon|none|unknown|removed|withheld|n/?a|no ?name|de-?identified|x+|0+|1?9000101|patient",
    re.IGNORECASE,
)
"""Cells that de-identification writes."""

_TEXTS = frozenset({"LO", "LT", "SH", "ST", "UT", "UC", "PN", "CS", "UN"})
_NAME_LIKE = re.compile(
    r"[^\W\d_]{2,}\^[^\W\d_]|^[^\W\d_]{2,}, ?[^\W\d_]{2,}( [^\W\d_.]+)*$|\b(patient|name|birth|dob|mrn)\b.{0,6}[:=]",
    re.IGNORECASE,
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_OVERLAYS = range(0x6000, 0x6020, 2)
_NIFTI_TEXTS: Mapping[int, Mapping[str, tuple[int, int]]] = {
    348: {"db_name": (14, 32), "descrip": (148, 228), "aux_file": (228, 252), "intent_name": (328, 344)},
    540: {"descrip": (240, 320), "aux_file": (320, 344), "intent_name": (508, 524)},
}
"""Where texts begin and end in the headers of NIfTI-1 and NIfTI-2, by the length of the header."""
_MOST_BYTES = 1 << 16
_TEXT_EXTENSIONS = {2: "a copy of a DICOM header", 6: "a comment"}


def privacy_problems(case: Case) -> list[FedmviError]:
    """What the headers of a patient's files tell of the patient (365), and text burnt into pixels (366).

    Of DICOM, one file a series is read whole, and all files' name, id and birth date; of NIfTI, the texts that a
    header holds; of NRRD, its keys. Files that cannot be read are left to those who read the images.

    Parameters
    ----------
    case
        The patient's files. The only name and id that headers may hold are the patient's id in the table.
    """
    sources: dict[Path, set[str]] = {}
    for source in case.images.values():
        sources.setdefault(source.path, set()).add(source.series)
    for mask in case.masks:
        sources.setdefault(mask.path, set()).add("")
    problems: list[FedmviError] = []
    for path, series in sources.items():
        # pydicom warns of values that break the standard, and quotes them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problems += _of_path(path, series, case.patient)
    return problems


def _of_path(path: Path, series: set[str], patient: str) -> Iterator[FedmviError]:
    if path.is_dir() or path.suffix.lower() in (".dcm", ""):
        yield from _of_dicom(path, series - {""}, patient)
        return
    if path.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img")):
        telling = _of_nifti(path, patient)
    else:
        telling = _of_nrrd(path, patient)
    if telling:
        yield FedmviError(365, f"{patient}: {path}: {', '.join(telling)}", severity=Severity.WARNING)


# ---------------------------------------------------------------------------------------------------------------- DICOM


def _of_dicom(path: Path, series: set[str], patient: str) -> Iterator[FedmviError]:
    counts: dict[Severity, Counter[str]] = {Severity.WARNING: Counter(), Severity.NOTE: Counter()}
    burnt: Counter[str] = Counter()
    seen: set[str] = set()
    for file in _files(path, patient):
        brief = _header(file, _BRIEF)
        uid = "" if brief is None else _text(brief, "SeriesInstanceUID")
        if brief is None or (series and uid not in series):
            continue
        header = brief if uid in seen else (_header(file, None) or brief)
        seen.add(uid)
        if _text(header, "SyntheticData") == "YES" or _text(header, "QualityControlSubject") == "YES":
            continue
        for severity, found in _telling(header, patient).items():
            counts[severity].update(found)
        burnt.update(_burnt(header))
    for severity, counter in counts.items():
        if counter:
            yield FedmviError(365, f"{patient}: {path}: {_listed(counter)}", severity=severity)
    if burnt:
        yield FedmviError(366, f"{patient}: {path}: {_listed(burnt)}", severity=Severity.WARNING)


def _files(path: Path, patient: str) -> list[Path]:
    try:
        return list(files_under(path, patient))
    except FedmviError:
        return []  # told by those who read the images


def _listed(counter: Counter[str]) -> str:
    files = max(counter.values())
    return f"{len(counter)} attribute(s) in up to {files} file(s) that were looked into: {', '.join(sorted(counter))}"


def _header(file: Path, tags: list[str] | None) -> Dataset | None:
    """A file's header; None where it is not DICOM, which is not asked here."""
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
    except BAD_BYTES:
        return None


def _elements(header: Dataset) -> Iterator[tuple[DataElement, str]]:
    """All elements that can be decoded and their texts, those of sequences too."""
    for tag in list(header.keys()):
        try:
            element = header[tag]
            value = _as_text(element)
        except BAD_BYTES:
            continue  # what cannot be decoded tells nothing to whoever reads it
        yield element, value
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _elements(item)


def _telling(header: Dataset, patient: str) -> dict[Severity, set[str]]:
    """Names of attributes that tell something."""
    found: dict[Severity, set[str]] = {Severity.WARNING: set(), Severity.NOTE: set()}
    words = _words(_text(header, "PatientName"), patient)
    for element, value in _elements(header):
        if not value:
            continue
        private = element.tag.is_private
        if element.keyword in PATIENT or (private and element.VR == "PN"):
            if _tells(value, patient):
                found[Severity.WARNING].add(_called(element))
        elif words and element.VR in _TEXTS and words & set(_split(value)):
            found[Severity.WARNING].add(_called(element))
        elif element.keyword in OTHERS and _tells(value, patient):
            found[Severity.NOTE].add(_called(element))
    return found


def _called(element: DataElement) -> str:
    return element.keyword or f"({element.tag.group:04X},{element.tag.element:04X})"


def _text(header: Dataset, keyword: str) -> str:
    try:
        return _as_text(header[keyword])
    except BAD_BYTES:
        return ""


def _as_text(element: DataElement) -> str:
    value = element.value
    if element.VR == "SQ":
        return "items" if value else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0 ") if element.VR == "UN" else ""
    return "" if value is None else str(value).strip("\0 ^")


def _tells(value: str, patient: str) -> bool:
    """Whether a value is more than the patient's id, or what stands for nobody."""
    plain = value.strip("^ ").casefold()
    return bool(plain) and plain != patient.casefold() and not _NOBODY.fullmatch(plain.replace("^", " ").strip())


def _split(value: str) -> list[str]:
    return [word for word in re.split(r"[\W\d_]+", value.casefold()) if len(word) >= 3]


def _words(name: str, patient: str) -> set[str]:
    """The words of a patient's name, to be searched in other attributes; none where it is a code or tells nothing."""
    if not _tells(name, patient) or any(letter.isdigit() for letter in name):
        return set()
    return {word for word in _split(name) if not _NOBODY.fullmatch(word)} - set(_split(patient))


def _burnt(header: Dataset) -> Iterator[str]:
    if _text(header, "BurnedInAnnotation").upper() == "YES":
        yield "BurnedInAnnotation"
    if _text(header, "SOPClassUID").startswith(_SECONDARY_CAPTURE):
        yield "SOPClassUID (a secondary capture)"
    if "SCREEN SAVE" in _text(header, "ImageType").upper():
        yield "ImageType (a screen save)"
    if any((group, 0x3000) in header for group in _OVERLAYS):
        yield "OverlayData"


# -------------------------------------------------------------------------------------------------------- other formats


def _of_nifti(path: Path, patient: str) -> list[str]:
    """Fields of a NIfTI header whose text looks like a name, and extensions that hold texts."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            raw = file.read(_MOST_BYTES)
    except (OSError, EOFError, zlib.error):
        return []
    order: Literal["little", "big"] = "little" if raw[:4] in (b"\x5c\1\0\0", b"\x1c\2\0\0") else "big"
    length = int.from_bytes(raw[:4], order)
    fields = _NIFTI_TEXTS.get(length, {})
    found = [name for name, (at, end) in fields.items() if _name_like(raw[at:end].decode("utf-8", "replace"), patient)]
    at = length + 4
    while fields and raw[length : length + 1] not in (b"", b"\0") and len(raw) >= at + 8:
        size, code = (int.from_bytes(raw[at + k : at + k + 4], order) for k in (0, 4))
        found += [f"{_TEXT_EXTENSIONS[code]} as an extension"] if code in _TEXT_EXTENSIONS else []
        at += max(size, 8)
    return found


def _of_nrrd(path: Path, patient: str) -> list[str]:
    """Keys of an NRRD header that hold what tells who the patient is."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        pairs = [(key, reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()]
    except RuntimeError:
        return []
    # DICOM's attributes are keys by name, or as ITK writes them by tag: 0010|0010.
    tags = {f"{tag >> 16:04x}|{tag & 0xFFFF:04x}" for tag in map(tag_for_keyword, PATIENT) if tag is not None}
    named = {key for key, _ in pairs if key.lower() in tags or key in PATIENT}
    return sorted(
        key for key, value in pairs if (key in named and _tells(value, patient)) or _name_like(value, patient)
    )


def _name_like(value: str, patient: str) -> bool:
    text = value.partition("\0")[0].strip()
    return bool(_NAME_LIKE.search(text)) and _tells(text, patient)
