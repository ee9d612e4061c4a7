"""common: what a protocol may say of recalibrations, and what is closed where it says something of them."""

from __future__ import annotations

import pytest

from common.errors import FedmviError
from common.study.loader import parse_study
from tests.server.study.recalibrated_study import CALIBRATION, recalibration, study_text

TWO_SITES = CALIBRATION.replace('["d", "e", "f"]', '["d", "e"]')
NOWHERE = '\n[[recalibrations]]\nname = "r"\nmodel = "wide"\ncohort = "calibration"\n'


def test_a_sound_protocol_closes_its_calibration_cohorts_and_one_without_recalibrations_does_not():
    assert "calibration" in parse_study(study_text()).closed_roles
    assert "calibration" not in parse_study(study_text("")).closed_roles
    assert parse_study(study_text()).closed_roles >= {"external-test", "outcome", "genomics"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (study_text(recalibration("risk")), "'risk' is declared twice"),
        (study_text(recalibration("r") + recalibration("r")), "'r' is declared twice"),
        (study_text(recalibration("r").replace('"risk"', '"another"')), "is not a model of the study"),
        (study_text(NOWHERE), "is evaluated nowhere"),
        (study_text(recalibration("r", cohort="external")), "is not a cohort with the role calibration"),
        (study_text(recalibration("r", cohort="train")), "is not a cohort with the role calibration"),
        (study_text(recalibration("r"), TWO_SITES), "has 2 sites"),
        (study_text(recalibration("r"), CALIBRATION.split("split")[0]), "a patient has one prediction role"),
        (study_text(recalibration("r", extra="sensitivity = 1.0")), "sensitivity"),
        (study_text(recalibration("r", "isotonic")), "method"),
    ],
)
def test_contradictions_are_told(text: str, words: str):
    with pytest.raises(FedmviError) as met:
        parse_study(text)
    assert words in met.value.local + met.value.what
