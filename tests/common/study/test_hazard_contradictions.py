"""common/study: what a Cox regression of a comparison may not say."""

from __future__ import annotations

import pytest

from common.errors import FedmviError
from common.study.hazards import designs
from common.study.loader import parse_study
from tests.disclosure.consortium import STUDY
from tests.server.study.hazard_study import COHORT, comparison, study_text


def test_a_regression_is_written_as_predictors_are():
    study = parse_study(study_text())
    _, first, alone, early = study.comparisons
    assert designs(study, first) == (("group",), ("group", "afp>20", "albumin")) == designs(study, early)
    assert designs(study, alone) == (("group",),)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (comparison("x", "mvi", '["score.clinical"]'), "'score.clinical' is a score"),
        (comparison("x", "mvi", '["mvi"]'), "is neither in the dictionary"),
        (comparison("x", "sex", '["sex"]'), "'sex' is the group itself"),
        (comparison("x", "mvi", '["afp", { variable = "afp", coding = "log" }]'), "'afp' is named twice"),
        (comparison("x", "mvi", '["child_pugh", "edmondson"]'), "known before surgery"),
        (comparison("x", "child_pugh", "[]"), "more than two groups"),
        (comparison("x", "mvi", "[]").replace('"later"', '"alone"'), "nothing can be summed"),
        (comparison("x", "mvi", '["afp"]') + comparison("y", "mvi", '["sex"]'), "'x' has other covariates"),
    ],
    ids=["score", "outcome", "group", "twice", "late", "groups", "alone", "two sets"],
)
def test_what_contradicts_the_study_is_told(more: str, sentence: str):
    with pytest.raises(FedmviError) as caught:
        parse_study(STUDY + COHORT + more)
    assert caught.value.number == 103
    assert sentence in caught.value.local


def test_the_groups_of_a_choice_are_those_of_the_model_that_it_may_take():
    choice = """
[[choices]]
name = "best"
models = ["first", "second"]
"""
    models = "".join(
        f'''
[[models]]
name = "{name}"
endpoint = "mvi"
cohort = "train"
predictors = {predictors}
reduction = {{ fdr = 1.0, count = 5 }}
evaluate = ["external"]
'''
        for name, predictors in (
            ("first", '["age", "albumin", "platelets", "inr"]'), ("second", '["age", "ast", "alt", "ggt"]')
        )
    )  # fmt: skip
    both = comparison("x", "score.first", '["afp"]') + comparison("y", "score.best", '["sex"]')
    with pytest.raises(FedmviError) as caught:
        parse_study(STUDY + COHORT + models + choice + both)
    assert "'x' has other covariates" in caught.value.local
