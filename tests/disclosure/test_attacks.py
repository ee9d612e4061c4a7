"""disclosure: attacks that succeed on a site without a gate, and fail on one with it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import HIDDEN, Ask, each, perform, total
from common.federation.tasks import Freeze
from common.federation.totals import encode_total
from common.statistics.counts import Classes, hide_in_flow, hide_in_row
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.refinement import root_question
from common.statistics.roc import RocAlone
from common.statistics.survival import LifeTable, SurvivalAlone
from common.study.coding import CodedColumn
from common.study.recipe import Complete, Group, Impute, Recipe, Score, Select, Standardise
from tests.disclosure.consortium import Consortium, Row, columns, make, names, recipe

STANDOUT = "81"


def _standout(rows: list[Row]) -> None:
    """One patient of the site is older than all others of the consortium."""
    rows[11]["age"] = STANDOUT


def _few_complete(rows: list[Row]) -> None:
    """Only nine patients have every value of the wide model."""
    for row in rows[9:]:
        row["inr"] = ""


def _rare_level(rows: list[Row]) -> None:
    """Two women, and six patients of unknown sex."""
    for i, row in enumerate(rows):
        row["sex"] = "female" if i < 2 else ("" if i < 8 else "male")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    change = {"a": _standout, "b": _few_complete, "c": _rare_level}
    return make(tmp_path_factory.mktemp("sites"), change).open()


@pytest.fixture
def fresh(tmp_path: Path) -> Consortium:
    return make(tmp_path).open()


def newton(made: Consortium, model: str, beta: NDArray[np.float64], made_of: Recipe | None = None) -> LogisticSums:
    return LogisticSums("train", made_of or recipe(made.study, model), "mvi", names(made.study, model), beta)


def full(lower: NDArray[np.float64], p: int) -> NDArray[np.float64]:
    matrix = np.zeros((p, p))
    matrix[np.tril_indices(p)] = lower
    return matrix + np.tril(matrix, -1).T


# ------------------------------------------------------------------------------- whole rows from sums


def test_rows_of_all_patients_from_two_newton_steps_when_there_are_as_many_parameters(made: Consortium):
    frame = made.frame("b", recipe(made.study, "wide"))
    wide = names(made.study, "wide")
    assert frame.n == len(wide) + 1
    matrix = frame.matrix(wide)
    scale = Standardise(wide, tuple(matrix.mean(axis=0).tolist()), tuple(matrix.std(axis=0).tolist()))
    standard = recipe(made.study, "wide").then(scale)
    asked = [newton(made, "wide", beta, standard) for beta in (np.zeros(9), np.linspace(-1.0, 1.3, 9))]

    sums = [full(q.answer(made.frame("b", standard))["information"], 9) for q in asked]
    _, vectors = np.linalg.eig(np.linalg.solve(sums[0], sums[1]))
    rows = np.linalg.inv(vectors)
    rows = np.real(rows / rows[:, :1])
    recovered = rows[:, 1:] * np.array(scale.scale) + np.array(scale.mean)
    found = [np.min(np.abs(recovered - row).max(axis=1)) for row in matrix]
    assert max(found) < 1e-3, "without a gate every patient's values are read off"

    assert [made.number("b", total(query)) for query in asked] == [404, 404]
    assert [made.number("b", each(query)) for query in asked] == [402, 402], "and never by site"


def test_one_patients_row_from_a_sum_over_all_sites_by_coefficients_that_weigh_only_that_patient(made: Consortium):
    beta = np.array([-10.0 * float(STANDOUT), 10.0, 0.0, 0.0, 0.0])
    query = newton(made, "clinical", beta)
    pooled = sum(query.answer(made.frame(s, query.recipe))["information"] for s in ("a", "b", "c"))
    row = full(pooled, 5)[0] / full(pooled, 5)[0, 0]
    target = made.frame("a", query.recipe)
    victim = target.matrix(names(made.study, "clinical"))[target.columns["age"] == float(STANDOUT)]
    np.testing.assert_allclose(row[1:], victim[0], atol=1e-9)

    assert made.number("a", total(query)) == 416
    assert made.number("a", total(newton(made, "clinical", np.zeros(5)))) == 0


def test_a_threshold_written_as_coefficients_is_refused_too(made: Consortium):
    saturated = newton(made, "clinical", np.array([-1e6, 16_666.0, 0.0, 0.0, 0.0]))
    assert made.number("a", total(saturated)) == 416


# ------------------------------------------------------------------------------- cut-offs and columns


@pytest.mark.parametrize(
    "column",
    [
        CodedColumn("age>80.9", "age", "above", 80.9),
        CodedColumn("afp>20", "afp", "above", 20.5),
        CodedColumn("afp>20", "afp", "above", float(np.nextafter(20.0, 21.0))),
        CodedColumn("age", "albumin", "linear"),
        CodedColumn("sex=female", "sex", "equals", level="male"),
        CodedColumn("score.clinical", "age", "linear"),
        CodedColumn("group", "age", "linear"),
        CodedColumn("mvi", "mvi", "linear"),
        CodedColumn("os.time", "os.time", "linear"),
        CodedColumn("age", "age", "log"),
        CodedColumn("patient_id", "patient_id", "linear"),
        CodedColumn("bmi", "bmi", "linear"),
    ],
)
def test_columns_and_cutoffs_are_the_studys_so_that_none_can_single_out_a_patient(
    made: Consortium, column: CodedColumn
):
    query = Deviations("train", Recipe((Select((column,)),)), (column.name,), np.zeros(1))
    assert made.number("a", total(query)) == 414


def test_two_cutoffs_that_differ_by_one_patient_would_tell_that_patient(made: Consortium):
    def pooled(cutoff: float) -> int:
        selected = Recipe((Select((CodedColumn("x", "age", "above", cutoff),)),))
        return sum(int(np.nansum(made.frame(s, selected).columns["x"])) for s in ("a", "b", "c"))

    assert pooled(80.0) - pooled(81.0) == 1
    for cutoff in (80.0, 81.0):
        selected = Recipe((Select((CodedColumn("x", "age", "above", cutoff),)),))
        assert made.number("a", total(Deviations("train", selected, ("x",), np.zeros(1)))) == 414


def test_endpoints_and_columns_must_be_those_of_the_recipe(made: Consortium):
    selected = Recipe((Select(columns(made.study, "clinical")),))
    for names_ in (("mvi",), ("os.time",), ("nothing",), ("age", "age")):
        assert made.number("a", total(Deviations("train", selected, names_, np.zeros(len(names_))))) == 414
    for endpoint in ("os.time", "os.event", "age", "", "patients"):
        counts = replace(root_question("train", selected, ("age",), "mvi"), endpoint=endpoint)
        assert made.number("a", total(counts)) == 414


@pytest.mark.parametrize("by", ["mvi", "os.time", "age", "sex"])
def test_groups_are_those_of_the_studys_comparisons(made: Consortium, by: str):
    grouped = Recipe((Group(by, ("no", "yes")),))
    assert made.number("a", total(Deviations("train", grouped, ("group",), np.zeros(1)))) == 414


# ---------------------------------------------------------------------------------- levels and classes


def test_a_rare_level_is_not_hidden_by_imputed_values(made: Consortium):
    made = made.with_ticket(run_id="rare").open("a", "c")  # where nothing was filled yet
    selected = Recipe((Select(columns(made.study, "clinical")),))
    used = names(made.study, "clinical")
    sex = used[1]

    def imputed(value: float) -> Recipe:
        return selected.then(Impute(used, (55.0, value, 0.5, 0.5)))

    for filled, number in ((0.35, 409), (1.0, 409), (0.0, 409), (-0.5, 414), (1e9, 414)):
        assert made.number("c", total(Deviations("train", imputed(filled), (sex,), np.zeros(1)))) == number
    standard = imputed(0.35).then(Standardise((sex,), (0.35,), (0.4,)))
    assert made.number("c", total(Deviations("train", standard, (sex,), np.zeros(1)))) == 409
    assert made.number("a", total(Deviations("train", imputed(0.35), (sex,), np.zeros(1)))) == 0
    alone = Deviations("train", selected.then(Impute((sex,), (0.35,))), (sex,), np.zeros(1))
    assert made.number("a", total(alone)) == 414, "no model fills this column alone"


def test_an_area_of_few_patients_is_not_released(made: Consortium):
    for min_class in (1, 2, 9, -5):
        query = RocAlone("train", recipe(made.study, "clinical"), "mvi", "age", min_class, min_cell=5)
        assert made.number("a", each(query)) == 402
    assert made.number("a", each(RocAlone("train", recipe(made.study, "clinical"), "mvi", "age", 10, min_cell=5))) == 0


# ------------------------------------------------------------------------ what a refusal would tell


def test_the_range_of_exact_sums_would_tell_a_sites_own_sum(made: Consortium):
    """Bisecting the scale at which a site meets error 504 gives its own sum of squares, though only sums leave."""
    selected = Recipe((Select(columns(made.study, "clinical")),))

    def query(scale: float) -> Deviations:
        return Deviations("train", selected.then(Standardise(("age",), (50.0,), (scale,))), ("age",), np.zeros(1))

    def overflows(scale: float) -> bool:
        try:
            encode_total(query(scale), query(scale).answer(made.frame("a", query(scale).recipe)), 3)
        except FedmviError as error:
            return error.number == 504
        return False

    low, high = 1e-12, 1.0
    for _ in range(100):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if overflows(middle) else (low, middle)
    own = float(np.square(made.frame("a", selected).columns["age"] - 50.0).sum())
    assert high**2 * 2.0**62 / 3 == pytest.approx(own, rel=1e-9)

    assert [made.number("a", total(query(scale))) for scale in (high, 1e-12, 0.0, -1.0)] == [414] * 4
    assert made.number("a", total(query(12.0))) == 0


@pytest.mark.parametrize("number", [1e9, -1e9, 1e300, 5e17])
def test_numbers_that_could_drive_a_sum_out_of_range_are_refused(made: Consortium, number: float):
    beta = np.array([0.0, number, 0.0, 0.0, 0.0])
    assert made.number("a", total(newton(made, "clinical", beta))) == 414
    selected = Recipe((Select(columns(made.study, "clinical")),))
    assert made.number("a", total(Deviations("train", selected, ("age",), np.array([number])))) == 414
    filled = selected.then(Impute(("age",), (number,)))
    assert made.number("a", total(Deviations("train", filled, ("age",), np.zeros(1)))) == 414


@pytest.mark.parametrize("steps", ["two scalings", "two selections", "late selection", "two imputations"])
def test_steps_come_once_and_in_order_so_that_they_cannot_be_compounded(made: Consortium, steps: str):
    select, scale = Select(columns(made.study, "clinical")), Standardise(("age",), (50.0,), (1e-3,))
    fill, known = Impute(("age",), (60.0,)), Complete(("age",), ())
    chosen = {
        "two scalings": (select, scale, scale),
        "two selections": (select, select),
        "late selection": (known, select),
        "two imputations": (select, fill, known, fill),
    }[steps]
    assert made.number("a", total(Deviations("train", Recipe(chosen), ("age",), np.zeros(1)))) == 414


def test_a_time_grid_of_the_servers_own_would_tell_the_longest_follow_up(made: Consortium):
    grouped = Recipe((Group("mvi", ("no", "yes")), Complete(("group",), ("os.time",))))
    frame = made.frame("a", grouped, "alone")

    def beyond(points: int) -> bool:
        try:
            LifeTable("alone", grouped, "os", 2, 1.0, points).answer(frame)
        except FedmviError as error:
            return error.number == 312
        return False

    longest = next(points for points in range(1, 100) if not beyond(points)) - 1
    assert longest == frame.endpoints["os.time"].max()
    for points in (longest, longest + 1, 1, 0):
        query = SurvivalAlone("alone", grouped, "os", 2, 1.0, points, (12.0,), min_cell=5)
        assert made.number("a", each(query)) == 414
    for precision in (0.5, 2.0, 1e-9):
        query = SurvivalAlone("alone", grouped, "os", 2, precision, 61, (12.0,), min_cell=5)
        assert made.number("a", each(query)) == 414


def test_a_curve_of_one_site_is_not_given_at_arbitrary_times(made: Consortium):
    grouped = Recipe((Group("mvi", ("no", "yes")), Complete(("group",), ("os.time",))))
    query = SurvivalAlone("alone", grouped, "os", 2, 1.0, 61, tuple(i / 30 for i in range(900)), min_cell=5)
    assert made.number("a", each(query)) == 414


# ---------------------------------------------------------------------------------- sums and rosters


def test_sums_are_never_given_by_site_and_never_over_two(made: Consortium):
    assert made.number("a", each(newton(made, "clinical", np.zeros(5)))) == 402
    assert made.number("a", total(Classes("alone", Recipe(), "mvi", 5, guarded=False))) == 406
    two = {**made.ticket.rosters, "train": ("a", "b")}
    assert made.with_ticket(rosters=two).number("a", total(newton(made, "clinical", np.zeros(5)))) == 412


def test_a_lone_site_cannot_be_asked_for_its_sums_as_a_cohort_of_three_by_the_server(made: Consortium):
    forged = {**made.ticket.rosters, "alone": ("a", "b", "c")}
    asked = total(Classes("alone", Recipe(), "mvi", 5, guarded=False))
    assert made.with_ticket(rosters=forged).number("a", asked) == 412


# ------------------------------------------------------------------------------------- closed cohorts

COEFFICIENTS = (0.01, 0.2, 0.3, 0.1)


def scoring(made: Consortium, coefficients: tuple[float, ...] = COEFFICIENTS) -> Score:
    return Score("clinical", "mvi", names(made.study, "clinical"), coefficients, -1.0)


def ranks(score: Score, made_of: Recipe, cohort: str = "external", column: str = "score.clinical") -> Ask:
    return total(root_question(cohort, made_of.then(score), (column,), "mvi"))


def test_closed_endpoints_are_offered_beside_frozen_scores_only(fresh: Consortium):
    made, score = fresh, scoring(fresh)
    plain = recipe(made.study, "clinical")
    assert made.number("d", ranks(score, plain)) == 407, "before the freeze"
    made.put("d", ranks(score, plain), perform(Freeze((plain.then(score).digest,), ())))
    assert made.number("d", ranks(score, plain)) == 0, "afterwards"
    filling = Impute(names(made.study, "clinical"), (55.0, 0.5, 0.5, 0.5))
    imputed = Recipe((plain.steps[0], filling, plain.steps[-1]))
    assert made.number("d", ranks(score, imputed)) == 414, "the frozen score of other imputed values"
    assert made.number("d", ranks(scoring(made, (0.02, 0.2, 0.3, 0.1)), plain)) == 414, "another score"
    assert made.number("d", ranks(score, plain, column="age")) == 407, "a predictor beside the score"
    fit = LogisticSums("external", plain.then(score), "mvi", ("age",), np.zeros(2))
    assert made.number("d", total(fit)) == 407, "fitting in the test cohort"
    again = LogisticSums("external", plain.then(score), "mvi", ("score.clinical",), np.zeros(2))
    assert made.number("d", total(again)) == 0, "recalibration of the frozen score"


def test_a_frozen_score_cannot_be_made_of_other_columns_or_scales(fresh: Consortium):
    made, score = fresh, scoring(fresh)
    made.put("d", perform(Freeze((recipe(made.study, "clinical").then(score).digest,), ())))
    used = names(made.study, "clinical")
    wide = CodedColumn("age", "albumin", "linear")
    swapped = Recipe((Select((wide, *columns(made.study, "clinical")[1:])),))
    scaled = Recipe((Select(columns(made.study, "clinical")), Standardise(used, (50.0, 0.5, 0.5, 0.5), (1.0,) * 4)))
    assert made.number("d", ranks(score, swapped)) == 414
    assert made.number("d", ranks(score, scaled)) == 414


def test_scores_that_carry_patients_values_in_their_digits_are_refused_in_open_cohorts_too(fresh: Consortium):
    packed = scoring(fresh, (1e-3, 1e-6, 2e-6, 4e-6))
    selected = recipe(fresh.study, "clinical")
    scores = fresh.frame("a", selected.then(packed)).columns["score.clinical"]
    linear = np.log(scores / (1 - scores)) + 1.0
    ages = np.round(linear * 2e3) / 2
    np.testing.assert_array_equal(ages, fresh.frame("a", selected).columns["age"])

    assert fresh.number("a", ranks(packed, selected, "train")) == 407
    fresh.put("a", perform(Freeze((selected.then(scoring(fresh)).digest,), ())))
    assert fresh.number("a", ranks(packed, selected, "train")) == 407
    assert fresh.number("a", ranks(scoring(fresh), selected, "train")) == 0


def test_survival_in_a_closed_cohort_only_after_its_comparison_is_frozen(fresh: Consortium):
    grouped = Recipe((Group("mvi", ("no", "yes")), Complete(("group",), ("os.time", "os.event"))))
    query = each(SurvivalAlone("alone", grouped, "os", 2, 1.0, 61, (12.0, 36.0), min_cell=5))
    assert fresh.number("a", query) == 407
    fresh.put("a", perform(Freeze((), ())))
    assert fresh.number("a", query) == 407
    other = fresh.with_ticket(run_id="run2").open("a")
    other.put("a", perform(Freeze((), ("os-by-mvi",))))
    assert other.number("a", query) == 0


def test_every_opening_of_closed_cohorts_is_counted(fresh: Consortium):
    counts = []
    for i in range(3):
        run = fresh.with_ticket(run_id=f"run{i}").open("d")
        counts.append(run.put("d", perform(Freeze((), ())))[0].receipt["openings"])
    assert counts == [1, 2, 3]


# ------------------------------------------------------------- what is hidden cannot be computed again

MIN_CELL = 5
SMALL = st.integers(0, 9)


def _several_values(true: NDArray[np.int64], possible: list[NDArray[np.int64]]) -> bool:
    """Whether every count of 1-4 could also have another value."""
    worlds = np.stack(possible)
    secret = np.flatnonzero((true > 0) & (true < MIN_CELL))
    return all(len(set(worlds[:, i].tolist())) > 1 for i in secret)


@settings(max_examples=300, deadline=None)
@given(counts=st.lists(SMALL, min_size=2, max_size=4))
def test_a_hidden_count_of_a_row_has_several_values_even_if_the_sum_and_the_rule_are_known(counts: list[int]):
    true = np.array(counts)
    shown = hide_in_row(true, MIN_CELL)
    assert not np.any((shown > 0) & (shown < MIN_CELL))
    assume(true.sum() >= MIN_CELL)  # a cohort of fewer is not shown at all
    hidden = np.flatnonzero(shown == HIDDEN)
    worlds = []
    for values in product(range(int(true[hidden].sum()) + 1), repeat=max(len(hidden) - 1, 0)):
        last = int(true[hidden].sum()) - sum(values)
        if last < 0 or not hidden.size:
            continue
        world = true.copy()
        world[hidden] = [*values, last]
        if np.array_equal(hide_in_row(world, MIN_CELL), shown):
            worlds.append(world)
    assert _several_values(true, worlds or [true])


@settings(max_examples=60, deadline=None)
@given(left=st.lists(SMALL, min_size=2, max_size=4), end=st.integers(5, 30))
def test_a_hidden_step_of_a_flow_has_several_values_even_if_the_end_and_the_rule_are_known(left: list[int], end: int):
    true = np.array([end + sum(left), *left, end])
    shown = hide_in_flow(true, MIN_CELL)
    assert not np.any((shown > 0) & (shown < MIN_CELL))
    worlds = []
    for values in product(range(10), repeat=len(left)):
        world = np.array([end + sum(values), *values, end])
        if np.array_equal(hide_in_flow(world, MIN_CELL), shown):
            worlds.append(world)
    assert _several_values(true, worlds)


def test_hidden_counts_do_not_follow_from_their_sum_and_the_rule():
    shown = hide_in_row(np.array([5, 4, 4]), MIN_CELL)
    worlds = [np.array([i, j, 13 - i - j]) for i in range(14) for j in range(14 - i)]
    possible = [world for world in worlds if np.array_equal(hide_in_row(world, MIN_CELL), shown)]
    assert _several_values(np.array([5, 4, 4]), possible or worlds)


def test_no_small_step_follows_from_the_flows_of_two_cohorts_of_one_site():
    rules = [3, 40, 50]
    first = hide_in_flow(np.array([300, *rules, 60, 147]), MIN_CELL)
    second = hide_in_flow(np.array([300, *rules, 2, 205]), MIN_CELL)
    assert first[1] == second[1] == HIDDEN
    known = np.where(first[1:4] == HIDDEN, second[1:4], first[1:4])
    start = max(first[0], second[0])
    assert np.count_nonzero(known == HIDDEN) > 1 or start == HIDDEN


def test_what_the_coordinator_itself_can_subtract_is_known_and_said():
    """Small counts are hidden from readers of the report: who has the exact totals may subtract the other sites."""
    table = np.array([[3, 40, 70], [50, 60, 52], [60, 20, 90]])
    by_site = np.stack([hide_in_row(site, MIN_CELL) for site in table.T]).T
    assert by_site[0].tolist() == [HIDDEN, 40, 70]
    assert table[0].sum() - by_site[0, 1:].sum() == 3
