"""disclosure: numbers that harmonise are the server's: what they may be, of which columns, how often, and over whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cohort.membership import members
from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.federation.query import Ask, Query, perform, total
from common.federation.tasks import Freeze
from common.statistics.combat import DesignProducts, ReferenceSquares, ResidualSquares
from common.statistics.moments import Deviations
from common.study.coding import CodedColumn
from common.study.harmonisation import Combat
from common.study.loader import parse_study
from common.study.recipe import Complete, Fold, Frame, ModelColumns, Outside, Recipe, Score, Select
from tests.disclosure.consortium import SITES, Consortium, Row, make, rows_of, write_site
from tests.server.study.harmonised_study import FEATURES, scanned, study_text

USED = FEATURES[:6]
COVARIATES = ("age", "cirrhosis=yes")
READ = Select(
    (
        *(CodedColumn(name, name, "linear") for name in USED),
        CodedColumn("age", "age", "linear"),
        CodedColumn("cirrhosis=yes", "cirrhosis", "equals", level="yes"),
    )
)
KNOWN = Complete((*USED, *COVARIATES), ("mvi",))
POLICY = 'approved_studies = ["any"]\n'


def step(names: tuple[str, ...] = USED, **changes: Any) -> Combat:
    p = len(names)
    honest = Combat(
        names, COVARIATES, (0.0,) * p, (1.0,) * p, ((0.01,) * p, (0.0,) * p), eb=True, parametric=True,
        mean_only=False, reference="", min_patients=20, bounded=True, model="combat", training="train",
    )  # fmt: skip
    return replace(honest, **changes)


def harmonised(*steps: Combat) -> Recipe:
    return Recipe((READ, *steps, KNOWN))


def means(recipe: Recipe, *columns: str, cohort: str = "train") -> Ask:
    return total(Deviations(cohort, recipe, columns or ("x00",), np.zeros(len(columns) or 1)))


def opened(folder: Path, **more: Any) -> Consortium:
    return make(folder, dict.fromkeys(SITES, scanned), study=study_text(), policy=POLICY, **more).open()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return opened(tmp_path_factory.mktemp("harmonised"))


def test_a_run_answers_one_step_a_model(made: Consortium):
    assert made.number("a", means(harmonised(step()))) == 0
    assert made.number("a", means(harmonised(step()))) == 0
    assert made.number("a", means(harmonised(step(mean=(0.5,) * 6)))) == 414
    assert made.number("a", means(harmonised(step(mean=(0.5,) * 6, model="filled")))) == 0
    assert made.number("a", means(harmonised(step(model="filled")))) == 414


def test_a_reduced_model_may_leave_columns_as_they_are_but_has_one_step_all_the_same(made: Consortium):
    def asked(*names: str) -> int:
        p = len(names)
        numbers = step(names, model="selected", coefficients=((0.0,) * p,) * 2, eb=p > 1)
        recipe = Recipe((ModelColumns("selected"), numbers, Complete(("complete.selected",), ("mvi",))))
        return made.number("a", means(recipe, "x06"))

    assert [asked("x06", "x07"), asked("x06", "x08"), asked("x06", "x07")] == [0, 414, 0]
    assert [asked("x07", "x06"), asked("x06", "x00")] == [414, 414]


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("fewer columns", {"names": USED[:5], "mean": (0.0,) * 5, "scale": (1.0,) * 5,
                           "coefficients": ((0.01,) * 5, (0.0,) * 5)}),
        ("columns in another order", {"names": USED[::-1]}),
        ("other covariates", {"covariates": ("cirrhosis=yes", "age")}),
        ("no covariates", {"covariates": (), "coefficients": ()}),
        ("a site that stays as it is", {"reference": "cirrhosis=yes"}),
        ("few patients", {"min_patients": 2}),
        ("without empirical Bayes", {"eb": False}),
        ("means only", {"mean_only": True}),
        ("unbounded", {"bounded": False}),
        ("a mean that nobody reaches", {"mean": (-200.0, *(0.0,) * 5)}),
        ("a residual wider than the range", {"scale": (101.0, *(1.0,) * 5)}),
        ("of no model", {"model": ""}),
        ("shrunk nowhere", {"training": ""}),
        ("shrunk where it is trained", {"training": "external"}),
        ("of another model", {"model": "selected"}),
        ("of a model that harmonises nothing", {"model": "raw"}),
        ("no scale", {"scale": (0.0, *(1.0,) * 5)}),
        ("a negative scale", {"scale": (-1.0, *(1.0,) * 5)}),
        ("a scale beyond all digits", {"scale": (1e-12, *(1.0,) * 5), "coefficients": ((0.0,) * 6,) * 2}),
        ("a covariate that is a cut-off", {"coefficients": ((40.0, *(0.0,) * 5), (0.0,) * 6)}),
        ("a number too few", {"mean": (0.0,) * 5}),
        ("coefficients of another shape", {"coefficients": ((0.01,) * 6,)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_step_that_no_study_has_is_refused(made: Consortium, what: str, changes: dict[str, Any]):
    assert made.number("a", means(harmonised(step(**changes)))) == 414


def test_a_column_is_harmonised_once_and_before_anything_else(made: Consortium):
    assert made.number("a", means(harmonised(step(), step()))) == 414
    assert made.number("a", means(Recipe((READ, KNOWN, step())))) == 414
    first = Recipe((READ, Complete(("x00",), ("mvi",)), step(), KNOWN))
    assert made.number("a", means(first)) == 414


def test_a_score_is_of_columns_as_its_model_has_them(tmp_path: Path):
    made = opened(tmp_path)
    sound = {
        "combat": harmonised(step()).then(Score("combat", "mvi", USED, (1.0,) * 6, 0.0)),
        "raw": Recipe((READ, Complete(USED, ("mvi",)))).then(Score("raw", "mvi", USED, (1.0,) * 6, 0.0)),
    }
    foreign = [
        harmonised(step()).then(Score("raw", "mvi", USED, (1.0,) * 6, 0.0)),
        Recipe((READ, KNOWN)).then(Score("combat", "mvi", USED, (1.0,) * 6, 0.0)),
    ]
    frozen = tuple(sorted(recipe.digest for recipe in (*sound.values(), *foreign)))
    assert made.number("a", perform(Freeze(frozen, ()))) == 0
    assert [made.number("a", means(recipe, f"score.{name}")) for name, recipe in sound.items()] == [0, 0]
    assert made.number("a", means(foreign[0], "score.raw")) == 414
    assert made.number("a", means(foreign[1], "score.combat")) == 414


def products(recipe: Recipe, **changes: Any) -> Query:
    return replace(DesignProducts("train", recipe, USED, COVARIATES), **changes)


def test_what_is_asked_to_fit_is_of_the_model_s_own_columns_where_it_is_trained(made: Consortium):
    known = Recipe((READ, KNOWN))
    residuals = ResidualSquares("train", known, USED, COVARIATES, np.zeros((2, 6)))
    assert made.number("a", total(products(known))) == 0
    assert made.number("a", total(residuals)) == 0
    assert made.number("a", total(products(known, columns=USED[:3]))) == 414
    assert made.number("a", total(products(known, covariates=("age",)))) == 414
    assert made.number("d", total(products(known, cohort="external"))) == 414
    assert made.number("a", total(products(harmonised(step())))) == 414
    part = Recipe((ModelColumns("selected"), Complete(("complete.selected",), ("mvi",)))).then(Fold(10, "mvi"))
    for recipe, number in ((Recipe(part.steps[:2]), 0), (part, 414), (part.then(Outside(0)), 414)):
        assert made.number("a", total(products(recipe, columns=FEATURES[6:9]))) == number
    marked = ReferenceSquares("train", known, USED, COVARIATES, np.zeros((2, 6)), "cirrhosis=yes")
    assert made.number("a", total(marked)) == 414
    reduced = Recipe((ModelColumns("raw"),))
    assert made.number("a", total(products(reduced))) == 414


def test_a_hospital_with_few_patients_is_not_harmonised(tmp_path: Path):
    def few(rows: list[Row]) -> None:
        scanned(rows, patients=40)
        for row in rows[19:]:
            row["x03"] = ""

    made = make(tmp_path, {"d": few}, study=study_text(), policy=POLICY, sites=("d",)).open("d")
    answer = made.put("d", means(harmonised(step()), cohort="external"))[0]
    assert (answer.error, answer.facts) == (617, {"limit": 20})


def frames(made: Consortium, *recipes: Recipe) -> list[Frame]:
    return [made.frame("a", recipe) for recipe in recipes]


def test_location_and_scale_are_those_of_everybody_whatever_is_known_of_the_outcome(tmp_path: Path):
    """Whoever is left out for an unknown endpoint or column, those who stay have the same harmonised values."""

    def unknown(rows: list[Row]) -> None:
        scanned(rows)
        for i, row in enumerate(rows):
            row["mvi"] = "" if i < 30 else str(1 - int(row["mvi"]))

    whole = make(tmp_path / "one", {"a": scanned}, study=study_text(), policy=POLICY, sites=("a",))
    other = make(tmp_path / "two", {"a": unknown}, study=study_text(), policy=POLICY, sites=("a",))
    (all_,) = frames(whole, harmonised(step()))
    (left,) = frames(other, harmonised(step()))
    assert (all_.n, left.n) == (110, 80)
    assert left.columns["x01"].tobytes() == all_.columns["x01"][30:].tobytes()


def test_who_lacks_a_covariate_has_no_harmonised_value_and_changes_nobody_s(tmp_path: Path):
    def lacking(rows: list[Row]) -> None:
        scanned(rows)
        rows[0]["age"] = ""

    made = make(tmp_path, {"a": lacking}, study=study_text(), policy=POLICY, sites=("a",))
    (frame,) = frames(made, Recipe((READ, step())))
    assert np.isnan(frame.columns["x02"]).tolist() == [True] + [False] * 109


def test_values_hold_no_more_digits_than_a_patient_needs_and_stay_in_their_range(made: Consortium):
    numbers = step(coefficients=((0.2,) * 6, (3.0,) * 6), scale=(1.0,) * 6)
    frame = made.frame("a", harmonised(numbers))
    reached = numbers.reach({"age": (0.0, 120.0), "cirrhosis=yes": (0.0, 1.0)})
    for name in USED:
        low, high = reached[name]
        values = frame.columns[name]
        assert values == pytest.approx(np.round(values, 3), abs=1e-12)
        assert low <= values.min() and values.max() <= high and high - low < 50


def test_who_is_not_counted_but_harmonised_by_is_compared_with_earlier_runs(tmp_path: Path):
    """Three patients lack x00, so that no sum counts them; location and scale of the others' x01 are theirs too."""

    def rows_with(shift: float) -> list[Row]:
        rows = rows_of("a")
        scanned(rows)
        for row in rows[:3]:
            row |= {"x00": "", "x01": f"{float(row['x01']) + shift:.6f}"}
        return rows

    def write(shift: float) -> None:
        write_site(made.folders["a"], "a", rows_with(shift), POLICY)
        prepare(load_site(made.folders["a"]), made.study)

    made = opened(tmp_path)
    write(0.0)
    first = made.with_ticket(run_id="first").open()
    assert first.number("a", means(harmonised(step()), "x01")) == 0
    made = Consortium(made.folders, parse_study(study_text().replace("A small study", "Another study")))
    for site in SITES:
        prepare(load_site(made.folders[site]), made.study)
    write(50.0)
    second = made.with_ticket(run_id="second").open()
    assert second.number("a", means(Recipe((READ, KNOWN)), "x01")) == 0
    assert second.number("a", means(harmonised(step()), "x01")) == 420


CALIBRATION = """
[[cohorts]]
name = "calibration"
role = "calibration"
sites = ["d", "e", "f"]
split = { fraction = 0.5, stratify = "mvi" }
"""


def test_a_patient_has_one_harmonised_value_in_every_cohort_of_his_hospital(tmp_path: Path):
    """Whether a hospital's patients are split, and whichever of them is asked about: as if all were asked together."""
    whole = make(tmp_path / "one", {"d": scanned}, study=study_text(), policy=POLICY, sites=("d",))
    split = make(tmp_path / "two", {"d": scanned}, study=study_text() + CALIBRATION, policy=POLICY, sites=("d",))
    known = Recipe((READ, step()))
    (expected,) = (whole.frame("d", known, "external").columns["x01"],)
    parts = [split.frame("d", known, name).columns["x01"] for name in ("calibration", "external")]
    assert [len(part) for part in parts] == [55, 55]
    assert sorted(np.concatenate(parts).tolist()) == sorted(expected.tolist())


def test_an_outcome_cohort_of_training_patients_has_the_values_of_training(made: Consortium):
    known = Recipe((READ, step()))
    trained, followed = (made.frame("a", known, cohort).columns["x01"] for cohort in ("train", "alone"))
    assert trained.tobytes() == followed.tobytes()


def test_patients_of_another_cohort_who_harmonise_are_compared_with_earlier_runs(tmp_path: Path):
    """Three calibration patients are corrected: what is told of the test patients would tell of them."""
    study = study_text() + CALIBRATION

    def write(made: Consortium, shift: float) -> None:
        rows = rows_of("d")
        scanned(rows)
        inside = members_of(made, "calibration")
        for i in np.flatnonzero(inside)[:3]:
            rows[int(i)]["x01"] = f"{float(rows[int(i)]['x01']) + shift:.6f}"
        write_site(made.folders["d"], "d", rows, POLICY)
        prepare(load_site(made.folders["d"]), made.study)

    made = make(tmp_path, dict.fromkeys(SITES, scanned), study=study, policy=POLICY).open()
    asked = means(harmonised(step()), "x01", cohort="external")
    assert made.number("d", asked) == 0
    other = Consortium(made.folders, parse_study(study.replace("A small study", "Another study")))
    for site in SITES:
        prepare(load_site(other.folders[site]), other.study)
    write(other, 5.0)
    second = other.with_ticket(run_id="second").open()
    assert second.number("d", means(Recipe((READ, KNOWN)), "x01", cohort="external")) == 0
    assert second.number("d", asked) == 420


def members_of(made: Consortium, cohort: str) -> Any:
    site = load_site(made.folders["d"])
    return members(site, made.table("d"), made.study, made.study.cohort(cohort))
