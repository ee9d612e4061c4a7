"""client/learning: a network is adapted to a site's images as torch re-estimates statistics, and by no label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from client.learning import adapting
from client.learning.adapting import adapt, adapted_statistics, adapted_weights
from client.learning.dataset import Learners
from client.learning.scoring import probabilities
from client.learning.work import Works
from client.learning.workbench import Workbench
from common.errors import FedmviError
from common.federation.learning import WHOLE, Member
from common.federation.query import perform
from common.networks.adapting import ADAPTED, TOLD, UNADAPTED, AdaptNetwork
from common.networks.architecture import architecture_of
from common.networks.intensity import normalised
from common.networks.network import build
from common.networks.weights import load_vector, statistics_of, to_vector, with_statistics
from common.statistics.score_mixture import ScoreClasses
from common.statistics.shift_verdict import Verdict
from common.study.networks import Network
from tests.client.learning.drawn_learners import SEQUENCES, drawn_learners, small_network
from tests.server.study.bench_sites import study_of

N = 24
REFERENCE = ScoreClasses((0.2, 0.4, 0.6, 0.8), (50, 40, 30, 20, 10), (10, 20, 30, 40, 50))


def network(**given: Any) -> Network:
    training = {"batch": 4, **given.pop("training", {})}
    return small_network(training, normalisation="batch", **given)


def trained(of: Network) -> Any:
    """Random weights, and statistics that some training has left."""
    net = build(architecture_of(of, SEQUENCES, 2), 3)
    with torch.no_grad():
        net.head.weight.mul_(30)
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr, operator]
                layer.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]
    return to_vector(net)


def task_of(of: Network, weights: Any, reference: ScoreClasses = REFERENCE, patients: int = 20) -> AdaptNetwork:
    return AdaptNetwork("test", of.name, SEQUENCES, 0, Member(WHOLE, weights), patients, reference)


def test_without_shrinkage_the_statistics_are_torch_s_own_cumulative_ones() -> None:
    of, people = network(), drawn_learners(N)
    weights = trained(of)
    found = adapted_statistics(of, people, weights, 0, b"seed")
    oracle = build(architecture_of(of, SEQUENCES, 2), 0)
    load_vector(oracle, weights)
    for layer in oracle.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    oracle.train()
    images = normalised(torch.from_numpy(people.images), torch.from_numpy(people.body))
    with torch.no_grad():
        for first in range(N // 4):
            oracle.trunk(images[first :: N // 4].reshape(-1, 1, 32, 32))
    for name, values in statistics_of(oracle).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)


def test_with_training_counting_without_end_the_network_is_as_trained_bit_for_bit() -> None:
    of, people = network(), drawn_learners(N)
    weights = trained(of)
    found = adapted_statistics(of, people, weights, 1e30, b"seed")
    same = adapted_weights(of, SEQUENCES, weights, found)
    assert same.tobytes() == weights.tobytes()
    assert adapted_weights(of, SEQUENCES, weights, {}).tobytes() == weights.tobytes()


def test_n_patients_count_n_of_n_and_k() -> None:
    of, people = network(), drawn_learners(N)
    weights = trained(of)
    own, half = (adapted_statistics(of, people, weights, k, b"seed") for k in (0, N))
    before = build(architecture_of(of, SEQUENCES, 2), 0)
    load_vector(before, weights)
    for name, values in statistics_of(before).items():
        np.testing.assert_allclose(half[name], (values + own[name]) / 2, rtol=1e-6, atol=1e-7)


def test_statistics_are_the_same_on_any_device_memory_and_in_any_order_of_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of, people = network(training={"augmentation": {}}), drawn_learners(N)
    weights = trained(of)
    first = adapted_statistics(of, people, weights, 20, b"seed")
    monkeypatch.setattr("client.learning.model.patients_at_once", lambda *_: 1)
    other = adapted_statistics(of, people.keep(np.arange(N)[::-1].copy()), weights, 20, b"seed")
    assert all(np.array_equal(values, other[name]) for name, values in first.items())
    varied = adapted_statistics(of, people, weights, 20, b"another seed")
    assert not all(np.array_equal(values, varied[name]) for name, values in first.items()), "slices vary as in training"


def test_other_statistics_change_nothing_but_statistics() -> None:
    of = network()
    weights, architecture = trained(of), architecture_of(of, SEQUENCES, 2)
    net = build(architecture, 0)
    load_vector(net, weights)
    moved = {name: values + 1 for name, values in statistics_of(net).items()}
    load_vector(net, with_statistics(architecture, weights, moved))
    assert all(np.array_equal(values, moved[name]) for name, values in statistics_of(net).items())
    changed = np.flatnonzero(with_statistics(architecture, weights, moved) != weights)
    assert changed.size == sum(values.size for values in moved.values())
    for wrong in ({}, {**moved, "more": np.zeros(1, np.float32)}, {name: values[:1] for name, values in moved.items()}):
        with pytest.raises(FedmviError) as error:
            with_statistics(architecture, weights, wrong)
        assert error.value.number == 686


def judged(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    monkeypatch.setattr(adapting, "adapted_verdict", lambda *_: verdict)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_a_site_whose_scores_allow_it_uses_its_statistics(
    verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, verdict)
    of, people = network(), drawn_learners(N)
    weights = trained(of)
    found = adapt(of, people, task_of(of, weights), b"seed")
    plain = np.round(probabilities(of, people, weights, {})["mean"][:, 1].astype(np.float64), 4)
    assert found.verdict is verdict and np.array_equal(found.before, plain)
    if verdict in (Verdict.COVARIATE, Verdict.NONE_DETECTED):
        moved = adapted_weights(of, SEQUENCES, weights, found.statistics)
        assert np.array_equal(
            found.after, np.round(probabilities(of, people, moved, {})["mean"][:, 1].astype(float), 4)
        )
        assert not np.array_equal(found.after, found.before)
    else:
        assert found.statistics == {} and np.array_equal(found.after, found.before)


def test_fewer_than_twenty_patients_with_images_keep_the_network_as_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, Verdict.COVARIATE)
    of, people = network(missing="mask"), drawn_learners(N)
    weights = trained(of)
    present = people.present.copy()
    present[: N - 19] = False
    found = adapt(of, replace(people, present=present), task_of(of, weights), b"seed")
    assert found.verdict is Verdict.CANNOT_TELL and found.statistics == {}
    assert adapt(of, people.keep(np.arange(20)), task_of(of, weights), b"seed").statistics != {}


def kept(folder: Path, people: Learners, *, alone: bool = False) -> tuple[dict[str, bytes], Any]:
    """The bytes that the task leaves, and its receipt."""
    study = study_of({"normalisation": "batch", "combinations": [list(SEQUENCES)], "sequences": list(SEQUENCES),
                      "adaptation": {"cohorts": ["test"]}})  # fmt: skip
    of = study.networks[0]
    weights = to_vector(build(architecture_of(of, SEQUENCES, 3), 3))
    task = task_of(of, weights)
    bench = Workbench(study, Works(folder), lambda *_: people, b"secret", site="a", alone=alone)
    receipt = bench.perform(task)
    again = Workbench(study, Works(folder), lambda *_: pytest.fail("it is done"), b"secret", site="a", alone=alone)
    assert again.perform(task) == receipt
    columns = again.columns("test", task.model, people.ids)
    assert set(columns) == {ADAPTED, UNADAPTED} and not np.isnan(columns[ADAPTED]).any()
    work = folder / perform(task).digest
    return {path.name: path.read_bytes() for path in sorted(work.iterdir())}, receipt


def test_no_label_is_read_and_nothing_but_a_receipt_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, Verdict.COVARIATE)
    people = drawn_learners(N, classes=3)
    turned = replace(people, labels=people.labels[::-1].copy(), folds=people.folds[::-1].copy())
    unknown = replace(people, labels=np.full(N, -1), folds=np.full(N, -1))
    made = [kept(tmp_path / name, who) for name, who in (("a", people), ("b", turned), ("c", unknown))]
    assert made[0] == made[1] == made[2]
    assert set(made[0][0]) == {"facts.json", "arrays.npz", "local.npz"}
    assert set(made[0][1]) == {"work"}
    told = kept(tmp_path / "d", people, alone=True)[1]
    assert told == {**made[0][1], TOLD: "covariate"}
