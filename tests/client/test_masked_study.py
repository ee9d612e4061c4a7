"""client: a whole study under masks gives the plain study's numbers, and one site's answer alone gives none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from client.answering import answer_message
from client.cli import app
from client.cohort.site import load_site
from client.release.keys import own_key, peers
from common.errors import FedmviError
from common.federation.codec import Packed, unpack
from server.study.execution import Action, execute
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import Simulation

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "studies" / "demo.toml"


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("masked") / "sites"
    make_hospitals(load_consortium("demo"), out, 3)
    return out


def unmask(sites: Path, *names: str) -> None:
    for path in sites.glob("*/site.toml"):
        if not names or path.parent.name in names:
            path.write_text(path.read_text().replace("[policy]", '[policy]\nmasks = "off"'))


def study_on(sites: Path, out: Path) -> tuple[Simulation, dict[str, Any]]:
    simulation = Simulation.of(STUDY, sites, out, in_process=True)
    simulation.conduct(Action.RUN, lambda step: None)
    return simulation, json.loads(simulation.run.results_file.read_text())


def test_masked_and_plain_results_of_the_same_sites_differ_in_their_label_only(hospitals: Path, tmp_path: Path) -> None:
    """That the sites answered all of it before hinders no later run over the same patients."""
    sites = tmp_path / "sites"
    shutil.copytree(hospitals, sites)
    masked = study_on(sites, tmp_path / "masked")[1]
    unmask(sites)
    plain = study_on(sites, tmp_path / "plain")[1]
    labels = {result["how"] for result in masked["results"]}
    assert labels == {"exact-masked", "site-alone", "binned(20)", "binned(100)"}
    assert {result["how"] for result in plain["results"]} == {"exact", "site-alone", "binned(20)", "binned(100)"}
    for result in (*masked["results"], *plain["results"]):
        result["how"] = ""
    # Without masks a fold of a small hospital is the few patients in it, and so are those it deals to a drawn hospital.
    refused = {result["id"] for result in plain["results"] if result["status"] == "refused"}
    assert refused == {"analysis.lasso", *(r["id"] for r in plain["results"] if r["statistic"] == "shift")}
    for results in (masked, plain):
        results["results"] = [result for result in results["results"] if result["id"] not in refused]
    assert masked == plain


@dataclass
class Listening:
    """Sites in this process, and a coordinator that reads every part of every sum."""

    folders: Mapping[str, Path]
    counts: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        for site, message in messages.items():
            reply = answer_message(self.folders[site], message)
            for answer in unpack(reply, dict)["answers"]:
                if "classes" in answer["blocks"] and answer["blocks"]["classes"].dtype == np.uint64:
                    self.counts.setdefault(site, []).append(answer["blocks"]["classes"].view(np.int64))
            yield site, reply


@pytest.mark.parametrize("masks", [True, False])
def test_a_coordinator_that_reads_a_part_of_a_sum_sees_counts_only_without_masks(
    hospitals: Path, tmp_path: Path, masks: bool
) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(hospitals, sites)
    if not masks:
        unmask(sites)
    simulation = Simulation.of(STUDY, sites, tmp_path / "run", in_process=True)
    simulation.conduct(Action.PLAN, lambda step: None)
    shutil.rmtree(simulation.run.journal)
    listening = Listening({name: site.folder for name, site in simulation.sites.items()})
    execute(simulation.run, listening, Action.PLAN, lambda step: None)
    seen = np.concatenate([part.ravel() for parts in listening.counts.values() for part in parts])
    plausible = (seen >= 0) & (seen < 1000)
    assert seen.size > 50
    assert plausible.all() if not masks else not plausible.any()


def test_a_roster_with_a_site_whose_key_is_not_trusted_is_refused(hospitals: Path, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(hospitals, sites)
    path = sites / "hospital-a" / "peers.toml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "hospital-b" not in line))
    with pytest.raises(FedmviError, match=r"417.*'hospital-b'"):
        study_on(sites, tmp_path / "run")


def test_sites_that_disagree_about_masks_stop_the_run(hospitals: Path, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(hospitals, sites)
    unmask(sites, "hospital-c")
    with pytest.raises(FedmviError, match="418"):
        study_on(sites, tmp_path / "run")


def test_keys_are_exchanged_by_two_commands(hospitals: Path, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(hospitals, sites)
    a, b = sites / "hospital-a", sites / "hospital-b"
    (a / "peers.toml").unlink()
    told = json.loads(CliRunner().invoke(app, ["key", "--site", str(b), "--json"]).output)
    assert told == {"site": "hospital-b", "key": own_key(load_site(b))}
    assert CliRunner().invoke(app, ["trust", "hospital-b", told["key"], "--site", str(a)]).exit_code == 0
    assert peers(load_site(a)) == {"hospital-b": bytes.fromhex(told["key"])}
    again = CliRunner().invoke(app, ["trust", "hospital-b", "00" * 32, "--site", str(a)])
    assert isinstance(again.exception, FedmviError)
    assert again.exception.number == 417
    short = CliRunner().invoke(app, ["trust", "hospital-c", "abc", "--site", str(a)])
    assert isinstance(short.exception, FedmviError)
    assert peers(load_site(a)) == {"hospital-b": bytes.fromhex(told["key"])}
    assert (a / "peers.toml").stat().st_mode & 0o777 == 0o600
