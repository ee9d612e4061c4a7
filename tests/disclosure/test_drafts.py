"""disclosure: scores of the server's making while models are developed: what they may be, of whom, and how often."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from client.approval.examples import _root
from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.federation.query import Ask, perform, total
from common.federation.tasks import Freeze
from common.statistics.life_table import LifeTable
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.refinement import ScoreCounts
from common.statistics.unfit_columns import UnfitColumns
from common.statistics.univariable import MarginalSums
from common.study.analyses import FOLDS
from common.study.coding import coded_columns
from common.study.recipe import (
    Complete,
    Cut,
    DraftScore,
    Fold,
    Impute,
    ModelColumns,
    Outside,
    Recipe,
    Resample,
    Score,
    Select,
)
from common.study.scoring import frozen_prefixes
from tests.disclosure.consortium import Consortium, Row, make, rows_of, write_site
from tests.server.study.reduced_study import FEATURES, everywhere, featured, study_text

BASE = Recipe((ModelColumns("first"), Complete(("complete.first",), ("mvi",))))
FOLDED = BASE.then(Fold(FOLDS, "mvi"))


def draft(names: tuple[str, ...] = ("x00",), slope: float = 1.0, intercept: float = 0.0) -> DraftScore:
    return DraftScore("first", "mvi", names, tuple((slope,) * len(names) for _ in range(FOLDS)), (intercept,) * FOLDS)


def ranks(recipe: Recipe, cohort: str = "train", column: str = "score.first") -> Ask:
    return total(ScoreCounts(cohort, recipe, (column,), endpoint="mvi", **_root(1)))


def fitted(recipe: Recipe, *columns: str) -> Ask:
    return total(LogisticSums("train", recipe, "mvi", columns, np.zeros(len(columns) + 1), "", (1.0, 1.0)))


def means(recipe: Recipe, *columns: str, cohort: str = "train") -> Ask:
    return total(Deviations(cohort, recipe, columns, np.zeros(len(columns))))


def opened(folder: Path, *, masked: bool = True) -> Consortium:
    made = make(folder, everywhere(featured), study=study_text(2), masked=masked)
    return (made.sign() if masked else made).open()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return opened(tmp_path_factory.mktemp("drafts"))


def test_a_model_has_one_draft_in_a_run(made: Consortium):
    assert made.number("a", ranks(FOLDED.then(draft()))) == 0
    assert made.number("a", ranks(FOLDED.then(draft(slope=2.0)))) == 414
    assert made.number("a", ranks(FOLDED.then(draft()))) == 0  # the same again is the same answer
    replicate = DraftScore("first", "mvi", ("x00",), ((1.0,),), (0.0,), 1)
    assert made.number("a", ranks(BASE.then(replicate))) == 0
    assert made.number("a", ranks(BASE.then(DraftScore("first", "mvi", ("x01",), ((1.0,),), (0.0,), 1)))) == 414


@pytest.mark.parametrize(
    ("what", "ask"),
    [
        ("closed cohort", ranks(FOLDED.then(draft()), "external")),
        ("columns of another model", ranks(FOLDED.then(draft(("x30",))))),
        ("a formula too few", ranks(FOLDED.then(DraftScore("first", "mvi", ("x00",), ((1.0,),) * 9, (0.0,) * 9)))),
        ("everybody's draft", ranks(BASE.then(DraftScore("first", "mvi", ("x00",), ((1.0,),), (0.0,))))),
        ("a bootstrap set too many", ranks(BASE.then(DraftScore("first", "mvi", ("x00",), ((1.0,),), (0.0,), 3)))),
        ("a huge coefficient", ranks(FOLDED.then(draft(slope=1e9)))),
        ("a draft of patients of its choice", ranks(Recipe((*FOLDED.steps[:1], *FOLDED.steps[2:], draft())))),
        ("a model without reduction", means(Recipe((ModelColumns("clinical"),)), "age")),
        ("a part of plain columns", means(Recipe((Fold(FOLDS, "mvi"), Outside(0))))),
        ("a fold that there is not", means(FOLDED.then(Outside(FOLDS)), "x00")),
        ("a bootstrap set that is not declared", means(BASE.then(Resample(3, "mvi")), "x00")),
        ("parts of parts", means(BASE.then(Resample(1, "mvi"), Fold(FOLDS, "mvi"), Outside(0)), "x00")),
        ("closed cohort, regressions", total(MarginalSums("external", BASE, "mvi", ("x00",), np.zeros((1, 2)), False))),
        ("columns of another model, regressions",
         total(MarginalSums("train", BASE, "mvi", ("x30",), np.zeros((1, 2)), False))),
        ("another limit", total(UnfitColumns("train", BASE, ("x00",), 50))),
        ("unfit columns elsewhere", total(UnfitColumns("external", BASE, ("x00",), 5))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_no_development_asks_is_refused(made: Consortium, what: str, ask: Ask):
    assert made.number("a" if ask.cohort == "train" else "d", ask) == 414


def test_a_draft_that_tells_few_patients_from_the_others_is_no_predictor(tmp_path: Path):
    """A steep formula is 1 for two patients and 0 for the others: sums with it would be the rows of the two."""
    made = opened(tmp_path)
    columns = coded_columns(made.study, made.study.models[2].predictors)
    x = np.sort(made.frame("a", Recipe((Select(columns),))).columns["x00"])
    for slope in (500.0, 4.0):
        steep = draft(slope=slope, intercept=-slope * float(x[-3] + x[-2]) / 2 - (0.0 if slope > 100 else 6.0))
        recipe = FOLDED.then(steep, Cut("score.first", "score.radiomics"), Complete((), ("mvi",)))
        made = opened(tmp_path / f"again-{slope:g}")
        assert made.number("a", fitted(recipe, "score.radiomics")) == 409


def test_groups_by_a_score_need_its_frozen_cut_off(tmp_path: Path):
    made = opened(tmp_path)
    score = Score("first", "mvi", ("x00",), (1.0,), 0.0)
    known = Recipe((ModelColumns("first"), Complete(("complete.first",), ("os.time", "os.event")), score))
    groups = known.then(Cut("score.first", "group", 0.4))
    endpoint = made.study.endpoint("os")

    def table(recipe: Recipe) -> Ask:
        return total(LifeTable("later", recipe, "os", 2, endpoint.precision, endpoint.grid_points))

    assert made.number("d", table(groups)) == 407
    frozen = Freeze(tuple(sorted(frozen_prefixes(groups))), ("os-by-hybrid", "os-by-mvi", "os-by-radiomics"))
    assert made.number("d", perform(frozen)) == 0
    assert made.number("d", table(groups)) == 0
    assert made.number("d", table(known.then(Cut("score.first", "group", 0.41)))) == 414


def test_without_masks_folds_of_few_patients_are_refused(tmp_path: Path):
    made = opened(tmp_path, masked=False)
    assert made.number("a", means(FOLDED.then(Outside(0)), "x00")) == 0  # thirteen patients are left out
    regression = total(MarginalSums("train", FOLDED.then(Outside(0)), "mvi", ("x00",), np.zeros((1, 2)), False))
    smaller = int(min(np.unique(made.table("a").endpoints["mvi"], return_counts=True)[1]))
    assert made.number("a", regression) == (0 if (smaller - smaller // 10) // 9 >= 5 else 405)


# ------------------------------------------------------------------------- differences of two sums that were both taken


def features(made: Consortium, *names: str) -> Select:
    known = {c.name: c for m in made.study.models if m.reduction for c in coded_columns(made.study, m.predictors)}
    return Select(tuple(known[name] for name in names))


def with_plain(made: Consortium, *names: str) -> Recipe:
    return Recipe((features(made, *names), *FOLDED.steps))


def test_a_step_with_and_without_a_fold_has_fewer_parameters_than_the_fold_has_patients(made: Consortium):
    """The two steps differ by the fold's: with 38 columns they told the rows and outcomes of all its 39 patients."""
    for columns, number in ((FEATURES[:20], 0), (FEATURES, 404)):
        part = Recipe((features(made, *columns), *FOLDED.then(Outside(0)).steps))
        assert made.number("a", fitted(part, *columns)) == number


def test_a_fold_of_a_roster_is_never_a_few_patients(tmp_path: Path):
    """With seven complete patients a hospital a fold was one patient, and the difference his row."""

    def few(rows: list[Row]) -> None:
        featured(rows)
        for row in rows[7:]:
            row["x00"] = ""

    made = make(tmp_path, everywhere(few), study=study_text(2), masked=True).sign().open()
    assert made.number("a", means(FOLDED.then(Outside(0)), "x03")) == 403


def test_drafts_of_which_no_out_of_fold_score_is_made_are_measured_only(made: Consortium):
    replicate = DraftScore("first", "mvi", ("x00",), ((1.0,),), (0.0,), 2)
    whole = DraftScore("clinical", "mvi", ("age",), ((1.0,),), (-60.0,))
    plain = Recipe((Select(coded_columns(made.study, made.study.models[0].predictors)),))
    plain = plain.then(Complete(("age", "sex=male", "afp>20", "cirrhosis=yes"), ("mvi",)), whole)
    assert made.number("a", fitted(BASE.then(replicate), "score.first")) == 414
    assert made.number("a", fitted(plain, "score.clinical")) == 414
    given = DraftScore("formula", "mvi", ("cirrhosis=yes",), ((1.0,),), (0.0,))
    assert made.number("a", ranks(plain.then(given), column="score.formula")) == 414


def test_a_draft_that_is_a_step_in_one_fold_is_no_predictor(tmp_path: Path):
    """Flat in other folds, which are half of the patients, it told the patients next to the step all the same."""
    made = opened(tmp_path)
    slopes = ((1e5,), *((0.0,),) * 9)
    step = DraftScore("first", "mvi", ("x00",), slopes, (0.0, *(9.0,) * 4, *(-9.0,) * 5))
    assert made.number("a", fitted(with_plain(made, "x03").then(step), "score.first", "x03")) == 409


def test_one_draft_is_a_predictor_in_a_run_with_one_cut_off(tmp_path: Path):
    made = opened(tmp_path)
    first = with_plain(made, "x03").then(draft(), Cut("score.first", "score.radiomics>=cut-off", 0.5))
    assert made.number("a", fitted(first.then(Complete((), ("mvi",))), "score.radiomics>=cut-off", "x03")) == 0
    other = with_plain(made, "x03").then(draft(), Cut("score.first", "score.radiomics>=cut-off", 0.51))
    assert made.number("a", fitted(other.then(Complete((), ("mvi",))), "score.radiomics>=cut-off", "x03")) == 414
    second = Recipe((ModelColumns("second"), Complete(("complete.second",), ("mvi",)), Fold(FOLDS, "mvi")))
    formulas = DraftScore("second", "mvi", ("x25",), ((1.0,),) * FOLDS, (0.0,) * FOLDS)
    renamed = second.then(formulas, Cut("score.second", "score.radiomics"), Complete((), ("mvi",)))
    assert made.number("a", fitted(renamed, "score.radiomics")) == 414


def test_a_model_has_one_frozen_formula_in_a_run(tmp_path: Path):
    made = opened(tmp_path)
    known = Recipe((features(made, "x03"), *BASE.steps))
    formulas = [known.then(Score("first", "mvi", ("x00",), (5.0,), shift)) for shift in (0.0, 0.1)]
    frozen = Freeze(tuple(sorted(set().union(*map(frozen_prefixes, formulas)))), ())
    assert made.number("a", perform(frozen)) == 0
    assert [made.number("a", fitted(one, "score.first", "x03")) for one in formulas] == [0, 414]


def test_imputed_values_are_those_of_a_model_however_they_are_spelt(made: Consortium):
    """A second value for the one patient without age, or leaving him out, tells his row."""
    columns = coded_columns(made.study, made.study.models[0].predictors)
    names = tuple(column.name for column in columns)
    values = dict(zip(names, (40.0, 0.4, 0.5, 0.5), strict=True))

    def asked(filled: tuple[str, ...], age: float) -> int:
        step = Impute(filled, tuple({**values, "age": age}[name] for name in filled))
        return made.number("a", fitted(Recipe((Select(columns), step, Complete(names, ("mvi",)))), *names))

    assert asked(names, 40.0) == 0
    assert asked(names[::-1], 40.0) == 0  # the same numbers
    assert [asked(names[::-1], 50.0), asked(names, 50.0), asked(names[1:], 40.0)] == [414, 414, 414]


def test_levels_are_levels_though_a_model_reads_them_and_drawn_twice_is_one_patient(tmp_path: Path):
    def rare(rows: list[Row]) -> None:
        featured(rows)
        for i, row in enumerate(rows):
            row["cirrhosis"] = "yes" if i < 3 else "no"

    text = study_text(30).replace('predictors = ["x00", ', 'predictors = ["cirrhosis", "x00", ', 1)
    made = make(tmp_path, everywhere(rare), study=text, masked=True).sign().open()
    assert made.number("a", means(BASE, "cirrhosis=yes")) == 409
    assert made.number("a", means(Recipe((BASE.steps[0], Impute(("cirrhosis=yes",), (0.5,)))), "cirrhosis=yes")) == 414
    sets = [made.number("a", means(BASE.then(Resample(b, "mvi")), "cirrhosis=yes")) for b in range(1, 31)]
    assert set(sets) == {409}


def test_who_is_told_apart_from_an_earlier_run_is_counted_behind_a_draft_too(tmp_path: Path):
    """Thirty patients' features came between two runs; all but one lack age, and are left out after the draft."""

    def later(rows: list[Row], *, there: bool) -> None:
        featured(rows)
        if rows[0]["patient_id"].startswith("a"):
            for i in range(60, 90):
                rows[i] |= ({} if there else {"x00": ""}) | ({"age": ""} if i != 77 else {})

    policy = 'approved_studies = ["any"]\n'
    study = study_text(0)
    made = make(tmp_path, everywhere(partial(later, there=False)), study=study, masked=False, policy=policy).open()
    known = {c.name: c for m in made.study.models for c in coded_columns(made.study, m.predictors)}
    select = Select((known["age"], known["cirrhosis=yes"], known["x03"]))
    behind = Recipe((select, *FOLDED.steps)).then(
        draft(), Cut("score.first", "score.radiomics"), Complete(("age", "cirrhosis=yes"), ("mvi",))
    )
    ask = fitted(behind, "cirrhosis=yes", "x03", "age")
    assert made.number("a", ask) == 0
    rows = rows_of("a")
    later(rows, there=True)
    write_site(made.folders["a"], "a", rows, policy)
    prepare(load_site(made.folders["a"]), made.study)
    assert made.with_ticket(run_id="run2").open().number("a", ask) == 420


def test_an_outcome_cohort_that_forms_groups_by_a_score_is_not_scored_for_it(tmp_path: Path):
    made = opened(tmp_path)
    score = Score("first", "mvi", ("x00",), (1.0,), 0.0)
    known = BASE.then(score)
    assert made.number("d", perform(Freeze(tuple(sorted(frozen_prefixes(known))), ()))) == 0
    assert made.number("d", ranks(known, "external")) == 0
    assert made.number("d", ranks(known, "later")) == 407
