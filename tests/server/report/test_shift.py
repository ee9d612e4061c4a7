"""tests: the section on differences between hospitals says what the results hold, first in a clinician's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from common.errors import FedmviError
from common.published.results import Estimate, Result, Results
from server.report.blocks import Bullets, Paragraph, Section, Table
from server.report.figures import draw_all
from server.report.headlines import headlines
from server.report.page import write_report
from server.report.shift import VERDICTS, shift
from server.report.shift_words import sentences
from server.study.leave_one_out_results import left_out_result
from tests.server.report.conftest import SITES

OF = {"sites": list(SITES), "how": "exact-masked"}


def made(identifier: str, statistic: str, estimates: list[dict[str, Any]], **facts: Any) -> Result:
    base = {"id": identifier, "statistic": statistic, "title": f"Title of {identifier}", "cohort": "external", **OF}
    return Result.model_validate({**base, "estimates": estimates, **facts})


def profile(site: str, verdict: str, *estimates: dict[str, Any], **facts: Any) -> Result:
    alone = {"sites": [site], "how": "site-alone", "verdict": verdict, **facts}
    return made(f"shift.external.{site}", "shift", list(estimates), **alone)


def smd(term: str, value: float, p: float) -> dict[str, Any]:
    return {
        "name": "standardised_difference",
        "term": term,
        "value": value,
        "low": value - 0.3,
        "high": value + 0.3,
        "p": p,
    }


def single(name: str, value: float | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, **more}


FOUND = [
    profile(
        "delta", "covariate", smd("age", 0.2, 0.44), smd("afp>20", -0.91, 0.005),
        single("two_sample_auc", 0.71, low=0.6, high=0.82, p=0.01), single("reference_prevalence", 0.41),
        single("estimated_prevalence", 0.44, low=0.3, high=0.58), single("smallest_detectable", 0.52),
        single("smallest_detectable_prevalence", 0.31), n=41,
        note="Its predictors are compared with those of training.",
    ),
    profile(
        "epsilon", "label", smd("age", 0.1, 0.9), single("reference_prevalence", 0.41),
        single("estimated_prevalence", 0.66, low=0.5, high=0.8), single("smallest_detectable", 0.48),
    ),
    profile("zeta", "none-detected", smd("age", 0.05, 1.0), single("smallest_detectable", 0.61)),
    profile("eta", "none-detected", smd("age", 0.02, 1.0), single("smallest_detectable", 0.44)),
    profile("theta", "concept", single("observed_expected", 1.6)),
    profile("iota", "cannot-tell", status="refused", note="FEDMVI-408: This site releases nothing alone."),
]  # fmt: skip
CENTRES = made("model.clinical.centres.external", "centres", [
    single("auc", 0.8123, low=0.7, high=0.9, term="delta"), single("auc", None, term="iota", note="refused"),
    single("auc", 0.6, low=0.45, high=0.75, term="zeta"),
    single("calibration_slope", 0.75, low=0.4, high=1.1, term="delta"),
    single("sensitivity", 0.8, low=0.6, high=0.92, term="delta"),
    single("accuracy", 0.7, low=0.6, high=0.8, term="delta"),
    single("majority_class", 0.68, term="delta"),
    single("auc_random_effects", 0.73, low=0.6, high=0.83), single("auc_prediction", None, low=0.35, high=0.94),
    single("i2", 57.0), single("worst_auc", 0.6, term="zeta"), single("gap", 0.2123),
])  # fmt: skip
LEFT_OUT = made("model.clinical.leave-one-centre-out", "leave-one-centre-out", [
    single("auc", 0.75, low=0.65, high=0.85, term="alpha"), single("auc", 0.7, low=0.6, high=0.8, term="beta"),
    single("mean_auc", 0.725), single("worst_auc", 0.7, term="beta"), single("chosen", 1.0, term="harmonised"),
], cohort="train")  # fmt: skip
DROP = made("model.clinical.drop.external", "performance-drop", [
    *({"name": name, "term": "auc", "value": value, "low": value - 0.05, "high": value + 0.05} for name, value in (
        ("apparent", 0.85), ("out_of_fold", 0.8), ("expected", 0.77), ("observed", 0.65), ("optimism", 0.05),
        ("case_mix", 0.03), ("remaining", 0.12))),
    {"name": "out_of_fold", "term": "balanced_accuracy", "value": None, "note": "no folds"},
    {"name": "optimism", "term": "balanced_accuracy", "value": None, "note": "no folds"},
    single("accuracy", 0.7, low=0.6, high=0.78), single("majority_class", 0.667),
])  # fmt: skip
TAKEN = made("recalibration.updated", "recalibration", [
    {"name": "chi2", "term": "intercept v original", "value": 9.31, "p": 0.0023},
    single("intercept", 0.4, low=0.1, high=0.7), single("slope", 1.0),
], n=60, events=25, verdict="intercept", cohort="train")  # fmt: skip
BOTH = made("recalibration.updated.external", "recalibration", [
    {"name": name, "term": side, "value": value, "low": value - 0.1, "high": value + 0.1}
    for name, pair in (("calibration_slope", (0.7, 0.98)), ("brier", (0.22, 0.19)))
    for side, value in zip(("before", "after"), pair, strict=True)
])  # fmt: skip
SCALED = made("model.harmonised.harmonisation", "harmonisation", [
    {"name": "grand_mean", "term": "age", "value": 57.1}, {"name": "pooled_std", "term": "age", "value": 10.2},
], cohort="train")  # fmt: skip


@pytest.fixture
def content(results: Results) -> Results:
    more = [*FOUND, CENTRES, LEFT_OUT, DROP, SCALED, TAKEN, BOTH]
    return results.model_copy(update={"results": [*results.results, *more]})


def tables(section: Section) -> dict[str, Table]:
    blocks = [*section.blocks, *(block for part in section.parts for block in part.blocks)]
    return {block.caption: block for block in blocks if isinstance(block, Table)}


def rows(table: Table) -> dict[str, tuple[str, ...]]:
    return {row.head: row.cells for row in table.rows}


def test_the_first_words_are_for_the_clinician(content: Results) -> None:
    section = shift(content, {})
    assert isinstance(section.blocks[0], Bullets)
    assert section.blocks[0].items == (
        "At delta (external) its patients or images differ from those of training, most in AFP > 20 ng/mL by 0.91 "
        "standard deviations.",
        "At epsilon (external) the endpoint is more common than in training (66.0 % (50.0 to 80.0), estimated without "
        "outcomes, against 41.0 %), which explains what else differs.",
        "At theta (external) the same findings go with another risk than in training, so that the model's risks are "
        "not right.",
        "No difference from training was detected at zeta and eta, although differences up to 0.61 standard deviations "
        "may go unnoticed.",
        "Whether iota differs from training cannot be told.",
        "The remedy that was chosen before any external outcome was seen, by leaving each training hospital out, is "
        "harmonised.",
        "Clinical model in external: of the fall of the AUC from 0.800 in training, 0.120 (0.070 to 0.170) is left "
        "unexplained when case mix is taken off.",
    )
    assert set(section.blocks[0].items) <= set(headlines(content))
    assert not any("no shift" in item.lower() for item in section.blocks[0].items)


def ks(term: str, value: float, p: float) -> dict[str, Any]:
    return {"name": "ks", "term": term, "value": value, "p": p}


@pytest.mark.parametrize(
    ("told", "most"),
    [
        ([smd("age", 0.4, 0.3), smd("afp>20", 0.3, 0.01)], ", most in AFP > 20 ng/mL by 0.30 standard deviations"),
        (
            [smd("age", 0.05, 1.0), ks("age", 0.31, 0.01)],
            ", most in how Age is spread: at least 31.0 % have other values",
        ),
        ([smd("age", 0.4, 0.3), ks("age", 0.31, 0.2)], ""),
    ],
)
def test_only_what_was_found_to_differ_is_named(results: Results, told: list[dict[str, Any]], most: str) -> None:
    """The largest difference may be one of chance, where another predictor, or all together, made the verdict."""
    content = results.model_copy(update={"results": [profile("delta", "covariate", *told)]})
    section = shift(content, {})
    assert isinstance(section.blocks[0], Bullets)
    assert section.blocks[0].items == (
        f"At delta (external) its patients or images differ from those of training{most}.",
    )
    named = "Distance from training's distributions"
    assert (named in tables(section)) == any(one["name"] == "ks" for one in told)


def test_a_remedy_that_was_frozen_is_named_where_the_first_model_has_no_area(results: Results) -> None:
    base = {"id": "model.plain.leave-one-centre-out", "statistic": "leave-one-centre-out", "title": "Plain",
            "cohort": "train", **OF}  # fmt: skip
    none = left_out_result(base, {"alpha": FedmviError(602, endpoint="mvi", cohort="train")}, "harmonised", "how")
    section = shift(results.model_copy(update={"results": [none]}), {})
    (words,) = [b.text for part in section.parts for b in part.blocks if isinstance(b, Paragraph)]
    assert "Chosen before any external outcome was seen: harmonised." in words


def test_outcomes_go_before_what_scores_tell_of_the_prevalence(results: Results) -> None:
    estimates = [
        single("reference_prevalence", 0.41), single("estimated_prevalence", 0.66, low=0.5, high=0.8),
        single("observed_expected", 0.75, low=0.6, high=0.94),
    ]  # fmt: skip
    found = profile("epsilon", "label", *estimates)
    assert headlines(results.model_copy(update={"results": [found]}))[1] == (
        "At epsilon (external) the endpoint is less common than the model expects (observed / expected 0.75 (0.60 to "
        "0.94)), which explains what else differs."
    )


@pytest.mark.parametrize(
    ("events", "ratio", "words"),
    [
        (26, (0.96, 0.84, 1.09), "more common than in training (65.0 % against 41.0 %)"),
        (None, (0.96, 0.84, 1.09), "more common than in training (66.0 % (50.0 to 80.0), estimated without outcomes, "
         "against 41.0 %)"),
        (None, (1.3, 1.1, 1.6), "more common than the model expects (observed / expected 1.30 (1.10 to 1.60))"),
    ],
)  # fmt: skip
def test_which_way_the_frequency_differs_is_told_by_what_tells_it(
    results: Results, events: int | None, ratio: tuple[float, float, float], words: str
) -> None:
    """65 % beside 41 % is more, although the score, which knows of the case mix, expected a little more still."""
    estimates = [
        single("reference_prevalence", 0.41), single("estimated_prevalence", 0.66, low=0.5, high=0.8),
        single("observed_expected", ratio[0], low=ratio[1], high=ratio[2]),
    ]  # fmt: skip
    found = profile("epsilon", "label", *estimates).model_copy(update={"n": 40, "events": events})
    told = headlines(results.model_copy(update={"results": [found]}))[1]
    assert told == f"At epsilon (external) the endpoint is {words}, which explains what else differs."


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ((1.5, 1.2, 1.9), (1.05, 0.85, 1.3), "risks that were wrong on average are not clearly wrong with it"),
        ((1.9, 1.5, 2.4), (1.3, 1.1, 1.6), "risks are nearer to the truth with it, and still wrong on average"),
        ((1.3, 1.1, 1.6), (0.6, 0.5, 0.75), "risks are wrong on average without and with it, and no nearer"),
        ((1.1, 0.9, 1.3), (1.0, 0.8, 1.2), "risks were not clearly wrong without it, and are not with it"),
        ((1.1, 0.9, 1.3), (0.7, 0.6, 0.8), "it makes risks wrong on average that were not clearly wrong"),
    ],
)
def test_it_is_said_whether_a_recalibration_helped(
    results: Results, before: tuple[float, ...], after: tuple[float, ...], words: str
) -> None:
    both = made("recalibration.updated.external", "recalibration", [
        {"name": "observed_expected", "term": side, "value": value, "low": low, "high": high}
        for side, (value, low, high) in (("before", before), ("after", after))
    ])  # fmt: skip
    (told,) = sentences(results.model_copy(update={"results": [both]}))
    assert f"observed / expected {before[0]:.2f} ({before[1]:.2f} to" in told and words in told


def test_it_is_said_whether_harmonised_columns_helped(results: Results) -> None:
    gains = [
        single("auc_difference", value, low=value - 0.06, high=value + 0.06, term=term)
        for term, value in (("external", 0.07), ("external at delta", -0.08), ("external at zeta", 0.02))
    ]  # fmt: skip
    shown = SCALED.model_copy(update={"estimates": [*SCALED.estimates, *(Estimate(**gain) for gain in gains)]})
    higher, lower, alike = sentences(results.model_copy(update={"results": [shown]}))
    assert higher.startswith("Harmonised columns (ComBat) in external: the AUC of harmonised is higher than that of")
    assert higher.endswith("(difference 0.070 (0.010 to 0.130)).")
    assert "in external at delta" in lower and "is lower than" in lower
    assert "is not clearly other than" in alike


def test_where_harmonised_columns_are_withheld_is_said_with_the_reason_and_what_to_read(results: Results) -> None:
    told = [
        single("admitted", 0.0, term=site, note=f"it may differ in whom it sees ({why}); read 'clinical' there")
        for site, why in (("delta", "label"), ("epsilon", "other age"), ("zeta", "label"))
    ]  # fmt: skip
    told.append(single("admitted", 1.0, term="eta"))
    shown = SCALED.model_copy(update={"estimates": [*SCALED.estimates, *(Estimate(**one) for one in told)]})
    label, age = sentences(results.model_copy(update={"results": [shown]}))
    assert label == (
        "Harmonised columns (ComBat): harmonised is withheld at delta and zeta, as it may differ in whom it sees "
        "(label); read 'clinical' there."
    )
    assert "withheld at epsilon, as it may differ in whom it sees (other age)" in age


def test_what_is_left_of_a_drop_is_told_of_the_chosen_model(results: Results) -> None:
    def told(*ids: str) -> list[str]:
        drops = [DROP.model_copy(update={"id": f"model.{name}.drop.external"}) for name in ids]
        return [s for s in sentences(results.model_copy(update={"results": [LEFT_OUT, *drops]})) if "of the fall" in s]

    assert [s.split(" in external")[0] for s in told("plain", "harmonised")] == ["harmonised"]
    assert [s.split(" in external")[0] for s in told("plain", "other")] == ["plain"]
    chance = single("remaining", 0.01, low=-0.05, high=0.07, term="auc")
    others = [e for e in DROP.estimates if e.name != "remaining"]
    small = DROP.model_copy(update={"estimates": [*others, Estimate(**chance)]})
    (words,) = sentences(results.model_copy(update={"results": [small]}))
    assert "0.010 (-0.050 to 0.070) is left, which may be chance, when" in words


def test_every_hospital_has_a_verdict_with_its_numbers(content: Results) -> None:
    table = tables(shift(content, {}))["Which hospitals differ from training"]
    assert rows(table)["delta (external)"] == (
        VERDICTS["covariate"], "41", "0.710, p = 0.010", "0.52", "44.0 % (30.0 to 58.0)", "0.31",
    )  # fmt: skip
    apart = tables(shift(content, {}))["Differences from training, in standard deviations"]
    assert apart.columns == ("Hospital", "Age", "AFP > 20 ng/mL")
    assert rows(apart)["delta (external)"] == ("0.20", "-0.91*")
    assert rows(table)["iota (external)"][0].startswith("Refused by a site: FEDMVI-408")
    assert {row.anchor for row in table.rows} == {result.id for result in FOUND}


def test_what_all_notes_say_is_said_once(results: Results) -> None:
    notes = [f"Own words of {site}. The same of all. Their limits are 5 %." for site in ("delta", "zeta")]
    found = [profile(site, "none-detected", note=note) for site, note in zip(("delta", "zeta"), notes, strict=True)]
    section = shift(results.model_copy(update={"results": found}), {})
    assert [block.items for block in section.blocks if isinstance(block, Bullets)][1] == (
        "The same of all. Their limits are 5 %.",
        "delta (external): Own words of delta.",
        "zeta (external): Own words of zeta.",
    )


def test_models_stand_by_hospital_with_what_they_say_together(content: Results) -> None:
    section = shift(content, {})
    table = tables(section)["Title of model.clinical.centres.external"]
    assert table.columns == ("", "delta", "iota", "zeta")
    assert rows(table) == {
        "AUC": ("0.812 (0.700 to 0.900)", "–", "0.600 (0.450 to 0.750)"),
        "Calibration slope": ("0.75 (0.40 to 1.10)", "–", "–"),
        "Sensitivity": ("80.0 % (60.0 to 92.0)", "–", "–"),
        "Accuracy": ("70.0 % (60.0 to 80.0)", "–", "–"),
        "Accuracy of always saying the commoner class": ("68.0 %", "–", "–"),
    }
    assert (
        "AUC: random effects 0.730 (0.600 to 0.830); expected at a new hospital 0.350 to 0.940; I² 57 %; worst 0.600 "
        "at zeta; gap between best and worst 0.212." in table.notes
    )
    left_out = tables(section)["Title of model.clinical.leave-one-centre-out"]
    assert left_out.notes[0].endswith("Chosen before any external outcome was seen: harmonised.")


def test_a_drop_is_told_in_three_parts_beside_the_commoner_class(content: Results) -> None:
    table = tables(shift(content, {}))["Title of model.clinical.drop.external"]
    assert table.columns == ("", "AUC", "Balanced accuracy")
    assert rows(table) == {
        "Apparent, in training": ("0.850 (0.800 to 0.900)", "–"),
        "Out of fold, in training": ("0.800 (0.750 to 0.850)", "–"),
        "Expected for this case mix": ("0.770 (0.720 to 0.820)", "–"),
        "Observed": ("0.650 (0.600 to 0.700)", "–"),
        "Optimism": ("0.050 (0.000 to 0.100)", "–"),
        "Case mix": ("0.030 (-0.020 to 0.080)", "–"),
        "Remaining": ("0.120 (0.070 to 0.170)", "–"),
    }
    assert table.notes[1:3] == (
        "Accuracy at the frozen cut-off: 70.0 % (60.0 to 78.0); always saying the commoner class is right in 66.7 % of "
        "these patients.",
        "Out of fold, in training; optimism: no folds.",
    )


def test_remedies_are_shown_without_and_with_them(content: Results) -> None:
    found = tables(shift(content, {}))
    assert rows(found["Title of recalibration.updated.external"])["Calibration slope"] == (
        "0.70 (0.60 to 0.80)",
        "0.98 (0.88 to 1.08)",
    )
    taken = found["Title of recalibration.updated"]
    assert taken.notes[0] == "Cohort train: 60 patients, 25 with the endpoint. Taken: intercept."
    assert rows(taken)["Chi2 intercept v original"] == ("9.310, p = 0.002", "")
    assert rows(found["Title of model.harmonised.harmonisation"]) == {"Age": ("57.1", "10.2")}


def test_the_forest_plot_has_every_hospital_and_one_to_come(content: Results) -> None:
    picture = draw_all(content)["model.clinical.centres.external"]
    shown = ["".join(e.itertext()) for e in ElementTree.fromstring(picture.svg).iter() if e.tag.endswith("text")]
    for words in ("delta", "iota", "not estimable", "0.812 (0.700 to 0.900)", "0.350 to 0.940", "SIMULATED DATA"):
        assert words in shown, words
    assert "zeta: AUC 0.600 (0.450 to 0.750)." in picture.description


def test_what_was_refused_is_said_and_the_page_is_written(content: Results, tmp_path: Path) -> None:
    refused = CENTRES.model_copy(update={"status": "refused", "estimates": [], "note": "FEDMVI-408: Alone."})
    section = shift(content.model_copy(update={"results": [refused]}), {})
    (block,) = section.parts[0].blocks
    assert isinstance(block, Paragraph)
    assert "Refused by a site: FEDMVI-408" in block.text
    assert shift(content.model_copy(update={"results": []}), {}) == Section("shift", "Differences between hospitals")
    page = write_report(content, None, tmp_path).read_text(encoding="utf-8")
    assert 'id="shift.external.delta"' in page
    assert 'id="model.clinical.centres.external"' in page
