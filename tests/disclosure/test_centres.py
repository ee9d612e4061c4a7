"""disclosure: sums without a centre, and what a centre tells of itself: who consented, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.approval.examples import _root
from common.federation.query import Ask, each, perform, total
from common.federation.tasks import Freeze
from common.statistics.by_centre import CentreAlone
from common.statistics.case_mix import CaseMixAlone, RiskCounts
from common.statistics.chi_square import ClassTable
from common.statistics.confusion import ThresholdCounts
from common.statistics.counts import Classes
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.refinement import ScoreCounts
from common.statistics.roc import RocAlone
from common.statistics.training_sets import SetMoments
from common.study.analyses import FOLDS
from common.study.centres import Only, Without, cut_at
from common.study.coding import CodedColumn, coded_columns
from common.study.recipe import (
    Complete,
    Cut,
    DraftScore,
    Fold,
    Impute,
    ModelColumns,
    Recipe,
    Resample,
    Score,
    Select,
    Step,
)
from common.study.scoring import frozen_prefixes
from tests.disclosure.consortium import SITES, Consortium, Row, make
from tests.server.study.left_out_study import (
    MEAN,
    ONE_MODEL,
    OPEN,
    PLAIN,
    reduced,
    shift,
    signal,
    some_without_age,
    with_features,
)

NAMES = ("age", "sex=male", "afp>20", "cirrhosis=yes")
STUDY = ONE_MODEL + PLAIN + MEAN + shift("plain")


def consortium(
    folder: Path,
    change: Callable[[list[Row]], None] = signal,
    closed: tuple[str, ...] = (),
    *,
    text: str = STUDY,
    masked: bool = True,
) -> Consortium:
    made = make(folder, dict.fromkeys(SITES, change), study=text, policy=OPEN, masked=masked)
    for site in closed:
        toml = made.folders[site] / "site.toml"
        toml.write_text(toml.read_text().replace("may_be_left_out = true\n", ""))
    return (made.sign() if masked else made).open()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return consortium(tmp_path_factory.mktemp("centres"))


def select(made: Consortium) -> Select:
    return Select(coded_columns(made.study, next(m for m in made.study.models if m.name == "plain").predictors))


def base(made: Consortium, *first: Step) -> Recipe:
    return Recipe((*first, select(made), Complete(NAMES, ("mvi",))))


def fitted(recipe: Recipe, cohort: str = "train", columns: tuple[str, ...] = NAMES) -> Ask:
    return total(LogisticSums(cohort, recipe, "mvi", columns, np.zeros(len(columns) + 1), "", (1.0, 1.0)))


def draft(slope: float = 0.05, name: str = "age", intercept: float = -3.0, model: str = "plain") -> DraftScore:
    return DraftScore(model, "mvi", (name,), ((slope,),), (intercept,))


def measured(made: Consortium, site: str, step: Step, column: str = "score.plain", cohort: str = "train") -> Ask:
    recipe = Recipe((*base(made, Only(site)).steps, step))
    return each(RocAlone(cohort, recipe, endpoint="mvi", column=column, min_class=10, min_cell=5))


# ------------------------------------------------------------------------------------------------ sums without a centre


def test_the_site_left_out_answers_zeros_whatever_its_patients_are(tmp_path: Path):
    made = consortium(tmp_path, masked=False)
    own = made.put("a", fitted(base(made, Without("a"))))[0]
    assert not own.error and all(not np.asarray(block).any() for block in own.blocks.values())
    other = made.put("b", fitted(base(made, Without("a"))))[0]
    assert any(np.asarray(block).any() for block in other.blocks.values())


def test_under_masks_the_zeros_are_no_zeros_on_the_way(made: Consortium):
    own = made.put("a", fitted(base(made, Without("a"))))[0]
    numbers = np.concatenate([np.ravel(block) for block in own.blocks.values()])
    assert not own.error and np.count_nonzero(numbers) == numbers.size


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "plain"])
def test_nothing_is_summed_without_a_site_that_has_not_consented(tmp_path: Path, masked: bool):
    made = consortium(tmp_path, closed=("b", "c", "d"), masked=masked)
    asked = {site: fitted(base(made, Without(site))) for site in "abcd"}
    if masked:
        assert {site: made.number("a", ask) for site, ask in asked.items()} == {"a": 0, "b": 432, "c": 432, "d": 432}
    # Without masks nothing is signed: the site itself refuses to be silent, and so does nobody else.
    assert {site: made.number(site, ask) for site, ask in asked.items()} == {"a": 0, "b": 432, "c": 432, "d": 432}


def test_two_who_have_not_consented_are_not_told_by_leaving_out_all_others(tmp_path: Path):
    made = consortium(tmp_path, closed=("c", "d"))
    assert [made.number(site, fitted(base(made, Without("a")))) for site in "abcd"] == [433] * 4


def test_of_three_sites_none_is_left_out(tmp_path: Path):
    """The protocol could not say so; a run without the fourth site has three."""
    made = consortium(tmp_path)
    toml = made.folders["a"] / "site.toml"
    toml.write_text(toml.read_text().replace("[policy]\n", "[policy]\nmin_sites = 4\n"))
    assert made.number("a", fitted(base(made))) == 0
    assert made.number("a", fitted(base(made, Without("b")))) == 406


@pytest.mark.parametrize(
    ("what", "steps", "number"),
    [
        ("two centres", (Without("b"), Without("c")), 414),
        ("a centre and another alone", (Without("b"), Only("c")), 414),
        ("a site of another cohort", (Without("e"),), 414),
        ("no site at all", (Without("nowhere"),), 414),
        ("nobody", (Without(""),), 414),
        ("one alone in a sum", (Only("a"),), 414),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_other_centres_are_left_out(made: Consortium, what: str, steps: tuple[Step, ...], number: int):
    assert made.number("a", fitted(base(made, *steps))) == number


def test_a_centre_is_left_out_first_or_not_at_all(made: Consortium):
    steps = base(made).steps
    assert made.number("a", fitted(Recipe((steps[0], Without("b"), *steps[1:])))) == 414
    assert made.number("a", fitted(Recipe((*steps, Without("b"))))) == 414


@pytest.mark.parametrize("what", ["ranks", "table", "classes", "closed", "columns", "bootstrap", "score", "alone"])
def test_only_the_development_of_a_declared_model_leaves_a_centre_out(made: Consortium, what: str):
    without = base(made, Without("b"))
    wide = Select((CodedColumn("albumin", "albumin", "linear"),))
    asks = {
        "ranks": total(ScoreCounts("train", without, ("age",), endpoint="mvi", **_root(1))),
        "table": total(ClassTable("train", without, "mvi", "sex=male", 2)),
        "classes": total(Classes("train", Recipe((Without("b"),)), "mvi", 5, False)),
        "closed": fitted(without, "external"),
        "columns": total(Deviations("train", Recipe((Without("b"), wide)), ("albumin",), np.zeros(1))),
        "bootstrap": fitted(without.then(Resample(1, "mvi"))),
        "score": fitted(without.then(Score("plain", "mvi", NAMES, (0.1,) * 4, 0.0)), columns=("score.plain",)),
        "alone": each(RocAlone("train", without, endpoint="mvi", column="age", min_class=10, min_cell=5)),
    }
    assert made.number("d" if what != "closed" else "e", asks[what]) in (412, 414)


def test_a_study_that_does_not_say_so_leaves_nobody_out(tmp_path: Path):
    made = consortium(tmp_path, text=ONE_MODEL + PLAIN + MEAN + shift("plain", leave=False))
    assert made.number("a", fitted(base(made, Without("b")))) == 414
    assert made.number("a", measured(made, "a", draft())) == 414


def test_few_filled_values_are_not_filled_by_another_number(tmp_path: Path):
    def two(rows: list[Row]) -> None:
        signal(rows)
        rows[1]["age"] = rows[5]["age"] = ""

    text = STUDY.replace('models = ["plain"]', 'models = ["filled"]')
    for name, change, number in (("few", two, 434), ("many", some_without_age, 0), ("none", signal, 0)):
        made = consortium(tmp_path / name, change, text=text)
        values = dict(zip(NAMES, (45.0, 0.5, 0.5, 0.5), strict=True))
        filling = Impute(NAMES, tuple(values.values()))
        recipe = Recipe((select(made), filling, Complete(NAMES, ("mvi",))))
        assert made.number("a", fitted(recipe)) == 0
        assert made.number("a", fitted(Recipe((Without("b"), *recipe.steps)))) == number
        again = Impute(NAMES, (46.0, 0.5, 0.5, 0.5))
        other = Recipe((Without("b"), select(made), again, Complete(NAMES, ("mvi",))))
        assert made.number("a", fitted(other)) == (414 if number == 0 else number), "one value a centre"


def test_a_run_without_consent_is_not_told_the_sum_of_which_a_part_was_told(tmp_path: Path):
    """First without d, who consents; then, when d has taken it back, over everybody: the difference would be d."""
    made = consortium(tmp_path)
    assert [made.number(site, fitted(base(made, Without("d")))) for site in "abc"] == [0, 0, 0]
    toml = made.folders["d"] / "site.toml"
    toml.write_text(toml.read_text().replace("may_be_left_out = true\n", ""))
    later = made.with_ticket(run_id="run2").sign().open()
    assert [later.number(site, fitted(base(made))) for site in "abc"] == [421] * 3


def test_patients_elsewhere_do_not_count_those_who_are_left_out(tmp_path: Path):
    """Parameters are held against the patients of the sum, and site b, which is left out, has most of them."""

    def small(rows: list[Row]) -> None:
        signal(rows)
        if not rows[0]["patient_id"].startswith("b"):
            del rows[22:]

    def asked(change: Callable[[list[Row]], None], name: str) -> tuple[int, int]:
        text = STUDY.replace("[[models]]", "[limits]\nmax_parameters = 0.07\n\n[[models]]", 1)
        made = consortium(tmp_path / name, change, text=text)
        return made.number("a", fitted(base(made))), made.number("a", fitted(base(made, Without("b"))))

    assert asked(signal, "large") == (0, 0)
    assert asked(small, "small") == (0, 404)


def test_no_site_is_left_out_of_sums_with_more_parameters_than_its_own_patients_bear(tmp_path: Path):
    """Its part would be had by a subtraction: with more columns than patients, the patients' rows."""

    def small(rows: list[Row]) -> None:
        signal(rows)
        if rows[0]["patient_id"].startswith("b"):
            del rows[40:]

    text = STUDY.replace("[[models]]", "[limits]\nmax_parameters = 0.1\n\n[[models]]", 1)
    made = consortium(tmp_path, small, text=text)
    assert [made.number(site, fitted(base(made))) for site in "abcd"] == [0] * 4, "of all 400 patients"
    assert [made.number(site, fitted(base(made, Without("b")))) for site in "acdb"] == [0, 0, 0, 404]
    # With all others left out one after the other it would be told as well.
    assert [made.number(site, fitted(base(made, Without("a")))) for site in "acdb"] == [0, 0, 0, 404]


def test_no_site_is_left_out_of_folds_of_few_of_its_patients(tmp_path: Path):
    def small(rows: list[Row]) -> None:
        with_features(rows)
        if rows[0]["patient_id"].startswith("b"):
            del rows[45:]

    made = consortium(tmp_path, small, text=ONE_MODEL + reduced() + shift("radiomics"))
    read = ModelColumns("radiomics")
    whole = Recipe((read, Complete((read.complete,), ("mvi",)), Fold(FOLDS, "mvi")))
    moments = total(SetMoments("train", whole, "mvi", ("x00",), "folds", FOLDS + 1, False))
    assert made.number("b", moments) == 0
    left = total(replace(moments.question, recipe=Recipe((Without("b"), *whole.steps))))  # type: ignore[type-var]
    assert [made.number(site, left) for site in "acdb"] == [0, 0, 0, 403]


# --------------------------------------------------------------------------------------------- what one tells of itself


def test_a_centre_is_measured_by_one_formula_a_run_and_the_others_say_zeros(tmp_path: Path):
    made = consortium(tmp_path)
    assert [made.number(site, measured(made, "a", draft())) for site in "abcd"] == [0] * 4
    told = made.put("b", measured(made, "a", draft()))[0]
    assert all(not np.asarray(block).any() for block in told.blocks.values())
    assert made.number("a", measured(made, "a", draft(0.06))) == 414
    assert made.number("b", measured(made, "b", draft(0.06))) == 0, "another centre, another formula"


@pytest.mark.parametrize("what", ["ranks", "column", "model", "bootstrap", "folds", "closed", "frozen"])
def test_a_centre_is_measured_by_nothing_else(made: Consortium, what: str):
    only = base(made, Only("a"))
    asks = {
        "ranks": each(replace(measured(made, "a", draft()).question, recipe=only, column="age")),  # type: ignore[type-var]
        "column": measured(made, "a", draft(), "age"),
        "model": measured(made, "a", draft(model="filled"), "score.filled"),
        "bootstrap": measured(made, "a", replace(draft(), replicate=1)),
        "folds": measured(made, "a", replace(draft(), coefficients=((0.1,),) * 10, intercepts=(0.0,) * 10)),
        "closed": measured(made, "e", draft(), cohort="external"),
        "frozen": measured(made, "a", Score("plain", "mvi", NAMES, (0.1,) * 4, 0.0)),
    }
    assert made.number("e" if what == "closed" else "a", asks[what]) in (412, 414)


def test_a_formula_that_is_a_step_next_to_few_patients_measures_nothing(tmp_path: Path):
    made = consortium(tmp_path)
    age = np.sort(made.frame("a", base(made)).columns["age"])
    slope = 4000.0
    step = draft(slope, intercept=-slope * float(age[-3] + age[-4]) / 2)
    assert made.number("a", measured(made, "a", step)) == 409


def test_without_release_alone_a_centre_is_not_measured(tmp_path: Path):
    made = make(tmp_path, dict.fromkeys(SITES, signal), study=STUDY, masked=True,
                policy=OPEN.replace("release_alone = true\n", "")).sign().open()  # fmt: skip
    assert made.number("a", measured(made, "a", draft())) == 408
    assert made.number("b", fitted(base(made, Without("a")))) == 0, "sums need it not"


# ------------------------------------------------------------------------------------------ frozen scores by hospital


CUTOFF = 0.4371


def scored(made: Consortium) -> Recipe:
    return base(made).then(Score("plain", "mvi", NAMES, (0.05, 0.1, 0.8, -0.5), -3.0))


def at(made: Consortium, cutoff: float = CUTOFF) -> Recipe:
    return scored(made).then(cut_at("plain", "score.plain", cutoff))


def centre(recipe: Recipe, cohort: str = "external", min_class: int = 10) -> Ask:
    return each(CentreAlone(cohort, recipe, "mvi", "score.plain", min_class, min_cell=5))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    made = consortium(tmp_path_factory.mktemp("frozen"))
    for site in SITES:
        assert made.number(site, perform(Freeze(tuple(sorted(frozen_prefixes(at(made)))), (), "plain"))) == 0
    return made


def test_before_the_freeze_nothing_is_told_of_a_closed_cohort_by_hospital(made: Consortium):
    assert made.number("e", centre(at(made))) == 407
    assert made.number("e", each(CaseMixAlone("external", at(made), "score.plain", 10, min_cell=5))) == 407


def test_the_cut_off_is_the_frozen_one(frozen: Consortium):
    assert frozen.number("e", centre(at(frozen))) == 0
    assert frozen.number("e", centre(scored(frozen))) == 0
    assert frozen.number("e", centre(at(frozen, 0.44))) == 414, "a second value of what a run has once"
    assert frozen.number("f", centre(at(frozen, 0.44))) == 407, "that is not frozen"


@pytest.mark.parametrize("what", ["total", "limit", "training", "name", "thresholds", "counts", "other", "cells"])
def test_nothing_else_is_told_of_frozen_scores_by_hospital(frozen: Consortium, what: str):
    recipe = at(frozen)
    asks = {
        "total": total(CentreAlone("external", recipe, "mvi", "score.plain", 10, min_cell=5)),
        "limit": centre(recipe, min_class=5),
        "training": centre(recipe, "train"),
        "name": centre(scored(frozen).then(Cut("score.plain", "positive.filled", CUTOFF))),
        "thresholds": total(ThresholdCounts("train", recipe, ("score.plain",), "mvi", np.array([[0.5]]))),
        "counts": total(RiskCounts("train", recipe, "score.plain")),
        "other": each(CaseMixAlone("external", recipe, "age", 10, min_cell=5)),
        "cells": each(CentreAlone("external", recipe, "mvi", "score.plain", 10, min_cell=3)),
    }
    assert frozen.number("a" if asks[what].cohort == "train" else "e", asks[what]) in (402, 406, 408, 414)


def test_policies_that_keep_to_public_bins_refuse_tables_at_other_cut_offs(tmp_path: Path):
    made = make(tmp_path, dict.fromkeys(SITES, signal), study=STUDY, masked=True,
                policy=OPEN + 'pooled_detail = "binned"\n').sign().open()  # fmt: skip
    assert made.number("e", perform(Freeze(tuple(sorted(frozen_prefixes(at(made)))), ()))) == 0
    assert made.number("e", centre(at(made))) == 402
    assert made.number("e", each(CaseMixAlone("external", at(made), "score.plain", 10, min_cell=5))) == 402
    assert made.number("e", centre(scored(made))) == 0


def test_a_remedy_that_is_none_of_the_study_s_is_not_frozen(tmp_path: Path):
    made = consortium(tmp_path)
    assert made.number("a", perform(Freeze((), (), "clinical"))) == 414
    assert made.number("a", perform(Freeze((), (), "plain"))) == 0
    assert made.number("a", perform(Freeze((), ()))) == 411, "what is frozen stays"
