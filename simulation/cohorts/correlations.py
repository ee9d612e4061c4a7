"""simulation/cohorts: how the variables of one patient go together: the correlations of the latent normal scores.

Every correlation is assumed; the published table gives margins only. They hold among patients of one grade of MVI. A
pair that is not listed is independent given the grade. A subset of variables has the matching part of the one matrix
over all names, which is positive definite, so that every subset's matrix is positive definite too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

CORRELATIONS: Mapping[tuple[str, str], float] = MappingProxyType(
    {
        # Injury and cholestasis.
        ("alt", "ast"): 0.75,
        ("ggt", "ast"): 0.45,
        ("ggt", "alt"): 0.4,
        ("total_bilirubin", "conjugated_bilirubin"): 0.85,
        ("ast", "total_bilirubin"): 0.15,
        ("ast", "conjugated_bilirubin"): 0.15,
        # Synthesis and portal hypertension.
        ("inr", "prothrombin_time"): 0.85,
        ("albumin", "inr"): -0.35,
        ("albumin", "prothrombin_time"): -0.3,
        ("albumin", "total_bilirubin"): -0.3,
        ("albumin", "conjugated_bilirubin"): -0.3,
        ("albumin", "ascites"): -0.4,
        ("albumin", "cirrhosis"): -0.25,
        ("albumin", "age"): -0.15,
        ("total_bilirubin", "inr"): 0.2,
        ("conjugated_bilirubin", "inr"): 0.2,
        ("total_bilirubin", "prothrombin_time"): 0.15,
        ("conjugated_bilirubin", "prothrombin_time"): 0.15,
        ("platelets", "cirrhosis"): -0.4,
        ("platelets", "inr"): -0.25,
        ("platelets", "prothrombin_time"): -0.2,
        ("platelets", "ascites"): -0.15,
        ("platelets", "tumour_size"): 0.2,
        ("cirrhosis", "ascites"): 0.3,
        ("cirrhosis", "hepatitis_virus"): 0.35,
        ("cirrhosis", "inr"): 0.2,
        ("cirrhosis", "prothrombin_time"): 0.15,
        ("age", "hepatitis_virus"): -0.2,
        # The tumour, and what it does to the blood.
        ("afp", "edmondson"): 0.25,
        ("afp", "tumour_size"): 0.3,
        ("afp", "alt"): 0.15,
        ("afp", "ast"): 0.2,
        ("alt", "tumour_size"): 0.1,
        ("ast", "tumour_size"): 0.25,
        ("ggt", "tumour_size"): 0.35,
        ("albumin", "tumour_size"): -0.2,
        ("edmondson", "tumour_size"): 0.15,
        ("pathological_capsule", "tumour_size"): -0.1,
        # The tumour on images: signs of aggressive growth come together.
        ("imaging_capsule", "pathological_capsule"): 0.6,
        ("tumour_margin_smooth", "tumour_size"): -0.35,
        ("tumour_margin_smooth", "imaging_capsule"): 0.3,
        ("tumour_margin_smooth", "pathological_capsule"): 0.15,
        ("tumour_margin_smooth", "arterial_rim_enhancement"): -0.4,
        ("tumour_margin_smooth", "arterial_peritumoral_enhancement"): -0.4,
        ("tumour_margin_smooth", "afp"): -0.2,
        ("multiple_tumours", "tumour_margin_smooth"): -0.2,
        ("arterial_rim_enhancement", "edmondson"): 0.15,
        ("arterial_rim_enhancement", "tumour_size"): 0.25,
        ("arterial_rim_enhancement", "afp"): 0.25,
        ("arterial_rim_enhancement", "arterial_peritumoral_enhancement"): 0.45,
        ("arterial_peritumoral_enhancement", "tumour_size"): 0.3,
        ("arterial_peritumoral_enhancement", "afp"): 0.2,
        # The processes that the images are made from: mostly what nobody reads off a picture by eye.
        ("image_tumour", "edmondson"): 0.2,
        ("image_tumour", "tumour_size"): 0.15,
        ("image_tumour", "arterial_rim_enhancement"): 0.3,
        ("image_tumour", "arterial_peritumoral_enhancement"): 0.1,
        ("image_tumour", "tumour_margin_smooth"): -0.2,
        ("image_ring", "tumour_size"): 0.1,
        ("image_ring", "arterial_peritumoral_enhancement"): 0.35,
        ("image_ring", "arterial_rim_enhancement"): 0.1,
        ("image_ring", "tumour_margin_smooth"): -0.2,
    }
)
"""Correlation of the latent scores of two variables, given the grade; assumed."""


def correlation_matrix(names: Sequence[str]) -> NDArray[np.float64]:
    """The correlations of the named variables, (k, k), positive definite."""
    place = {name: i for i, name in enumerate(names)}
    matrix = np.eye(len(names))
    for (one, other), value in CORRELATIONS.items():
        if one in place and other in place:
            i, j = place[one], place[other]
            matrix[i, j] = matrix[j, i] = value
    return matrix
