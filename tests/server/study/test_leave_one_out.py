"""server/study: leave one centre out: coefficients and areas are those of the pooled rows of the other centres."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.metrics import roc_auc_score

from client.cohort.site import load_site
from client.release.ledger import Ledger, ledger_file
from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.logistic import LogisticResult
from common.statistics.reduced_score import ReducedScore
from common.study.coding import CodedColumn, coded_columns
from common.study.harmonisation import Combat
from common.study.loader import parse_study
from common.study.recipe import Recipe, Select
from common.study.table import FloatArray
from server.study.centre_areas import Area, best_of, mean_area
from server.study.conduct import conduct
from server.study.leave_one_out import Formula, LeftOut, leave_one_centre_out
from server.study.models import fit_all
from server.study.reduced import reduce_all
from tests.client.approval.asked import heard_of
from tests.client.approval.test_preview import assert_foreseen
from tests.disclosure.consortium import SITES, STUDY, Consortium, Row, make
from tests.server.study.left_out_study import (
    MEAN,
    ONE_MODEL,
    OPEN,
    PLAIN,
    few_without_age,
    model,
    reduced,
    scanned,
    shift,
    signal,
    some_without_age,
    variables,
    with_features,
)

TRAIN = ("a", "b", "c", "d")


def opened(
    folder: Path, text: str, change: Callable[[list[Row]], None] = signal, policy: str = OPEN, *, masked: bool = True
) -> Consortium:
    made = make(folder, dict.fromkeys(SITES, change), study=text, policy=policy, masked=masked)
    return (made.sign() if masked else made).open()


def asked(made: Consortium) -> LeftOut:
    found = conclude(made.port(), [leave_one_centre_out(made.study)])[0]
    assert isinstance(found, LeftOut)
    return found


def columns(made: Consortium, name: str) -> tuple[CodedColumn, ...]:
    return coded_columns(made.study, next(m for m in made.study.models if m.name == name).predictors)


def rows(made: Consortium, name: str, sites: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    """(n, p) predictors and (n,) endpoint of some centres' patients, missing values as NaN."""
    coded = columns(made, name)
    frames = [made.frame(site, Recipe((Select(coded),))) for site in sites]
    x = np.concatenate([frame.matrix(tuple(c.name for c in coded)) for frame in frames])
    return x, np.concatenate([frame.endpoints["mvi"] for frame in frames])


def others(site: str) -> tuple[str, ...]:
    return tuple(other for other in TRAIN if other != site)


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "plain"])
def test_a_model_without_a_centre_is_the_pooled_one_of_the_others_and_its_area_is_exact(tmp_path: Path, masked: bool):
    made = opened(tmp_path, ONE_MODEL + PLAIN + shift("plain"), masked=masked)
    (found,) = asked(made).models
    assert set(found.areas) == set(TRAIN)
    for site in TRAIN:
        formula, area = found.formulas[site], found.areas[site]
        assert isinstance(formula, Formula) and isinstance(area, Area)
        x, y = rows(made, "plain", others(site))
        fit = sm.Logit(y, sm.add_constant(x)).fit(disp=0, tol=1e-14, maxiter=100)
        assert np.allclose([formula.intercept, *formula.coef], fit.params, rtol=0, atol=1e-9)
        own, label = rows(made, "plain", (site,))
        score = np.round(fit.predict(sm.add_constant(own)), 4)
        assert area.auc == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        assert (area.n, area.events) == (label.size, int(label.sum()))


def test_what_fills_missing_values_is_the_mean_of_the_other_centres(tmp_path: Path):
    made = opened(tmp_path, ONE_MODEL + MEAN + shift("filled"), some_without_age)
    (found,) = asked(made).models
    for site in TRAIN:
        formula, area = found.formulas[site], found.areas[site]
        assert isinstance(formula, Formula) and isinstance(area, Area)
        x, y = rows(made, "filled", others(site))
        mean = np.nanmean(x, axis=0)
        fit = sm.Logit(y, sm.add_constant(np.where(np.isnan(x), mean, x))).fit(disp=0, tol=1e-14, maxiter=100)
        assert np.allclose([formula.intercept, *formula.coef], fit.params, rtol=0, atol=1e-9)
        own, label = rows(made, "filled", (site,))
        score = np.round(fit.predict(sm.add_constant(np.where(np.isnan(own), mean, own))), 4)
        assert area.auc == pytest.approx(roc_auc_score(label, score), abs=1e-12)


def test_few_filled_values_would_be_told_so_that_centres_are_left_out_of_complete_cases_only(tmp_path: Path):
    """Sums of two fillings differ by the filled patients' rows, of whom site b has two."""
    made = opened(tmp_path, ONE_MODEL + MEAN + shift("filled"), few_without_age)
    (found,) = asked(made).models
    numbers = {site: area.number for site, area in found.areas.items() if isinstance(area, FedmviError)}
    assert numbers == {"a": 434, "c": 434, "d": 434}, "without b nobody's values are filled"


def test_a_reduced_model_is_developed_on_the_others_alone(tmp_path: Path):
    """As a study over the other centres develops it: their folds and keys are the same, wherever the fourth is."""
    text = ONE_MODEL + reduced() + shift("radiomics")
    made = opened(tmp_path / "four", text, with_features)
    heard, port = heard_of(made)
    left_out = conclude(port, [leave_one_centre_out(made.study)])[0]
    assert isinstance(left_out, LeftOut)
    (found,) = left_out.models
    training = {site: made.folders[site] for site in TRAIN}
    assert assert_foreseen(made.study, training, heard) > 100, "the preview declared every question"
    fewer = opened(tmp_path / "three", without_c(text), with_features)
    (whole,) = conclude(fewer.port(), [reduce_all(fewer.study)])[0]
    formula, area = found.formulas["c"], found.areas["c"]
    assert isinstance(formula, Formula) and isinstance(area, Area) and isinstance(whole.whole, ReducedScore)
    assert formula.names == whole.whole.names_ and len(formula.names) > 0
    assert np.allclose([formula.intercept, *formula.coef], [whole.whole.intercept_, *whole.whole.coef_], atol=1e-9)
    own, label = rows(made, "radiomics", ("c",))
    places = [[c.name for c in columns(made, "radiomics")].index(name) for name in formula.names]
    score = np.round(1 / (1 + np.exp(-(formula.intercept + own[:, places] @ np.array(formula.coef)))), 4)
    assert area.auc == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    formulas = [one for one in found.formulas.values() if isinstance(one, Formula)]
    assert len({one.coef for one in formulas}) == 4, "each centre's absence changes the model"


def without_c(text: str) -> str:
    """The study over the other centres; c is a hospital of test."""
    three = text.replace('sites = ["a", "b", "c", "d"]', 'sites = ["a", "b", "d"]').partition("\n[shift]")[0]
    return three.replace('sites = ["e", "f"]', 'sites = ["c", "e", "f"]')


def test_features_are_harmonised_without_the_centre_and_at_it_by_its_own_patients(tmp_path: Path):
    """As a study over the other centres freezes it, applied to the patients of the one left out."""
    four = ", ".join(f'"{name}"' for name in ("x00", "x03", "x07", "x21"))
    text = ONE_MODEL + variables(("x00", "x03", "x07", "x21"))
    text += model("linear", four) + model("combat", four, "harmonise = {}\n") + shift("linear", "combat")
    made = opened(tmp_path / "four", text, scanned)
    linear, combat = asked(made).models
    fewer = opened(tmp_path / "three", without_c(text), scanned)
    fits = {one.model.name: one for one in conclude(fewer.port(), [fit_all(fewer.study)])[0]}
    for found in (linear, combat):
        formula, area, fit = found.formulas["c"], found.areas["c"], fits[found.model.name].fit
        assert isinstance(formula, Formula) and isinstance(area, Area) and isinstance(fit, LogisticResult)
        assert np.allclose([formula.intercept, *formula.coef], fit.coef_, rtol=0, atol=1e-9)
        assert [type(step) for step in formula.base.steps] == [
            type(step) for step in fits[found.model.name].recipe.steps
        ]
        frame = made.frame("c", formula.base, took_part=False)
        score = np.round(1 / (1 + np.exp(-(formula.intercept + frame.matrix(formula.names) @ formula.coef))), 4)
        assert area.auc == pytest.approx(roc_auc_score(frame.endpoints["mvi"], score), abs=1e-12)
        # As at a hospital that took no part, and not as at one that trained.
        trained = made.frame("c", formula.base).matrix(formula.names)
        assert (trained == frame.matrix(formula.names)).all() == (found is linear)
    assert any(isinstance(step, Combat) for step in combat.formulas["c"].base.steps)  # type: ignore[union-attr]
    gain = mean_area(combat.areas) - mean_area(linear.areas)
    assert gain > 0.02, "hospitals whose scanners differ are better seen by the harmonised model"


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "plain"])
def test_a_site_that_has_not_consented_is_left_out_of_nothing_and_the_result_says_so(tmp_path: Path, masked: bool):
    made = make(
        tmp_path, dict.fromkeys(SITES, signal), study=ONE_MODEL + PLAIN + shift("plain"), policy=OPEN, masked=masked
    )
    for site in ("b", "c", "d"):
        toml = made.folders[site] / "site.toml"
        toml.write_text(toml.read_text().replace("may_be_left_out = true\n", ""))
    results = conduct(made.study, made.port(), lambda _: None).results
    told = results.get("model.plain.leave-one-centre-out")
    areas = {e.term: e for e in told.estimates if e.name == "auc"}
    assert areas["a"].value is not None, "three have not: a sum over these three may be told"
    for site in ("b", "c", "d"):
        assert areas[site].value is None
        assert f"The site '{site}' has not signed" in areas[site].note
    assert "Without b: " in told.note and told.note.count("has not signed") == 1
    assert "The same without c, d." in told.note
    assert results.get("model.plain.auc.train").status == "estimated", "the rest of the study goes on"


def test_two_who_have_not_consented_would_be_told_by_leaving_out_the_others(tmp_path: Path):
    made = make(
        tmp_path, dict.fromkeys(SITES, signal), study=ONE_MODEL + PLAIN + shift("plain"), policy=OPEN, masked=True
    )
    for site in ("c", "d"):
        toml = made.folders[site] / "site.toml"
        toml.write_text(toml.read_text().replace("may_be_left_out = true\n", ""))
    (found,) = asked(made.sign().open()).models
    numbers = {site: area.number for site, area in found.areas.items() if isinstance(area, FedmviError)}
    assert numbers == {"a": 433, "b": 433, "c": 432, "d": 432}
    assert best_of({"plain": found.areas}) == ""


def test_a_centre_left_out_says_so_in_its_ledger_and_counts_nobody(tmp_path: Path):
    made = opened(tmp_path, ONE_MODEL + PLAIN + shift("plain"))
    asked(made)
    lines = list(Ledger(ledger_file(load_site(made.folders["a"]))).entries())
    own = [line for line in lines if ", without a, which adds zeros" in str(line["words"])]
    other = [line for line in lines if ", without b, which adds zeros" in str(line["words"])]
    assert own and all(line["counted"] == 0 for line in own)
    assert other and all(line["counted"] > 100 for line in other)
    assert [line for line in lines if ", of a alone" in str(line["words"])]


def test_the_remedy_with_the_best_mean_is_named_in_the_freeze(tmp_path: Path):
    made = make(
        tmp_path, dict.fromkeys(SITES, signal), study=ONE_MODEL + PLAIN + shift("plain"), policy=OPEN, masked=True
    )
    results = conduct(made.study, made.port(), lambda _: None).results
    told = results.get("model.plain.leave-one-centre-out")
    assert [(e.term, e.value) for e in told.estimates if e.name == "chosen"] == [("plain", 1.0)]
    lines = list(Ledger(ledger_file(load_site(made.folders["a"]))).entries())
    assert [line for line in lines if "of the models of [shift] 'plain' was chosen" in str(line["words"])]


def left(**areas: float | None) -> dict[str, Area | FedmviError]:
    return {site: Area(value, 0.05) if value is not None else FedmviError(404) for site, value in areas.items()}


def test_the_best_model_is_that_of_the_largest_mean_and_of_equal_ones_the_first():
    assert best_of({"one": left(a=0.7, b=0.8), "two": left(a=0.9, b=0.7)}) == "two"
    assert best_of({"one": left(a=0.7, b=0.8), "two": left(a=0.8, b=0.7)}) == "one"
    assert best_of({"one": left(a=0.7, b=0.6), "two": left(a=0.99, b=None)}) == "one", "fewer, easier hospitals"
    assert best_of({"one": left(a=None), "two": left(a=None)}) == ""
    assert best_of({"one": left(a=0.6, b=None), "two": left(a=0.7, b=None)}) == "two", "b could be measured of nobody"


@pytest.mark.parametrize(("text", "what"), [
    (STUDY.replace('name = "wide"', 'name = "plain"') + shift("clinical"), "without one of them nothing can be summed"),
    (ONE_MODEL + reduced() + model("hybrid", '"score.radiomics", "cirrhosis"') + shift("radiomics", "hybrid"),
     "would have to be left out with it"),
])  # fmt: skip
def test_a_protocol_that_cannot_be_meant_is_refused(text: str, what: str):
    with pytest.raises(FedmviError, match=what):
        parse_study(text)
