"""disclosure: one frozen score in two forms: the difference of two answers would be whoever the forms part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from common.federation.query import each, perform
from common.federation.tasks import Freeze
from common.statistics.roc import RocAlone
from common.study.recipe import Complete, Impute, Recipe, Score, Select, Step
from common.study.scoring import frozen_prefixes
from tests.disclosure.consortium import STUDY, Consortium, columns, make, names, recipe

COMPLETE = STUDY.replace('missing = "mean"', 'missing = "complete-case"')
LARGER = (
    COMPLETE
    + """
[[models]]
name = "larger"
endpoint = "mvi"
cohort = "train"
predictors = [
  { variable = "age", coding = "linear" }, "sex", "afp", "cirrhosis", { variable = "albumin", coding = "linear" },
]
evaluate = ["external"]
"""
)
COMPARED = (
    LARGER
    + """
[[analyses]]
name = "both"
statistic = "compare-areas"
endpoint = "mvi"
models = ["clinical", "larger"]
cohort = "external"
"""
)


def one_gap(rows: list[dict[str, str]]) -> None:
    rows[7]["age"] = ""


def lacks_albumin(rows: list[dict[str, str]]) -> None:
    rows[7]["albumin"] = ""


def formula(made: Consortium) -> Score:
    return Score("clinical", "mvi", names(made.study, "clinical"), (0.05, 0.2, 0.1, 0.3), -3.0)


def own(made: Consortium) -> Recipe:
    return recipe(made.study, "clinical")


def unfilled(made: Consortium) -> Recipe:
    return Recipe(tuple(step for step in own(made).steps if not isinstance(step, Impute)))


def filled_by(made: Consortium) -> Recipe:
    """With other numbers: the score of whoever has a gap is another one."""

    def other(step: Step) -> Step:
        return replace(step, values=(60.0, *step.values[1:])) if isinstance(step, Impute) else step

    return Recipe(tuple(other(step) for step in own(made).steps))


def fewer_known(made: Consortium) -> Recipe:
    return Recipe((Select(columns(made.study, "clinical")), Complete(("sex=m",), ("mvi",))))


def nothing_known(made: Consortium) -> Recipe:
    return Recipe((Select(columns(made.study, "clinical")), Complete((), ("mvi",))))


def of_the_larger(made: Consortium) -> Recipe:
    return Recipe((Select(columns(made.study, "larger")), Complete(names(made.study, "larger"), ("mvi",))))


def asked(made: Consortium, form: Recipe) -> int:
    scored = form.then(formula(made))
    return made.number("d", each(RocAlone("external", scored, "mvi", "score.clinical", 10, min_cell=5)))


def freeze(made: Consortium, *forms: Recipe) -> None:
    digests = {one for form in forms for one in frozen_prefixes(form.then(formula(made)))}
    assert made.number("d", perform(Freeze(tuple(sorted(digests)), ()))) == 0


@pytest.mark.parametrize(
    ("study", "second"),
    [
        (STUDY, unfilled),
        (STUDY, filled_by),
        (COMPLETE, fewer_known),
        (COMPLETE, nothing_known),
        (LARGER, of_the_larger),
    ],
)
def test_a_frozen_score_is_told_of_the_models_own_patients_only(
    tmp_path: Path, study: str, second: Callable[[Consortium], Recipe]
):
    """Frozen are both; the patients of the two forms differ by one, whose outcome and score were the difference."""
    made = make(tmp_path, {"d": lacks_albumin if study is LARGER else one_gap}, study=study, masked=True).sign().open()
    freeze(made, own(made), second(made))
    assert asked(made, own(made)) == 0
    assert asked(made, second(made)) == 414


def test_of_two_fillings_the_first_is_the_scores_whichever_comes_first(tmp_path: Path):
    made = make(tmp_path, {"d": one_gap}, masked=True).sign().open()
    freeze(made, own(made), filled_by(made))
    assert asked(made, filled_by(made)) == 0
    assert asked(made, own(made)) == 414


def test_models_that_are_compared_have_their_scores_of_the_patients_of_both(tmp_path: Path):
    made = make(tmp_path, {"d": lacks_albumin}, study=COMPARED, masked=True).sign().open()
    freeze(made, of_the_larger(made))
    assert asked(made, of_the_larger(made)) == 0
