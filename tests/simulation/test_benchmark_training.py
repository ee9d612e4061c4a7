"""simulation: the benchmark of training compares like with like and reports in one form; nothing is said of times."""

from __future__ import annotations

import json

import pytest
import torch

from common.networks.network import build
from common.study.networks import Augmentation
from simulation.benchmarks import training
from simulation.benchmarks.baselines.plain_training import Combinations, plain_logits, varied
from simulation.benchmarks.convergence import Course, Trial, converge
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


def test_convergence_is_judged_by_the_lowest_loss_in_no_more_time_than_the_plain_loop_had() -> None:
    course = Course(losses=(1.1, 0.9, 0.5, 0.4), seconds=(0.0, 1.0, 2.0, 3.0))
    assert course.within(2.5).lowest == 0.5
    assert course.reached(0.9) == (1, 1.0) and course.reached(0.1) is None
    found = converge(Trial(patients=10, size=32, seeds=2, epochs=1, our_epochs=2, threads=1))
    assert len(found["plain"]["lowest"]) == len(found["ours"]["lowest"]) == 2
    assert found["constant_loss"] == pytest.approx(1.1, abs=0.1), "log 3 before training"
    assert found["reached"] == (found["ours"]["mean"] <= found["plain"]["mean"] + found["spread"])
    json.dumps(found, allow_nan=False)
