"""client/approval: the preview foresees every question that a server asks, and every refusal that the data decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from client.approval.examples import CHOSEN, example, modes_of
from client.approval.preview import Preview, preview
from client.approval.subjects import subjects_of
from client.cohort.site import load_site
from client.release.gate import Gate
from common.errors import FedmviError
from common.federation.learning import RoundUpdate
from common.federation.query import Ask, Mode, Query
from common.study.analyses import ALWAYS, ANALYSES
from common.study.loader import load_study, parse_study
from common.study.protocol import Study
from server.study.conduct import conduct
from server.study.execution import Action
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.importers.folder import ImportReport
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from simulation.running import Simulation
from simulation.shipped import shipped_study
from tests.client.approval.asked import Heard, heard_in_simulations, heard_of, key_of
from tests.disclosure.consortium import SITES, STUDY, Consortium, further, make
from tests.server.study.test_analyses import study_text
from tests.server.study.test_network_conduct import GRADED, HEAD, MASKED, NETWORK, set_policy
from tests.simulation.conftest import imported, public_data  # noqa: F401 - fixtures

FEW = dict.fromkeys(("hospital-a", "hospital-b", "hospital-c", "hospital-d", "external-e", "external-f"), 60)
ONE_ROUND = {"rounds": 1, "epochs": 1, "tables": ""}
NETWORKS = (
    HEAD
    + NETWORK.format(name="graded", endpoint="grade", further=GRADED,
                     strategy="fedavg", **ONE_ROUND)
    + NETWORK.format(name="local", endpoint="mvi", further='normalisation = "silobn"', strategy="scaffold", **ONE_ROUND)
)  # fmt: skip
BY_DATA = frozenset({403, 405, 409})
"""Refusals that the preview finds in the prepared data; of 404 under masks and 416 it says that it cannot."""


def conducted(study: Path, sites: Path, out: Path) -> tuple[Study, Mapping[str, Path], Heard]:
    """A whole study in this process, and what its sites were asked."""
    with pytest.MonkeyPatch.context() as patch, heard_in_simulations(patch) as heard:
        run = Simulation.of(study, sites, out, in_process=True)
        run.conduct(Action.RUN, lambda _: None)
    return load_study(study), {name: site.folder for name, site in run.sites.items()}, heard


def previews(study: Study, folders: Mapping[str, Path]) -> dict[str, Preview]:
    return {name: preview(load_site(folder), study) for name, folder in folders.items()}


def assert_foreseen(study: Study, folders: Mapping[str, Path], heard: Heard) -> int:
    """Every question that a site got was declared in its preview; returns how many there were."""
    for name, foreseen in previews(study, folders).items():
        declared = {release.key for release in foreseen.releases if release.declared}
        asked = {key_of(ask) for ask, _ in heard.asks[name]}
        assert asked <= declared, sorted(asked - declared)
    return sum(len(asks) for asks in heard.asks.values())


def test_every_question_of_the_demonstration_was_foreseen(tmp_path: Path):
    make_hospitals(load_consortium("demo").with_patients(FEW), tmp_path / "sites", 1)
    assert assert_foreseen(*conducted(shipped_study(Path("demo")), tmp_path / "sites", tmp_path / "run")) > 100


@pytest.mark.parametrize(("study", "data"), [("heart-disease", "heart-disease"), ("asaur", "asaur"),
                                             ("tcga-lihc-mvi", "tcga-lihc")])  # fmt: skip
def test_every_question_of_a_shipped_study_on_public_data_was_foreseen(
    study: str,
    data: str,
    imported: Callable[[str], tuple[Path, ImportReport]],  # noqa: F811
    tmp_path: Path,
):
    assert assert_foreseen(*conducted(shipped_study(Path(study)), imported(data)[0], tmp_path / "run")) > 10


def test_every_question_of_networks_was_foreseen(tmp_path: Path):
    path = tmp_path / "study.toml"
    path.write_text(NETWORKS, encoding="utf-8")
    make_learning_hospitals(tmp_path / "sites", load_study(path), Drawing(seed=3, patients=25, effect=2.0, shift=0.0))
    for site in (tmp_path / "sites").glob("*/site.toml"):
        set_policy(site.parent, MASKED)
    study, folders, heard = conducted(path, tmp_path / "sites", tmp_path / "run")
    assert assert_foreseen(study, folders, heard) > 100
    said = {r.part: r for r in preview(load_site(folders["a"]), study).releases if r.query == RoundUpdate.name}
    updates = [ask.question for ask, _ in heard.asks["a"] if isinstance(ask.question, RoundUpdate)]
    for update in updates:
        release = said[f"network {update.job.network}"]
        assert release.numbers == sum(math.prod(block.shape) for block in update.blocks().values())
        assert f"at most {update.size} weights" in release.words
    assert {update.job.network for update in updates} == {"graded", "local"}
    site = load_site(folders["a"])
    for change, number in (
        ({"private_epsilon": 3.0}, 427),
        ({"max_rounds": 0}, 424),
        ({"risks": ("SUM", "CELLS")}, 402),
    ):
        strict = site.model_copy(update={"policy": site.policy.model_copy(update=change)})
        trained = [
            r.refused for r in preview(strict, study).releases if r.query in ("task.train-round", RoundUpdate.name)
        ]
        assert trained == [number] * 4


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Consortium, Heard]:
    """A study that declares every statistic, conducted; one site has few of a class, and one too few patients."""

    def few(rows: list[dict[str, str]]) -> None:
        further(rows)
        del rows[15:]

    change = {**dict.fromkeys(SITES, further), "f": few}
    made = make(tmp_path_factory.mktemp("sites"), change, study=study_text())
    heard, port = heard_of(made)
    conduct(made.study, port, lambda _: None)
    return made, heard


def test_every_question_of_every_statistic_was_foreseen(everything: tuple[Consortium, Heard]):
    made, heard = everything
    assert assert_foreseen(made.study, made.folders, heard) > 500
    asked = {ask.question.name for asks in heard.asks.values() for ask, _ in asks}
    assert len(asked) > 30  # of folds nothing is asked: they are refused where nothing is masked


def test_no_answer_has_more_numbers_than_the_preview_said(everything: tuple[Consortium, Heard]):
    made, heard = everything
    foreseen = previews(made.study, made.folders)
    compared = exact = 0
    for name, asks in heard.asks.items():
        said: dict[tuple[str, ...], set[int]] = {}
        for release in foreseen[name].releases:
            said.setdefault(release.key, set()).add(release.numbers)
        for ask, _ in asks:
            if isinstance(ask.question, Query) and ask.question.name not in CHOSEN:
                compared += 1
                numbers = sum(math.prod(block.shape) for block in ask.question.blocks().values())
                assert numbers <= max(said[key_of(ask)]), (name, ask.question)
                exact += numbers in said[key_of(ask)]
    assert compared > 200 and exact > 0.9 * compared


def test_what_the_data_refuse_is_refused_in_the_preview_and_nothing_else(everything: tuple[Consortium, Heard]):
    made, heard = everything
    met: set[int] = set()
    for name, foreseen in previews(made.study, made.folders).items():
        said: dict[tuple[str, ...], set[int]] = {}
        for release in foreseen.releases:
            said.setdefault(release.key, set()).add(release.refused)
        for ask, error in heard.asks[name]:
            if error in BY_DATA or error == 0:
                assert error in said[key_of(ask)], (name, ask.question, error)
                met.add(error)
    assert {0, 403, 405} <= met


@pytest.mark.parametrize("text", [STUDY, study_text()], ids=["small", "everything"])
def test_nothing_that_the_gate_takes_by_kind_is_outside_of_the_preview(everything: tuple[Consortium, Heard], text: str):
    """Real questions, put to a study, a cohort and a mode that they may not be of."""
    made, heard = everything
    study = parse_study(text)
    for name in ("a", "d"):
        site = load_site(made.folders[name])
        gate, foreseen = Gate.of(site.policy, study), preview(site, study).keys
        distinct = {ask.digest: ask for ask, _ in heard.asks[name] if isinstance(ask.question, Query)}
        taken = 0
        for ask in list(distinct.values()):
            for cohort in study.cohorts:
                for mode in (Mode.TOTAL, Mode.EACH):
                    if name not in cohort.sites or not isinstance(ask.question, Query):
                        continue
                    moved = Ask(mode, replace(ask.question, cohort=cohort.name))
                    try:
                        gate.admit(moved, tuple(cohort.sites))
                    except FedmviError:
                        continue
                    taken += 1
                    assert key_of(moved) in foreseen, moved
        assert taken > 5


def test_a_policy_that_refuses_is_foreseen_by_its_number(everything: tuple[Consortium, Heard]):
    made, _ = everything
    site = load_site(made.folders["a"])
    strict = site.policy.model_copy(update={"release_alone": False, "risks": ("SUM", "CELLS", "PROFILE", "MODEL")})
    foreseen = preview(site.model_copy(update={"policy": strict}), made.study)
    assert {release.refused for release in foreseen.releases if release.query == "query.survival_alone"} == {408}
    assert {release.refused for release in foreseen.releases if release.risk == "RANK"} == {402}


def test_every_question_that_a_study_may_declare_has_an_example_that_the_gate_takes(tmp_path: Path):
    made = make(tmp_path)
    policy = load_site(made.folders["a"]).policy
    shown = set()
    for study in (parse_study(study_text()), load_study(shipped_study(Path("demo")))):
        gate = Gate.of(policy, study)
        for subject in subjects_of(study):
            roster = tuple(study.cohort(subject.cohort).sites)
            for name in subject.questions:
                for mode in modes_of(name):
                    ask = example(name, mode, subject, study)
                    assert isinstance(ask.question, Query) and ask.question.consistent()
                    if mode is Mode.EACH or len(roster) >= study.limits.min_sites:
                        gate.admit(ask, roster)
                    shown.add(name)
    declared = frozenset[str]().union(ALWAYS, *(kind.questions for kind in ANALYSES.values()))
    assert declared <= shown


def test_a_preview_leaves_no_trace(everything: tuple[Consortium, Heard]):
    made, _ = everything

    def state() -> dict[str, float]:
        return {str(path): path.stat().st_mtime_ns for path in sorted(made.folders["a"].rglob("*"))}

    before = state()
    preview(load_site(made.folders["a"]), made.study)
    assert state() == before


def test_a_site_that_has_not_prepared_sees_what_is_asked_and_that_its_data_were_not_tried(tmp_path: Path):
    made = make(tmp_path)
    site = load_site(made.folders["a"])
    whole = preview(site, made.study)
    for path in site.store.rglob("prepared.json"):
        path.unlink()
    bare = preview(site, made.study)
    assert bare.keys == whole.keys
    assert "FEDMVI-212" in bare.unprepared and all(cohort.patients is None for cohort in bare.cohorts)


def test_a_site_of_no_cohort_is_told_so(tmp_path: Path):
    made = make(tmp_path, study=STUDY)
    site = load_site(made.folders["a"])
    other = parse_study(STUDY.replace('"a"', '"g"'))
    with pytest.raises(FedmviError) as refused:
        preview(site, other)
    assert refused.value.number == 209
