"""disclosure: what a server may have adapted, what it may ask of adapted networks, and what the sites answer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.approval.adaptation_subjects import adaptation_subjects
from client.approval.examples import example, modes_of
from client.approval.preview import preview
from client.approval.telling import tell
from client.cohort.site import load_site
from client.release.gate import Gate
from common.federation.learning import WHOLE, Member
from common.federation.query import Query, each, perform, total
from common.federation.tasks import Freeze
from common.networks.adapting import TOLD, AdaptNetwork
from common.statistics.areas_alone import AreasAlone
from common.statistics.calibration import BinnedRisks, RecalibrationSums
from common.statistics.confusion import ThresholdCounts
from common.statistics.grades import GradeTable
from common.statistics.refinement import order_keys
from common.statistics.roc import RocAlone
from common.statistics.score_mixture import ScoreClasses
from common.study.loader import parse_study
from common.study.recipe import Complete, Made, Recipe
from simulation.importers.folder import introduce
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from tests.disclosure.consortium import Consortium
from tests.disclosure.networks import NETWORK_STUDY, ONE, POLICY, scoring, set_policy, weights

COHORTS = {"near": "def", "far": "g"}
ALONE = '[[cohorts]]\nname = "external"\nrole = "external-test"\nsites = ["d"]\n'
TEXT = (
    NETWORK_STUDY.replace(
        ALONE,
        "".join(
            f'[[cohorts]]\nname = "{name}"\nrole = "external-test"\nsites = {list(sites)}\n\n'.replace("'", '"')
            for name, sites in COHORTS.items()
        ),
    )
    .replace('evaluate = ["external"]', 'evaluate = ["near", "far"]\nadaptation = { cohorts = ["near", "far"] }')
    .replace('normalisation = "silobn"', 'normalisation = "batch"')
    .replace('phases = ["t1", "t1v"]', 'phases = ["t1v"]')
    .replace('sequences = ["t1", "t1v"]\n', "")
    .replace('[["t1v"], ["t1", "t1v"]]', '[["t1v"]]')
)
SITES = ("a", "b", "c", *"".join(COHORTS.values()))
REFERENCE = ScoreClasses((0.2, 0.4, 0.6, 0.8), (50, 40, 30, 20, 10), (10, 20, 30, 40, 50))
OTHER = replace(REFERENCE, absent=(50, 40, 30, 20, 11))


def task_of(made: Consortium, cohort: str = "near", **changes: Any) -> AdaptNetwork:
    usual = AdaptNetwork(cohort, "net", ONE, 0, Member(WHOLE, weights(made.study)), 20, REFERENCE)
    return replace(usual, **changes)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masked sites that have opened a run."""
    folder = tmp_path_factory.mktemp("adaptation") / "sites"
    make_learning_hospitals(folder, parse_study(TEXT), Drawing(seed=3, patients=20))
    made = Consortium({name: folder / name for name in SITES}, parse_study(TEXT))
    for site in SITES:
        set_policy(folder / site, POLICY)
    introduce(made.folders)
    made.sign().open(*SITES)
    return folder


@pytest.fixture
def opened(template: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    return Consortium({name: tmp_path / "sites" / name for name in SITES}, parse_study(TEXT)).sign()


def freeze(made: Consortium, *models: str) -> None:
    for site in SITES:
        assert made.number(site, perform(Freeze(tuple(sorted(models)), ()))) == 0


@pytest.fixture
def made(opened: Consortium) -> Consortium:
    """Sites d and g have adapted the frozen network."""
    freeze(opened, task_of(opened).model)
    for site, cohort in (("d", "near"), ("g", "far")):
        assert opened.number(site, perform(task_of(opened, cohort))) == 0
    return opened


def recipe(made: Consortium, columns: tuple[str, ...] = ("adapted", "unadapted")) -> Recipe:
    step = Made(task_of(made).model, "net", columns)
    return Recipe((step, Complete(step.names[:1], ("mvi",))))


def binned(made: Consortium, **changes: Any) -> BinnedRisks:
    edges = order_keys(np.linspace(0.0, 1.0, 11)[1:-1])
    return replace(BinnedRisks("near", recipe(made), "net.adapted", "mvi", edges), **changes)


def line(made: Consortium, column: str = "net.unadapted") -> RecalibrationSums:
    return RecalibrationSums("near", recipe(made), column, "mvi", np.empty(0), np.zeros(2))


def alone(made: Consortium, **changes: Any) -> RocAlone:
    return replace(RocAlone("far", recipe(made), "mvi", "net.adapted", 10, min_cell=5), **changes)


def test_only_a_receipt_leaves_and_a_verdict_only_where_the_policy_lets_the_site_speak_for_itself(
    made: Consortium,
) -> None:
    (receipt,) = made.put("d", perform(task_of(made)))
    assert set(receipt.receipt) == {"work"}
    set_policy(made.folders["e"], f"{POLICY}release_alone = true\n")
    (receipt,) = made.put("e", perform(task_of(made)))
    assert set(receipt.receipt) == {"work", TOLD}


def test_what_the_study_declares_is_answered_in_sums(made: Consortium) -> None:
    assert [answer.error for answer in made.put("d", *map(total, (binned(made), line(made))))] == [0, 0]
    assert {made.number("d", each(question)) for question in (binned(made), line(made))} == {402}


def test_nothing_is_adapted_but_what_is_frozen_as_the_study_says_and_once(opened: Consortium) -> None:
    first, second = task_of(opened), task_of(opened, reference=OTHER)
    assert opened.number("d", perform(first)) == 407
    plain = scoring(opened.study, "near", members=(first.member,))
    freeze(opened, first.model, second.model, plain.model)
    small, folded = replace(REFERENCE, absent=(50, 40, 30, 20, 4)), replace(first.member, fold=1)
    attacks = {
        "another shrinkage": task_of(opened, patients=1),
        "a reference of few": task_of(opened, reference=small),
        "the training cohort": task_of(opened, "train"),
        "a fold": task_of(opened, member=folded),
        "another seed": task_of(opened, seed=2),
        "other weights": task_of(opened, member=Member(WHOLE, np.zeros(3, np.float32))),
        "wild weights": task_of(opened, member=Member(WHOLE, weights(opened.study) * np.float32(1e6))),
    }
    sites = {"the training cohort": "a"}
    met = {what: opened.number(sites.get(what, "d"), perform(task)) for what, task in attacks.items()}
    assert met == dict.fromkeys(met, 414)
    assert opened.number("d", perform(first)) == 0
    assert opened.number("d", perform(second)) == 414, "a second verdict would tell how its scores are distributed"
    assert opened.number("d", perform(first)) == 0


def test_another_reference_than_the_frozen_one_is_refused(opened: Consortium) -> None:
    freeze(opened, task_of(opened).model)
    assert opened.number("d", perform(task_of(opened, reference=OTHER))) == 407


def _attacks(made: Consortium) -> dict[str, Query]:
    """Each a question that differs from an honest one in one thing."""
    one, complete = recipe(made).steps
    plain = Made(task_of(made).model, "net", ("mean",))
    return {
        "one column": binned(made, recipe=recipe(made, ("adapted",))),
        "another order": binned(made, recipe=recipe(made, ("unadapted", "adapted"))),
        "a column of scores beside": binned(made, recipe=Recipe((one, plain, complete))),
        "mixed columns": binned(made, recipe=recipe(made, ("adapted", "mean"))),
        "by folds": binned(made, recipe=Recipe((replace(one, by_fold=(task_of(made).model,) * 5), complete))),
        "thresholds": ThresholdCounts("near", recipe(made), ("net.adapted",), "mvi", np.array([[0.5]])),
        "a table": GradeTable("near", recipe(made), ("net.adapted",), "mvi", 2, np.array([[0.5]]), 5, guarded=False),
    }  # fmt: skip


def test_what_the_study_does_not_declare_is_refused(made: Consortium) -> None:
    met = {what: made.number("d", total(query)) for what, query in _attacks(made).items()}
    assert met == dict.fromkeys(met, 414)


def test_a_site_by_itself_tells_areas_of_one_network_as_adapted_and_no_table(made: Consortium) -> None:
    assert made.number("g", each(alone(made))) in (402, 408)
    set_policy(made.folders["g"], f"{POLICY}release_alone = true\n")
    assert made.number("g", each(alone(made))) == 0
    table = GradeTable("far", recipe(made), ("net.adapted",), "mvi", 2, np.array([[0.5]]), 5, guarded=True)
    assert made.number("g", each(table)) == 414


def both(made: Consortium, **changes: Any) -> AreasAlone:
    usual = AreasAlone("far", recipe(made), "mvi", ("net.adapted", "net.unadapted"), 10, min_cell=5)
    return replace(usual, **changes)


def test_a_site_by_itself_tells_both_areas_of_what_was_adapted_in_a_cohort_that_cannot_be_summed_and_nowhere_else(
    made: Consortium,
) -> None:
    assert made.number("g", each(both(made))) == 408
    for site in ("d", "g"):
        set_policy(made.folders[site], f"{POLICY}release_alone = true\n")
    (answer,) = made.put("g", each(both(made)))
    assert answer.error == 0
    plain = Made("0" * 64, "net", ("mean", "first"))
    attacks = {
        "a cohort that is summed": both(made, cohort="near"),
        "the other way round": both(made, columns=("net.unadapted", "net.adapted")),
        "as trained, two ways": both(
            made, recipe=Recipe((plain, Complete(plain.names[:1], ("mvi",)))), columns=plain.names
        ),
        "other patients": both(made, recipe=Recipe(recipe(made).steps[:1])),
    }
    sites = {"a cohort that is summed": "d"}
    met = {what: made.number(sites.get(what, "g"), each(query)) for what, query in attacks.items()}
    assert met == dict.fromkeys(met, 414)
    assert made.number("g", each(both(made, min_class=2))) == 402, "fewer of a class than the study has for an area"
    assert made.number("g", total(both(made))) == 406


def test_the_preview_has_both_areas_where_they_may_be_asked_and_the_gate_takes_what_it_has(made: Consortium) -> None:
    site = load_site(made.folders["g"])
    asked = {(r.cohort, r.mode) for r in preview(site, made.study).releases if r.query == AreasAlone.name}
    assert asked == {("far", "each")}
    assert any("areas and calibration lines before and after" in line for line in tell(site, made.study).leaves)
    gate = Gate.of(site.policy.model_copy(update={"release_alone": True}), made.study)
    for subject in adaptation_subjects(made.study, made.study.networks[0]):
        for name in subject.questions:
            for mode in set(modes_of(name)) & set(subject.modes):
                gate.admit(example(name, mode, subject, made.study), made.study.cohort(subject.cohort).sites)
