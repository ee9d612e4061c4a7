"""simulation/imaging: a mask as a binary DICOM Segmentation object of the series that it was drawn on.

highdicom writes the object. What it takes from the clock or draws at random is replaced by declared moments and by
hashes of names, so that one examination always gives the same bytes.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, DT, TM

from simulation.imaging.dicom import series_headers
from simulation.imaging.headers import (
    MANUFACTURER,
    OUTLINED,
    REGIONS,
    SERIAL,
    SOFTWARE,
    Acquisition,
    date_and_time,
    region_and_reader,
    unique_identifier,
)
from simulation.imaging.volume import Examination


def write_segmentation(path: Path, examination: Examination, key: str, about: Acquisition) -> None:
    """Write one mask as a Segmentation object (DICOM PS3.3 A.51) with one segment.

    Slices without a voxel of the region have no frame, unless the whole mask is empty.

    Parameters
    ----------
    path
        The file; its folder is made.
    examination, key
        Which mask; on the grid of the reference phase.
    about
        The rest of the headers.
    """
    dataset = _segmentation(examination, key, about)
    date, time = date_and_time(OUTLINED)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = DA(date), TM(time)
    for equipment in dataset.ContributingEquipmentSequence:
        equipment.ContributionDateTime = DT(date + time)
    # One organisation of dimensions, named once and referred to by each of them.
    organisation = unique_identifier(examination, about, "dimensions", key)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    dataset.SyntheticData = "YES"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)


def _segmentation(examination: Examination, key: str, about: Acquisition) -> Segmentation:
    region, reader = region_and_reader(key)
    segment = SegmentDescription(
        segment_number=1,
        segment_label=region,
        segmented_property_category=Code(REGIONS[region].category[0], "SCT", REGIONS[region].category[1]),
        segmented_property_type=Code(REGIONS[region].kind[0], "SCT", REGIONS[region].kind[1]),
        algorithm_type="MANUAL",
    )
    date, time = date_and_time(OUTLINED)
    with warnings.catch_warnings():
        # A pseudonym is one word, which highdicom takes for half a name.
        warnings.filterwarnings("ignore", message=".*only a single component")
        return Segmentation(
            source_images=series_headers(examination, examination.reference, about),
            pixel_array=examination.masks[key].voxels,
            segmentation_type="BINARY",
            segment_descriptions=[segment],
            series_instance_uid=unique_identifier(examination, about, "series of mask", key),
            series_number=100 + list(examination.masks).index(key),
            sop_instance_uid=unique_identifier(examination, about, "mask", key),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=about.scanner,
            software_versions=SOFTWARE,
            device_serial_number=SERIAL,
            institution_name=about.site,
            series_description=f"Simulated mask of the {region}, reader {reader}",
            content_label=region.upper(),
            content_description="Simulated, not a patient",
            content_creator_name=f"Reader {reader}^Simulated",
            content_date=date,
            content_time=time,
            series_date=date,
            series_time=time,
        )
