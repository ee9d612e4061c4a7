"""simulation: how the command finds studies, and what it says when used wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app as site_app
from common.errors import FedmviError
from simulation.cli import app
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.shipped import shipped_study


def test_a_shipped_study_is_found_by_name_even_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "demo.toml"):
        assert shipped_study(Path(name)).name == "demo.toml"
    with pytest.raises(FedmviError, match="101"):
        shipped_study(Path("no-such-study"))


def test_a_users_file_goes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.toml").write_text("[study]\n")
    assert shipped_study(Path("demo.toml")) == Path("demo.toml")


def test_a_cohort_tells_programs_what_was_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["cohort", "demo", "--out", str(tmp_path / "sites"), "--seed", "2", "--json"])
    report = json.loads(done.stdout)
    assert len(report["sites"]) == 6
    again = CliRunner().invoke(app, ["cohort", "demo", "--out", str(tmp_path / "sites")])
    assert isinstance(again.exception, FedmviError)
    assert again.exception.number == 213


def test_an_unknown_importer_is_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import", "nothing", str(tmp_path), "--out", str(tmp_path / "x")])
    assert done.exit_code == 2
    assert "tcga-lihc" in done.output


@pytest.mark.parametrize(
    ("command", "said"), [("run", "A study protocol"), ("cohort", "ct-federated"), ("signal", "ct-federated")]
)
def test_help_says_what_an_argument_is(command: str, said: str) -> None:
    """Versions of the libraries behind the command line have lost it without an error."""
    assert said in CliRunner().invoke(app, [command, "--help"]).stdout


def test_signal_says_what_a_consortium_lacks() -> None:
    done = CliRunner().invoke(app, ["signal", "demo", "--train", "2015"])
    assert isinstance(done.exception, FedmviError)
    assert done.exception.number == 812
    assert "a group '2015', a group 'internal-test', a group 'external-test', images" in str(done.exception)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "sites"
    patients = {f"hospital-{letter}": 30 for letter in "abcd"} | {"external-e": 30, "external-f": 30}
    make_hospitals(load_consortium("demo").with_patients(patients), folder, 1)
    return folder


def test_a_study_of_made_up_patients_that_does_not_say_so_is_refused(sites: Path, tmp_path: Path) -> None:
    silent = tmp_path / "study.toml"
    silent.write_text(shipped_study(Path("demo")).read_text().replace("simulated = true", "simulated = false", 1))
    done = CliRunner().invoke(app, ["plan", str(silent), "--sites", str(sites), "--out", str(tmp_path / "plan")])
    assert isinstance(done.exception, FedmviError)
    assert done.exception.number == 814
    assert not (tmp_path / "plan").exists()


def test_a_check_of_a_made_up_site_says_what_it_is(sites: Path) -> None:
    done = CliRunner().invoke(site_app, ["check", "--site", str(sites / "hospital-a")])
    assert "marked as simulated" in done.stdout
