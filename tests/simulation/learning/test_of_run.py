"""simulation: learning: the baselines of a run train what the run trained, and stand in its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from client.cohort.membership import site_secret
from client.cohort.site import Site
from client.learning.work import Works
from common.errors import FedmviError
from common.federation.learning import ScorePatients
from common.networks.weights import read_weights
from common.published.results import read_results
from common.study.loader import parse_study
from common.study.protocol import Study
from common.study.table import FloatArray
from server.study.run_directory import RunDirectory
from simulation.cli import app
from simulation.learning import compare
from simulation.learning.communication import traffic
from simulation.learning.compare import FEDERATED, POOLED, Compared
from simulation.learning.comparison import Estimate, Row
from simulation.learning.of_run import OfRun
from simulation.learning.ways import Ways
from simulation.running import find_sites, sites_of_study
from tests.docs.reader import Reader
from tests.simulation.learning.test_compare import text

COHORT, ONE = "train", ("t1a",)
ROWS = (
    Row(FEDERATED, COHORT, 75, Estimate(0.8, 0.7, 0.9), None, Estimate(0.6, 0.5, 0.7), 0.5, None, None),
    Row(POOLED, COHORT, 75, Estimate(0.9, 0.8, 0.95), None, Estimate(0.6, 0.5, 0.7), 0.5, Estimate(0.1, 0.01, 0.2),
        Estimate(0.0, -0.1, 0.1)),
)  # fmt: skip


def out_of_fold(folder: Path) -> FloatArray:
    """(n,) what a run's hospital kept of its training patients' out-of-fold scores."""
    (run,) = (folder / "store" / "work").iterdir()
    works, found = Works(run), []
    for task in run.iterdir():
        facts = works.facts(task.name) if (task / "facts.json").exists() else {}
        if facts.get("task") == ScorePatients.name and facts["cohort"] == COHORT:
            found.append(works.arrays(task.name)["mean"])
    assert len(found) == 1
    return np.asarray(found[0])


@dataclass(frozen=True)
class Finished:
    run: RunDirectory
    protocol: Path
    sites: Path

    @property
    def study(self) -> Study:
        return parse_study(self.protocol.read_text())

    @property
    def found(self) -> Mapping[str, Site]:
        return sites_of_study(self.study, find_sites(self.sites))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """What the guide to networks does, with a study that trains one small combination with one seed for two rounds."""
    folder = tmp_path_factory.mktemp("of-run")
    protocol, sites, run = folder / "study.toml", folder / "sites" / "network", folder / "runs" / "network"
    protocol.write_text(text(rounds="2", seeds="1", combinations='[["t1a"]]'))
    drawing = "stacks --study study.toml --effect 2 --shift 0"
    changes = {"stacks": drawing, "--seed 7": "--seed 1", "--patients 60": "--patients 25",
               "demo-network": "study.toml"}  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        reader = Reader(folder, patched, changes)
        reader.instead = {"fedmvi-simulate run": reader.in_one_process}
        reader.follow("howto/train-a-network.md")
    assert (folder / "runs" / "compare" / "comparison.json").is_file()
    assert (folder / "model" / "models" / "model.onnx").is_file()
    return Finished(RunDirectory(run), protocol, sites)


def test_with_the_hospitals_secrets_the_federated_training_is_the_runs_own_bit_for_bit(
    finished: Finished, tmp_path: Path
) -> None:
    study, sites = finished.study, finished.found
    held = {name: compare._cohorts(site, study, study.networks[0], ONE) for name, site in sites.items()}
    ways = Ways(study, study.networks[0], ONE, held, tmp_path, {n: site_secret(site) for n, site in sites.items()})
    trained = ways.federated()
    kept = np.concatenate([out_of_fold(sites[name].folder) for name in ways.training_sites])
    assert np.std(kept) > 0, "the network learned something"
    assert np.array_equal(ways.scored(trained, COHORT).present[0], kept)
    path = finished.run.models / "dl_mvi" / "t1a" / "seed0.safetensors"
    assert np.array_equal(read_weights(path)[1], trained.members[0][-1].weights)


def test_the_comparison_stands_in_the_runs_report_and_says_whether_it_is_the_same_training(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, network = finished.run, finished.study.networks[0]
    weights = read_weights(run.models / "dl_mvi" / "t1a" / "seed0.safetensors")[1]
    asked: list[tuple[str, ...] | None] = []

    def compared(study: Study, sites: Any, name: str | None, combination: Any, *_: Any) -> Compared:
        asked.append(combination)
        return Compared(study.study.name, network, combination, tuple(ROWS), {"hospital-a alone": "no patient"},
                        {}, {}, tuple(traffic(network, combination, 3)), ("A note.",), weights)  # fmt: skip

    monkeypatch.setattr(compare, "compare_training", compared)
    command = ["compare-training", str(finished.protocol), str(finished.sites), "--run", str(run.folder)]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert asked == [ONE], "what the run chose"
    baselines = read_results(run.results_file).get("network.dl_mvi.pooled-and-alone.train")
    assert "the run's own, bit for bit" in baselines.note
    found = {(e.name, e.term): e.value for e in baselines.estimates}
    assert found == {("auc", FEDERATED): 0.8, ("auc", POOLED): 0.9, ("auc_difference", POOLED): 0.1,
                     ("auc", "hospital-a alone"): None}  # fmt: skip
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Federated, pooled, and each hospital alone" in page and "0.100 (0.010 to 0.200)" in page
    weights[0] += 0.5
    CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    again = read_results(run.results_file).results
    (other,) = [r for r in again if r.statistic == "pooled-and-alone"]
    assert "largest difference of a weight is 0.5" in other.note


def test_baselines_of_another_protocol_than_the_runs_are_refused(finished: Finished) -> None:
    other = parse_study(text(rounds="3", seeds="1", combinations='[["t1a"]]'))
    with pytest.raises(FedmviError, match="704"):
        OfRun(finished.run, other)
