"""server: a network's development over sites that train: equal to central training, and what is reported of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from torch.nn import functional

from client.learning.dataset import Learners
from client.learning.engine import train
from client.learning.scoring import probabilities
from common.errors import FedmviError
from common.federation.learning import WHOLE, ExplainPatients, Job, ScorePatients
from common.federation.query import HIDDEN, Ask
from common.federation.runner import Reply, conclude
from common.networks.architecture import architecture_of
from common.networks.intensity import normalised
from common.networks.network import build
from common.networks.weights import load_vector, read_weights, shift_logits, to_vector
from common.published.results import CohortFacts, Result, Results
from common.statistics.grades import Grades
from common.statistics.logistic import logistic
from common.statistics.roc import RocResult, roc
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import Frame, Recipe
from server.report.figures import draw_all, slug
from server.report.headlines import headlines
from server.report.page import render
from server.report.tables import tables
from server.strategies.choice import strategy_of
from server.study.checkpoints import MemoryCheckpoints, finished_weights
from server.study.network_development import Developed, _one_score, develop_all
from server.study.network_evaluation import Evaluated, evaluate_all
from server.study.network_files import write_models
from server.study.network_pictures import explain_all, publish_pictures
from server.study.network_results import publish_all
from server.study.network_scores import Frozen, Measured, MeasuredAlone
from server.study.training import TrainedJob, train_job
from simulation.views import federation_of
from tests.server.study.bench_sites import BenchSite, port_of, sites_of, study_of

COMBINATIONS = (("t1",), ("t1", "t1v"))


@dataclass(frozen=True)
class Made:
    """A development and an evaluation, with what only a test can bring together.

    Attributes
    ----------
    scoring
        Digest of what scored, by combination, in the training cohort and in the other.
    """

    study: Study
    sites: Mapping[str, BenchSite]
    developed: Developed
    evaluated: list[Evaluated]
    checkpoints: MemoryCheckpoints
    scoring: Mapping[tuple[str, tuple[str, ...]], str]

    def scores(self, cohort: str, combination: tuple[str, ...]) -> dict[str, Any]:
        """Scores, folds and true grades of a cohort's patients."""
        mine, model = [s for s in self.sites.values() if s.cohort == cohort], self.scoring[cohort, combination]
        parts = [site.bench.columns(cohort, model, site.table.patients) for site in mine]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {**columns, "true": np.concatenate([site.table.endpoints["grade"] for site in mine])}

    @property
    def results(self) -> list[Result]:
        return publish_all(self.study, [self.developed], [self.evaluated])


def _make(study: Study, folder: Path, **sites: Any) -> Made:
    drawn, checkpoints = sites_of(study, folder, **sites), MemoryCheckpoints()
    port = port_of(study, drawn)
    scoring: dict[tuple[str, tuple[str, ...]], str] = {}

    class Listening:
        def ask(self, asks: Sequence[Ask]) -> list[Reply]:
            for task in (ask.question for ask in asks):
                if isinstance(task, ScorePatients):
                    scoring[task.cohort, task.combination] = task.model
            return port.ask(asks)

    (developed,) = conclude(Listening(), [develop_all(study, checkpoints, lambda _: None)])[0]
    assert isinstance(developed, Developed)
    (evaluated,) = conclude(Listening(), [evaluate_all(study, [developed], checkpoints)])[0]
    return Made(study, drawn, developed, evaluated, checkpoints, scoring)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    study = study_of(training={"learning_rate": 3e-3}, federation={"rounds": 2})
    return _make(study, tmp_path_factory.mktemp("works"), effect=1.3)


def test_areas_are_those_of_the_scores_brought_together(made: Made) -> None:
    for combination in COMBINATIONS:
        found, areas = made.scores("train", combination), made.developed.areas[combination, 0]
        assert not isinstance(areas, FedmviError)
        assert not np.isnan(found["mean"]).any()
        for inference in ("mean", "first"):
            expected = roc_auc_score(found["true"] > 0, found[inference])
            assert areas[inference].auc_ == pytest.approx(expected, abs=1e-12)


def test_each_fold_is_scored_by_the_network_that_was_trained_without_it(made: Made) -> None:
    network = made.study.networks[0]
    combination = COMBINATIONS[1]
    column = made.scores("train", combination)
    at = 0
    for name in ("a", "b", "c"):
        site = made.sites[name]
        learners = site.learners("train", network, combination)
        for fold in range(network.folds):
            rows = learners.folds == fold
            weights = finished_weights(made.checkpoints, Job("net", combination, 0, fold))
            scored = probabilities(network, learners.keep(rows), weights, {})["mean"]
            mine = column["mean"][at : at + learners.n][rows]
            np.testing.assert_allclose(mine, scored[:, 1:].sum(axis=1), atol=1e-4)
        at += learners.n


def test_the_nested_area_takes_each_fold_from_the_network_of_lowest_loss_without_it(made: Made) -> None:
    columns = {combination: made.scores("train", combination) for combination in COMBINATIONS}
    true, nested = columns[COMBINATIONS[0]]["true"], np.full(60, np.nan)
    for part, combination in made.developed.by_loss.items():
        losses = []
        for other in COMBINATIONS:
            job = made.developed.trained[Job("net", other, 0, *part)]
            assert isinstance(job, TrainedJob)
            losses.append(job.validation_loss)
        assert combination == COMBINATIONS[int(np.argmin(losses))]
        mine = columns[combination]["fold"] == part.fold
        nested[mine] = columns[combination]["mean"][mine]
    areas = made.developed.nested
    assert areas is not None and not isinstance(areas, FedmviError)
    assert areas["mean"].auc_ == pytest.approx(roc_auc_score(true > 0, nested), abs=1e-12)


@pytest.mark.parametrize("cohort", ["train", "test"])
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_shares_are_those_of_scikit_learn(made: Made, cohort: str, combination: tuple[str, ...]) -> None:
    measured = made.developed.measured[combination]
    if cohort == "test":
        measured = next(e.found for e in made.evaluated if e.candidate == (combination, 0))
    frozen = made.developed.frozen[combination, 0]
    assert isinstance(measured, Measured) and isinstance(frozen, Frozen)
    assert frozen.cutoffs is not None or combination != COMBINATIONS[0]
    found = made.scores(cohort, combination)
    for i, inference in enumerate(("mean", "first")):
        graded = Grades("", measured.tables[f"{inference}.grade"])
        likeliest = found[f"{inference}.grade"]
        np.testing.assert_array_equal(graded.table_, confusion_matrix(found["true"], likeliest, labels=[0, 1, 2]))
        assert graded.accuracy_[0] == pytest.approx(accuracy_score(found["true"], likeliest))
        if frozen.cutoffs is None:  # of scores that all but separate, so that it would tell of single patients
            assert inference not in measured.tables
            continue
        called, true = found[inference] >= frozen.cutoffs[i], found["true"] > 0
        binary = Grades("", measured.tables[inference])
        for ours, theirs in (
            (binary.precision_(1), precision_score),
            (binary.recall_(1), recall_score),
            (binary.f1_(1), f1_score),
        ):
            expected = theirs(true, called, zero_division=np.nan)
            np.testing.assert_allclose(ours[0], expected)
            assert np.isnan(expected) or ours[1] <= ours[0] <= ours[2]


def test_a_site_that_cannot_make_pictures_stops_nothing_and_is_told_of(made: Made) -> None:
    asked: list[ExplainPatients] = []

    class Failing:
        def ask(self, asks: Sequence[Ask]) -> list[Reply]:
            asked.extend(ask.question for ask in asks if isinstance(ask.question, ExplainPatients))
            done = {site: {"work": "0" * 64} for site in ("d", "e", "f")}
            return [FedmviError(392, site="b") if ask.cohort == "train" else done for ask in asks]

    pictured = conclude(Failing(), [explain_all([made.developed], made.checkpoints, lambda _: None)])[0]
    assert {(task.cohort, task.member.fold) for task in asked} == {("train", 0), ("test", WHOLE)}
    assert {task.combination for task in asked} == {made.developed.chosen}
    (result,) = publish_pictures(made.study, [made.developed], pictured)
    told = {estimate.term: (estimate.value, estimate.note) for estimate in result.estimates}
    assert result.status == "estimated"
    assert told["test"] == (3, "")
    assert told["train"][0] is None and "392" in told["train"][1]


def _alone(made: Made, table: Any, classes: tuple[int, int]) -> Result:
    """What is published of site d by itself, of its cross table of grades and its patients without and with MVI."""
    area = {"classes": np.array([*classes, 0]), "estimable": np.array(1), "auc": np.array([0.8, 0.03])}
    summary = {**area, "curve": np.zeros((2, 51)), "points": np.array(2)}
    areas = {name: {"d": summary} for name in ("mean", "first")}
    tables = {f"{name}.grade": np.array(table) for name in ("mean", "first")}
    alone = Evaluated((COMBINATIONS[1], 0), "test", MeasuredAlone(areas, {"d": tables}))
    (result,) = [r for r in publish_all(made.study, [made.developed], [[alone]]) if r.id.endswith("test.d")]
    return result


def test_a_site_alone_tells_presence_by_the_likeliest_grade_as_scikit_learn_does(made: Made) -> None:
    """Three grades: presence is M1 or M2, and an M2 that is called M1 is no mistake."""
    rng = np.random.default_rng(1)
    true = rng.permutation(np.resize([0, 0, 1, 2, 2], 240))
    called = np.where(rng.random(240) < 0.5, true, rng.integers(0, 3, 240))
    result = _alone(made, confusion_matrix(true, called), (96, 144))
    found = {(e.name, e.term): e.value for e in result.estimates}
    for name, expected in (
        ("accuracy", accuracy_score(true > 0, called > 0)),
        ("precision", precision_score(true > 0, called > 0)),
        ("recall", recall_score(true > 0, called > 0)),
        ("specificity", recall_score(true == 0, called == 0)),
        ("f1", f1_score(true > 0, called > 0)),
        ("majority_class", accuracy_score(true > 0, np.ones(240))),
        ("balanced_accuracy", balanced_accuracy_score(true > 0, called > 0)),
    ):
        assert found[name, "mean, by the likeliest grade"] == pytest.approx(expected), name
    assert found["grade_accuracy", "mean"] == pytest.approx(accuracy_score(true, called))
    assert found["grade_majority_class", "mean"] == pytest.approx(np.mean(true == np.bincount(true).argmax()))
    assert found["grade_balanced_accuracy", "mean"] == pytest.approx(balanced_accuracy_score(true, called))


def test_report_says_beside_an_accuracy_what_saying_the_commoner_class_has_and_whether_it_is_more(made: Made) -> None:
    """71 of 100 are right where 67 have no MVI; and 400 of 500 where half of them have none."""
    poor, good = [[53, 7, 7], [10, 8, 2], [5, 0, 8]], [[200, 30, 20], [25, 100, 0], [25, 0, 100]]
    results = _results(made)
    for table, classes, always, doubted in ((poor, (67, 33), "67.0", True), (good, (250, 250), "50.0", False)):
        mine = [results.get("network.net.selection"), _alone(made, table, classes)]
        page = render(results.model_copy(update={"results": mine}), None, {})
        (row,) = re.findall("Accuracy of always saying the commoner class.*?</tr>", page, re.DOTALL)
        assert row.count(f"{always} %") == 2, "both ways of inference"
        assert ("Not shown to be more accurate than always saying the commonest class" in page) == doubted


def test_what_saying_the_commoner_class_has_is_not_told_where_it_would_give_a_hidden_count_away(made: Made) -> None:
    hidden = [[60, HIDDEN, HIDDEN], [10, 20, HIDDEN], [HIDDEN, HIDDEN, 30]]
    names = ("majority_class", "grade_majority_class")
    found = [e for e in _alone(made, hidden, (HIDDEN, HIDDEN)).estimates if e.name in names]
    assert len(found) == 4 and {e.value for e in found} == {None}, "by the likeliest grade and of grades, both ways"
    told = [e for e in _alone(made, hidden, (70, 60)).estimates if e.name in names]
    assert {(e.name, e.value) for e in told} == {("majority_class", 70 / 130), ("grade_majority_class", None)}


def test_a_network_that_learned_nothing_is_no_model(tmp_path: Path) -> None:
    study = study_of({"combinations": (("t1",),)}, training={"learning_rate": 0.1}, federation={"epochs_per_round": 1})
    made = _make(study, tmp_path, effect=0.0)
    trained = made.developed.trained
    assert {job.fold for job in trained} == set(range(5)), "none on everybody"
    assert all(isinstance(job, TrainedJob) and job.rounds == 0 for job in trained.values())
    assert made.developed.chosen is None
    assert not made.developed.models and not made.scoring, "nothing is frozen, and nobody was scored"
    for result in made.results:
        reasons = [result.note, *(e.note for e in result.estimates)]
        if result.statistic != "network-training":
            assert result.status == "not-estimable"
            assert any("no round lowered the validation loss" in reason for reason in reasons), result.id
    write_models([made.developed], made.checkpoints, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    (sentence,) = [s for s in headlines(_results(made)) if s.startswith("Net:")]
    assert "no round lowered the validation loss" in sentence


def test_one_score_for_all_patients_is_no_model() -> None:
    constant = Frame({"score": np.full(30, 0.4)}, {"mvi": np.resize([0.0, 1.0, 1.0], 30)}, 30)
    port = federation_of(dict(constant.columns), dict(constant.endpoints), np.repeat([0, 1, 2], 10))
    (area,) = conclude(port, [roc("all", Recipe(), "mvi", "score")])
    assert _one_score(area)
    assert not _one_score(RocResult(np.array([1]), np.array([1]), 1.0, 0.0, 0)), "separated, not tied"


def test_what_is_frozen_is_what_scores_the_other_cohort(made: Made) -> None:
    assert made.developed.models == {made.scoring["test", combination] for combination in COMBINATIONS}
    assert not made.developed.models & {made.scoring["train", combination] for combination in COMBINATIONS}


def test_results_report_and_tables_tell_the_same(made: Made) -> None:
    results = _results(made)
    network = {r.id: r for r in results.results}
    expected = {"network.net.selection", "network.net.combinations.train", "network.net.combinations.test"}
    for combination in ("t1", "t1+t1v"):
        expected |= {f"network.net.{part}" for part in (f"training.{combination}", f"performance.{combination}.train")}
        expected |= {f"network.net.performance.{combination}.test"}
    assert set(network) == expected
    assert "exactly five open" in network["network.net.performance.t1.test"].note
    pictures = draw_all(results)
    page = render(results, None, pictures)
    for identifier in expected:
        assert f'id="{identifier}"' in page
    area = network["network.net.performance.t1+t1v.test"].estimates[0]
    assert area.value is not None and page.count(f"{area.value:.3f}") >= 2, "in the table of presence, too"
    drawn = {r.id for r in network.values() if r.statistic == "network-performance" and len(r.curves[0].x) > 2}
    assert drawn and {f"roc-{slug(identifier)}" for identifier in drawn} <= set(pictures)
    assert f"&lt;{results.min_cell}†" not in page[page.index("Confusion matrix") :], "a complement may be large"
    assert {"network-net.training.t1", "network.net.training.t1"} & set(pictures)
    written = tables(results)
    assert {"network_selection", "network_combinations", "network_performance", "network_confusion"} <= set(written)
    for result in network.values():
        for table in result.tables:
            shown = [n for cells in table.cells for n in cells if n is not None]
            assert all(n == 0 or n >= results.min_cell for n in shown)


def test_the_published_development_is_one_split_and_says_what_it_is_worth(tmp_path: Path) -> None:
    """Batch normalisation, too: running variances are averaged over sites, and stay positive whatever the optimiser."""
    study = study_of(
        {"combinations": (("t1",),)},
        training={"preset": "published", "learning_rate": 0.01},
        federation={"strategy": "fedadam", "server_learning_rate": 0.01, "rounds": 2},
    )
    made = _make(study, tmp_path, effect=3.0)
    network = study.networks[0]
    assert (network.development, network.normalisation) == ("published", "batch")
    assert list(made.developed.trained) == [Job("net", ("t1",), 0, 0)]
    assert made.developed.nested is None
    found = made.scores("train", ("t1",))
    assert np.count_nonzero(~np.isnan(found["mean"])) == np.count_nonzero(found["fold"] == 0)
    for result in made.results:
        if result.cohort == "train":
            assert result.status != "estimated" or "Selected and optimistic" in result.note
    write_models([made.developed], made.checkpoints, tmp_path)
    _, weights = read_weights(tmp_path / "net" / "t1" / "seed0.safetensors")
    net = build(architecture_of(network, ("t1",), 3), 0)
    load_vector(net, weights)
    variances = [value for name, value in net.named_buffers() if name.endswith("running_var")]
    assert variances and all(bool((value > 0).all()) for value in variances)


def test_the_models_are_written_as_files_that_give_the_same_weights(made: Made, tmp_path: Path) -> None:
    write_models([made.developed], made.checkpoints, tmp_path)
    for combination in COMBINATIONS:
        architecture, weights = read_weights(tmp_path / "net" / "+".join(combination) / "seed0.safetensors")
        assert architecture == architecture_of(made.study.networks[0], combination, 3)
        whole = finished_weights(made.checkpoints, Job("net", combination, 0, WHOLE))
        assert weights.tobytes() == whole.tobytes()


def _results(made: Made) -> Results:
    cohorts = [CohortFacts(name=c.name, role=c.role, sites=list(c.sites)) for c in made.study.cohorts]
    text = dict.fromkeys(("study_fingerprint", "code_fingerprint", "preparation_fingerprint"), "0" * 64)
    return Results(
        study="tiny", title="Tiny", description="", simulated=True, sources=[], min_cell=5, cohorts=cohorts,
        under_limits=[], variables={}, results=made.results, **text,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------- right first


PLAIN = {"optimiser": "sgd", "momentum": 0.0, "learning_rate": 0.02, "weight_decay": 0.0, "clip_norm": False,
         "augmentation": False, "batch": 64, "precision": "fp32"}  # fmt: skip


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_full_batch_gradient_descent_over_sites_is_that_on_the_pooled_patients(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    """The central loop passes every one of the nine combinations of slices through the whole network."""
    study = study_of(training=PLAIN, federation={"epochs_per_round": 1})
    network, job, rounds, weights = study.networks[0], Job("net", COMBINATIONS[1], 3), 3, (0.7, 1.1, 1.3)
    sites = {name: site for name, site in sites_of(study, tmp_path).items() if name in names}
    cohort = study.cohorts[0].model_copy(update={"sites": names})
    port = port_of(study.model_copy(update={"cohorts": (cohort,)}), sites)
    kept = MemoryCheckpoints()
    conclude(port, [train_job(network, job, 3, weights, strategy_of(network.federation), rounds, kept)])
    everybody = [site.learners("train", network, job.combination) for site in sites.values()]
    central = _central(everybody[0].joined(*everybody[1:]), network, job, weights, rounds)
    central = shift_logits(architecture_of(network, job.combination, 3), central, -np.log(weights))
    np.testing.assert_allclose(finished_weights(kept, job), central, atol=1e-6)


def _central(learners: Learners, network: Network, job: Job, weights: tuple[float, ...], steps: int) -> Any:
    net = build(architecture_of(network, job.combination, 3), job.seed)
    images = normalised(torch.from_numpy(learners.images), torch.from_numpy(learners.body))
    labels, of_class = torch.from_numpy(learners.labels), torch.tensor(weights)
    optimiser = torch.optim.SGD(net.parameters(), lr=PLAIN["learning_rate"])
    for _ in range(steps):
        optimiser.zero_grad()
        samples = [torch.stack([images[:, 0, i], images[:, 1, j]], dim=1) for i in range(3) for j in range(3)]
        losses = [functional.cross_entropy(net(x, None), labels, reduction="none") for x in samples]
        (torch.stack(losses).mean(dim=0) * of_class[labels]).mean().backward()
        optimiser.step()
    return to_vector(net)


def test_scores_of_patients_who_were_trained_on_inflate_the_odds_ratio(tmp_path: Path) -> None:
    """Stacks that tell nothing: a network that learns them by heart has great odds in-sample, and only there."""
    study = study_of({"width": 8}, training={"augmentation": False}, federation={"epochs_per_round": 12})
    network, combination = study.networks[0], ("t1",)
    site = BenchSite(study, "a", "train", tmp_path, patients=30, effect=0.0)
    learners = site.learners("train", network, combination)
    begin = to_vector(build(architecture_of(network, combination, 3), 0))

    def scores(rows: Any, of: Any) -> Any:
        trained = train(
            network, learners.keep(rows), begin, class_weights=(1.0, 1.0, 1.0), seed=b"seed", round=0,
            variate=begin[:0], local={},
        )  # fmt: skip
        return probabilities(network, learners.keep(of), begin + trained.update, {})["mean"][:, 1:].sum(axis=1)

    everybody = np.ones(learners.n, dtype=np.bool_)
    out_of_fold = np.empty(learners.n)
    for fold in range(network.folds):
        out_of_fold[learners.folds == fold] = scores(learners.folds != fold, learners.folds == fold)
    coefficients = []
    for score in (scores(everybody, everybody).astype(np.float64), out_of_fold):
        standard, true = (score - score.mean()) / score.std(), (learners.labels > 0).astype(np.float64)
        port = federation_of({"score": standard}, {"mvi": true}, np.repeat([0, 1, 2], 10))
        (fit,) = conclude(port, [logistic("all", Recipe(), "mvi", ("score",), "dl")])
        coefficients.append(np.inf if fit.separated_ else float(fit.coef_[1]))
    in_sample, honest = coefficients
    assert in_sample > 1.5, "a standard deviation more seems to multiply the odds by 4.5 at least"
    assert abs(honest) < 1.0
