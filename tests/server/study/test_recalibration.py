"""server/study: risks are corrected in calibration patients, frozen again, and shown without and with it elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn.metrics import brier_score_loss, roc_auc_score

from common.federation.ports import Journal
from common.federation.tasks import FreezeCorrections
from common.models.logistic import FrozenModel
from common.published.results import Estimate, Result
from common.statistics.calibration import logit
from common.study.coding import coded_columns
from common.study.recipe import Recipe
from server.export.logistic import frozen_model
from server.study.conduct import Conducted, conduct
from server.study.results import to_text
from tests.disclosure.consortium import Consortium, make
from tests.server.study import reduced_study
from tests.server.study.recalibrated_study import (
    ALONE,
    CALIBRATION,
    alone_text,
    consortium,
    outcomes,
    pooled,
    recalibration,
    study_text,
)
from tests.server.study.reduced_study import everywhere, featured

SITES = ("d", "e", "f")


def estimate(result: Result, name: str, term: str = "") -> Estimate:
    return next(e for e in result.estimates if (e.name, e.term) == (name, term))


def run(made: Consortium) -> tuple[Conducted, FreezeCorrections]:
    """The study, and what was frozen in addition."""
    port, asked = made.port(), []

    class Spy:
        def ask(self, asks):
            asked.extend(asks)
            return port.ask(asks)

    done = conduct(made.study, Spy(), lambda _: None)
    (second,) = [ask.question for ask in asked if isinstance(ask.question, FreezeCorrections)]
    return done, second


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """Elsewhere the endpoint is less frequent, and predictors tell half as much."""
    return consortium(tmp_path_factory.mktemp("recalibrated"), outcomes(-1.1, 0.5))


@pytest.fixture(scope="module")
def done(made: Consortium) -> tuple[Conducted, FreezeCorrections]:
    return run(made)


def frames(made: Consortium, recipe: Recipe, cohort: str, sites=SITES):
    return [made.frame(site, recipe, cohort) for site in sites]


def test_the_corrections_are_those_of_the_pooled_calibration_patients(made, done):
    results, second = done[0].results, {one.name: one for one in done[1].corrections}
    base = second["large"].recipe
    risk, y = pooled(frames(made, base, "calibration"), "score.risk")
    ones = np.ones((len(y), 1))
    large = sm.GLM(y, ones, sm.families.Binomial(), offset=logit(risk)).fit(tol=1e-14)
    line = sm.Logit(y, np.column_stack([ones, logit(risk)])).fit(disp=0, tol=1e-14)
    told = results.get("recalibration.large")
    assert told.verdict == "intercept"
    assert (told.n, told.events) == (len(y), int(y.sum()))
    assert estimate(told, "intercept").value == pytest.approx(large.params[0], abs=1e-9)
    told = results.get("recalibration.line")
    assert estimate(told, "slope_unshrunk").value == pytest.approx(line.params[1], abs=1e-9)
    kept = 1.0 - 1.0 / (2.0 * (line.llf - large.llf))
    slope = 1.0 + kept * (line.params[1] - 1.0)
    assert estimate(told, "slope").value == pytest.approx(slope, abs=1e-9)
    beside = sm.GLM(y, ones, sm.families.Binomial(), offset=slope * logit(risk)).fit(tol=1e-14)
    assert estimate(told, "intercept").value == pytest.approx(beside.params[0], abs=1e-9)


def test_closed_testing_refits_nothing_where_a_line_will_do(made, done):
    told, second = done[0].results.get("recalibration.closed"), {one.name: one for one in done[1].corrections}
    assert told.verdict == "slope"
    risk, y = pooled(frames(made, second["closed"].recipe, "calibration"), "score.risk")
    own = frames(made, second["closed"].recipe, "calibration")
    x = np.concatenate([frame.matrix(second["closed"].score.names) for frame in own])
    refit = sm.Logit(y, sm.add_constant((x - x.mean(0)) / x.std(0))).fit(disp=0, tol=1e-14)
    chi2 = 2.0 * (refit.llf - np.sum(np.where(y == 1, np.log(risk), np.log1p(-risk))))
    first = estimate(told, "chi2", "none v refit")
    assert first.value == pytest.approx(chi2, abs=1e-8)
    assert first.p == pytest.approx(stats.chi2.sf(chi2, 4), rel=1e-7)
    assert first.note == "df=4"
    assert estimate(told, "chi2", "slope v refit").p > 0.05


def test_risks_without_and_with_the_correction_are_those_of_the_pooled_test_patients(made, done):
    for one in done[1].corrections:
        told = done[0].results.get(f"recalibration.{one.name}.external")
        both = frames(made, one.corrected, "external")
        for term, column in (("before", "score.risk"), ("after", f"score.{one.name}")):
            risk, y = pooled(both, column)
            line = sm.Logit(y, sm.add_constant(logit(risk))).fit(disp=0, tol=1e-14)
            large = sm.GLM(y, np.ones((len(y), 1)), sm.families.Binomial(), offset=logit(risk)).fit(tol=1e-14)
            assert estimate(told, "auc", term).value == pytest.approx(roc_auc_score(y, risk), abs=1e-12)
            assert estimate(told, "brier", term).value == pytest.approx(brier_score_loss(y, risk), abs=1e-12)
            assert estimate(told, "calibration_slope", term).value == pytest.approx(line.params[1], abs=1e-8)
            assert estimate(told, "calibration_intercept", term).value == pytest.approx(large.params[0], abs=1e-8)
            assert estimate(told, "observed_expected", term).value == pytest.approx(y.sum() / risk.sum(), abs=1e-10)
            threshold = float(told.note.split("risk of ")[1].split("%")[0]) / 100
            high = risk >= threshold
            benefit = np.mean(high & (y == 1)) - np.mean(high & (y == 0)) * threshold / (1 - threshold)
            net = estimate(told, "net_benefit", term)
            assert net.value is None or net.value == pytest.approx(benefit, abs=1e-12)


def test_the_correction_helps_and_areas_stay(done):
    told = done[0].results.get("recalibration.closed.external")
    before, after = (estimate(told, "calibration_slope", term).value for term in ("before", "after"))
    assert abs(after - 1) < abs(before - 1) / 2
    before, after = (estimate(told, "observed_expected", term).value for term in ("before", "after"))
    assert abs(np.log(after)) < abs(np.log(before)) / 2
    for name in ("large", "line", "closed", "prior"):
        told = done[0].results.get(f"recalibration.{name}.external")
        # Scores are rounded to four decimals: a few ties more or less.
        assert estimate(told, "auc", "after").value == pytest.approx(estimate(told, "auc", "before").value, abs=1e-3)


def test_calibration_patients_are_in_no_other_cohort(made):
    from client.cohort.membership import members
    from client.cohort.site import load_site

    for site in SITES:
        rows = {
            c.name: members(load_site(made.folders[site]), made.table(site), made.study, c)
            for c in made.study.cohorts
            if site in c.sites
        }
        assert not np.any(rows["calibration"] & rows["external"])
        assert np.all(rows["calibration"] | rows["external"])


def test_a_prior_correction_uses_no_outcome_and_is_the_shift_of_log_odds(made, done):
    told = done[0].results.get("recalibration.prior")
    assert told.verdict == "prior"
    assert told.events is None
    source, target = (estimate(told, name).value for name in ("reference_prevalence", "estimated_prevalence"))
    shift = np.log(target / (1 - target)) - np.log(source / (1 - source))
    assert estimate(told, "intercept").value == pytest.approx(shift, abs=1e-12)
    second = next(one for one in done[1].corrections if one.name == "prior")
    risk, y = pooled(frames(made, second.recipe, "train", ("a", "b", "c")), "score.risk")
    assert source == pytest.approx(y.mean(), abs=1e-12)
    threshold = float(done[0].results.get("recalibration.prior.external").note.split("risk of ")[1].split("%")[0]) / 100
    high = risk >= threshold
    true, false = high[y == 1].mean(), high[y == 0].mean()
    target_risk, _ = pooled(frames(made, second.recipe, "calibration"), "score.risk")
    expected = ((target_risk >= threshold).mean() - false) / (true - false)
    assert target == pytest.approx(expected, abs=1e-12)


def test_a_guaranteed_cut_off_is_the_largest_that_the_positives_allow(made, done):
    told = done[0].results.get("recalibration.closed")
    second = next(one for one in done[1].corrections if one.name == "closed")
    risk, y = pooled(frames(made, second.recipe, "calibration"), "score.risk")
    positives = risk[y == 1]
    m = len(positives)

    def lower(cut: float) -> float:
        found = int(np.sum(positives >= cut))
        return float(stats.beta.ppf(0.05, found, m - found + 1)) if found else 0.0

    cut = estimate(told, "guaranteed_sensitivity", "risk").value
    assert lower(cut) >= 0.8 > lower(round(cut + 0.01, 2))
    assert second.cutoff == cut
    # Whoever reaches it before the correction reaches the corrected one after it, and few others do.
    both = frames(made, second.corrected, "external")
    before, _ = pooled(both, "score.risk")
    after, _ = pooled(both, "score.closed")
    corrected = estimate(told, "guaranteed_sensitivity").value
    assert np.all(after[before >= cut] >= corrected)
    assert np.sum((after >= corrected) != (before >= cut)) <= 1


def test_one_site_recalibrates_alone_and_tells_the_result(tmp_path: Path):
    """A calibration cohort of one site, and a test cohort of one: both answer by themselves."""
    text = alone_text(recalibration("closed", extra="sensitivity = 0.75"))
    made = consortium(tmp_path, outcomes(-1.3, n=180), text, sites=ALONE)
    results, second = run(made)
    told = results.results.get("recalibration.closed")
    assert told.how == "site-alone"
    risk, y = pooled([made.frame("d", second.corrections[0].recipe, "calibration")], "score.risk")
    large = sm.GLM(y, np.ones((len(y), 1)), sm.families.Binomial(), offset=logit(risk)).fit(tol=1e-14)
    assert told.verdict == "intercept"
    assert estimate(told, "intercept").value == pytest.approx(large.params[0], abs=1e-9)
    assert 0.0 < estimate(told, "guaranteed_sensitivity").value < 1.0
    after = results.results.get("recalibration.closed.external.d")
    corrected, y = pooled([made.frame("d", second.corrections[0].corrected, "external")], "score.closed")
    squares = round(np.sum(np.square(y - corrected)))  # one site tells it in whole patients
    assert estimate(after, "brier", "after").value == pytest.approx(squares / len(y), abs=1e-12)
    assert estimate(after, "auc", "after").value == pytest.approx(roc_auc_score(y, corrected), abs=1e-12)


def test_a_model_whose_predictors_work_the_other_way_is_refitted(tmp_path: Path):
    made = consortium(tmp_path, outcomes(turn=-1.0), study_text(recalibration("closed", extra="sensitivity = 0.8")))
    results, second = run(made)
    told, (correction,) = results.results.get("recalibration.closed"), second.corrections
    assert told.verdict == "refit"
    assert len(correction.refit) == len(correction.score.names)
    own = frames(made, correction.recipe, "calibration")
    x = np.concatenate([frame.matrix(correction.score.names) for frame in own])
    y = np.concatenate([frame.endpoints["mvi"] for frame in own])
    mean, std = x.mean(0), x.std(0)
    fit = sm.Logit(y, sm.add_constant((x - mean) / std)).fit(disp=0, tol=1e-14)
    assert np.array(correction.refit) * std == pytest.approx(fit.params[1:], abs=1e-8)
    assert estimate(told, "guaranteed_sensitivity").value is None
    assert correction.cutoff is None
    after = results.results.get("recalibration.closed.external")
    assert estimate(after, "auc", "after").value > estimate(after, "auc", "before").value + 0.05


def test_more_than_the_positives_can_guarantee_is_refused_with_what_they_can(tmp_path: Path):
    text = study_text(recalibration("large", "intercept", "sensitivity = 0.99"))
    results, second = run(consortium(tmp_path, outcomes(), text))
    told = results.results.get("recalibration.large")
    m = told.events
    note = estimate(told, "guaranteed_sensitivity").note
    assert f"{int(1000 * 0.05 ** (1 / m)) / 1000}" in note
    assert second.corrections[0].cutoff is None
    assert results.results.get("recalibration.large.external").status == "estimated"


def test_a_recalibrated_model_is_handed_on_and_predicts_what_the_run_scored(made, done):
    for one in done[1].corrections:
        model = frozen_model(made.study, done[0].results, one.name)
        assert model.coefficients == (one.score.intercept, *one.score.coefficients)
        assert model.covariance is None
        table = made.table("d")
        frame = one.corrected.apply(table, np.ones(table.n, dtype=bool), ())
        assert np.round(model.predict(table).probability, 4) == pytest.approx(frame.columns[f"score.{one.name}"], abs=0)
        after = next(p for p in model.performance if p.cohort == "external")
        assert {m.name for m in after.measures} >= {"auc", "brier", "calibration_slope"}
    closed = frozen_model(made.study, done[0].results, "closed")
    assert closed.cutoff == estimate(done[0].results.get("recalibration.closed"), "guaranteed_sensitivity").value
    assert FrozenModel.model_validate_json(closed.model_dump_json()) == closed
    assert frozen_model(made.study, done[0].results, "risk").covariance is not None


def test_a_run_that_stops_around_its_freezes_ends_with_the_same_results(tmp_path: Path):
    """Stopped before, between and after the two freezes, and resumed from its journal at the same sites."""
    text = study_text(recalibration("closed", extra="sensitivity = 0.8"))
    whole = consortium(tmp_path / "whole", outcomes(-1.1, 0.5), text)
    rounds: list[set[str]] = []
    port = whole.port()
    wanted = conduct(whole.study, _Stops(port, rounds), lambda _: None).results
    freezes = [i for i, kinds in enumerate(rounds) if kinds & {"task.freeze", "task.freeze_corrections"}]
    assert len(freezes) == 2
    assert freezes[1] - freezes[0] > 5
    for stop in (freezes[0], freezes[0] + 1, freezes[1], freezes[1] + 1):
        made = consortium(tmp_path / f"stop-{stop}", outcomes(-1.1, 0.5), text)
        folder = tmp_path / f"journal-{stop}"
        with pytest.raises(RuntimeError, match="stopped"):
            conduct(made.study, Journal(folder, _Stops(made.port(), [], stop)), lambda _: None)
        again: list[set[str]] = []
        resumed = conduct(made.study, Journal(folder, _Stops(made.port(), again)), lambda _: None).results
        assert to_text(resumed) == to_text(wanted)
        assert len(again) < len(rounds)


def test_under_masks_the_correction_is_the_pooled_one_too(tmp_path: Path):
    made = consortium(tmp_path, outcomes(-1.1, 0.5), study_text(recalibration("line", "slope")), masked=True)
    results, second = run(made)
    told = results.results.get("recalibration.line")
    assert told.how == "exact-masked"
    risk, y = pooled(frames(made, second.corrections[0].recipe, "calibration"), "score.risk")
    line = sm.Logit(y, sm.add_constant(logit(risk))).fit(disp=0, tol=1e-14)
    assert estimate(told, "slope_unshrunk").value == pytest.approx(line.params[1], abs=1e-9)
    after = results.results.get("recalibration.line.external")
    risk, y = pooled(frames(made, second.corrections[0].corrected, "external"), "score.line")
    assert estimate(after, "brier", "after").value == pytest.approx(brier_score_loss(y, risk), abs=1e-12)


def test_every_reduced_model_has_its_prevalence_estimated_from_out_of_fold_scores(tmp_path: Path):
    """Whichever of them is the choice whose draft is a predictor of a further model."""
    more = "".join(
        recalibration(name, "prior").replace('"risk"', f'"{name.split("-")[0]}"') for name in ("first-p", "second-p")
    )
    made = make(tmp_path, everywhere(featured), study=reduced_study.study_text() + CALIBRATION + more)
    results, second = run(made)
    other = 0
    for one in second.corrections:
        told = results.results.get(f"recalibration.{one.name}")
        threshold = results.results.get(f"recalibration.{one.name}.external").note.split("risk of ")[1].split("%")[0]
        name = one.name.split("-")[0]
        columns = {name: coded_columns(made.study, next(m for m in made.study.models if m.name == name).predictors)}
        tables = [replace(made.table(site), declared=columns) for site in "abc"]
        own = [one.recipe.apply(table, np.ones(table.n, dtype=bool), ("mvi",)) for table in tables]
        apparent, y = pooled(own, f"score.{name}")
        high = apparent >= float(threshold) / 100
        told_apart = [estimate(told, rate, "in training").value for rate in ("sensitivity", "false_positive_rate")]
        assert told_apart[0] - told_apart[1] > 0.25
        other += told_apart != [high[y == 1].mean(), high[y == 0].mean()]
    assert other > 0, "the scores are out of fold, and not the apparent ones"
    assert {one.name for one in second.corrections} == {"first-p", "second-p"}


class _Stops:
    """A port that notes the kinds of each round, and stops at one: asked, but its answers are lost."""

    def __init__(self, port, rounds: list[set[str]], stop: int = -1) -> None:
        self.port, self.rounds, self.stop = port, rounds, stop

    def ask(self, asks):
        self.rounds.append({ask.question.name for ask in asks})
        answers = self.port.ask(asks)
        if len(self.rounds) - 1 == self.stop:
            raise RuntimeError("stopped")
        return answers
