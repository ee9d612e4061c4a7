"""tests/common/study: [preparation]: presets become numbers, contradictions are named, features are predictors."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import FedmviError
from common.study.features import CLASSES, FEATURE
from common.study.fingerprint import preparation_fingerprint
from common.study.loader import parse_study
from common.study.preparation import Intensity, Preparation
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
NAN, INF = float("nan"), float("inf")
NYUL = {"modality": "mr", "phases": ("t1",), "reference": "t1"}
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
    assert mr.intensity.phase.bin_width == mr.intensity.subtraction.bin_width == 10
    scale = {"scale": "nyul", "landmarks": {"t2": tuple(range(11))}, "subtraction": {"bin_width": 3.0}}
    nyul = Preparation(modality="mr", phases=("t2",), reference="t2", intensity=scale, radiomics={})
    assert nyul.intensity.phase.bin_width == 2 and nyul.intensity.n4
    assert nyul.intensity.subtraction.bin_width == 3
    assert Preparation.model_validate(nyul.model_dump()) == nyul
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
        ({"phases": ("plain", "portl")}, "'portl' is not a phase of ct.*; did you mean 'portal'?"),
        ({"radiomics": {"regions": ("peritumor-10mm",)}}, "; did you mean 'peritumour-10mm'?"),
        ({"radiomics": {"regions": ("tumor",)}}, "; did you mean 'tumour'?"),
        ({"radiomics": {"regions": ("peritumour-5mm\n",)}}, "neither tumour nor liver nor a ring"),
        ({"radiomics": {"regions": ()}}, "at least 1 item"),
        ({"radiomics": {"classes": ()}}, "at least 1 item"),
        ({"radiomics": {"classes": ("glcm", "shape", "glcm")}}, "'glcm' is named twice"),
        ({"radiomics": {"log_sigma_mm": (1.0, 3.0, 1.0)}}, "1.0 is named twice"),
        ({"radiomics": {"log_sigma_mm": (NAN,)}}, "finite number"),
        ({"subtractions": ("portal-minus-plain", "portal-minus-plain")}, "'portal-minus-plain' is named twice"),
        ({"regions": {"exclude": ("cyst", "cyst")}}, "'cyst' is named twice"),
        ({"regions": {"exclude": ("liver",)}}, "'liver' cannot be left out of the rings"),
        ({"regions": {"exclude": ("tumour",)}}, "'tumour' cannot be left out of the rings"),
        ({"regions": {"exclude": ("peritumour-5mm",)}}, "cannot be left out of the rings"),
        ({"regions": {"exclude": ("Portal vein",)}}, "not written in small letters, digits and hyphens"),
        ({"regions": {"exclude": ("cyst\n",)}}, "not written in small letters, digits and hyphens"),
        ({"stacks": {"margin_mm": (10.0, 5.0)}}, "its lower limit comes first"),
        ({"stacks": {"margin_mm": (-1.0, 5.0)}}, "a margin is at least 0"),
        ({"stacks": {"margin_mm": (0.0, INF)}}, "finite number"),
        ({"stacks": {"margin_pixels": (6, 5)}}, "its lower limit comes first"),
        ({"stacks": {"margin_pixels": (-6, -5)}}, "a margin is at least 0"),
        ({"stacks": {"spacing_mm": 0.01}}, "greater than or equal to 0.2"),
        ({"resampling": {"spacing_mm": (1.0, 1.0, 0.1)}}, "greater than or equal to 0.2"),
        ({"resampling": {"spacing_mm": (1.0, 1.0, NAN)}}, "finite number"),
        ({"registration": {"min_dice": NAN}}, "finite number"),
        ({"intensity": {"phase": {"clip": (-INF, 400.0)}}}, "finite number"),
        ({"intensity": {"phase": {"bin_width": INF}}}, "finite number"),
        ({"intensity": {"phase": {"bin_width": None}}}, "`bin_width` of `intensity.phase` is needed"),
        ({"intensity": {"subtraction": {"bin_width": None}}, "subtractions": ("portal-minus-plain",)},
         "`bin_width` of `intensity.subtraction` is needed"),
        ({"intensity": Intensity()}, "`bin_width` of `intensity.phase` is needed"),
        ({**NYUL, "intensity": {"scale": "nyul", "landmarks": {"t1": (*range(10), INF)}}}, "finite number"),
    ],
)  # fmt: skip
def test_contradictions_of_a_preparation_are_named(change: dict[str, Any], sentence: str) -> None:
    sound: dict[str, Any] = {"modality": "ct", "phases": ("plain", "portal"), "reference": "portal", "radiomics": {}}
    Preparation.model_validate(sound)
    with pytest.raises(ValueError, match=sentence):
        Preparation.model_validate({**sound, **change})


def test_what_needs_no_bins_may_go_without_and_equal_limits_are_a_margin() -> None:
    only = Preparation(modality="ct", phases=("portal",), reference="portal", intensity=Intensity(),
                       stacks={"margin_mm": (5.0, 5.0), "margin_pixels": (0, 0)})  # fmt: skip
    assert only.kind("portal").bin_width is None


@pytest.mark.parametrize(
    ("given", "place", "sentence"),
    [
        ({"predictor": "portal.tumour.original-glcm-Contrast"}, "line 20: models[1].predictors[1].variable",
         "write <image>.<region>.<filter>_<class>_<name>"),
        ({"predictor": "Tumour size"}, "line 20: models[1].predictors[1].variable",
         "write small letters, digits and underscores"),
        ({"more": '[[variables]]\nname = "a.b"\nkind = "binary"\nknown = "preoperative"'}, "variables[1].name",
         "'a.b' is not the name of a feature: write <image>"),
        ({"more": "[preparation.resampling]\nspacing_mm = 4.0"}, "line 27: preparation.resampling.spacing_mm",
         "write a list: [ ... ]"),
        ({"more": "[preparation.resampling]\nspacing_mm = [4.0, 4.0]"}, "preparation.resampling.spacing_mm[3]",
         "is needed"),
        ({"more": "[preparation.resampling]\nspacing_mm = [4.0, nan, 4.0]"}, "preparation.resampling.spacing_mm[2]",
         "must be a finite number"),
        ({"more": "[preparation.resampling]\nspacing_mm = [1, 1, 1, 1]"}, "preparation.resampling.spacing_mm",
         "may have at most 3 entries"),
        ({"more": "[[analyses]]\nmodels = 3"}, "analyses[1].models", "write a list: [ ... ]"),
        ({"more": "[[models]]\npredictors = []"}, "models[2].predictors", "needs at least 1 entries"),
        ({"more": "[preparation.stacks]\nmargin_mm = [8, 2]"}, "preparation.stacks.margin_mm", "lower limit"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_told_in_words_of_the_file(given: dict[str, str], place: str, sentence: str) -> None:
    told = refusal(**given)
    assert place in told and sentence in told
    assert not any(word in told for word in ("pattern", "tuple", "^"))
