"""client/describing: `fedmvi-site describe`: reads, counts and writes; nothing leaves, and nothing else is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.cohort.problems import worst_first
from client.cohort.site import Site
from client.describing.material import Material, read_material
from client.describing.oddities import OddPatient, odd_patients
from client.describing.page import may_write, write_page
from client.describing.pictured import Pictured, pictured
from client.describing.study_part import StudyHere, study_here
from common.errors import FedmviError
from common.study.protocol import Study

DEFAULT_NAME = "describe.html"


@dataclass(frozen=True)
class Description:
    """All that the page says.

    Attributes
    ----------
    material
        The columns, of whom, and what `check` says of them.
    study
        What the study would find; None without a study.
    images
        None where the study needs no images.
    odd
        Patients to look at.
    """

    material: Material
    study: StudyHere | None
    images: Pictured | None
    odd: tuple[OddPatient, ...]

    @property
    def problems(self) -> list[FedmviError]:
        """Of tables and images, worst first."""
        return worst_first([*self.material.problems, *(self.images.problems if self.images else ())])


def describe(site: Site, study: Study | None) -> Description:
    """Look at a site's data; what is wrong with them is in `problems`, nothing is raised."""
    material = read_material(site, study)
    here, images = None, None
    if study is not None and material.table is not None:
        here = study_here(site, material.table, study, material.kept)
        if study.preparation is not None:
            whose = [patient for patient, stays in zip(material.patients, material.kept, strict=True) if stays]
            images = pictured(site, study, study.preparation, tuple(dict.fromkeys(filter(None, whose))))
    return Description(material, here, images, odd_patients(material))


def describe_site(site: Site, study: Study | None, out: Path | None) -> tuple[Description, Path | None]:
    """Describe a site on a page; returns where it is, None where there is no patient to describe.

    Parameters
    ----------
    site, study
        Whose data, and for what.
    out
        The page; `describe.html` in the site's folder where None. An earlier description is replaced.

    Raises
    ------
    FedmviError
        214 the page cannot be written, 804 jinja2 is not installed.
    """
    path = site.folder / DEFAULT_NAME if out is None else out
    may_write(path)
    found = describe(site, study)
    if not found.material.patients:
        return found, None
    write_page(path, found)
    return found, path
