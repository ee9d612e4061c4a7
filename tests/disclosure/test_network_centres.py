"""disclosure: a network at one hospital, and what its risks promise, are told of one model at its frozen cut-off."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.approval.examples import example
from client.approval.subjects import subjects_of
from client.cohort.site import load_site
from client.release.gate import Gate
from client.release.network_scope import network_declares
from common.federation.learning import WHOLE, Member, ScorePatients
from common.federation.query import Ask, Mode, each, perform, total
from common.federation.tasks import Freeze
from common.statistics.by_centre import CentreAlone
from common.statistics.case_mix import BINS, CaseMixAlone, RiskCounts
from common.statistics.moments import Deviations
from common.study.centres import cut_at
from common.study.loader import parse_study
from common.study.recipe import Complete, Cut, Made, Recipe
from common.study.scoring import frozen_prefixes
from simulation.importers.folder import introduce
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from tests.disclosure.consortium import Consortium
from tests.disclosure.networks import NETWORK_STUDY, POLICY, set_policy, weights

TEXT = NETWORK_STUDY.replace('sites = ["d"]', 'sites = ["d", "e", "f"]')
SITES = tuple("abcdef")
CUTOFF = 0.4371
OPEN = f"{POLICY}release_alone = true\n"


def task_of(made: Consortium, shift: float = 0.0) -> ScorePatients:
    return ScorePatients("external", "net", ("t1v",), 0, (Member(WHOLE, weights(made.study) + shift),))  # type: ignore[operator]


def recipe(made: Consortium, cutoff: float = CUTOFF, shift: float = 0.0) -> Recipe:
    step = Made(task_of(made, shift).model, "net", ("mean", "first", "mean.grade", "first.grade"))
    return Recipe((step, Complete(("net.mean",), ("mvi",)), cut_at("net", "net.mean", cutoff)))


def centre(made: Consortium, **changes: Any) -> CentreAlone:
    return replace(CentreAlone("external", recipe(made), "mvi", "net.mean", 10, min_cell=5), **changes)


def risks(made: Consortium, **changes: Any) -> RiskCounts:
    return replace(RiskCounts("external", recipe(made), "net.mean"), **changes)


def promise(made: Consortium, **changes: Any) -> CaseMixAlone:
    return replace(CaseMixAlone("external", recipe(made), "net.mean", 10, min_cell=5), **changes)


def make(folder: Path, silent: str = "") -> Consortium:
    """Masked sites that have frozen two networks with their cut-offs; sites d and f have scored by both."""
    study = parse_study(TEXT)
    make_learning_hospitals(folder, study, Drawing(seed=3, patients=24))
    made = Consortium({name: folder / name for name in SITES}, study)
    for site in SITES:
        set_policy(folder / site, POLICY if site in silent else OPEN)
    introduce(made.folders)
    made.sign().open(*SITES)
    tasks = task_of(made), task_of(made, 0.1)
    frozen = {task.model for task in tasks} | frozen_prefixes(recipe(made))
    frozen |= frozen_prefixes(recipe(made, shift=0.1))
    for site in ("d", "f"):
        assert made.number(site, perform(Freeze(tuple(sorted(frozen)), ()))) == 0
        for task in tasks:
            assert made.number(site, perform(task)) == 0
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("by-centre") / "sites"
    make(folder)
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    return Consortium({name: tmp_path / "sites" / name for name in SITES}, parse_study(TEXT)).sign()


def test_it_is_told_of_one_model_at_one_cut_off_and_small_rows_are_hidden(made: Consortium) -> None:
    assert made.number("d", each(centre(made, recipe=recipe(made, 0.44)))) == 407, "a cut-off that is not frozen"
    (told,) = made.put("d", each(centre(made)))
    assert told.error == 0
    assert set(told.blocks) == set(centre(made).blocks())
    other = centre(made, recipe=recipe(made, shift=0.1))
    assert made.number("d", each(other)) == 414, "a second model of a run"


def test_its_risks_are_counted_over_all_hospitals_at_the_frozen_cut_off(made: Consortium) -> None:
    assert made.number("d", total(risks(made, recipe=recipe(made, 0.44)))) == 407, "a cut-off that is not frozen"
    (told,) = made.put("d", total(risks(made)))
    assert told.error == 0
    assert {name: block.shape for name, block in risks(made).blocks().items()} == {"n": (2, BINS)}


def test_where_one_hospital_keeps_its_own_nobody_tells_for_the_rest_would_be_its_part(tmp_path: Path) -> None:
    made = make(tmp_path / "sites", silent="f")
    assert made.number("f", each(centre(made))) == 408
    assert made.number("d", each(centre(made))) == 438


def _attacks(made: Consortium) -> dict[str, Ask]:
    made_step, complete, cut = recipe(made).steps
    assert isinstance(made_step, Made)
    return {
        "summed": total(centre(made)),
        "training": each(centre(made, cohort="train")),
        "another way of inference": each(centre(made, column="net.first")),
        "its cut-off": each(
            centre(made, column="net.first", recipe=Recipe((made_step, complete, cut_at("net", "net.first", CUTOFF))))
        ),
        "another name": each(
            centre(made, recipe=Recipe((made_step, complete, Cut("net.mean", "positive.other", CUTOFF))))
        ),
        "fewer columns": each(centre(made, recipe=Recipe((replace(made_step, columns=("mean",)), complete, cut)))),
        "other patients": each(centre(made, recipe=Recipe((made_step, Complete(("net.first",), ("mvi",)), cut)))),
        "smaller classes": each(centre(made, min_class=2)),
        "smaller cells": each(centre(made, min_cell=1)),
        "risks of one hospital": each(risks(made)),
        "risks in training": total(risks(made, cohort="train")),
        "risks, another way of inference": total(risks(made, column="net.first")),
        "risks, fewer columns": total(
            risks(made, recipe=Recipe((replace(made_step, columns=("mean",)), complete, cut)))
        ),
        "risks of other patients": total(
            risks(made, recipe=Recipe((made_step, Complete(("net.first",), ("mvi",)), cut)))
        ),
        "risks of whoever has a score": total(
            risks(made, recipe=Recipe((made_step, Complete(("net.mean",), ()), cut)))
        ),
        "a promise where hospitals are summed": each(promise(made)),
        # A column of who is positive would be summed by any question: only this one has it.
        "moments of positives": total(Deviations("external", recipe(made), ("positive.net",), np.zeros(1))),
    }


ATTACKS = (
    "summed", "training", "another way of inference", "its cut-off", "another name", "fewer columns", "other patients",
    "smaller classes", "smaller cells", "moments of positives", "risks of one hospital", "risks in training",
    "risks, another way of inference", "risks, fewer columns", "risks of other patients",
    "risks of whoever has a score", "a promise where hospitals are summed",
)  # fmt: skip


@pytest.mark.parametrize("what", ATTACKS)
def test_no_other_question_is_answered(made: Consortium, what: str) -> None:
    assert made.number("a" if what.endswith("training") else "d", _attacks(made)[what]) in (402, 406, 407, 408, 414)


def test_of_a_cohort_whose_sites_answer_alone_it_is_not_asked_too(tmp_path: Path) -> None:
    """Their guarded tables are told already; with other numbers of the same patients they would tell more."""
    study = parse_study(NETWORK_STUDY)
    alone = Consortium({}, study)
    query = CentreAlone("external", recipe(alone), "mvi", "net.mean", 10, min_cell=5)
    assert not network_declares(query, study)
    assert network_declares(query, parse_study(TEXT))


def test_a_hospital_that_answers_alone_tells_what_risks_promise_without_counts_of_them() -> None:
    alone, summed = Consortium({}, parse_study(NETWORK_STUDY)), Consortium({}, parse_study(TEXT))
    assert network_declares(promise(alone), alone.study) and not network_declares(promise(alone), summed.study)
    assert network_declares(risks(alone), summed.study) and not network_declares(risks(alone), alone.study)
    for changes in ({"cohort": "train"}, {"column": "net.first"}, {"recipe": Recipe(recipe(alone).steps[:1])}):
        assert not network_declares(promise(alone, **changes), alone.study)


def test_the_preview_has_it_with_an_example_that_the_gate_takes(made: Consortium) -> None:
    asked = [subject for subject in subjects_of(made.study) if "query.centre_alone" in subject.questions]
    assert [(subject.part, subject.cohort) for subject in asked] == [("network net", "external")]
    gate = Gate.of(load_site(made.folders["d"]).policy, made.study)
    gate.admit(example("query.centre_alone", Mode.EACH, asked[0], made.study), tuple("def"))
    gate.admit(example("query.risk_counts", Mode.TOTAL, asked[0], made.study), tuple("def"))
    own = [s for s in subjects_of(parse_study(NETWORK_STUDY)) if "query.case_mix_alone" in s.questions]
    assert [(subject.part, subject.cohort) for subject in own] == [("network net", "external")]
    by_itself = Gate.of(load_site(made.folders["d"]).policy, parse_study(NETWORK_STUDY))
    by_itself.admit(example("query.case_mix_alone", Mode.EACH, own[0], parse_study(NETWORK_STUDY)), ("d",))
    assert not [s for s in subjects_of(parse_study(NETWORK_STUDY)) if "query.centre_alone" in s.questions]
