"""tests/common/study: [preparation]: presets become numbers, contradictions are named, features are predictors."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import FedmviError
from common.study.features import CLASSES, FEATURE
from common.study.fingerprint import preparation_fingerprint
from common.study.loader import parse_study
from common.study.preparation import Preparation
from common.study.protocol import Study

TEXT = """
[study]
name = "images"
title = "With images"

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[models]]
name = "radiomics"
endpoint = "mvi"
cohort = "train"
predictors = ["{predictor}"]

[preparation]
modality = "ct"
phases = ["plain", "arterial", "portal"]
reference = "portal"
subtractions = ["arterial-minus-plain"]
{more}

[preparation.radiomics]
"""
FEATURE_NAME = "arterial-minus-plain.peritumour-10mm.log-sigma-3-0-mm-3D_glcm_Contrast"


def study(predictor: str = FEATURE_NAME, more: str = "") -> Study:
    return parse_study(TEXT.format(predictor=predictor, more=more))


def refusal(**given: str) -> str:
    with pytest.raises(FedmviError, match="103") as refused:
        study(**given)
    return refused.value.local


def test_names_of_features_are_those_of_pyradiomics() -> None:
    radiomics = pytest.importorskip("radiomics")
    own = radiomics.getFeatureClasses()
    for kind, names in CLASSES.items():
        theirs = {name for name, deprecated in own[kind].getFeatureNames().items() if not deprecated}
        assert set(names) == theirs, kind


def test_every_feature_of_a_preparation_is_a_predictor_and_nothing_else_is() -> None:
    made = study()
    assert made.preparation is not None
    names = made.preparation.feature_names()
    # 2 rings and the tumour, in 3 phases and a difference, 12 filters of 93 features; shape once a region.
    assert len(names) == len(set(names)) == 3 * (4 * 12 * 93 + 14)
    assert all(FEATURE.fullmatch(name) and made.preparation.has_feature(name) for name in names)
    for wrong in (
        FEATURE_NAME.replace("10mm", "7mm"), FEATURE_NAME.replace("Contrast", "Contrst"),
        FEATURE_NAME.replace("arterial-minus-plain", "delayed"), FEATURE_NAME.replace("3-0-mm", "2-0-mm"),
        "arterial.tumour.original_shape_Sphericity", "portal.tumour.wavelet-LLL_shape_Sphericity",
        "portal.body.original_landmark_P50",
    ):  # fmt: skip
        assert "is not a feature of [preparation]" in refusal(predictor=wrong)


def test_a_feature_is_a_number_known_before_surgery_whose_narrower_range_a_study_may_declare() -> None:
    variable = study().variable(FEATURE_NAME)
    assert (variable.kind, variable.known) == ("continuous", "preoperative")
    assert study().models[0].predictors[0].coding == "linear"
    own = f'\n[[variables]]\nname = "{FEATURE_NAME}"\nkind = "continuous"\nknown = "preoperative"\nlow = 0\nhigh = 50'
    assert study(more=own).variable(FEATURE_NAME).high == 50
    assert "is not a feature" in refusal(more=own.replace("Contrast", "Nothing"))


def test_presets_become_numbers_of_the_fingerprint() -> None:
    ct, mr = (
        Preparation(modality=m, phases=(p,), reference=p, radiomics={}) for m, p in (("ct", "portal"), ("mr", "t2"))
    )
    assert ct.intensity.phase.bin_width == 25 and ct.intensity.phase.clip == (-200, 400)
    assert ct.intensity.subtraction.bin_width == 10 and not ct.intensity.n4
    assert mr.intensity.scale == "z-score" and mr.intensity.n4 and mr.intensity.phase.clip is None
    plain = study()
    said = study(more="[preparation.intensity.phase]\nbin_width = 25.0\nclip = [-200.0, 400.0]")
    other = study(more="[preparation.intensity.phase]\nbin_width = 20.0")
    assert preparation_fingerprint(plain) == preparation_fingerprint(said) != preparation_fingerprint(other)
    assert other.preparation is not None and other.preparation.intensity.phase.clip == (-200, 400)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"phases": ("plain", "venous")}, "'venous' is not a phase of ct"),
        ({"phases": ("portal", "portal")}, "named twice"),
        ({"reference": "delayed"}, "`reference` is one of `phases`"),
        ({"optional": ("portal",)}, "`reference` is one of `phases` and not optional"),
        ({"subtractions": ("arterial-portal",)}, "not written as"),
        ({"subtractions": ("portal-minus-delayed",)}, "not written as"),
        ({"intensity": {"scale": "z-score"}}, "HU are comparable"),
        ({"intensity": {"phase": {"clip": (1.0, -1.0)}}}, "lower limit first"),
        ({"radiomics": {"regions": ("tumor",)}}, "neither tumour nor liver nor a ring"),
        ({"radiomics": {"regions": ("tumour", "tumour")}}, "named twice"),
        ({"radiomics": None}, "nothing to prepare"),
        ({"modality": "mr", "phases": ("t1",), "reference": "t1", "intensity": {"scale": "nyul"}}, "needs them"),
    ],
)  # fmt: skip
def test_contradictions_of_a_preparation_are_named(change: dict[str, Any], sentence: str) -> None:
    sound: dict[str, Any] = {"modality": "ct", "phases": ("plain", "portal"), "reference": "portal", "radiomics": {}}
    Preparation.model_validate(sound)
    with pytest.raises(ValueError, match=sentence):
        Preparation.model_validate({**sound, **change})
