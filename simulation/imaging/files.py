"""simulation/imaging: one examination as files of a site: images by patient and phase, masks by patient and region.

    images/<patient>/<phase>.nii.gz               or a folder images/<patient>/<phase>/ with one .dcm file a slice
    masks/<patient>/<region>[.reader2].nii.gz     or .dcm: a Segmentation or an RT Structure Set, one file a mask

The displacements between phases are the truth that a registration is held against. They lie beside the sites and
not in them.
"""

from __future__ import annotations

from pathlib import Path

from simulation.cohorts.consortium import ImageFormat, MaskFormat
from simulation.imaging.contours import write_structure_set
from simulation.imaging.dicom import write_series
from simulation.imaging.headers import Acquisition
from simulation.imaging.nifti import write_displacements, write_volume
from simulation.imaging.volume import Examination


def write_examination(
    folder: Path,
    examination: Examination,
    images: ImageFormat,
    masks: MaskFormat,
    about: Acquisition,
) -> None:
    """Write all phases and all masks of one patient; the same input gives the same bytes.

    Parameters
    ----------
    folder
        The site's folder.
    examination
        What to write.
    images, masks
        In which format.
    about
        What headers say beside it.

    Raises
    ------
    ValueError
        Where a mask is not on the grid of the reference phase, where masks would refer to a DICOM series that is not
        written, or where CT has a voxel below -1024 HU.
    """
    if images == "nifti" and masks != "nifti":
        raise ValueError(f"masks as {masks} refer to a DICOM series, but images are written as NIfTI")
    for key, mask in examination.masks.items():
        if mask.grid != examination.phases[examination.reference].grid:
            raise ValueError(f"the mask {key} is not on the grid of {examination.reference}")
    for phase, volume in examination.phases.items():
        if images == "nifti":
            write_volume(folder / "images" / examination.patient / f"{phase}.nii.gz", volume)
        else:
            write_series(folder / "images" / examination.patient / phase, examination, phase, about)
    for key, mask in examination.masks.items():
        place = folder / "masks" / examination.patient
        if masks == "nifti":
            write_volume(place / f"{key}.nii.gz", mask)
        elif masks == "seg":
            # highdicom takes a second to load, which nothing else here needs.
            from simulation.imaging.segments import write_segmentation

            write_segmentation(place / f"{key}.dcm", examination, key, about)
        else:
            write_structure_set(place / f"{key}.dcm", examination, key, about)


def write_motion(folder: Path, examination: Examination) -> None:
    """Write the displacement of every phase but the reference as `<patient>/motion-<phase>.nii.gz`.

    Parameters
    ----------
    folder
        Where the truth about the site is kept, outside of the site's own folder.
    examination
        Its `motion`, in mm on `motion_grid`.
    """
    for phase, displacement in examination.motion.items():
        path = folder / examination.patient / f"motion-{phase}.nii.gz"
        write_displacements(path, displacement, examination.motion_grid)
