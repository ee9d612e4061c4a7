"""disclosure: what a server may ask of projections of patients' vectors, and what the sites answer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.federation.learning import WHOLE, Member, ScorePatients
from common.federation.query import each, perform, total
from common.federation.tasks import Freeze
from common.networks.projection import projected_columns
from common.statistics.confusion import ThresholdCounts
from common.statistics.moments import Deviations
from common.statistics.projection import HalfProducts, LevelSums
from common.statistics.two_sample import DirectionCounts
from common.study.loader import parse_study
from common.study.recipe import Complete, Fold, Impute, Made, Recipe
from simulation.importers.folder import introduce
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from tests.disclosure.consortium import Consortium
from tests.disclosure.networks import NETWORK_STUDY, POLICY, set_policy, weights

COHORTS = {"train": "abc", "near": "def", "far": "g", "rest": "hij"}
ALONE = '[[cohorts]]\nname = "external"\nrole = "external-test"\nsites = ["d"]\n'
TEXT = NETWORK_STUDY.replace(
    ALONE,
    "".join(
        f'[[cohorts]]\nname = "{name}"\nrole = "external-test"\nsites = {list(sites)}\n\n'.replace("'", '"')
        for name, sites in COHORTS.items()
        if name != "train"
    ),
).replace(
    'evaluate = ["external"]',
    'evaluate = ["near", "far", "rest"]\nmissing = "mask"\nprojection = { cohorts = ["near", "far"], dimensions = 8 }',
)
TEXT = TEXT.replace('reference = "t1v"', 'reference = "t1v"\noptional = ["t1"]')  # nobody has it: stacks take time
SITES = tuple("".join(COHORTS.values()))
COLUMNS = projected_columns("t1v", 8)


def consortium_of(folder: Path) -> Consortium:
    return Consortium({name: folder / name for name in SITES}, parse_study(TEXT))


def member(made: Consortium, shift: float = 0.0) -> Member:
    return Member(WHOLE, weights(made.study) + np.float32(shift))


def task_of(made: Consortium, cohort: str = "near", **changes: Any) -> ScorePatients:
    return replace(ScorePatients(cohort, "net", ("t1v",), 0, (member(made),), project=True), **changes)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masked sites that have opened a run, and have frozen one network of each sequence."""
    folder = tmp_path_factory.mktemp("projection") / "sites"
    make_learning_hospitals(folder, parse_study(TEXT), Drawing(seed=3, patients=20, absent=1.0))
    made = consortium_of(folder)
    for site in SITES:
        set_policy(folder / site, POLICY)
    introduce(made.folders)
    made.sign().open(*SITES)
    return folder


@pytest.fixture
def opened(template: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    made = consortium_of(tmp_path / "sites")
    return made.sign()


def freeze(made: Consortium, *models: str) -> None:
    for site in SITES:
        assert made.number(site, perform(Freeze(models, ()))) == 0


@pytest.fixture
def made(opened: Consortium) -> Consortium:
    """Sites d and j have scored by the frozen network, and the first has projected."""
    freeze(opened, task_of(opened).model)
    for site, cohort in (("d", "near"), ("j", "rest")):
        assert opened.number(site, perform(task_of(opened, cohort, project=cohort != "rest"))) == 0
    return opened


def recipe(made: Consortium, columns: tuple[str, ...] = COLUMNS) -> Recipe:
    step = Made(task_of(made).model, "net", columns)
    return Recipe((step, Complete(step.names, ("mvi",))))


def halves(made: Consortium, **changes: Any) -> HalfProducts:
    whole = recipe(made)
    return replace(HalfProducts("near", whole.then(Fold(10, "mvi")), whole.steps[0].names), **changes)  # type: ignore[union-attr]


def levels(made: Consortium, **changes: Any) -> LevelSums:
    whole = recipe(made)
    return replace(LevelSums("near", whole, whole.steps[0].names, "mvi", 2), **changes)  # type: ignore[union-attr]


def counts(made: Consortium, pairs: int = 1, **changes: Any) -> DirectionCounts:
    asked = halves(made)
    return replace(
        DirectionCounts(asked.cohort, asked.recipe, asked.columns, np.full((pairs, 2, 9), 0.1)), **changes
    )  # fmt: skip


def by_class(made: Consortium) -> DirectionCounts:
    return counts(made, by="mvi", levels=2)


def test_what_the_study_declares_is_answered_and_only_sums_leave(made: Consortium) -> None:
    asked = (halves(made), levels(made), counts(made), by_class(made))
    answers = made.put("d", *map(total, asked))
    assert [answer.error for answer in answers] == [0, 0, 0, 0]
    assert [set(answer.blocks) for answer in answers] == [{"n", "sum", "cross"}, {"n", "sum"}, {"counts"}, {"counts"}]
    (receipt,) = made.put("d", perform(task_of(made)))
    assert set(receipt.receipt) == {"work"}


def test_nothing_is_asked_of_one_site(made: Consortium) -> None:
    assert {made.number("d", each(question(made))) for question in (halves, levels, counts)} == {402}


def _attacks(made: Consortium) -> dict[str, Any]:
    """Each a question that differs from an honest one in one thing, with the site that it is put to."""
    fewer, names = recipe(made, COLUMNS[:7]), recipe(made).steps[0].names  # type: ignore[union-attr]
    other = projected_columns("t1", 8)
    made_step, complete = recipe(made).steps
    dealt = Fold(10, "mvi")
    return {
        "fewer columns": ("d", halves(made, recipe=fewer.then(dealt), columns=names[:7])),
        "fewer columns of all": ("d", halves(made, columns=names[:7])),
        "another order": ("d", halves(made, columns=names[::-1])),
        "a column more": ("d", halves(made, recipe=recipe(made, (*COLUMNS, "t1v.9")).then(dealt))),
        "complete by another sequence": (
            "d", levels(made, recipe=Recipe((made_step, Made(task_of(made).model, "net", other), complete)))),
        "complete by one column": ("d", levels(made, recipe=Recipe((made_step, Complete(names[:1], ("mvi",)))))),
        "whoever has no endpoint too": ("d", halves(made, recipe=Recipe((made_step, Complete(names, ()), dealt)))),
        "imputed": ("d", levels(made, recipe=Recipe((made_step, Impute(names[:1], (0.0,)), complete)))),
        "not complete": ("d", levels(made, recipe=Recipe((made_step,)))),
        "folds for levels": ("d", levels(made, recipe=recipe(made).then(dealt))),
        "other folds": ("d", halves(made, recipe=recipe(made).then(Fold(5, "mvi")))),
        "no folds": ("d", halves(made, recipe=recipe(made))),
        "three levels of two": ("d", levels(made, levels=3)),
        "a score beside": ("d", levels(made, recipe=recipe(made, (*COLUMNS, "mean")))),
        "sums of scores": ("d", levels(made, recipe=recipe(made, ("mean",)), columns=("net.mean",))),
        "counts by another endpoint": ("d", counts(made, by="os", levels=2)),
        "counts by three levels of two": ("d", counts(made, by="mvi", levels=3)),
        "counts by levels of nothing": ("d", counts(made, levels=2)),
        "more pairs than cohorts": ("d", counts(made, pairs=2)),
        "a coefficient beyond": ("d", counts(made, coefficients=np.full((1, 2, 9), 1e7))),
        "a cohort that is not compared": ("j", halves(made, cohort="rest")),
        "thresholds of a projection": (
            "d", ThresholdCounts("near", recipe(made), names[:1], "mvi", np.array([[0.5]]))),
        "moments of a projection": ("d", Deviations("near", recipe(made), names, np.zeros(8))),
    }  # fmt: skip


def test_what_the_study_does_not_declare_is_refused(made: Consortium) -> None:
    met = {what: made.number(site, total(query)) for what, (site, query) in _attacks(made).items()}
    assert met == dict.fromkeys(met, 414)


def test_a_second_direction_is_refused_because_the_two_would_place_patients(made: Consortium) -> None:
    assert made.number("d", total(counts(made))) == 0
    assert made.number("d", total(counts(made, coefficients=np.full((1, 2, 9), 0.2)))) == 414
    assert made.number("d", total(counts(made))) == 0


def test_only_one_frozen_network_projects_in_a_run_and_only_where_the_study_says(opened: Consortium) -> None:
    first = task_of(opened)
    second = task_of(opened, combination=("t1v",), seed=1, members=(member(opened, 0.5),))
    assert opened.number("d", perform(first)) == 407
    freeze(opened, *sorted((first.model, second.model)))
    assert opened.number("d", perform(task_of(opened, members=(member(opened, 0.1),)))) == 407
    assert opened.number("d", perform(first)) == 0
    assert opened.number("d", perform(second)) == 414
    assert opened.number("d", perform(replace(second, project=False))) == 0
    assert opened.number("j", perform(task_of(opened, "rest"))) == 414
    folds = tuple(replace(member(opened), fold=fold) for fold in range(5))
    assert opened.number("a", perform(task_of(opened, "train", members=folds))) == 414
    step = Made(second.model, "net", COLUMNS)
    never = halves(opened, recipe=Recipe((step, Complete(step.names, ("mvi",)), Fold(10, "mvi"))))
    assert opened.number("d", total(never)) == 511, "what it did not project is not there"


def test_small_halves_classes_and_cohorts_are_refused(made: Consortium) -> None:
    assert made.number("d", total(halves(made))) == 0
    for policy, question, number in (
        ("min_cell = 13\n", halves, 416),
        ("min_cell = 13\n", counts, 416),
        ("min_class = 13\n", levels, 405),
        ("min_class = 13\n", by_class, 405),
        ("max_parameters = 0.2\n", halves, 404),
        ("min_patients = 25\n", halves, 403),
    ):
        set_policy(made.folders["e"], POLICY.split("min_class")[0] + policy)
        assert made.number("e", perform(task_of(made))) == 0
        assert made.number("e", total(question(made))) == number, policy
