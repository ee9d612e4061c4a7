"""disclosure: characteristics and subgroups: attacks that succeed without a gate, and fail with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.federation.query import Ask, Query, perform, total
from common.federation.tasks import Freeze
from common.statistics.chi_square import ClassTable
from common.statistics.confusion import ThresholdCounts
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.refinement import root_question
from common.statistics.student_t import ClassMoments
from common.statistics.variance import LevelCounts
from common.study.coding import CodedColumn
from common.study.dividing import divided, subset_recipe
from common.study.protocol import Study
from common.study.recipe import Complete, Impute, Recipe, Score, Select, Standardise
from common.study.subgroups import THRESHOLDS
from common.study.subset import Subset
from tests.disclosure.consortium import POLICY, STUDY, Consortium, Row, columns, make, names, rows_of, write_site

TABLE = '\n[characteristics]\nvariables = ["age", "sex", "height", "ajcc_stage"]\n'
PARTS = """
[[subgroups]]
name = "parts"
model = "clinical"
cohort = "external"
by = ["sex", { variable = "age", cutoff = 45 }, "hbv"]
"""
BINS = np.array([THRESHOLDS])


def recorded(rows: list[Row]) -> None:
    rng = np.random.default_rng(ord(rows[0]["patient_id"][0]) + 7)
    for i, row in enumerate(rows):
        row["height"] = f"{rng.normal(170, 8):.0f}"
        row["ajcc_stage"] = ("I", "II")[int(row["mvi"]) if i % 9 else i % 2]
        row["hbv"] = "yes" if i % 2 else "no"


def scoring(study: Study) -> Recipe:
    """The recipe of a frozen model, with numbers that an honest server could have fitted."""
    clinical = names(study, "clinical")
    score = Score("clinical", "mvi", clinical, (0.05, -0.3, 0.9, 0.4), -3.0)
    fill = Impute(clinical, (45.0, 0.5, 0.5, 0.5))
    return Recipe((Select(columns(study, "clinical")), fill, Complete(clinical, ("mvi",)), score))


def subgroup(study: Study, variable: str, level: int) -> Recipe:
    declared = study.subgroups[0]
    part = next(p for p in divided(study, declared) if p.variable.name == variable)
    return subset_recipe(study, declared, scoring(study), part, level)


def counted(recipe: Recipe, cohort: str = "external") -> ThresholdCounts:
    return ThresholdCounts(cohort, recipe, ("score.clinical",), "mvi", BINS)


def opened(folder: Path, change: dict[str, Callable[[list[Row]], None]] | None = None, **kind: bool) -> Consortium:
    """Sites whose run has frozen the recipes of all subgroups, and of some that no study declares."""
    text = STUDY + TABLE + PARTS
    made = make(folder, dict.fromkeys("abcdef", recorded) | (change or {}), study=text, policy=POLICY, **kind)
    return (made.sign() if kind.get("masked") else made).open()


def freeze(made: Consortium, *recipes: Recipe) -> None:
    scores = {Recipe(r.steps[: i + 1]).digest for r in recipes for i, s in enumerate(r.steps) if isinstance(s, Score)}
    answer = made.put("d", perform(Freeze(tuple(sorted(scores)), ("os-by-mvi",))))[0]
    assert not answer.error


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return opened(tmp_path_factory.mktemp("rich"))


# ------------------------------------------------------------------------------------------------- characteristics


def only(name: str, coding: str = "linear", **more: float | str) -> Recipe:
    return Recipe((Select((CodedColumn(name, str(more.pop("variable", name)), coding, **more),)),))  # type: ignore[arg-type]


def test_levels_are_counted_of_what_the_table_declares_and_of_nothing_else(rich: Consortium) -> None:
    def asked(recipe: Recipe, name: str, levels: int, cohort: str = "train") -> int:
        site = "a" if cohort != "external" else "d"
        return rich.number(site, total(LevelCounts(cohort, recipe, (name,), (levels,))))

    above = only("age>50", "above", variable="age", cutoff=50.0)
    assert asked(only("sex"), "sex", 2) == asked(above, "age>50", 2) == asked(only("sex"), "sex", 2, "external") == 0
    assert asked(only("hbv"), "hbv", 2) == 414, "a variable of the subgroups is none of the table"
    assert asked(only("sex"), "sex", 3) == 414, "other levels"
    assert asked(only("age>51", "above", variable="age", cutoff=51.0), "age>51", 2) == 414, "another cut-off"
    assert asked(only("ajcc_stage"), "ajcc_stage", 4, "external") == 414, "it tells of a closed endpoint"
    both = Recipe((Select((*only("sex").steps[0].columns, *above.steps[0].columns)),))
    assert rich.number("a", total(LevelCounts("train", both, ("sex", "age>50"), (2, 2)))) == 414


def test_only_all_patients_of_a_cohort_are_described(rich: Consortium) -> None:
    fewer = only("sex").then(Complete((), ("mvi",)))
    assert rich.number("a", total(LevelCounts("train", fewer, ("sex",), (2,)))) == 414
    moments = Deviations("train", only("height"), ("height",), np.array([150.0]))
    assert rich.number("a", total(moments)) == 0
    assert rich.number("a", total(replace(moments, recipe=only("height").then(Complete((), ("mvi",)))))) == 414
    clinical = columns(rich.study, "clinical")
    steps = (Select((*clinical, *only("height").steps[0].columns)), Complete(("age",), ("mvi",)))
    assert rich.number("a", total(replace(moments, recipe=Recipe(steps)))) == 414, "a set that a model speaks of"
    assert rich.number("a", total(replace(moments, cohort="alone"))) in (406, 414), "a cohort that is not described"


def test_classes_are_told_apart_where_endpoints_are_open_and_by_the_declared_one(rich: Consortium) -> None:
    standard = only("height").then(Standardise(("height",), (170.0,), (8.0,)))
    table, by_class = (
        ClassTable("train", only("sex"), "mvi", "sex", 2),
        ClassMoments("train", standard, "mvi", ("height",)),
    )
    assert [rich.number("a", total(query)) for query in (table, by_class)] == [0, 0]
    assert [rich.number("d", total(replace(query, cohort="external"))) for query in (table, by_class)] == [414, 414]
    assert rich.number("a", total(replace(table, recipe=only("hbv"), column="hbv"))) == 414


def test_a_study_without_the_table_describes_nothing(tmp_path: Path) -> None:
    made = make(tmp_path).open()
    standard = only("age").then(Standardise(("age",), (45.0,), (8.0,)))
    queries = (
        ClassMoments("train", standard, "mvi", ("age",)),
        LevelCounts("train", only("cirrhosis"), ("cirrhosis",), (2,)),
        ClassTable("train", only("cirrhosis"), "mvi", "cirrhosis", 2),
    )
    assert [made.number("a", total(query)) for query in queries] == [414] * 3


def test_a_rare_level_is_counted_and_not_by_class(tmp_path: Path) -> None:
    def few(rows: list[Row]) -> None:
        recorded(rows)
        for i, row in enumerate(rows):
            row["sex"] = "female" if i < 2 else "male"

    made = opened(tmp_path, {"a": few})
    assert made.number("a", total(LevelCounts("train", only("sex"), ("sex",), (2,)))) == 0, "as few of a class are"
    assert made.number("a", total(ClassTable("train", only("sex"), "mvi", "sex", 2))) == 409


# ------------------------------------------------------------------------------------------------------- subgroups


def test_by_the_exact_score_a_patients_rows_of_several_subgroups_could_be_joined(rich: Consortium) -> None:
    """So only counts in public bins are answered: of a subgroup no order of scores is told."""
    frames = {
        (v, level): rich.frame("d", subgroup(rich.study, v, level), "external")
        for v in ("sex", "hbv") for level in (0, 1)
    }  # fmt: skip
    scores = rich.frame("d", scoring(rich.study), "external").columns["score.clinical"]
    alone = {s for s, n in zip(*np.unique(scores, return_counts=True), strict=True) if n == 1}
    joined = [
        [key for key, frame in frames.items() if score in frame.columns["score.clinical"]] for score in sorted(alone)
    ]
    assert len(alone) > 20 and all(len(levels) == 2 for levels in joined), "sex and hepatitis of each, by his score"

    freeze(rich, scoring(rich.study), *(subgroup(rich.study, v, k) for v in ("sex", "hbv") for k in (0, 1)))
    recipe = subgroup(rich.study, "sex", 0)
    assert rich.number("d", total(counted(recipe))) == 0
    exact = root_question("external", recipe, ("score.clinical",), "mvi")
    assert rich.number("d", total(exact)) == 414
    assert rich.number("d", total(replace(counted(recipe), thresholds=np.array([[0.05, 0.1, 0.11]])))) == 414
    assert rich.number("d", total(replace(counted(recipe), thresholds=np.arange(1, 100)[None] / 100))) == 414


def _others(study: Study) -> dict[str, Recipe]:
    """Subgroups that the study does not declare, or takes elsewhere."""
    honest = subgroup(study, "sex", 0)
    select, fill, complete, subset, score = honest.steps
    few = Select((*columns(study, "clinical"), CodedColumn("sex", "sex", "linear")))
    return {
        "a level that there is not": Recipe((select, fill, complete, Subset("sex", 2), score)),
        "a column of the model": Recipe((select, fill, complete, Subset("cirrhosis=yes", 1), score)),
        "a number": Recipe((select, fill, complete, Subset("age", 47), score)),
        "after the score": Recipe((select, fill, complete, score, subset)),
        "before complete cases": Recipe((select, fill, subset, complete, score)),
        "an intersection": Recipe((select, fill, complete, subset, Subset("hbv", 1), score)),
        "without the columns that two subgroups are compared by": Recipe((few, fill, complete, subset, score)),
    }


def test_a_subgroup_that_the_study_does_not_declare_is_refused(rich: Consortium) -> None:
    for what, recipe in _others(rich.study).items():
        assert rich.number("d", total(counted(recipe))) == 414, what
    honest = subgroup(rich.study, "sex", 0)
    assert rich.number("a", total(counted(honest, "train"))) == 414, "another cohort"
    others: list[Query] = [
        Deviations("external", honest, ("score.clinical",), np.zeros(1)),
        LogisticSums("external", honest, "mvi", ("score.clinical",), np.zeros(2)),
    ]
    assert [rich.number("d", total(query)) for query in others] == [414, 414], "another question"


def test_a_subgroup_that_was_not_frozen_stays_closed(tmp_path: Path) -> None:
    made = opened(tmp_path)
    ask: Ask = total(counted(subgroup(made.study, "sex", 0)))
    assert made.number("d", ask) == 407
    freeze(made, scoring(made.study))
    assert made.number("d", ask) == 407, "the score is frozen, and this subgroup of it is not"


def _with(made: Consortium) -> dict[tuple[str, int], int]:
    every = {(v, k): subgroup(made.study, v, k) for v in ("sex", "age", "hbv") for k in (0, 1)}
    freeze(made, scoring(made.study), *every.values())
    return {key: made.number("d", total(counted(recipe))) for key, recipe in every.items()}


def test_everybody_less_a_subgroup_would_be_the_few_outside_it(tmp_path: Path) -> None:
    def few(rows: list[Row]) -> None:
        recorded(rows)
        for i, row in enumerate(rows):
            row["sex"] = "female" if i in (3, 4) else "male"

    made = opened(tmp_path, {"d": few})
    whole, men = (counted(r) for r in (scoring(made.study), subgroup(made.study, "sex", 1)))
    left = (
        whole.answer(made.frame("d", whole.recipe, "external"))["n"]
        - men.answer(made.frame("d", men.recipe, "external"))["n"]
    )
    assert left.sum() == 2, "the two women, by class and bin"
    assert _with(made) == {
        ("sex", 0): 431, ("sex", 1): 431, ("age", 0): 0, ("age", 1): 0, ("hbv", 0): 0, ("hbv", 1): 0,
    }  # fmt: skip


def test_those_who_lack_what_divides_are_none_or_enough(tmp_path: Path) -> None:
    def lacking(few: int) -> Callable[[list[Row]], None]:
        def change(rows: list[Row]) -> None:
            recorded(rows)
            for row in rows[:few]:
                row["hbv"] = ""

        return change

    told = [_with(opened(tmp_path / str(few), {"d": lacking(few)}))["hbv", 1] for few in (1, 4, 5)]
    assert told == [431, 431, 0], "everybody less both levels is those without a value"


def test_subgroups_that_differ_by_few_patients_are_both_refused(tmp_path: Path) -> None:
    def near(rows: list[Row]) -> None:
        recorded(rows)
        for i, row in enumerate(rows):
            row["hbv"] = "yes" if (row["sex"] == "male") != (i in (5, 6)) else "no"

    told = _with(opened(tmp_path, {"d": near}))
    assert {key: number for key, number in told.items() if number} == {
        ("sex", 0): 431, ("sex", 1): 431, ("hbv", 0): 431, ("hbv", 1): 431,
    }  # fmt: skip


def test_a_few_women_more_are_not_told_by_everybody_and_the_men_of_two_runs(tmp_path: Path) -> None:
    """Between two runs come 22 men and 3 women. Everybody differs by 25 and the men by 22, and so by subtraction the
    women by 3, who are asked about in neither run."""

    def run(run_id: str, women: int) -> tuple[Consortium, int]:
        rows = rows_of("d") + (rows_of("d", 85)[60:] if women else [])
        for i, row in enumerate(rows[60:]):
            row["sex"] = "female" if i < women else "male"
        recorded(rows)
        write_site(made.folders["d"], "d", rows, POLICY)
        prepare(load_site(made.folders["d"]), made.study)
        other = made.with_ticket(run_id=run_id).open()
        freeze(other, scoring(made.study), recipe)
        return other, other.number("d", total(counted(recipe)))

    made = opened(tmp_path)
    recipe = subgroup(made.study, "sex", 1)
    first, told = run("run1", 0)
    assert told == 0
    sizes = {k: first.frame("d", subgroup(made.study, "sex", k), "external").n for k in (0, 1)}
    second, told = run("run2", 3)
    later = {k: second.frame("d", subgroup(made.study, "sex", k), "external").n for k in (0, 1)}
    assert (later[0] - sizes[0], later[1] - sizes[1]) == (3, 22)
    assert told == 420
    assert run("run3", 25)[1] == 0, "25 women more, and the men are the same"
