"""server/study: analyses of ordinal and competing endpoints and by groups: the pooled rows' numbers, told guarded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time
from sksurv.nonparametric import cumulative_incidence_competing_risks
from statsmodels.duration.survfunc import survdiff
from statsmodels.miscmodels.ordinal_model import OrderedModel

from client.cohort.limits import under_limits
from client.cohort.site import load_site
from common.errors import FedmviError
from common.federation.query import Query, total
from common.published.results import Result, Results
from common.statistics.competing_risks import CompetingTable
from common.statistics.counts import Classes
from common.statistics.life_table import LifeTable
from common.statistics.log_rank import LogRankSums
from common.statistics.logistic import LogisticSums
from common.statistics.ordinal import OrdinalSums
from common.study.coding import CodedColumn, coded_columns
from common.study.loader import parse_study
from common.study.recipe import Complete, Group, Recipe, Select
from server.report.page import render
from server.study.conduct import conduct
from tests.disclosure.consortium import FURTHER, SITES, STUDY, Consortium, Row, further, make
from tests.disclosure.consortium import names as names_of
from tests.disclosure.consortium import recipe as recipe_of

TERMS = '[{ variable = "age", coding = "linear" }, "cirrhosis"]'
ANALYSED = f"""
[[analyses]]
name = "grade"
statistic = "ordinal-logistic"
cohort = "train"
endpoint = "grade"
predictors = {TERMS}

[[analyses]]
name = "recurrence"
statistic = "cause-specific-cox"
cohort = "train"
endpoint = "ttr"
predictors = {TERMS}

[[analyses]]
name = "incidence"
statistic = "competing-risks"
cohort = "train"
endpoint = "ttr"
group = "grade"
times = [12, 30]

[[analyses]]
name = "incidence-of-all"
statistic = "competing-risks"
cohort = "train"
endpoint = "ttr"

[[analyses]]
name = "mean"
statistic = "restricted-mean"
cohort = "train"
endpoint = "os"
group = "mvi"
times = [36]

[[analyses]]
name = "followed"
statistic = "follow-up"
cohort = "train"
endpoint = "os"
times = [24]

[[analyses]]
name = "log-rank"
statistic = "stratified-log-rank"
cohort = "train"
endpoint = "os"
group = "mvi"
"""
TEXT = STUDY.replace('group = "mvi"\ncohort = "alone"', 'group = "sex"\ncohort = "alone"') + FURTHER + ANALYSED
LABELS = ("mvi: 0", "mvi: 1")


def consortium(folder: Path, text: str = TEXT) -> Consortium:
    return make(folder, dict.fromkeys(SITES, further), study=text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return consortium(tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="module")
def results(made: Consortium) -> Results:
    return conduct(made.study, made.port(), lambda _: None).results


@pytest.fixture(scope="module")
def pooled(made: Consortium) -> pd.DataFrame:
    rows = pd.concat(pd.read_csv(made.folders[site] / "patients.csv").assign(site=site) for site in ("a", "b", "c"))
    rows["cirrhosis"] = (rows["cirrhosis"] == "yes").astype(float)
    rows["grade"] = rows["mvi_grade"].map({"none": 0, "M0": 0, "M1": 1, "M2": 2})
    rows["code"] = rows["ttr_event"].map({"censored": 0, "recurrence": 1, "death": 2})
    return rows.reset_index(drop=True)


def of(results: Results, analysis: str) -> Result:
    result = results.get(f"analysis.{analysis}")
    assert result.status == "estimated", result.note
    return result


def values(result: Result, name: str) -> dict[str, float | None]:
    return {e.term: e.value for e in result.estimates if e.name == name}


# ------------------------------------------------------------------------------------------------ pooled numbers


def test_ordinal_odds_ratios_are_those_of_the_pooled_rows(results: Results, pooled: pd.DataFrame):
    model = OrderedModel(pooled["grade"], pooled[["age", "cirrhosis"]], distr="logit")
    start = model.fit(method="bfgs", disp=False).params
    fit = model.fit(start, method="newton", disp=False, tol=1e-12)
    ours = values(of(results, "grade"), "odds_ratio")
    assert list(ours) == ["age", "cirrhosis=yes"]
    assert list(ours.values()) == pytest.approx(np.exp(fit.params[["age", "cirrhosis"]]).tolist(), rel=1e-6)
    thresholds = values(of(results, "grade"), "threshold")
    assert list(thresholds) == ["M0 or lower", "M1 or lower"]
    assert list(thresholds.values()) == pytest.approx(model.transform_threshold_params(fit.params)[1:3], abs=1e-6)
    assert of(results, "grade").n == len(pooled)


def test_cause_specific_hazard_ratios_censor_the_competing_event(results: Results, pooled: pd.DataFrame):
    rows = pooled.assign(event=pooled["code"] == 1)[["age", "cirrhosis", "ttr_months", "event", "site"]]
    fit = CoxPHFitter().fit(rows, "ttr_months", "event", strata=["site"], fit_options={"precision": 1e-12})
    result = of(results, "recurrence")
    ours = values(result, "hazard_ratio")
    assert list(ours.values()) == pytest.approx(np.exp(fit.params_).tolist(), rel=1e-6)
    assert result.events == int((pooled["code"] == 1).sum())


def test_incidences_by_group_are_the_pooled_ones_at_the_declared_times_and_months(
    results: Results, pooled: pd.DataFrame
):
    result = of(results, "incidence")
    ours = values(result, "cumulative_incidence")
    curves = {curve.name: curve for curve in result.curves}
    assert len(curves) == 6
    for level, name in enumerate(("M0", "M1", "M2")):
        rows = pooled[pooled["grade"] == level]
        time, curve = cumulative_incidence_competing_risks(rows["code"].to_numpy(), rows["ttr_months"].to_numpy())
        for cause, title in ((1, "event of interest"), (2, "competing event")):
            label = f"grade: {name}, {title}"
            share = float(curve[cause][np.searchsorted(time, 12, side="right") - 1])
            assert ours[f"{label} at 12 months"] == pytest.approx(share, abs=1e-12)
            assert curves[label].x == list(range(len(curves[label].x))), "by the month"
            assert curves[label].y[12] == pytest.approx(share, abs=1e-12)
    assert values(result, "competing_events") == {
        f"grade: M{level}": float(((pooled["grade"] == level) & (pooled["code"] == 2)).sum()) for level in range(3)
    }
    tests = values(result, "gray_chi2")
    assert set(tests) == {"event of interest, df=2", "competing event, df=2"}
    assert all(chi2 is not None and chi2 > 0 for chi2 in tests.values())


def test_incidences_of_all_patients_need_no_group(results: Results, pooled: pd.DataFrame):
    result = of(results, "incidence-of-all")
    assert [curve.name for curve in result.curves] == [
        "all patients, event of interest",
        "all patients, competing event",
    ]
    time, curve = cumulative_incidence_competing_risks(pooled["code"].to_numpy(), pooled["ttr_months"].to_numpy())
    assert result.curves[1].y[24] == pytest.approx(float(curve[2][np.searchsorted(time, 24, side="right") - 1]))
    assert not values(result, "gray_chi2")
    assert result.n == len(pooled)


def test_restricted_means_and_their_difference_are_the_pooled_ones(results: Results, pooled: pd.DataFrame):
    means = []
    for group in (0, 1):
        rows = pooled[pooled["mvi"] == group]
        curve = KaplanMeierFitter().fit(rows["os_months"], rows["os_event"])
        means.append(restricted_mean_survival_time(curve, t=36))
    result = of(results, "mean")
    assert list(values(result, "restricted_mean").values()) == pytest.approx(means, rel=1e-9)
    assert values(result, "restricted_mean_difference") == {LABELS[1]: pytest.approx(means[1] - means[0], abs=1e-9)}
    assert values(result, "patients") == {LABELS[g]: float((pooled["mvi"] == g).sum()) for g in (0, 1)}


def test_follow_up_is_the_pooled_reverse_kaplan_meier(results: Results, pooled: pd.DataFrame):
    ours = next(e for e in of(results, "followed").estimates if e.name == "median_follow_up")
    # Who has the event at a time is still followed at it, which software without that order gets by half a month.
    reverse = KaplanMeierFitter().fit(pooled["os_months"] + 0.5 * pooled["os_event"], 1 - pooled["os_event"])
    assert ours.value == reverse.median_survival_time_
    share = values(of(results, "followed"), "complete_follow_up")["all patients"]
    complete = (pooled["os_months"] >= 24) | (pooled["os_event"] == 1)
    assert share == pytest.approx(float(complete.mean()), abs=1e-12)


def test_the_stratified_log_rank_test_is_that_with_sites_as_strata(results: Results, pooled: pd.DataFrame):
    chi2, p = survdiff(pooled["os_months"], pooled["os_event"], pooled["mvi"], strata=pooled["site"])
    ours = next(e for e in of(results, "log-rank").estimates if e.name == "log_rank_chi2")
    assert (ours.term, ours.value, ours.p) == ("df=1", pytest.approx(chi2, rel=1e-9), pytest.approx(p, rel=1e-9))


def test_counts_of_classes_take_a_competing_event_for_none_and_grades_together(results: Results, pooled: pd.DataFrame):
    ttr, grade = results.get("classes.train.ttr"), results.get("classes.train.grade")
    assert [(c.name, c.pooled) for c in ttr.counts] == [
        ("without event of interest", int((pooled["code"] != 1).sum())),
        ("with event of interest", int((pooled["code"] == 1).sum())),
        ("unknown", 0),
    ]
    assert [(c.name, c.pooled) for c in grade.counts] == [
        ("grade: M0", int((pooled["grade"] == 0).sum())),
        ("grade: higher", int((pooled["grade"] > 0).sum())),
        ("unknown", 0),
    ]


def test_all_are_on_the_page(results: Results):
    page = render(results, None, {})
    for name in ("grade", "recurrence", "incidence", "mean", "followed", "log-rank"):
        assert f'id="analysis.{name}"' in page


# ---------------------------------------------------------------------------------------------------- small groups


def test_a_small_group_hides_the_numbers_of_all_groups(tmp_path: Path):
    def few(rows: list[Row]) -> None:
        further(rows)
        for i, row in enumerate(rows):
            row["mvi_grade"] = "M2" if i == 7 else f"M{i % 2}"

    made = make(tmp_path, dict.fromkeys(SITES, few), study=TEXT)
    results = conduct(made.study, made.port(), lambda _: None).results
    result = of(results, "incidence")
    assert result.n is None and result.events is None
    assert set(values(result, "patients").values()) == {None}
    assert all(count is None for curve in result.curves for count in curve.at_risk)
    assert not any("M2" in curve.name for curve in result.curves)
    refused = results.get("analysis.grade")
    assert refused.status == "refused" and "FEDMVI-405" in refused.note, "a grade of one patient at a site"


# ---------------------------------------------------------------------------------------------------------- the gate


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return consortium(tmp_path_factory.mktemp("opened")).open()


def grouped(by: str, labels: tuple[str, ...], *endpoints: str) -> Recipe:
    return Recipe((Group(by, labels), Complete(("group",), endpoints)))


TTR = grouped("grade", ("0", "1", "2"), "ttr.time", "ttr.event")
OS = grouped("mvi", ("0", "1"), "os.time", "os.event")
TABLE = CompetingTable("train", TTR, "ttr", 3, 1.0, 61)
SUMS = LogRankSums("train", OS, "os", 2, 1.0, 61)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        (TABLE, 0),
        (replace(TABLE, horizon=12.0), 0),
        (replace(TABLE, horizon=12.5), 414),  # between months
        # by the group of another cohort's comparison, and of another analysis
        (replace(TABLE, recipe=grouped("sex", ("0", "1"), "ttr.time"), groups=2), 414),
        (replace(TABLE, recipe=grouped("mvi", ("0", "1"), "ttr.time", "ttr.event"), groups=2), 414),
        (replace(TABLE, recipe=grouped("grade", ("0", "1"), "ttr.time", "ttr.event"), groups=2), 414),
        (replace(TABLE, endpoint="os"), 414),
        (replace(TABLE, endpoint="grade"), 414),
        (SUMS, 0),
        (replace(SUMS, recipe=grouped("cirrhosis", ("0", "1"), "os.time", "os.event")), 414),
        (replace(SUMS, endpoint="ttr"), 414),
        (LifeTable("train", OS, "os", 2, 1.0, 61), 0),
        (LifeTable("train", OS, "mvi", 2, 1.0, 61), 414),  # no time
        (LifeTable("train", TTR, "os", 3, 1.0, 61), 414),  # by the group of another endpoint
    ],
)
def test_only_declared_groups_times_and_endpoints_are_answered(opened: Consortium, query: Query, number: int):
    assert opened.number("a", total(query)) == number


def test_groups_of_analyses_do_not_open_closed_cohorts(opened: Consortium):
    for query in (LifeTable("external", OS, "os", 2, 1.0, 61), replace(TABLE, cohort="external")):
        assert opened.number("d", total(query)) == 414


def test_levels_of_an_ordinal_endpoint_are_no_classes_and_as_many_as_declared(opened: Consortium):
    analysis = next(a for a in opened.study.analyses if a.name == "grade")
    columns = coded_columns(opened.study, analysis.predictors)
    names = tuple(column.name for column in columns)
    recipe = Recipe((Select(columns), Complete(names, ("grade",))))
    sums = OrdinalSums("train", recipe, "grade", names, 3, np.array([-1.0, 1.0, 0.0, 0.0]))
    assert opened.number("a", total(sums)) == 0
    assert opened.number("a", total(replace(sums, levels=4, coefficients=np.array([-1.0, 0.0, 1.0, 0.0, 0.0])))) == 414
    assert opened.number("a", total(replace(sums, endpoint="mvi"))) == 414
    names = names_of(opened.study, "clinical")
    logistic = LogisticSums("train", recipe_of(opened.study, "clinical"), "mvi", names, np.zeros(1 + len(names)))
    assert opened.number("a", total(logistic)) == 0
    assert opened.number("a", total(replace(logistic, endpoint="grade"))) == 414
    assert opened.number("a", total(Classes("train", Recipe(), "grade", 5, guarded=False))) == 0


def test_a_site_is_told_before_that_a_grade_has_few_patients(tmp_path: Path):
    def rare(rows: list[Row]) -> None:
        further(rows)
        for i, row in enumerate(rows):
            row["mvi_grade"] = "M2" if i < 2 else "M0"

    made = make(tmp_path, {**dict.fromkeys(SITES, further), "a": rare}, study=TEXT)
    hints = under_limits(load_site(made.folders["a"]), made.table("a"), made.study)
    assert [(h.number, h.facts["endpoint"], h.local) for h in hints] == [(405, "grade", "58 M0, 0 M1, 2 M2")]


# ------------------------------------------------------------------------------------------------------ the protocol


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('["M1"], ["M2"]', '["M1", "M2"]', "an ordinal endpoint needs `levels`: 3 to 20 lists"),
        ('["M1"], ["M2"]', '["M1"], ["M1"]', "a cell has two meanings: 'M1'"),
        ('columns = ["mvi_grade"]', 'columns = ["mvi_grade", "x"]', "an endpoint of the kind ordinal has 1 column(s)"),
        ('["M2"]]', '["M2"]]\npositive = ["M3"]', "do not belong to ordinal"),
        ('competing = ["death"]\n', "", "competing endpoints, and only they"),
        ('competing = ["death"]', 'competing = ["recurrence"]', "a cell has two meanings: 'recurrence'"),
        ('kind = "competing"', 'kind = "survival"', "competing endpoints, and only they"),
        ('group = "grade"', 'group = "age"', "analyses[3].group: 'age' does not form groups"),
        ('group = "grade"', 'group = "ttr"', "'ttr' does not form groups"),
        ('group = "grade"', f"predictors = {TERMS}", "'competing-risks' needs a `group` only"),
        ("times = [36]\n", "", "'restricted-mean' needs one time, its horizon, in `times`"),
        ("times = [24]", "times = [24, 36]", "'follow-up' needs one time"),
        ("times = [12, 30]", "times = [12, 61]", "the time 61 is not between 0 and the endpoint's maximum"),
        ('endpoint = "ttr"\npredictors', 'endpoint = "os"\npredictors', "needs a competing endpoint of the study"),
        ('endpoint = "grade"\npredictors', 'endpoint = "mvi"\npredictors', "needs an ordinal endpoint of the study"),
        ('endpoint = "os"\ngroup = "sex"', 'endpoint = "ttr"\ngroup = "sex"', "'ttr' is not a survival endpoint"),
        ('name = "log-rank"', 'name = "log-rank"\ntimes = [12]', "'stratified-log-rank' has no `times`"),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused_with_its_line(old: str, new: str, words: str):
    assert TEXT.count(old) == 1, old
    text = TEXT.replace(old, new)
    with pytest.raises(FedmviError) as met:
        parse_study(text)
    assert met.value.number == 103
    assert words in met.value.local, met.value.local
    assert "line " in met.value.local


def test_a_test_of_groups_needs_a_group():
    with pytest.raises(FedmviError) as met:
        parse_study(TEXT.removesuffix('group = "mvi"\n'))
    assert "needs a `group` only" in met.value.local


def test_groups_count_as_variables_of_the_study():
    study = parse_study(TEXT.replace('group = "grade"', 'group = "child_pugh"'))
    assert "child_pugh" in study.variable_names()
    assert "grade" not in study.variable_names()
    known = CodedColumn("child_pugh", "child_pugh", "known")
    assert known.variable in study.variable_names()
