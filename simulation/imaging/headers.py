"""simulation/imaging: what every DICOM object of a simulated examination says about patient, study and equipment.

Nothing here is read from a clock or drawn: the day is declared, and unique identifiers are hashes of names, so that
one examination always gives the same bytes. Every object says that it is simulated in the attributes that DICOM has
for it (Synthetic Data, Quality Control Subject) and in those that people read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from simulation.imaging.volume import Examination

INJECTED = datetime(2018, 1, 15, 10)
"""Declared moment of the injection of contrast, the same for every simulated patient."""

STARTED = INJECTED - timedelta(minutes=30)
"""Declared start of the study."""

OUTLINED = INJECTED + timedelta(hours=5)
"""Declared moment at which masks were drawn."""

MANUFACTURER = "FedMVI simulation"
SOFTWARE = "FedMVI"
SERIAL = "SIMULATED"


@dataclass(frozen=True)
class Acquisition:
    """What headers hold that the voxels do not tell.

    Attributes
    ----------
    site
        Name of the hospital, at most 64 characters.
    scanner
        Name of the simulated scanner, at most 64 characters.
    sex
        `F` or `M`.
    age
        In years, below 1000.
    seed
        What tells this simulation from others; part of every unique identifier.
    kernel
        CT: name of the reconstruction kernel, at most 16 characters.
    tesla
        MR: field strength.
    kilovolt
        CT: tube voltage.
    vendor
        Manufacturer of the scanner, at most 64 characters.
    b_value
        MR: diffusion weighting of the phase `dwi` in s/mm².
    """

    site: str
    scanner: str
    sex: Literal["F", "M"]
    age: int
    seed: str
    kernel: str = "SIMULATED"
    tesla: float = 3.0
    b_value: float = 800.0
    kilovolt: float = 120.0
    vendor: str = MANUFACTURER


@dataclass(frozen=True)
class Region:
    """How an outlined region is named in DICOM.

    Attributes
    ----------
    category, kind
        Code value and meaning in SNOMED CT, as in DICOM's context groups 7150 and 7159 (PS3.16).
    role
        RT ROI Interpreted Type (PS3.3 C.8.8.8).
    """

    category: tuple[str, str]
    kind: tuple[str, str]
    role: str


REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        "tumour": Region(("49755003", "Morphologically Abnormal Structure"), ("108369006", "Neoplasm"), "GTV"),
        "liver": Region(("91723000", "Anatomical Structure"), ("10200004", "Liver"), "ORGAN"),
    }
)


def region_and_reader(key: str) -> tuple[str, int]:
    """The region, and the number of its reader, of a key of `Examination.masks` such as `tumour.reader2`."""
    region, _, reader = key.partition(".reader")
    return region, int(reader or 1)


def moment(examination: Examination, phase: str) -> datetime:
    """When a phase was acquired."""
    return INJECTED + timedelta(seconds=examination.started_s[phase])


def date_and_time(when: datetime) -> tuple[str, str]:
    """A moment as DICOM's DA and TM."""
    return when.strftime("%Y%m%d"), when.strftime("%H%M%S.%f")


def unique_identifier(examination: Examination, about: Acquisition, *names: str) -> UID:
    """The identifier of one thing of an examination: always the same for the same names."""
    return generate_uid(entropy_srcs=["\n".join((about.seed, about.site, examination.patient, *names))])


def common_header(examination: Examination, about: Acquisition, sop_class: UID) -> Dataset:
    """Patient, study, equipment, and what marks the object as simulated.

    The attributes are those of the modules Patient, General Study, Patient Study, General Equipment and SOP Common
    (DICOM PS3.3 C.7.1.1, C.7.2.1, C.7.2.2, C.7.5.1 and C.12.1), but for the identifier of the object itself.
    """
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID = sop_class
    header.SyntheticData = "YES"
    header.PatientName = examination.patient
    header.PatientID = examination.patient
    header.PatientBirthDate = ""
    header.PatientSex = about.sex
    header.PatientAge = f"{about.age:03d}Y"
    header.QualityControlSubject = "YES"
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = "None was needed: the patient is simulated"
    header.PatientComments = "Simulated. There is no such patient."
    header.StudyInstanceUID = unique_identifier(examination, about, "study")
    header.StudyDate, header.StudyTime = date_and_time(STARTED)
    header.StudyID = "1"
    header.StudyDescription = "Simulated liver, not a patient"
    header.ReferringPhysicianName = ""
    header.AccessionNumber = ""
    header.Manufacturer = about.vendor
    header.ManufacturerModelName = about.scanner
    header.DeviceSerialNumber = SERIAL
    header.SoftwareVersions = SOFTWARE
    header.InstitutionName = about.site
    return header


def save(dataset: Dataset, path: Path) -> None:
    """Write an object in Explicit VR Little Endian, without compression, as PS3.10 wants a file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
