"""client/learning: tasks of networks at a site: done once, kept whole, each patient where he belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.learning.dataset import LANDMARKS, Learners
from client.learning.work import Works
from client.learning.workbench import Workbench, dealt_folds, network_of, roles, shared_size
from common.errors import FedmviError
from common.federation.learning import WHOLE, ExplainPatients, Job, Member, Part, ScorePatients, TrainRound
from common.federation.query import perform
from common.study.loader import parse_study
from tests.disclosure.networks import JOB, NETWORK_STUDY, ONE, message, round_of, weights

STUDY = parse_study(NETWORK_STUDY)
N = 40


def people(cohort: str) -> Learners:
    """Patients p00 to p39 with noise for images; every fifth is in the same fold, and p07 has no label."""
    rng = np.random.default_rng(2)
    body = np.sort(rng.random((N, 1, len(LANDMARKS)), dtype=np.float32))
    labels = np.arange(N) % 2 if cohort == "train" else np.full(N, -1)
    labels[7] = -1
    return Learners(
        tuple(f"p{i:02d}" for i in range(N)),
        rng.random((N, 1, 2, 32, 32), dtype=np.float32),
        np.ones((N, 1), dtype=bool),
        labels.astype(np.int64),
        (np.arange(N) % 5).astype(np.int64),
        body,
        ONE,
    )


class Reads:
    """Counts how often patients are read."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, cohort: str, *_: Any) -> Learners:
        self.times += 1
        return people(cohort)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(STUDY, Works(tmp_path / "work"), Reads(), b"secret", site="a")


def test_the_rounds_of_a_message_read_the_patients_once_and_a_done_task_nothing(tmp_path: Path) -> None:
    read = Reads()
    bench = Workbench(STUDY, Works(tmp_path), read, b"secret", site="a")
    first, other = round_of(STUDY), round_of(STUDY, job=Job("net", ONE, 1, 1))
    assert bench.perform(first) == {"work": perform(first).digest}
    bench.perform(other)
    assert read.times == 1
    again = Workbench(STUDY, Works(tmp_path), read, b"secret", site="a")
    again.perform(first)
    assert read.times == 1
    made, theirs = (bench.work(perform(task).digest) for task in (first, other))
    assert not np.array_equal(made["update"], theirs["update"]), "another seed is another training"


def test_a_round_trains_on_three_folds_and_validates_on_the_one_after_the_held_out(bench: Workbench) -> None:
    task = round_of(STUDY)
    bench.perform(task)
    made = bench.work(perform(task).digest)
    sizes = {name: int(made[name]) for name in ("patients", "training_patients", "validation_patients")}
    # Held out is fold 1; p07, of fold 2, which validates, has no label.
    assert sizes == {"patients": 24, "training_patients": 24, "validation_patients": 7}
    assert made["update"].dtype == np.float32
    assert made["update"].shape == (shared_size(STUDY, STUDY.networks[0], ONE),)


def test_the_same_site_draws_the_same_in_every_run_and_another_site_otherwise(tmp_path: Path) -> None:
    task = round_of(STUDY)
    made = []
    for run, secret in (("one", b"secret"), ("two", b"secret"), ("three", b"other")):
        bench = Workbench(STUDY, Works(tmp_path / run), Reads(), secret, site="a")
        bench.perform(task)
        made.append(bench.work(perform(task).digest)["update"])
    assert made[0].tobytes() == made[1].tobytes()
    assert made[0].tobytes() != made[2].tobytes()


def test_measuring_changes_nothing_and_tells_no_update(bench: Workbench) -> None:
    task = round_of(STUDY, train=False)
    bench.perform(task)
    assert set(bench.work(perform(task).digest)) == {
        "training_loss", "training_patients", "validation_loss", "validation_patients"
    }  # fmt: skip


def test_each_patient_is_scored_by_the_member_of_his_fold(bench: Workbench) -> None:
    alone = [round_of(STUDY, job=Job("net", ONE, 0, fold)) for fold in range(5)]
    for task in alone:
        bench.perform(task)
    rng = np.random.default_rng(0)
    size = weights(STUDY).size
    who = tuple(
        Member(fold, weights(STUDY) + rng.normal(0, 0.1, size).astype(np.float32), perform(alone[fold]).digest)
        for fold in range(5)
    )
    scored = ScorePatients("train", "net", ONE, 0, who)
    bench.perform(scored)
    patients = ["p12", "nobody", "p00", "p07"]
    columns = bench.columns("train", scored.model, patients)
    assert np.isnan(columns["mean"]).tolist() == [False, True, False, False]
    whole = [ScorePatients("external", "net", ONE, 0, (Member(WHOLE, member.weights, member.local),)) for member in who]
    for place, fold in ((0, 2), (2, 0), (3, 2)):
        bench.perform(whole[fold])
        expected = bench.columns("external", whole[fold].model, patients)
        assert all(columns[name][place] == expected[name][place] for name in columns)
    assert {"mean", "first", "mean.grade", "first.grade"} <= set(columns)
    assert (columns["mean.grade"][0] == 1.0) == (columns["mean"][0] > 0.5)
    assert columns["mean"][0] == round(float(columns["mean"][0]), 4)


def test_scores_are_found_again_after_a_crash_between_them_and_their_name(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = ScorePatients("external", "net", ONE, 0, (Member(WHOLE, weights(STUDY)),))
    with monkeypatch.context() as patched:
        patched.setattr(Works, "claim", lambda *_: "")
        bench.perform(task)
    with pytest.raises(FedmviError, match="511"):
        bench.columns("external", task.model, ["p00"])
    bench.perform(task)
    assert bench.columns("external", task.model, ["p00"])["mean"].shape == (1,)


def test_pictures_stay_in_the_folder_of_their_task(bench: Workbench, tmp_path: Path) -> None:
    task = ExplainPatients("external", "net", ONE, 0, Member(WHOLE, weights(STUDY)))
    assert bench.perform(task) == {"work": perform(task).digest}
    folder = tmp_path / "work" / perform(task).digest
    assert len(list(folder.glob("p*.png"))) == 6
    assert (folder / "explained.html").stat().st_mode & 0o077 == 0


def test_a_protocol_s_network_is_found_by_name_and_the_published_split_is_one_of_ten() -> None:
    network = network_of(STUDY, "net")
    published = network.model_copy(update={"development": "published"})
    assert (dealt_folds(network), dealt_folds(published)) == (5, 10)
    training, validation = roles(published, Part(0), np.arange(20) % 10)
    assert np.flatnonzero(validation).tolist() == [0, 10]
    assert (training == ~validation).all()
    with pytest.raises(FedmviError, match="414"):
        network_of(STUDY, "other")


def test_a_round_that_goes_on_needs_the_state_of_the_one_before(bench: Workbench) -> None:
    first = round_of(STUDY)
    bench.perform(first)
    bench.perform(round_of(STUDY, 1, before=perform(first).digest))
    with pytest.raises(FedmviError, match="511"):
        bench.perform(round_of(STUDY, 2, before="0" * 64))
    assert isinstance(message(first)[0].question, TrainRound)
    assert JOB.fold == 1
