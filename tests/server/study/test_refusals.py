"""server: what sites refuse is said, with the site, before and after the fit; nothing else is lost with it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import simulation.cli
from common.errors import FedmviError
from common.published.results import Results, read_results
from server.study.execution import Action
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import Simulation

STUDY = """
[study]
name = "small"
title = "Small"
simulated = true
[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]
[[cohorts]]
name = "train"
role = "train"
sites = ["hospital-a", "hospital-b", "hospital-c", "hospital-d"]
[[cohorts]]
name = "external"
role = "external-test"
sites = ["external-e", "external-f"]
[[models]]
name = "size"
endpoint = "mvi"
cohort = "train"
predictors = [{ variable = "tumour_size_imaging", coding = "linear" }]
evaluate = ["external"]
"""
Row = dict[str, str]


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    make_hospitals(load_consortium("demo"), tmp_path / "sites", 5)
    (tmp_path / "small.toml").write_text(STUDY)
    return tmp_path / "sites"


def edit(sites: Path, name: str, change: Callable[[int, Row], None]) -> None:
    path = sites / name / "patients.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        change(i, row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def conducted(sites: Path, action: Action = Action.RUN) -> Results:
    simulation = Simulation.of(
        sites.parent / "small.toml", sites, sites.parent / f"run-{action.value}", in_process=True
    )
    simulation.conduct(action, lambda step: None)
    return read_results(simulation.run.results_file if action is Action.RUN else simulation.run.plan_file)


def present(row: Row) -> bool:
    return row["mvi"] == "present"


def test_separation_over_all_sites_is_found_through_the_gate(sites: Path) -> None:
    for name in ("hospital-a", "hospital-b", "hospital-c", "hospital-d"):
        edit(sites, name, lambda i, r: r.update(tumour_size_imaging=f"{(9 if present(r) else 2) + i % 5 / 10}"))
    fit = conducted(sites).get("model.size.coefficients")
    assert fit.status == "not-estimable"
    assert "separate the classes" in fit.note


def test_one_sites_extreme_patients_are_a_refusal_and_not_called_separation(sites: Path) -> None:
    edit(sites, "hospital-d", lambda i, r: r.update(tumour_size_imaging=f"{(35 if present(r) else 0.3) + i % 5 / 10}"))
    for name in ("hospital-a", "hospital-b", "hospital-c"):
        edit(sites, name, lambda i, r: r.update(tumour_size_imaging=f"{(5.5 if present(r) else 4.5) + i % 3:.1f}"))
    fit = conducted(sites).get("model.size.coefficients")
    assert fit.status == "refused"
    assert fit.note.startswith("Site hospital-d: FEDMVI-416")


def test_a_site_that_refuses_alone_loses_only_its_own_result(sites: Path) -> None:
    path = sites / "external-f" / "site.toml"
    path.write_text(path.read_text().replace("release_alone = true", "release_alone = false"))
    results = conducted(sites)
    assert results.get("model.size.auc.external.external-e").status == "estimated"
    refused = results.get("model.size.auc.external.external-f")
    assert refused.status == "refused"
    assert refused.note.startswith("Site external-f: FEDMVI-408")
    command = [
        "run",
        str(sites.parent / "small.toml"),
        "--sites",
        str(sites),
        "--out",
        str(sites.parent / "again"),
        "--in-process",
    ]
    done = CliRunner().invoke(simulation.cli.app, command)
    assert done.exit_code == 1
    assert "external-f" in done.output


def test_a_plan_names_the_site_that_is_under_the_limits_and_no_other(sites: Path) -> None:
    left = iter(range(3))
    edit(
        sites,
        "hospital-a",
        lambda i, r: r.update(mvi="present" if present(r) and next(left, None) is not None else "absent"),
    )
    planned = conducted(sites, Action.PLAN)
    assert [line.split(":")[0] for line in planned.under_limits] == ["hospital-a"]
    assert "FEDMVI-405" in planned.under_limits[0]


def test_a_stricter_limit_of_one_site_is_kept_and_stops_nothing(sites: Path) -> None:
    path = sites / "hospital-a" / "site.toml"
    path.write_text(path.read_text().replace("[policy]", "[policy]\nmin_cell = 30"))
    results = conducted(sites)
    assert results.get("model.size.coefficients").status == "estimated"
    for result in results.results:
        for count in result.counts:
            shown = count.by_site.get("hospital-a")
            assert shown is None or shown == 0 or shown >= 30


def test_a_single_predictor_that_is_nearly_the_outcome_is_flagged(sites: Path) -> None:
    for name in ("hospital-a", "hospital-b", "hospital-c", "hospital-d"):
        edit(sites, name, lambda i, r: r.update(tumour_size_imaging=f"{(6 if present(r) else 3) + (i % 11) * 0.3:.1f}"))
    alone = conducted(sites).get("model.size.univariable")
    assert alone.note.startswith("Suspected leak")


def test_an_endpoint_that_is_missing_everywhere_at_a_site_stops_the_run_and_says_where(sites: Path) -> None:
    edit(sites, "hospital-c", lambda i, r: r.update(mvi=""))
    with pytest.raises(FedmviError, match=r"313.*hospital-c.*column 'mvi'"):
        conducted(sites)


def test_a_site_of_the_study_without_a_folder_is_named(sites: Path) -> None:
    shutil.rmtree(sites / "hospital-b")
    with pytest.raises(FedmviError, match=r"805.*hospital-b"):
        conducted(sites)
