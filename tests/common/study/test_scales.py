"""common/study: a patient is harmonised by the same patients of his hospital, in whichever cohort he is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from common.study.loader import parse_study
from common.study.scales import Flags, Scale, scales

HEAD = """
[study]
name = "small"
title = "A small study"

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
"""
LABELS = ("2015", "2015", "2015", "2018", "2018", "2018", "2020", "2020")


def cohort(name: str, role: str, sites: str, *further: str) -> str:
    listed = ", ".join(f'"{site}"' for site in sites)
    return "\n[[cohorts]]\n" + "\n".join([f'name = "{name}"', f'role = "{role}"', f"sites = [{listed}]", *further])


def grouped(text: str, site: str, **members: str) -> list[tuple[str, str, str]]:
    """Of each group its patients, those who harmonise it, and the training cohort; patients by position."""
    study = parse_study(HEAD + text)

    def within(name: str) -> Flags:
        return np.array([str(i) in members.get(name, "") for i in range(len(LABELS))])

    def told(rows: Flags) -> str:
        return "".join(str(i) for i in np.flatnonzero(rows))

    found: tuple[Scale, ...] = scales(study, site, LABELS, within, "train")
    assert np.sum([one.rows for one in found], axis=0).tolist() == [1] * len(LABELS)
    return [(told(one.rows), told(one.by), one.cohort) for one in found]


TRAIN = cohort("train", "train", "abc")
SPLIT = "split = { fraction = 0.5 }"


def test_patients_whom_a_split_tells_apart_are_harmonised_together() -> None:
    text = TRAIN + cohort("calibration", "calibration", "d", SPLIT) + cohort("external", "external-test", "d")
    assert grouped(text, "d", calibration="015", external="2346") == [("01234567", "0123456", "")]


def test_an_outcome_cohort_is_harmonised_as_the_test_cohort_whose_patients_it_has() -> None:
    text = TRAIN + cohort("external", "external-test", "d") + cohort("survival", "outcome", "ad")
    assert grouped(text, "d", external="0123", survival="12345") == [("01234567", "0123", "")]
    assert grouped(text, "a", train="0123", survival="01234567") == [("01234567", "0123", "train")]


def test_a_hospital_of_an_outcome_cohort_alone_is_harmonised_by_it() -> None:
    text = TRAIN + cohort("survival", "outcome", "d") + cohort("sequenced", "genomics", "d")
    assert grouped(text, "d", survival="12345", sequenced="56") == [("01234567", "123456", "")]


def test_patients_who_are_split_off_from_training_are_harmonised_as_training() -> None:
    text = TRAIN + cohort("internal", "internal-test", "abc", SPLIT)
    assert grouped(text, "a", train="0123", internal="4567") == [("01234567", "0123", "train")]


def test_a_label_tells_years_apart_and_each_has_its_own_location_and_scale() -> None:
    text = (
        cohort("train", "train", "abc", 'label = "2015"')
        + cohort("calibration", "calibration", "abc", 'label = "2018"', SPLIT)
        + cohort("later", "internal-test", "abc", 'label = "2018"')
        + cohort("survival", "outcome", "abc")
    )
    found = grouped(text, "a", train="012", calibration="3", later="45", survival="01234567")
    assert found == [("67", "67", ""), ("012", "012", "train"), ("345", "345", "")]


@pytest.mark.parametrize(("site", "cohort_"), [("a", "train"), ("d", "")])
def test_a_hospital_is_trained_on_only_where_the_protocol_says_so(site: str, cohort_: str) -> None:
    text = TRAIN + cohort("external", "external-test", "d")
    assert [one[2] for one in grouped(text, site, train="0", external="1")] == [cohort_]
