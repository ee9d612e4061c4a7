"""common/study: which cohorts are described, and of which variables where endpoints are closed."""

from __future__ import annotations

from common.study.described import described_cohorts, described_variables
from common.study.loader import parse_study
from tests.disclosure.consortium import STUDY

TABLE = '\n[characteristics]\nvariables = ["age"]\n'


def test_a_cohort_that_may_share_patients_with_another_is_not_described() -> None:
    overlapping = '\n[[cohorts]]\nname = "everybody"\nrole = "outcome"\nsites = ["a", "b", "c", "d"]\n'
    study = parse_study(STUDY + overlapping + TABLE)
    assert [c.name for c in described_cohorts(study)] == ["train", "external"]


def test_what_tells_of_the_outcome_is_described_in_open_cohorts_only() -> None:
    study = parse_study(STUDY + '\n[characteristics]\nvariables = ["age", "ajcc_stage", "recurrence"]\n')
    described = {c.name: [p.variable.name for p in described_variables(study, c)] for c in described_cohorts(study)}
    assert described == {"train": ["age", "ajcc_stage", "recurrence"], "external": ["age"]}


def test_without_a_list_everything_is_described_that_the_study_uses_in_its_order() -> None:
    study = parse_study(STUDY + "\n[characteristics]\n")
    names = [part.variable.name for part in described_variables(study, study.cohort("train"))]
    assert names[:6] == ["age", "sex", "afp", "cirrhosis", "albumin", "platelets"]
    assert sorted(names) == list(study.variable_names())
    assert described_variables(parse_study(STUDY), study.cohort("train")) == ()
