"""tests: every number of the report of a study of tables is in its results; of images, see `simulation/learning`."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.published.results import read_results
from server.report.page import write_report
from server.study.execution import Action
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import Simulation
from simulation.shipped import shipped_study
from tests.report_numbers import Page, printed, read, unknown


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shipped demonstration, with two draws of its hospitals."""
    folders = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp(f"draw{seed}")
        make_hospitals(load_consortium("demo"), folder / "sites", seed)
        simulated = Simulation.of(shipped_study(Path("demo")), folder / "sites", folder / "run", in_process=True)
        simulated.conduct(Action.RUN, lambda _: None)
        write_report(read_results(simulated.run.results_file), None, simulated.run.folder)
        folders.append(simulated.run.folder)
    return folders


def test_every_number_of_the_report_is_in_the_results(runs: list[Path]) -> None:
    page, content = read(runs[0])
    assert printed(page) > 1000
    assert unknown(page, content) == []


def test_what_the_protocol_says_of_the_study_is_in_the_results_and_on_the_page(runs: list[Path]) -> None:
    page, content = read(runs[0])
    assert content["reporting"]["ethics"] == "None needed: all patients are simulated."
    assert any(content["reporting"]["ethics"] in words for words in Page(page).words)


def test_the_report_of_other_results_is_found_out(runs: list[Path]) -> None:
    """So that the test above can fail: the same study's page with other patients has hundreds of strange numbers."""
    page, content = read(runs[0])[0], read(runs[1])[1]
    assert len(unknown(page, content)) > 100
