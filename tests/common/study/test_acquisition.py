"""tests/common/study: what may be kept of an acquisition is one of the declared levels, whatever is written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FedmviError
from common.study.acquisition import (
    ARTERIAL_TO_PORTAL,
    LEVELS,
    PLAIN_TO_ARTERIAL,
    SLICE_SPACING,
    TUBE_VOLTAGE,
    acquisition_facts,
    field_strength,
    phase_count,
    vendor,
)
from common.study.loader import parse_study
from tests.client.preparation.sites import STUDY

MR = (
    STUDY.replace('modality = "ct"', 'modality = "mr"')
    .replace('"plain", "arterial", "portal", "delayed"', '"t1", "t1a", "dwi"')
    .replace('optional = ["delayed"]\n', "")
    .replace('reference = "portal"', 'reference = "t1"')
    .replace("arterial-minus-plain", "t1a-minus-t1")
    .replace('"arterial.tumour', '"t1a.tumour')
)


@pytest.mark.parametrize(
    ("written", "level"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens Healthineers", "Siemens"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE_MEDICAL-SYSTEMS", "GE"),
        ("Philips Medical Systems", "Philips"),
        ("Marconi", "Philips"),
        ("TOSHIBA_MEC", "Canon or Toshiba"),
        ("CANON MEC", "Canon or Toshiba"),
        ("UIH", "United Imaging"),
        ("FUJIFILM Healthcare Corporation", "Fujifilm or Hitachi"),
        ("Hitachi, Ltd.", "Fujifilm or Hitachi"),
        ("Genesis of somebody", "other"),
        ("Изделие", "other"),
        ("  \t", None),
        ("", None),
    ],
)
def test_a_vendor_is_known_by_the_names_under_which_its_scanners_write(written: str, level: str | None) -> None:
    assert vendor(written) == level


@given(st.text())
def test_no_text_of_a_header_is_ever_kept(written: str) -> None:
    assert vendor(written) in {*LEVELS["scanner_vendor"], None}


@given(st.floats() | st.none())
def test_no_number_of_a_header_is_ever_kept(value: float | None) -> None:
    assert field_strength(value) in {*LEVELS["field_strength"], None}
    for fact, bands in (("tube_voltage", TUBE_VOLTAGE), ("plain_to_arterial", PLAIN_TO_ARTERIAL)):
        level = bands.level(value)
        assert level in {*LEVELS[fact], None}
        assert (level is None) == (value is None or not math.isfinite(value) or not bands.least <= value <= bands.most)


def test_a_band_holds_its_upper_end() -> None:
    assert [SLICE_SPACING.level(mm) for mm in (0.6, 1.5, 1.6, 3.0, 5.0, 5.1)] == [
        "up to 1.5 mm", "up to 1.5 mm", "over 1.5 to 3 mm", "over 1.5 to 3 mm", "over 3 to 5 mm", "over 5 mm",
    ]  # fmt: skip
    assert [ARTERIAL_TO_PORTAL.level(s) for s in (-3.0, 20.0, 33.0, 1e9)] == [
        None, "up to 20 s", "over 30 to 40 s", None,
    ]  # fmt: skip
    assert [field_strength(t) for t in (1.494, 2.89362, 0.55, 0.0)] == ["1.5 T", "3 T", "other", None]
    assert [phase_count(n) for n in (0, 1, 5, 6, 99)] == [None, "1", "5", "6 or more", "6 or more"]


def test_the_facts_are_those_of_the_modality_and_phases() -> None:
    assert acquisition_facts(parse_study(STUDY).preparation) == (
        "scanner_vendor", "tube_voltage", "slice_spacing", "pixel_spacing", "phase_count", "contrast_delay_arterial",
        "arterial_to_portal", "plain_to_arterial",
    )  # fmt: skip
    assert acquisition_facts(parse_study(MR).preparation) == (
        "scanner_vendor", "field_strength", "slice_spacing", "pixel_spacing", "contrast_delay_arterial",
        "plain_to_arterial",
    )  # fmt: skip
    assert acquisition_facts(None) == ()


OWN = """
[[variables]]
name = "scanner_vendor"
kind = "{kind}"
known = "preoperative"
{levels}

[preparation]
"""


@pytest.mark.parametrize(
    ("kind", "levels", "sound"),
    [
        ("binary", 'levels = ["Siemens", "GE"]', True),
        ("categorical", 'levels = ["GE", "Philips", "Siemens"]', True),
        ("binary", 'levels = ["Siemens", "Acme"]', False),
        ("continuous", "", False),
    ],
)
def test_a_study_may_name_fewer_levels_and_no_others(kind: str, levels: str, sound: bool) -> None:
    text = STUDY.replace("[preparation]\n", OWN.format(kind=kind, levels=levels), 1)
    if sound:
        assert parse_study(text).variable("scanner_vendor").levels == tuple(levels.split('"')[1::2])
        return
    with pytest.raises(FedmviError, match="103") as refused:
        parse_study(text)
    assert "its levels are some of Siemens, GE" in refused.value.local
