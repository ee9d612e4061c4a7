"""disclosure: networks that are trained without each hospital: who must have allowed it, and what the sites answer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.approval.preview import preview
from client.approval.telling import tell
from client.cohort.site import load_site
from client.release.ledger import Ledger
from common.federation.learning import WHOLE, ExplainPatients, Job, Member, RoundUpdate, ScorePatients
from common.federation.query import each, perform, total
from common.federation.tasks import Freeze
from common.statistics.roc import RocAlone
from common.study.centres import Without
from common.study.loader import parse_study
from common.study.recipe import Complete, Made, Recipe
from server.report.figures import draw_all
from server.report.headlines import headlines
from server.report.page import render
from server.study.conduct import conduct
from tests.disclosure.consortium import Consortium
from tests.disclosure.networks import (
    BARE_STUDY,
    ONE,
    POLICY,
    SITES,
    loss_of,
    make_networks,
    message,
    round_of,
    set_policy,
    update_of,
    weights,
)

EXTERNAL = '[[cohorts]]\nname = "external"\nrole = "external-test"\nsites = ["d"]\n\n'
TEXT = (
    BARE_STUDY.replace(EXTERNAL, "")
    .replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "d"]')
    .replace('evaluate = ["external"]', 'development = "leave-one-centre-out"')
)
ALLOWED = f"{POLICY}may_be_left_out = true\n"
JOB = Job("net", ONE, 0, without="b")


def _consortium(folder: Path) -> Consortium:
    return Consortium({name: folder / name for name in SITES}, parse_study(TEXT)).sign()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masked sites, all of which may be left out, that have opened a run."""
    folder = tmp_path_factory.mktemp("left-out") / "sites"
    make_networks(folder, TEXT, policy=ALLOWED).sign().open(*SITES)
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    return _consortium(tmp_path / "sites")


def _members(made: Consortium, sites: str = "abcd") -> tuple[Member, ...]:
    return tuple(Member(WHOLE, weights(made.study), without=site) for site in sites)


def _scoring(made: Consortium, **changes: object) -> ScorePatients:
    return replace(ScorePatients("train", "net", ONE, 0, _members(made)), **changes)  # type: ignore[arg-type]


def _ledger(made: Consortium, site: str) -> list[dict[str, object]]:
    return list(Ledger(made.folders[site] / "store" / "ledger.jsonl").entries())


def test_a_hospital_that_is_left_out_adds_zeros_under_its_masks_and_says_so_in_its_ledger(made: Consortium) -> None:
    asks = message(round_of(made.study, job=JOB))
    _, update, loss = made.port().ask(asks)
    assert 0 < int(update["patients"]) == int(loss["training_patients"]) < 72
    assert int(loss["training_patients"]) + int(loss["validation_patients"]) == 72, "of three of four hospitals"
    own = [line for line in _ledger(made, "b") if ", without b, which adds zeros" in str(line["words"])]
    assert len(own) == 2 and all(line["counted"] == 0 for line in own)
    other = [line for line in _ledger(made, "a") if ", without b, which adds zeros" in str(line["words"])]
    assert [line["counted"] for line in other] == [24, 24]


def test_its_images_have_no_part_in_the_training(made: Consortium, tmp_path: Path) -> None:
    """What the three others add is the same whoever of the patients at b there are: b reads none."""
    shutil.rmtree(made.folders["b"] / "store" / "stacks", ignore_errors=True)
    (receipt,) = made.put("b", perform(round_of(made.study, job=JOB)))
    assert receipt.error == 0


def test_all_must_have_signed_that_they_may_be_left_out_before_anything_is_trained_or_scored(tmp_path: Path) -> None:
    made = make_networks(tmp_path, TEXT, policy=ALLOWED)
    set_policy(made.folders["d"], POLICY)
    made.sign().open(*SITES)
    for task in (round_of(made.study, job=JOB), round_of(made.study, job=Job("net", ONE, 0)), _scoring(made)):
        (answer,) = made.put("a", perform(task))
        assert (answer.error, answer.facts["site"]) == (432, "d")
        assert made.number("d", perform(task)) == 432, "and it does not itself"


def test_a_sum_has_as_many_hospitals_without_one_as_any_sum_needs(made: Consortium) -> None:
    set_policy(made.folders["a"], f"{ALLOWED}min_sites = 4\n")
    assert made.number("a", perform(round_of(made.study, job=JOB))) == 406
    assert made.number("a", perform(round_of(made.study, job=Job("net", ONE, 0)))) == 0


def test_what_the_study_does_not_declare_is_refused(made: Consortium) -> None:
    asks = message(round_of(made.study, job=JOB))
    assert made.number("a", asks[0]) == 0
    whole = update_of(asks[0], recipe=Recipe())
    another = update_of(asks[0], recipe=Recipe((Without("c"),)))
    loss = replace(loss_of(asks[0]), recipe=Recipe())
    assert [made.number("a", total(query)) for query in (whole, another, loss)] == [414, 414, 414]
    assert made.number("a", each(update_of(asks[0]))) == 414
    for job in (Job("net", ONE, 0, 1), Job("net", ONE, 0, 1, "b"), Job("net", ONE, 0, without="z")):
        assert made.number("a", perform(round_of(made.study, job=job))) == 414
    three, twice = _members(made, "abc"), (*_members(made, "abc"), *_members(made, "a"))
    everybody = (Member(WHOLE, weights(made.study)),)
    for members in (three, twice, everybody):
        assert made.number("a", perform(_scoring(made, members=members))) == 414
    assert made.number("a", perform(ExplainPatients("train", "net", ONE, 0, _members(made)[0]))) == 414


def test_its_own_part_is_held_to_what_a_site_without_masks_is_held_to(made: Consortium) -> None:
    """24 patients: a fifth of them, four or five, decides when training stops."""
    set_policy(made.folders["a"], ALLOWED.replace("min_cell = 3", "min_cell = 6"))
    assert made.number("a", perform(round_of(made.study, job=JOB))) == 403


def test_each_hospital_is_scored_by_its_own_network_and_tells_its_area_if_it_may(made: Consortium) -> None:
    other = tuple(
        replace(member, weights=member.weights * np.float32(0.5)) if member.without == "b" else member
        for member in _members(made)
    )
    task = _scoring(made, members=other)
    for site in SITES:
        assert made.number(site, perform(task)) == 0
    step = Made(task.model, "net", ("mean", "first", "mean.grade", "first.grade"))
    query = RocAlone("train", Recipe((step, Complete(step.names[:1], ("mvi",)))), "mvi", "net.mean", 3, min_cell=3)
    assert made.number("a", each(query)) in (402, 408)
    set_policy(made.folders["a"], f"{ALLOWED}release_alone = true\n")
    assert made.number("a", each(replace(query, min_class=10))) in (0, 405)


def test_the_site_is_told_before_it_approves(made: Consortium) -> None:
    site = load_site(made.folders["a"])
    assert any("(`may_be_left_out`) that is allowed" in line for line in tell(site, made.study).leaves)
    refused = {r.query: r.refused for r in preview(site, made.study).releases if r.part == "network net"}
    assert refused[RoundUpdate.name] == 0
    set_policy(made.folders["a"], POLICY)
    site = load_site(made.folders["a"])
    assert any("FEDMVI-432" in line for line in tell(site, made.study).leaves)
    refused = {r.query: r.refused for r in preview(site, made.study).releases if r.part == "network net"}
    assert refused[RoundUpdate.name] == 432


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('sites = ["a", "b", "c", "d"]', 'sites = ["a", "b", "c"]'), "no more than 3 sites"),
        (("rounds = 5", 'rounds = 5\nstrategy = "trimmed-mean"\ntrim = 0.3'), "trimmed-mean"),
    ],
)
def test_a_protocol_that_cannot_leave_hospitals_out_is_refused(change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        parse_study(TEXT.replace(*change))


# ---------------------------------------------------------------------------------------------- a choice of networks

TWO = (
    TEXT.replace('combinations = [["t1v"], ["t1", "t1v"]]', 'combinations = [["t1v"]]')
    .replace('sequences = ["t1", "t1v"]\n', "")
    .replace("seeds = 2", "seeds = 1")
    .replace("rounds = 5", "rounds = 1")
    .replace("min_cell = 3", "min_cell = 3\nmin_test_class = 5")
)
OTHER = TWO[TWO.index("[[networks]]") :].replace('name = "net"', 'name = "prox"')
CHOICE = '\n[[choices]]\nname = "remedy"\nmodels = ["net", "prox"]\n'
CHOSEN = TWO + OTHER.replace("rounds = 1", 'rounds = 1\nstrategy = "fedprox"') + CHOICE


def test_the_network_that_is_best_at_hospitals_left_out_is_named_in_the_freeze_and_all_are_reported(
    tmp_path: Path,
) -> None:
    made = make_networks(tmp_path, CHOSEN, policy=f"{ALLOWED}release_alone = true\n").sign()
    results = conduct(made.study, made.port(), lambda _: None).results
    areas = {}
    for name in ("net", "prox"):
        left = results.get(f"network.{name}.leave-one-centre-out")
        found = [e for e in left.estimates if e.name == "auc" and e.value is not None]
        assert {e.term for e in found} == set(SITES)
        areas[name] = np.mean([e.value for e in found if e.value is not None])
    choice = results.get("choice.remedy")
    told = {e.term: e for e in choice.estimates if e.name == "auc"}
    assert {name: told[name].value for name in told} == pytest.approx(areas)
    (best,) = [name for name in told if told[name].note == "chosen"]
    assert areas[best] == max(areas.values())
    assert any(f"of the networks {best} was chosen" in str(line["words"]) for line in _ledger(made, "a"))
    assert any(f"of 2 networks '{best}' was taken" in sentence for sentence in headlines(results))
    page = render(results, None, draw_all(results))
    assert "Mean AUC at hospitals left out" in page and "At its worst hospital" in page


def test_a_freeze_names_no_network_that_is_in_no_choice(made: Consortium) -> None:
    assert made.number("a", perform(Freeze((), (), networks=("net",)))) == 414


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('name = "prox"\n', 'name = "prox"\nmissing = "mask"\n'), "leave other patients out"),
        (('models = ["net", "prox"]', 'models = ["net", "else"]'), "nor are all of them networks"),
        (('models = ["net", "prox"]', 'models = ["net", "net"]'), "named twice"),
    ],
)
def test_a_choice_is_of_networks_that_can_be_compared(change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        parse_study(CHOSEN.replace(*change))
    nested = CHOSEN.replace('development = "leave-one-centre-out"', 'development = "nested"')
    with pytest.raises(Exception, match="leaves out no hospital"):
        parse_study(nested)
