"""common: a study protocol is refused as a whole, with every problem, its line and a hint."""

from __future__ import annotations

import json
import re

import pytest

from common.errors import FedmviError
from common.study.fingerprint import preparation_fingerprint, study_fingerprint
from common.study.loader import parse_study

SOUND = """\
[study]
name = "a-study"
title = "A study"

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]

[[endpoints]]
name = "os"
kind = "survival"
columns = ["os_days", "os_event"]
unit = "days"

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[cohorts]]
name = "external"
role = "external-test"
sites = ["d"]

[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = ["age", "afp", "sex", { variable = "alt", coding = "log" }]
evaluate = ["external"]

[[comparisons]]
name = "os-by-mvi"
endpoint = "os"
group = "mvi"
cohort = "train"
"""


def test_a_sound_study_loads_and_names_get_their_usual_coding() -> None:
    study = parse_study(SOUND)
    assert [(t.variable, t.coding) for t in study.models[0].predictors] == [
        ("age", "above"),
        ("afp", "above"),
        ("sex", "levels"),
        ("alt", "log"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "A study"', 'titel = "A study"', r"line 3: study\.titel: unknown field; did you mean 'title'\?"),
        ('cohort = "train"\npredictors', 'cohrt = "train"\npredictors', r"line 31: models\[1\]\.cohrt: .*'cohort'"),
        ('"age", "afp"', '"age", "agee"', r"line 32: models\[1\]\.predictors\[2\]\S* .*"),
        ('endpoint = "mvi"\ncohort', 'endpoint = "os"\ncohort', r"line 30: .*'os' is not a binary endpoint"),
        ('evaluate = ["external"]', 'evaluate = ["train"]', r"line 33: .*not an internal-test or external-test"),
        ('sites = ["d"]', 'sites = ["a"]', r"line 26: .*one prediction role"),
        ('unit = "days"', 'unit = "years"', r"line 16: endpoints\[2\]\.unit: .*'days' or 'months'"),
        ('unit = "days"\n', "", r"a survival endpoint needs `unit`"),
        ('group = "mvi"', 'group = "age"', r"'age' does not form groups"),
        (
            'group = "mvi"',
            'group = "mvi"\nhorizon = 20000',
            r"\.horizon: the horizon lies beyond the endpoint's maximum",
        ),
        ('group = "mvi"', 'group = "mvi"\nhorizon = 9.5\ntimes = [9, 10]', r"one of `times` lies beyond the horizon"),
        ('group = "mvi"\ncohort = "train"', 'group = "mvi"\ncohort = "external"\nhorizon = 9', r"fewer than 3 sites"),
        ('coding = "log"', 'coding = "levels"', r"does not fit 'alt', which is continuous"),
        ('coding = "log"', 'coding = "log", cutoff = 3', r"belongs to the coding `above`"),
        ('name = "a-study"', 'name = "../a"', r"line 2: study\.name"),
        ('positive = ["present"]', 'positive = ["absent"]', r"both positive and negative"),
    ],
)
def test_a_problem_is_named_with_its_line(old: str, new: str, expected: str) -> None:
    assert old in SOUND
    with pytest.raises(FedmviError, match="103") as refused:
        parse_study(SOUND.replace(old, new, 1))
    assert re.search(expected, refused.value.local), refused.value.local


def test_all_problems_are_reported_at_once() -> None:
    broken = (
        SOUND.replace('title = "A study"', "").replace('unit = "days"', 'unit = "years"') + "[limits]\nmin_cell = 1\n"
    )
    with pytest.raises(FedmviError) as refused:
        parse_study(broken)
    assert refused.value.facts["count"] == 3
    assert "limits.min_cell" in refused.value.local


@pytest.mark.parametrize(
    "variable",
    ["edmondson", "tumour_size_pathology", "pathological_capsule", "resection_margin", "ajcc_stage", "ajcc_t"],
)
def test_a_preoperative_model_refuses_what_only_pathology_tells(variable: str) -> None:
    leaking = SOUND.replace('"sex"', f'"{variable}"')
    with pytest.raises(FedmviError, match=r"104.*pathology"):
        parse_study(leaking)
    allowed = leaking.replace('evaluate = ["external"]', 'evaluate = ["external"]\ntiming = "postoperative"')
    assert parse_study(allowed).models[0].timing == "postoperative"


def test_the_stage_says_why_it_leaks() -> None:
    with pytest.raises(FedmviError) as refused:
        parse_study(SOUND.replace('"sex"', '"ajcc_stage"').replace('"age"', '"edmondson"'))
    assert "defined by vascular invasion" in refused.value.local
    assert refused.value.local.count("line 32") == 2


def test_a_study_cannot_call_a_pathological_variable_preoperative() -> None:
    own = '\n[[variables]]\nname = "edmondson"\nkind = "categorical"\nlevels = ["I", "II"]\nknown = "preoperative"\n'
    with pytest.raises(FedmviError, match=r"103.*give your variable another name"):
        parse_study(SOUND.replace('"sex"', '"edmondson"') + own)


def test_text_that_is_not_toml() -> None:
    with pytest.raises(FedmviError, match="102"):
        parse_study("study = [")


def test_fingerprints_ignore_layout_and_see_content() -> None:
    plain = parse_study(SOUND)
    commented = parse_study("# a comment\n" + SOUND.replace('["a", "b", "c"]', '[\n  "a",\n  "b",\n  "c",\n]'))
    assert study_fingerprint(plain) == study_fingerprint(commented)
    other = parse_study(SOUND.replace('name = "clinical"', 'name = "other"'))
    assert study_fingerprint(plain) != study_fingerprint(other)
    assert preparation_fingerprint(plain) == preparation_fingerprint(other)
    wider = parse_study(SOUND.replace('"sex"', '"sex", "ggt"'))
    assert preparation_fingerprint(plain) != preparation_fingerprint(wider)


@pytest.mark.parametrize("title", ["\x1b[8mhidden", "a\nFingerprint: 1111", "\u202etfel ot thgir", "bell\x07"])
def test_a_study_whose_words_would_not_be_shown_as_they_are_is_refused(title: str) -> None:
    """A hospital approves what it reads: terminals obey control characters, and a line may be forged."""
    text = SOUND.replace('title = "A study"', f"title = {json.dumps(title)}")
    with pytest.raises(FedmviError) as refused:
        parse_study(text)
    assert refused.value.number == 103
    assert "cannot be printed" in refused.value.local
