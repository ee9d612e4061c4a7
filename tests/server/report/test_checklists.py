"""tests: checklists: an item is answered only by what this study has, and the page says the same as its tables."""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

import pytest

from common.published.results import (
    Curve,
    Estimate,
    LogisticModel,
    Predictor,
    Result,
    Results,
    Statistic,
    VariableFacts,
)
from common.study.reporting import Reporting
from server.report.checklists.items import Answer, Guideline, Status
from server.report.checklists.section import GUIDELINES, filled_checklists
from server.report.figures import draw_all
from server.report.page import page_sections, write_report
from tests.server.report.conftest import RUN

NUMBERS = {"tripod-ai": 52, "probast-ai": 16 + 18, "claim": 44, "clear": 58, "metrics": 30}
"""Items of each guideline, as its authors count them; of TRIPOD+AI with their letters."""

FEATURE = "portal.tumour.original_firstorder_Mean"
SAID = Reporting.model_validate({name: f"Said of {name}." for name in Reporting.model_fields if name != "site_ethics"})


def answers(
    results: Results, guideline: str = "tripod-ai", run: Mapping[str, object] | None = None
) -> dict[str, Answer]:
    sections = page_sections(results, run, draw_all(results))
    (filled,) = (f for f in filled_checklists(results, sections) if f.guideline.name == guideline)
    return {answer.item.number: answer for answer in filled.answers}


def without(results: Results, *statistics: Statistic, kind: str = "") -> Results:
    kept = [r for r in results.results if r.statistic not in statistics or r.kind != kind]
    return results.model_copy(update={"results": kept})


def analysis(kind: str, results: Results) -> Result:
    auc = next(r for r in results.results if r.statistic == "auc")
    made = {"id": f"analysis.{kind}", "statistic": "analysis", "kind": kind, "title": kind.capitalize(), "note": "",
            "estimates": [Estimate(name="slope", value=1.0)], "curves": []}  # fmt: skip
    return auc.model_copy(update=made)


@pytest.fixture
def full(results: Results) -> Results:
    """The small study with a model that can be used, all measures, a network, and a feature among its variables."""
    age = Predictor(variable="age", coding="linear", terms=["age"])
    usable = LogisticModel(endpoint="MVI", predictors=[age], covariance=[[1.0, 0.0], [0.0, 1.0]])
    own = [r.model_copy(update={"model": usable}) if r.id == "model.clinical.coefficients" else r
           for r in results.results]  # fmt: skip
    train = next(r for r in own if r.statistic == "auc")
    network = {"id": "network.cnn.selection", "statistic": "network-selection", "title": "Choice of the sequences, CNN"}
    chosen = {"estimates": [Estimate(name="chosen", term="t1", value=1.0)], "curves": []}
    loss = {"id": "network.cnn.training.t1", "statistic": "network-training", "title": "Training", "estimates": [],
            "curves": [Curve(name="training", x=[1.0, 2.0], y=[0.9, 0.8])]}  # fmt: skip
    own += [analysis(kind, results) for kind in ("calibration", "decision-curve", "lasso")]
    own += [train.model_copy(update=network | chosen), train.model_copy(update=loss)]
    feature = VariableFacts(title="Mean", unit="", reference="")
    return results.model_copy(update={"results": own, "variables": {**results.variables, FEATURE: feature}})


@pytest.mark.parametrize("guideline", GUIDELINES, ids=lambda g: g.name)
def test_a_guideline_has_all_its_items_once(guideline: Guideline) -> None:
    items = [item for _, part in guideline.sections for item in part]
    numbers = [item.number for item in items]
    assert len(set(numbers)) == len(numbers) == NUMBERS[guideline.name]
    assert {item.told for item in items} - {""} <= set(Reporting.model_fields)


def test_every_statement_of_the_authors_answers_some_item() -> None:
    told = {item.told for guideline in GUIDELINES for _, part in guideline.sections for item in part}
    assert set(Reporting.model_fields) - told == {"site_ethics"}  # which goes with `ethics`


def test_a_tabular_study_has_no_checklist_of_images(results: Results, full: Results) -> None:
    def names(study: Results) -> list[str]:
        sections = page_sections(study, None, draw_all(study))
        return [f.guideline.name for f in filled_checklists(study, sections)]

    network = full.model_copy(update={"variables": results.variables})
    assert names(results) == ["tripod-ai", "probast-ai"]
    assert names(network) == ["tripod-ai", "probast-ai", "claim", "metrics"]
    assert names(full) == ["tripod-ai", "probast-ai", "claim", "clear", "metrics"]


@pytest.mark.parametrize(
    ("item", "removed", "kind"),
    [
        ("6b", "patient-flow", ""),
        ("10", "sample-size", ""),
        ("11", "missing-values", ""),
        ("12a", "patient-flow", ""),
        ("12b", "multivariable-logistic", ""),
        ("12e", "analysis", "calibration"),
        ("12e", "analysis", "decision-curve"),
        ("12e", "auc", ""),
        ("12f", "auc", ""),
        ("12g", "multivariable-logistic", ""),
        ("15", "multivariable-logistic", ""),
        ("24", "auc", ""),
    ],
)
def test_an_item_that_is_filled_is_open_in_a_study_without_its_result(
    full: Results, item: str, removed: Statistic, kind: str
) -> None:
    plain = without(full, "network-selection", "network-training")
    assert answers(plain)[item].status is Status.FILLED
    lacking = answers(without(plain, removed, kind=kind))[item]
    assert (lacking.status, lacking.anchors) == (Status.OPEN, ())


def test_a_result_that_was_refused_or_not_estimable_fills_nothing(full: Results) -> None:
    for status in ("refused", "not-estimable"):
        failed = [r.model_copy(update={"status": status, "note": "Why."}) for r in full.results]
        found = answers(full.model_copy(update={"results": failed}))
        assert not [a.item.number for a in found.values() if a.status is Status.FILLED]


def test_versions_of_software_are_known_only_with_the_facts_of_the_run(full: Results) -> None:
    assert answers(full, "claim")["23"].status is Status.OPEN
    assert answers(full, "claim", RUN)["23"].anchors == ("run", "provenance")


def test_what_the_program_cannot_know_is_said_to_be_open(full: Results) -> None:
    found = answers(full)
    assert found["18f"].status is Status.PART
    assert found["18f"].words.endswith("Open: where it can be had.")
    assert found["23a"].words.endswith("Open: subgroups, or why there are none.")
    assert found["17"].status is Status.OPEN


def test_the_authors_answer_what_they_say_in_the_protocol(full: Results) -> None:
    found = answers(full.model_copy(update={"reporting": SAID}))
    assert (found["18a"].status, found["18a"].words) == (Status.ANSWERED, "Said of funding.")
    assert found["18f"].words.startswith("Said of code_availability. ")  # beside what the program knows
    assert found["18f"].anchors == ("provenance",)
    assert found["25"].status is Status.OPEN  # a discussion is no field of a protocol


def test_ethics_are_answered_when_no_site_is_silent(full: Results) -> None:
    def stated(**words: str) -> Answer:
        return answers(full.model_copy(update={"reporting": Reporting(site_ethics=words)}))["17"]

    some = stated(alpha="Board 1.", beta="Board 2.")
    assert some.status is Status.PART
    assert some.words == "alpha: Board 1.; beta: Board 2. Open: a statement of delta, gamma."
    assert stated(alpha="A.", beta="B.", gamma="C.", delta="D.").status is Status.ANSWERED


def test_a_judgement_is_never_made_by_the_program(full: Results) -> None:
    found = answers(full.model_copy(update={"reporting": SAID}), "probast-ai")
    assert {a.status for a in found.values()} == {Status.PART, Status.OPEN}
    assert found["E4.1"].words.endswith("Open: the judgement.")


def test_the_page_and_the_tables_say_the_same_and_every_link_leads_somewhere(full: Results, tmp_path: Path) -> None:
    page = write_report(full.model_copy(update={"reporting": SAID}), RUN, tmp_path).read_text(encoding="utf-8")
    ids = set(re.findall(r' id="([^"]+)"', page))
    linked = 0
    for name, size in NUMBERS.items():
        with (tmp_path / "tables" / f"checklist-{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == size
        for row in rows:
            (shown,) = re.findall(rf'<tr id="checklist-{name}-{re.escape(row["item"])}">(.*?)</tr>', page)
            cells = [html.unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", shown)]
            links = [html.unescape(unquote(link)) for link in re.findall(r'href="#([^"]+)"', shown)]
            assert cells[:3] == [row["item"], row["asked"], row["status"]]
            assert cells[3].startswith(row["answer"])
            assert " ".join(links) == row["where"]
            assert set(links) <= ids
            linked += len(links)
        counts = {status: sum(row["status"] == status for row in rows) for status in Status}
        tally = f"{size} items: {', '.join(f'{n} {status}' for status, n in counts.items())}"
        assert f'<span class="tally">{tally}</span>' in page
    assert linked > 100


def test_what_authors_write_is_inert(full: Results, tmp_path: Path) -> None:
    attack = '</td><script>alert(1)</script>\x00"'
    said = full.model_copy(update={"reporting": Reporting(funding=attack, site_ethics={"alpha": attack})})
    page = write_report(said, None, tmp_path).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "\x00" not in page
    assert page.count("&lt;script&gt;alert(1)") == 2 * 2  # in TRIPOD+AI, and in CLAIM and CLEAR, which have an image


def test_the_section_is_the_last_and_folded(full: Results, tmp_path: Path) -> None:
    page = write_report(full, RUN, tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<h2 id="([^"]+)"', page)[-1] == "checklists"
    assert page.count("<details>") == page.count("<details") == len(NUMBERS)
