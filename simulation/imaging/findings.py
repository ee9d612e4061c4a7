"""simulation/imaging: what the pictures of one patient must show: the table's findings and the latent processes."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.cohorts.patients import Patients


@dataclass(frozen=True)
class Findings:
    """One patient as the image engine sees one.

    Attributes
    ----------
    patient
        Pseudonym.
    size_cm
        Largest diameter of the tumour.
    smooth_margin, capsule, rim, halo, multiple
        Traits: smooth margin, capsule on imaging, arterial rim enhancement, arterial peritumoral enhancement,
        a second tumour.
    cirrhosis, ascites, female
        What the rest of the body shows.
    tumour, ring, temporal
        Latent processes of microvascular invasion; standard normal without it.
    """

    patient: str
    size_cm: float
    smooth_margin: bool = True
    capsule: bool = False
    rim: bool = False
    halo: bool = False
    multiple: bool = False
    cirrhosis: bool = False
    ascites: bool = False
    female: bool = False
    tumour: float = 0.0
    ring: float = 0.0
    temporal: float = 0.0


_TRAITS = {
    "smooth_margin": "tumour_margin_smooth",
    "capsule": "imaging_capsule",
    "rim": "arterial_rim_enhancement",
    "halo": "arterial_peritumoral_enhancement",
    "multiple": "multiple_tumours",
}


def findings_of(patients: Patients, index: int) -> Findings:
    """One patient of a hospital. A trait that the consortium does not declare is not drawn; the margin is smooth."""
    values, scores = patients.values, patients.scores
    traits = {
        name: bool(values[column][index]) if column in values else name == "smooth_margin"
        for name, column in _TRAITS.items()
    }
    return Findings(
        patient=patients.ids[index],
        size_cm=float(values["tumour_size_imaging"][index]),
        cirrhosis=bool(values["cirrhosis"][index]),
        ascites=bool(values["ascites"][index]),
        female=bool(values["sex_female"][index]),
        tumour=float(scores["image_tumour"][index]),
        ring=float(scores["image_ring"][index]),
        temporal=float(scores["image_temporal"][index]),
        **traits,
    )
