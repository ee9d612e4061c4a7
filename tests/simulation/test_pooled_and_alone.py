"""Beside the federation: models on pooled rows and by each hospital alone are those that a statistician would fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import statsmodels.api as sm

from common.errors import FedmviError
from common.published.results import Estimate, Results, read_results
from common.study.loader import load_study
from common.study.protocol import Study
from server.study.execution import Action
from server.study.run_directory import RunDirectory
from simulation.importers.folder import ImportReport
from simulation.pooled_and_alone import compare_run, developments
from simulation.running import Simulation, find_sites
from tests.docs.reader import Reader
from tests.simulation.conftest import NO_STORE
from tests.simulation.pooled import coded, delong, fit, outcome, pooled_table

ROOT = Path(__file__).parents[2]
COHORT = "external-va"
TRAINING = ("cleveland", "hungarian", "switzerland")


@pytest.fixture(scope="module")
def compared(
    imported: Callable[[str], tuple[Path, ImportReport]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunDirectory, Path]:
    """A finished run of the four centres with its comparison, and its sites."""
    place = tmp_path_factory.mktemp("compared")
    sites = place / "sites"
    shutil.copytree(imported("heart-disease")[0], sites, ignore=NO_STORE)
    simulation = Simulation.of(ROOT / "studies" / "heart-disease.toml", sites, place / "run", in_process=True)
    simulation.conduct(Action.RUN, lambda _: None)
    compare_run(simulation.run, sites, lambda _: None)
    return simulation.run, sites


def told(results: Results, model: str) -> dict[tuple[str, str], Estimate]:
    found = results.get(f"model.{model}.pooled-and-alone.{COHORT}")
    return {(one.name, one.term): one for one in found.estimates}


def area_of(study: Study, sites: Path, trained: tuple[str, ...], name: str) -> float:
    """Of statsmodels' fit on the rows of some centres, in the cohort."""
    model = next(model for model in study.models if model.name == name)
    rows = pooled_table(sites, study, trained)
    X, y = coded(study, rows, model.predictors), outcome(study, rows, model.endpoint)
    means = X.mean()
    X = X.fillna(means) if model.missing == "mean" else X
    keep = y.notna() & X.notna().all(axis=1)
    fitted = fit(X[keep], y[keep])
    rows = pooled_table(sites, study, study.cohort(COHORT).sites)
    X, y = coded(study, rows, model.predictors), outcome(study, rows, model.endpoint)
    X = X.fillna(means) if model.missing == "mean" else X
    keep = y.notna() & X.notna().all(axis=1)
    score = fitted.predict(sm.add_constant(X[keep], has_constant="add")).round(4)
    return delong(score.to_numpy(), y[keep].to_numpy())[0]


@pytest.mark.parametrize("name", ["clinical", "clinical-mean"])
def test_every_way_is_what_a_statistician_with_these_rows_would_have(
    compared: tuple[RunDirectory, Path], name: str
) -> None:
    run, sites = compared
    study, results = load_study(run.study_file), read_results(run.results_file)
    found = told(results, name)
    ways = {"pooled": TRAINING, **{f"alone: {site}": (site,) for site in TRAINING}}
    seen = 0
    for way, trained in ways.items():
        ours = found["auc", way]
        if ours.value is None:
            assert way == "alone: switzerland" and ours.note  # 8 patients without disease, separated by 7 predictors
            continue
        assert ours.value == pytest.approx(area_of(study, sites, trained, name), abs=1e-12)
        assert ours.low is not None and ours.high is not None and ours.low < ours.value < ours.high
        apart = found["auc_difference", way].value
        assert apart == pytest.approx(ours.value - (found["auc", "federated"].value or 0.0), abs=1e-12)
        seen += 1
    assert seen >= 3
    # The federation itself is the study's own, as the gates let it answer.
    own = results.get(f"model.{name}.auc.{COHORT}.va").estimates[0].value
    assert found["auc", "federated"].value == pytest.approx(own, abs=1e-12)


def test_intervals_of_differences_hold_what_resampling_patients_gives(compared: tuple[RunDirectory, Path]) -> None:
    found = told(read_results(compared[0].results_file), "clinical")
    none = found["auc_difference", "pooled"]
    assert none.value is not None and none.low is not None and none.high is not None
    assert abs(none.value) < 0.005 and none.low <= none.value <= none.high  # sums in another order, and four decimals
    alone = found["auc_difference", "alone: hungarian"]
    assert alone.low is not None and alone.high is not None and 0.0 < alone.high - alone.low < 0.3


def test_a_second_comparison_takes_the_place_of_the_first_and_the_report_shows_it(
    compared: tuple[RunDirectory, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sites = compared
    before = run.results_file.read_bytes()
    reader = Reader(run.folder, monkeypatch, {"runs/demo": str(run.folder), "runs/demo-sites": str(sites)})
    reader.type_from("howto/simulate-a-consortium.md", "fedmvi-simulate pooled-and-alone")
    assert run.results_file.read_bytes() == before
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    value = told(read_results(run.results_file), "clinical")["auc", "alone: cleveland"].value
    assert "Alone: cleveland" in page and f"{value:.3f} (" in page
    assert "which only a simulation has" in page


def test_rows_of_hospitals_that_are_not_simulated_are_not_touched(compared: tuple[RunDirectory, Path]) -> None:
    run, sites = compared
    found = find_sites(sites)
    hospital = found["va"]
    found["va"] = hospital.model_copy(update={"site": hospital.site.model_copy(update={"simulated": False})})
    with pytest.raises(FedmviError) as caught:
        developments(load_study(run.study_file), found)
    assert caught.value.number == 817
