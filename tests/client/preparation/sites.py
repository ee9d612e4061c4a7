"""tests/client/preparation: the study that prepares simulated images quickly."""

from __future__ import annotations

from typing import Protocol

from client.cohort.site import Site

STUDY = """
[study]
name = "tiny-images"
title = "A few simulated patients with images"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]

[[cohorts]]
name = "train"
role = "train"
sites = ["hospital-a", "hospital-b", "external-c"]

[[models]]
name = "radiomics"
endpoint = "mvi"
cohort = "train"
predictors = ["arterial.tumour.original_firstorder_Mean", "arterial-minus-plain.peritumour-10mm.original_glcm_Idm"]

[preparation]
modality = "ct"
phases = ["plain", "arterial", "portal", "delayed"]
optional = ["delayed"]
reference = "portal"
subtractions = ["arterial-minus-plain"]

[preparation.registration]
method = "rigid"
spacing_mm = 6.0

[preparation.resampling]
spacing_mm = [4.0, 4.0, 5.0]

[preparation.intensity.phase]
bin_width = 25.0

[preparation.radiomics]
regions = ["tumour", "peritumour-10mm"]
classes = ["firstorder", "shape", "glcm"]
log_sigma_mm = [4.0]
wavelet = "none"
second_reader = true

[preparation.stacks]
size = 64
"""


class MakeSite(Protocol):
    def __call__(self, name: str = "hospital-a", patients: int = 2) -> Site: ...
