"""simulation: the benchmark of training compares like with like and reports in one form; nothing is said of times."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from common.networks.network import build
from common.study.networks import Augmentation
from simulation.benchmarks import training
from simulation.benchmarks.baselines.plain_training import Combinations, plain_logits, varied
from simulation.benchmarks.convergence import Course, Trial, constant_loss, converge, judged
from simulation.benchmarks.training import Workload, benchmark_training, differences, pictures

TINY = Workload(patients=2, size=32, width=8, blocks=1, measured=2, steps=1, threads=1)


def test_plain_loop_and_ours_have_the_same_loss_and_gradient_where_they_compute_the_same() -> None:
    found = differences(TINY)
    assert set(found) == {"loss", "gradient"}
    assert max(found.values()) < 1e-5


def test_a_wrong_gradient_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "plain_logits", lambda net, images: 1.01 * plain_logits(net, images))
    assert max(differences(TINY).values()) > training.TOLERANCE


def test_every_combination_of_slices_is_a_sample_of_the_plain_loop_once() -> None:
    learners = pictures(TINY)
    dataset = Combinations(learners, None)
    assert len(dataset) == 2 * 27
    whole = torch.stack([dataset[i][0] for i in range(27)])
    assert len(torch.unique(whole.flatten(1), dim=0)) == 27
    for branch in range(3):
        assert len(torch.unique(whole[:, branch].flatten(1), dim=0)) == 3
    net = build(training.architecture_of(TINY.network(), training.SEQUENCES, 3), seed=1).eval()
    assert torch.allclose(plain_logits(net, whole[:4]), net(whole[:4]), atol=1e-5)


def test_the_plain_augmentation_keeps_a_picture_in_place_where_nothing_is_drawn() -> None:
    image = torch.rand(32, 32)
    still = Augmentation(flip=0.0, crop=(1.0, 1.0), scale=(1.0, 1.0), noise=0.0)
    assert torch.allclose(varied(image, still), image, atol=1e-6)
    flipped = varied(image, still.model_copy(update={"flip": 1.0}))
    assert torch.allclose(flipped, image.flip(0, 1), atol=1e-6)
    smaller = varied(torch.ones(32, 32), still.model_copy(update={"scale": (0.8, 0.8)}))
    assert smaller.shape == (32, 32) and torch.allclose(smaller, torch.ones(32, 32))


def test_the_report_has_times_memory_and_share_of_the_ceiling_of_both() -> None:
    report = benchmark_training(TINY, repeats=1).report()
    assert report["digest_equal"]
    (plain,) = report["baselines"]
    for side in (report["ours"], plain):
        assert side["median_s"] > 0 and side["samples_per_s"] == pytest.approx(2 * 27 / side["median_s"])
        assert 0 < side["share_of_ceiling"] < 1 and side["peak_mib"] > 100
    assert report["ratio"] == pytest.approx(plain["median_s"] / report["ours"]["median_s"])
    assert plain["flop_per_epoch"] == pytest.approx(9 * report["ours"]["flop_per_epoch"], rel=0.05), "81 passes, not 9"
    json.dumps(report, allow_nan=False)


def course(stopping: tuple[float, ...], reported: tuple[float, ...]) -> Course:
    looks = range(len(stopping))
    return Course(stopping, reported, tuple(map(float, looks)), tuple(looks))


def test_convergence_is_judged_where_one_half_stopped_by_the_loss_of_the_other() -> None:
    plain = [course((1.1, 0.5, 0.6), (1.1, loss, 0.1)) for loss in (0.50, 0.60)]  # mean 0.55, SD 0.0707
    lucky = [course((1.1, 0.4, 0.9), (1.1, loss, 0.0)) for loss in (0.63, 0.63)]
    found = judged(plain, lucky)
    assert found["plain"]["losses"] == [0.50, 0.60] and found["plain"]["spread"] == pytest.approx(0.0707, abs=1e-4)
    assert found["ours"]["mean"] == pytest.approx(0.63) and not found["reached"], "a lower loss elsewhere is not taken"
    near = [course((1.1, 0.4, 0.9), (1.1, loss, 2.0)) for loss in (0.60, 0.63)]
    assert judged(plain, near)["reached"], "within the mean of the plain loop and its SD"
    late = [course((1.1, 0.9, 0.4), (1.1, 0.2, 0.7)) for _ in range(2)]
    assert not judged(plain, late)["reached"]


def test_the_best_constant_has_the_least_loss_of_all_that_are_the_same_for_everybody() -> None:
    training, weights = np.repeat([0, 1, 2], [5, 3, 2]), np.array([2 / 3, 10 / 9, 5 / 3])
    least = constant_loss(training, training, weights.tolist())
    assert least == pytest.approx(np.log(3)), "where balanced weights make the classes equal"
    for shares in np.random.default_rng(1).dirichlet(np.ones(3), 50):
        assert np.mean(weights[training] * -np.log(shares[training])) >= least


def test_ours_is_looked_at_as_often_as_the_plain_loop_and_never_has_more_processor_time() -> None:
    found = converge(Trial(patients=10, held_out=10, size=32, seeds=1, epochs=2))
    (plain,), (ours,) = found["plain"]["courses"], found["ours"]["courses"]
    assert len(ours["seconds"]) == len(plain["seconds"]) == 3
    assert all(mine <= theirs for mine, theirs in zip(ours["seconds"], plain["seconds"], strict=True))
    assert ours["epochs"][-1] > plain["epochs"][-1] == 2
    assert ours["reported"][0] == pytest.approx(plain["reported"][0], rel=1e-5), "the same first weights"
    assert found["settings"]["ours"]["optimiser"] == "adamw" and found["settings"]["plain_rate"] > 0
    json.dumps(found, allow_nan=False)
