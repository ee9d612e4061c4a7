"""simulation: learning: pooled, alone and federated trainings are one engine over other federations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from client.cohort.site import Site
from client.learning import performing
from client.learning.dataset import Learners
from common.errors import FedmviError
from common.study.loader import parse_study
from common.study.protocol import Study
from simulation.cli import app
from simulation.learning import compare
from simulation.learning.communication import traffic
from simulation.learning.compare import FEDERATED, POOLED
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from simulation.learning.learners import drawn_learners
from simulation.learning.ways import Ways
from simulation.shipped import shipped_study
from tests.docs.reader import Reader

PAIR = ("t1a", "t1v")


def text(**changes: str) -> str:
    demo = shipped_study(Path("demo-network")).read_text()
    demo = demo.replace('"hospital-c", "hospital-d"]', '"hospital-c"]').replace("size = 64", "size = 32")
    demo = demo.replace('["t1", "t1a", "t1v", "t1d"]', '["t1a", "t1v"]').replace("width = 16", "width = 8")
    demo = demo.replace('["single", "published-methods"]', '[["t1a", "t1v"], ["t1a"]]')
    for name, value in changes.items():
        (line,) = [line for line in demo.splitlines() if line.startswith(f"{name} = ")]
        demo = demo.replace(line, f"{name} = {value}")
    return demo


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(text(rounds="2", seeds="1"))


def ways_of(study: Study, folder: Path) -> Ways:
    drawing = Drawing(seed=1, patients=10, effect=0.5)
    names = ("hospital-a", "hospital-b", "hospital-c")
    sites = {name: {"train": drawn_learners(PAIR, 32, drawing, site=name)} for name in names}
    external = {"external-test": drawn_learners(PAIR, 32, drawing, site="external-e")}
    return Ways(study, study.networks[0], PAIR, {**sites, "external-e": external}, folder)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round or two of ten patients may teach nothing, which ends a study (682): here every training keeps a round."""
    train = Ways._train

    def at_least_a_round(self: Ways, *of: Any) -> dict[Any, Any]:
        return {job: replace(one, rounds=max(one.rounds, 1)) for job, one in train(self, *of).items()}

    monkeypatch.setattr(Ways, "_train", at_least_a_round)


@pytest.mark.usefixtures("taught")
def test_nobody_is_scored_out_of_fold_by_a_network_that_saw_him(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {}
    scored: list[tuple[bytes, set[str]]] = []
    train, score = performing.round_of, performing.scores_of

    def round_of(network, task, training, validation, local, seed):  # type: ignore[no-untyped-def]
        made, left = train(network, task, training, validation, local, seed)
        seen.setdefault(task.job.words, set()).update(training.ids, validation.ids)
        return made, left

    def scores_of(network, patients, weights, local):  # type: ignore[no-untyped-def]
        scored.append((weights.tobytes(), set(patients.ids)))
        return score(network, patients, weights, local)

    monkeypatch.setattr(performing, "round_of", round_of)
    monkeypatch.setattr(performing, "scores_of", scores_of)
    ways = ways_of(study, tmp_path)
    for train_all in (ways.pooled, lambda: ways.alone("hospital-b")):
        seen.clear(), scored.clear()
        trained = train_all()
        found = ways.scored(trained, "train")
        assert found.present.shape == (1, 30) and not np.isnan(found.present).any()
        assert len(scored) >= 5
        for weights, ids in scored:
            # Several folds may have kept the first weights, which have seen nobody.
            folds = [member.fold for member in trained.members[0] if member.weights.tobytes() == weights]
            jobs = [name for name in seen for fold in folds if name.endswith(f"all but fold {fold}")]
            assert any(not ids & seen[job] for job in jobs)


@pytest.mark.usefixtures("taught")
def test_pooled_training_is_the_federation_of_one_site_with_everybody_and_alone_that_of_its_own(
    study: Study, tmp_path: Path
) -> None:
    ways = ways_of(study, tmp_path)
    one = Ways(study, ways.network, PAIR, {"hospital-a": ways.sites["hospital-a"]}, tmp_path / "one")
    federated, alone = one.federated(), one.alone("hospital-a")
    for a, b in zip(federated.members[0], alone.members[0], strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
    assert federated.meter.rounds == alone.meter.rounds > 0


def test_where_no_round_taught_anything_a_way_is_no_network_as_in_a_study(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, train = ways_of(study, tmp_path), Ways._train

    def taught_nothing(self: Ways, *of: Any) -> dict[Any, Any]:
        done = train(self, *of)
        return {job: replace(one, rounds=0) for job, one in done.items()}

    monkeypatch.setattr(Ways, "_train", taught_nothing)
    with pytest.raises(FedmviError, match="682"):
        ways.alone("hospital-a")


@pytest.mark.usefixtures("taught")
def test_the_command_compares_all_ways_on_the_same_patients_and_says_which_cannot_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = tmp_path / "study.toml"
    protocol.write_text(text(rounds="1", seeds="1"))
    make_learning_hospitals(tmp_path / "sites", parse_study(protocol.read_text()), Drawing(seed=1, patients=10))
    read = compare._cohorts

    def without_m2_at_c(site: Site, *of: Any) -> dict[str, Learners]:
        found = read(site, *of)
        return {name: each.keep(each.labels < 2) if site.name == "hospital-c" else each for name, each in found.items()}

    monkeypatch.setattr(compare, "_cohorts", without_m2_at_c)
    there = {"demo-network sites/network": "study.toml sites --combination t1a", "comparisons/network": "out"}
    reader = Reader(tmp_path, monkeypatch, there)
    done = reader.type_from("howto/simulate-a-consortium.md", "fedmvi-simulate compare-training")
    printed = " ".join(done.text.split())
    assert "pooled training exists in simulations only" in printed and "hospital-c alone, not estimable" in printed
    report = json.loads((tmp_path / "out" / "comparison.json").read_text())
    ways = [FEDERATED, POOLED, "hospital-a alone", "hospital-b alone"]
    assert [row["way"] for row in report["rows"]] == [*ways, *ways], "nor is there a row of each hospital's own"
    assert report["not_estimable"] == {"hospital-c alone": "no patient of grade M2"}
    assert {row["patients"] for row in report["rows"]} == {28, 10}
    for row in report["rows"]:
        assert (row["auc_difference"] is None) == (row["way"] == FEDERATED)
        assert row["auc"]["low"] <= row["auc"]["value"] <= row["auc"]["high"]
    assert report["simulated"] and report["combination"] == ["t1a"]
    notes = " ".join(report["notes"])
    assert "normalisation" not in notes
    assert f"{FEDERATED} 4 to 6 at each site, {POOLED} 14" in notes, "28 patients, two epochs in steps of 4"
    command = ["compare-training", str(protocol), str(tmp_path / "sites"), "--out", str(tmp_path / "out")]
    with pytest.raises(FedmviError, match="816"):
        raise CliRunner().invoke(app, [*command, "--combination", "t1d"]).exception or AssertionError


def test_a_comparison_says_that_pooled_and_alone_have_statistics_of_their_own_where_the_federation_keeps_them_apart(
    tmp_path: Path,
) -> None:
    study = parse_study(text(normalisation='"silobn"'))
    notes = " ".join(compare._notes(ways_of(study, tmp_path), {}))
    assert "their normalisation is batch where the federation's is silobn" in notes


def test_a_round_costs_four_bytes_a_parameter_plain_eight_masked_and_twice_that_for_scaffold(study: Study) -> None:
    large = study.networks[0].model_copy(update={"width": 32, "blocks": 2})
    each = {row.way: (row.to_site / row.parameters, row.from_site / row.parameters) for row in traffic(large, PAIR, 3)}
    expected = {"plain": (4, 4), "masked": (4, 8), "plain, SCAFFOLD": (8, 8), "masked, SCAFFOLD": (8, 16)}
    assert each == {way: pytest.approx(bytes_, rel=0.02) for way, bytes_ in expected.items()}
