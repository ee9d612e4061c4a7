"""disclosure: attacks through the statistics of `[[analyses]]`: they succeed without a gate, and fail with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.federation.query import Query, each, perform, total
from common.federation.runner import conclude
from common.federation.tasks import Freeze
from common.statistics.confusion import ThresholdCounts
from common.statistics.correlation import CrossProducts
from common.statistics.cox import CoxSums
from common.statistics.cox_common_baseline import RiskSetSums
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.partial_likelihood import Ties
from common.statistics.quantiles import GridCounts, Guard, quantiles
from common.statistics.refinement import key_values, refine, root_question
from common.statistics.resampling import ResampledRuns
from common.statistics.training_sets import SetMoments
from common.statistics.univariable import MarginalSums
from common.study.analyses import ALWAYS, ANALYSES, IMPUTERS
from common.study.coding import CodedColumn, coded_columns
from common.study.recipe import Complete, Fold, Recipe, Score, Select, Standardise
from simulation.exactness.measuring import same
from tests.disclosure.consortium import POLICY, STUDY, Consortium, Row, make, names, recipe

AGE_SIZE = '[{ variable = "age", coding = "linear" }, { variable = "albumin", coding = "linear" }]'
NAMES = ("age", "albumin")
STANDOUT = 81.0


ENDPOINTS = {"binary": 'endpoint = "mvi"', "survival": 'endpoint = "os"', "none": ""}


def study_with(*statistics: str) -> str:
    text = STUDY
    for name in statistics:
        endpoint = ENDPOINTS[ANALYSES[name].endpoint]
        what = (
            'predictors = ["cirrhosis", "sex"]'
            if name in ("chi-square", "reader-kappa")
            else f"predictors = {AGE_SIZE}"
        )
        text += f'\n[[analyses]]\nname = "{name}"\nstatistic = "{name}"\ncohort = "train"\n{endpoint}\n{what}\n'
    return text


def _standout(rows: list[Row]) -> None:
    """One patient of the site is older than all others of the consortium."""
    rows[11]["age"] = f"{STANDOUT:g}"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """A study that declares no analyses."""
    return make(tmp_path_factory.mktemp("plain")).open()


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """One that declares all of them that are on predictors and these endpoints."""
    names = [name for name, kind in ANALYSES.items() if kind.on == "predictors" and kind.endpoint in ENDPOINTS]
    return make(tmp_path_factory.mktemp("rich"), {"a": _standout}, study=study_with(*names)).open()


def recipe_of(made: Consortium, *endpoints: str) -> Recipe:
    columns = coded_columns(made.study, made.study.analyses[0].predictors) if made.study.analyses else ()
    columns = columns or (CodedColumn("age", "age", "linear"), CodedColumn("albumin", "albumin", "linear"))
    return Recipe((Select(columns), Complete(NAMES, endpoints)))


# --------------------------------------------------------------------------------------- undeclared questions


def test_every_question_belongs_to_all_studies_or_to_declared_statistics_or_to_none_yet():
    asked = ALWAYS | set(IMPUTERS.values()) | {name for kind in ANALYSES.values() for name in kind.questions}
    assert asked <= set(Query.registry), "nothing is declared that does not exist"
    not_yet = set(Query.registry) - asked
    assert {"query.design_products", "query.outcome_gram"} <= not_yet


def test_a_statistic_that_the_study_does_not_declare_is_refused(plain: Consortium, rich: Consortium):
    for made, number in ((plain, 414), (rich, 0)):
        query = MarginalSums("train", recipe_of(made, "mvi"), "mvi", NAMES, np.zeros((2, 2)), True)
        assert made.number("a", total(query)) == number


def test_a_declared_statistic_is_refused_on_other_columns_endpoints_and_cohorts(rich: Consortium):
    cox = CoxSums("train", recipe_of(rich, "os.time", "os.event"), "os", NAMES, (), Ties.EFRON, np.zeros(2))
    assert rich.number("a", total(cox)) == 0
    others = coded_columns(rich.study, rich.study.models[1].predictors)
    wide = Recipe((Select(others), Complete(("inr",), ())))
    assert rich.number("a", total(replace(cox, recipe=wide, columns=("inr",), coefficients=np.zeros(1)))) == 414
    assert rich.number("a", total(replace(cox, endpoint="mvi"))) == 414
    assert rich.number("d", total(replace(cox, cohort="external"))) == 414


def test_questions_that_no_study_declares_yet_are_refused_whatever_the_study(rich: Consortium):
    key = np.zeros(1, dtype=np.uint64)
    replicates = ResampledRuns("train", recipe_of(rich, "mvi"), NAMES[:1], "mvi", 0, 1, (), key + 1, key, key, 60)
    assert rich.number("a", total(replicates)) == 414


# ------------------------------------------------------------------------------------------- risk-set differences


def test_rows_of_patients_from_differences_of_risk_sets(rich: Consortium):
    """S1(t) - S1(t+) of one site is the row of the patient who left between; only totals over sites may leave."""
    recipe = recipe_of(rich, "os.time", "os.event")
    frame = rich.frame("a", recipe)
    points = np.unique(frame.endpoints["os.time"]).astype(np.uint64)
    nobody = np.empty(0, dtype=np.uint64)
    query = RiskSetSums(
        "train", recipe, endpoint="os", columns=NAMES, coefficients=np.zeros(2), precision=1.0, grid_points=61,
        points=points, tied=nobody,
    )  # fmt: skip

    sums = query.answer(frame)["at_risk"]
    left = sums - np.vstack([sums[1:], np.zeros_like(sums[:1])])
    alone = np.rint(left[:, 0]) == 1.0
    rows = left[alone, 1:3]
    found = [np.min(np.abs(frame.matrix(NAMES) - row).max(axis=1)) for row in rows]
    assert len(found) >= 5, "some patients are alone at their time"
    assert max(found) < 1e-9, "without a gate the covariates of all of them are read off"

    assert rich.number("a", each(query)) == 402, "by site never"
    cautious = make_with_policy(rich, 'risks = ["SUM", "CELLS", "RANK"]\n')
    assert cautious.number("a", total(query)) == 402, "a hospital can refuse profiles altogether"
    stratified = CoxSums("train", recipe, "os", NAMES, (), Ties.EFRON, np.zeros(2))
    assert set(stratified.blocks()) == {"score", "information", "log_likelihood", "n", "events"}, "no risk sets leave"
    assert cautious.number("a", total(stratified)) == 0


def make_with_policy(made: Consortium, lines: str) -> Consortium:
    """The same sites with more lines in site `a`'s policy."""
    folder = made.folders["a"]
    text = (folder / "site.toml").read_text()
    if lines not in text:
        (folder / "site.toml").write_text(text + lines)
    return made


# ------------------------------------------------------------------------------------------------ one-hot sites


def test_a_column_that_tells_sites_apart_would_give_the_sums_of_one(rich: Consortium):
    recipe = recipe_of(rich)
    frames = {site: rich.frame(site, recipe) for site in ("a", "b", "c")}

    def product(site: str) -> float:
        flag = float(site == "a")
        return float(np.sum(flag * frames[site].columns["age"]))

    pooled = sum(product(site) for site in frames)
    assert pooled == pytest.approx(frames["a"].columns["age"].sum()), "X'Y of a one-hot column is one site's own sum"

    for flag in (CodedColumn("site=a", "site", "equals", level="a"), CodedColumn("site", "site", "linear")):
        query = CrossProducts("train", Recipe((Select((*coded_columns(rich.study, ()), flag)),)), (flag.name,), False)
        assert rich.number("b", total(query)) == 414
    centred = CrossProducts("train", recipe.then(_standard(frames["a"])), NAMES, True)
    assert rich.number("b", total(centred)) == 0, "differences between sites are taken out inside the sites instead"


def _all(level: str) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        for row in rows:
            row["cirrhosis"] = level

    return change


def test_a_declared_predictor_that_only_one_site_has_would_give_that_sites_sums(tmp_path: Path):
    """Everybody at a has cirrhosis, nobody at b and c: masked or not, sums with it are those of a."""
    made = make(tmp_path, {"a": _all("yes"), "b": _all("no"), "c": _all("no")}, masked=True).sign().open()
    clinical = names(made.study, "clinical")
    query = LogisticSums("train", recipe(made.study, "clinical"), "mvi", clinical, np.zeros(5))
    information = sum(query.answer(made.frame(s, query.recipe))["information"] for s in ("a", "b", "c"))
    row = np.zeros((5, 5))
    row[np.tril_indices(5)] = information
    own = made.frame("a", query.recipe)
    assert row[4, 4] * 4 == pytest.approx(own.n)
    assert row[4, 1] * 4 == pytest.approx(own.columns["age"].sum()), "the sum of age at a, from a total of three sites"

    assert [made.number(site, total(query)) for site in ("a", "b", "c")] == [409, 409, 409]
    select = Recipe(query.recipe.steps[:1])
    moments = Deviations("train", select, clinical, np.zeros(4))
    assert made.number("b", total(moments)) == 409


def test_a_variable_that_only_one_site_records_would_give_that_sites_sums(tmp_path: Path):
    def unrecorded(rows: list[Row]) -> None:
        for row in rows:
            row["age"] = ""

    made = make(tmp_path, {"b": unrecorded, "c": unrecorded}).open()
    select = Recipe((Select(coded_columns(made.study, made.study.models[0].predictors)),))
    query = Deviations("train", select, ("age",), np.zeros(1))
    known = [query.answer(made.frame(site, select))["n"][0] for site in ("a", "b", "c")]
    assert known == [60, 0, 0]
    assert made.number("b", total(query)) == 409


def _standard(frame: object) -> Standardise:
    return Standardise(NAMES, (50.0, 40.0), (10.0, 4.0))


# --------------------------------------------------------------------------------------- outliers through quantiles


def test_the_oldest_patient_is_found_by_exact_ranks_and_not_by_guarded_ones(rich: Consortium):
    recipe = recipe_of(rich)

    def ask(query: Query) -> dict[str, np.ndarray]:
        answers = [query.answer(rich.frame(site, query.recipe)) for site in ("a", "b", "c")]
        return {name: sum(answer[name] for answer in answers) for name in answers[0]}

    search = refine("train", recipe, ("age",), pure=False)
    request = next(search)
    try:
        while True:
            asks = request if isinstance(request, tuple) else (request,)
            replies = tuple(ask(a.question) for a in asks)  # type: ignore[arg-type]
            request = search.send(replies if isinstance(request, tuple) else replies[0])
    except StopIteration as stop:
        (leaves,) = stop.value
    assert leaves.counts[-1].sum() == 1, "one patient stands alone"
    assert STANDOUT - 2 < key_values(leaves.low[-1:])[0] <= STANDOUT, "whose age is known, and could be searched on"

    ranks = root_question("train", recipe, ("age",))
    binned = make_with_policy(rich, "")
    policy = binned.folders["b"] / "site.toml"
    kept = policy.read_text()
    policy.write_text(kept + 'pooled_detail = "binned"\n')
    assert rich.number("b", total(ranks)) == 402
    policy.write_text(kept)

    low, high = np.array([0.0]), np.array([120.0])
    variable = rich.study.variable("age")
    public = (np.array([variable.low]), np.array([variable.high]))
    for bounds, number in ((public, 0), ((np.array([80.0]), np.array([82.0])), 414), ((low - 1e5, high), 414)):
        grid = GridCounts("train", recipe, ("age",), *bounds, 4, (0, 0), (1, 2))
        assert rich.number("b", total(grid)) == number, "thresholds are those of the public grid"


def test_guarded_quantiles_do_not_move_with_the_oldest_patient(tmp_path: Path):
    fits = []
    for name, age in (("first", 81), ("second", 99)):

        def change(rows: list[Row], age: int = age) -> None:
            rows[11]["age"] = str(age)

        made = make(tmp_path / name, {"a": change}, study=study_with("quantiles")).open()
        variable = made.study.variable("age")
        guard = Guard((variable.low,), (variable.high,), 5)
        (fit,) = conclude_over(made, quantiles("train", recipe_of(made), ("age",), (0.05, 0.5, 0.95), guard))
        fits.append(fit)
    assert same(fits[0], fits[1])
    assert float(fits[0].value_.max()) < STANDOUT


def conclude_over(made: Consortium, *conclusions: object) -> list[object]:
    return conclude(made.port(), conclusions)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------- folds


def test_folds_that_would_isolate_few_patients_are_refused(tmp_path: Path):
    def few(rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row["mvi"] = "1" if i < 9 else "0"

    made = make(tmp_path, {"a": few}, study=study_with("lasso"), policy=POLICY).open()

    def asked(folds: int) -> int:
        recipe = recipe_of(made, "mvi").then(Fold(folds, "mvi"))
        return made.number("a", total(SetMoments("train", recipe, "mvi", NAMES, "folds", folds + 1, False)))

    assert [asked(folds) for folds in (1, 2, 5, 9, 11)] == [414] * 5, "one dealing, not as many as there are numbers"
    assert asked(10) == 405, "without masks a fold of nine patients with the endpoint is one of them"


def test_thresholds_between_hundredths_tell_ranks_and_are_refused_where_ranks_are(tmp_path: Path):
    made = make(tmp_path, study=study_with_scores(), policy=POLICY + 'pooled_detail = "binned"\n').open()
    score = Score("clinical", "mvi", names(made.study, "clinical"), (0.02, 0.1, 0.4, 0.2), -1.0)
    scoring = recipe(made.study, "clinical").then(score)
    made.put("a", perform(Freeze((scoring.digest,), ())))

    def asked(threshold: float) -> int:
        query = ThresholdCounts("train", scoring, ("score.clinical",), "mvi", np.array([[threshold]]))
        return made.number("a", total(query))

    assert asked(0.25) == 0
    assert asked(0.2501) == 402


def study_with_scores() -> str:
    analysis = 'statistic = "decision-curve"\ncohort = "train"\nendpoint = "mvi"\nmodels = ["clinical"]'
    return f'{STUDY}\n[[analyses]]\nname = "curve"\n{analysis}\n'
