"""tests: `[reporting]`: plain statements, about the study's own sites, that belong to what is approved."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import FedmviError
from common.study.fingerprint import preparation_fingerprint, study_fingerprint
from common.study.loader import parse_study
from common.study.reporting import Reporting
from simulation.shipped import shipped_study

TEXT = shipped_study(Path("demo")).read_text(encoding="utf-8")


def with_line(line: str) -> str:
    return TEXT.replace("[reporting]\n", f"[reporting]\n{line}\n")


def test_a_statement_is_kept_as_it_is_written() -> None:
    study = parse_study(with_line('funding = "Nobody."\nsite_ethics = { hospital-a = "Board A." }'))
    assert study.reporting.funding == "Nobody."
    assert study.reporting.site_ethics == {"hospital-a": "Board A."}


def test_a_study_says_nothing_of_itself_unless_it_does() -> None:
    start, end = TEXT.index("[reporting]"), TEXT.index("# ---", TEXT.index("[reporting]"))
    study = parse_study(TEXT[:start] + TEXT[end:])
    assert study.reporting == Reporting()
    assert not any(study.reporting.model_dump().values())


def test_a_statement_is_part_of_what_a_hospital_approves_and_not_of_its_prepared_data() -> None:
    study, other = parse_study(TEXT), parse_study(with_line('funding = "Nobody."'))
    assert study_fingerprint(study) != study_fingerprint(other)
    assert preparation_fingerprint(study) == preparation_fingerprint(other)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('site_ethics = { hospital-z = "Board Z." }', "'hospital-z' is not a site of any cohort"),
        ('fundign = "Nobody."', "unknown field; did you mean 'funding'?"),
        ('funding = "One.\\nTwo."', "a character that cannot be printed"),
        ("funding = 3", "funding"),
    ],
)
def test_a_statement_that_cannot_stand_is_refused_with_its_line(line: str, expected: str) -> None:
    with pytest.raises(FedmviError) as caught:
        parse_study(with_line(line))
    assert caught.value.number == 103
    assert expected in str(caught.value.local)
