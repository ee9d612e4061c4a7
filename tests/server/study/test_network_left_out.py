"""server: networks whose outer folds are hospitals: what each is trained and measured without, and what is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from client.learning import workbench
from common.errors import FedmviError
from common.federation.learning import Job, Part
from common.federation.runner import conclude
from common.published.results import CohortFacts, Result, Results
from common.study.protocol import Study
from server.report.figures import draw_all
from server.report.page import render
from server.strategies.choice import strategy_of
from server.study.centre_areas import Area
from server.study.checkpoints import MemoryCheckpoints, finished_weights
from server.study.network_development import Developed, develop_all
from server.study.network_results import publish_all
from server.study.training import TrainedJob, train_job
from tests.server.study.bench_sites import BenchSite, port_of, sites_of, study_of

TRAIN = ("a", "b", "c", "g")
ONE = ("t1",)


def _study(network: Mapping[str, Any] | None = None, **tables: Any) -> Study:
    """Four hospitals train; of `tables` the fields of the network's."""
    usual = {"development": "leave-one-centre-out", "combinations": (ONE,)}
    study = study_of({**usual, **(network or {})}, **tables)
    train, test = study.cohorts
    return study.model_copy(update={"cohorts": (train.model_copy(update={"sites": TRAIN}), test)})


def _without(study: Study, site: str) -> Study:
    train, test = study.cohorts
    others = tuple(one for one in train.sites if one != site)
    return study.model_copy(update={"cohorts": (train.model_copy(update={"sites": others}), test)})


def _trained(study: Study, sites: Mapping[str, BenchSite], job: Job) -> tuple[TrainedJob, bytes]:
    kept, network = MemoryCheckpoints(), study.networks[0]
    strategy, weights = strategy_of(network.federation), (0.7, 1.1, 1.3)
    asked = train_job(network, job, 3, weights, strategy, network.federation.rounds, kept)
    (found,) = conclude(port_of(study, sites), [asked])
    return found, finished_weights(kept, job).tobytes()


@pytest.mark.parametrize(
    ("network", "federation"),
    [
        ({}, {}),
        ({}, {"strategy": "scaffold"}),
        ({}, {"strategy": "fedprox", "proximal": 0.1}),
        ({}, {"strategy": "fedadam", "server_learning_rate": 0.01}),
        ({"normalisation": "batch"}, {}),
        ({"normalisation": "silobn"}, {}),
    ],
)
def test_a_training_without_a_hospital_is_that_of_a_federation_which_never_had_it(
    network: Mapping[str, Any], federation: Mapping[str, Any], tmp_path: Path
) -> None:
    study = _study(network, federation={"rounds": 3, "epochs_per_round": 1, **federation})
    job = Job("net", ONE, 0, without="b")
    whole, weights = _trained(study, sites_of(study, tmp_path / "all"), job)
    others = _without(study, "b")
    fewer, theirs = _trained(others, sites_of(others, tmp_path / "others"), job)
    assert weights == theirs, "bit for bit"
    assert (whole.history, whole.patients, whole.rounds) == (fewer.history, fewer.patients, fewer.rounds)
    assert whole.patients == 3 * 16, "four fifths of the others are trained on, and one stops it"


def test_it_trains_and_stops_as_a_split_of_the_others_patients_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The published split, of as many parts, over the other hospitals: its first part decides when it stops."""
    plain = {"optimiser": "sgd", "learning_rate": 0.02, "augmentation": False, "batch": 64, "preset": "published"}
    tables = {"training": plain, "federation": {"rounds": 3, "epochs_per_round": 1, "patience": 1}}
    study = _study(**tables)
    _, weights = _trained(study, sites_of(study, tmp_path / "all"), Job("net", ONE, 0, without="b"))
    monkeypatch.setattr(workbench, "PUBLISHED_FOLDS", study.networks[0].folds)
    split = _without(_study({"development": "published"}, **tables), "b")
    _, theirs = _trained(split, sites_of(split, tmp_path / "split"), Job("net", ONE, 0, 0))
    ours = np.frombuffer(weights, np.float32)
    np.testing.assert_allclose(ours, np.frombuffer(theirs, np.float32), atol=2e-5)  # batches are in another order


@pytest.fixture(scope="module")
def developed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, BenchSite], Developed]:
    study = _study({"combinations": (ONE, ("t1", "t1v"))}, training={"learning_rate": 3e-3}, federation={"rounds": 2})
    sites = sites_of(study, tmp_path_factory.mktemp("works"), effect=1.3, patients=24)
    (found,) = conclude(port_of(study, sites), [develop_all(study, MemoryCheckpoints(), lambda _: None)])[0]
    assert isinstance(found, Developed), found
    return study, sites, found


def test_each_hospital_is_scored_without_itself_and_its_own_area_is_told(
    developed: tuple[Study, dict[str, BenchSite], Developed],
) -> None:
    _, sites, found = developed
    chosen = found.chosen
    assert chosen is not None
    assert {job.part for job in found.trained} == {Part(), *(Part(without=site) for site in TRAIN)}
    assert set(found.by_loss) == {Part(without=site) for site in TRAIN}
    scores, true = [], []
    for site in TRAIN:
        view = sites[site]
        columns = view.bench.columns("train", found.out_of_fold[chosen], view.table.patients)
        present = view.table.endpoints["mvi"]
        area = found.at_centres[site]
        assert isinstance(area, Area)
        assert area.auc == pytest.approx(roc_auc_score(present, columns["mean"]), abs=1e-12)
        scores.append(columns["mean"])
        true.append(present)
    pooled = found.areas[chosen, 0]
    assert not isinstance(pooled, FedmviError)
    expected = roc_auc_score(np.concatenate(true), np.concatenate(scores))
    assert pooled["mean"].auc_ == pytest.approx(expected, abs=1e-12)


def test_the_nested_area_takes_each_hospital_from_the_network_of_lowest_loss_without_it(
    developed: tuple[Study, dict[str, BenchSite], Developed],
) -> None:
    _, sites, found = developed
    scores, true = [], []
    for part, combination in found.by_loss.items():
        view = sites[part.without]
        assert combination is not None
        columns = view.bench.columns("train", found.out_of_fold[combination], view.table.patients)
        scores.append(columns["mean"])
        true.append(view.table.endpoints["mvi"])
    assert found.nested is not None and not isinstance(found.nested, FedmviError)
    expected = roc_auc_score(np.concatenate(true), np.concatenate(scores))
    assert found.nested["mean"].auc_ == pytest.approx(expected, abs=1e-12)


def _results(study: Study, results: list[Result]) -> Results:
    cohorts = [CohortFacts(name=c.name, role=c.role, sites=list(c.sites)) for c in study.cohorts]
    text = dict.fromkeys(("study_fingerprint", "code_fingerprint", "preparation_fingerprint"), "0" * 64)
    return Results(
        study="tiny", title="Tiny", description="", simulated=True, sources=[], min_cell=5, cohorts=cohorts,
        under_limits=[], variables={}, results=results, **text,
    )  # fmt: skip


def test_what_is_measured_at_hospitals_is_published_and_in_the_report(
    developed: tuple[Study, dict[str, BenchSite], Developed],
) -> None:
    study, _, found = developed
    results = publish_all(study, [found], [[]])
    (left,) = [result for result in results if result.statistic == "leave-one-centre-out"]
    assert left.id == "network.net.leave-one-centre-out"
    told = {(e.name, e.term): e.value for e in left.estimates}
    areas = {site: area.auc for site, area in found.at_centres.items() if isinstance(area, Area)}
    assert {term: value for (name, term), value in told.items() if name == "auc"} == areas
    assert told["mean_auc", ""] == pytest.approx(np.mean(list(areas.values())))
    assert told["worst_auc", min(areas, key=lambda site: areas[site])] == min(areas.values())
    trainings = [result for result in results if result.statistic == "network-training"]
    terms = {e.term for result in trainings for e in result.estimates}
    assert {"everybody", *(f"without {site}" for site in TRAIN)} == terms
    gathered = _results(study, results)
    page = render(gathered, None, draw_all(gathered))
    assert "at hospitals that it never saw" in page and f'id="{left.id}"' in page
