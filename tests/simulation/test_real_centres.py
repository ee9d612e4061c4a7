"""simulation: leave one centre out on the four real centres of the heart disease data, against the pooled analysis."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.metrics import roc_auc_score

from client.cohort.membership import members
from client.cohort.site import load_site
from client.cohort.store import load_prepared
from common.published.results import Result, read_results
from common.study.coding import coded_columns
from common.study.loader import load_study
from common.study.protocol import Study
from common.study.recipe import Complete, Recipe, Select
from common.study.table import FloatArray
from server.study.execution import Action
from simulation.importers.folder import ImportReport
from simulation.running import Simulation
from simulation.shipped import shipped_study
from tests.simulation.conftest import NO_STORE

Imported = Callable[[str], tuple[Path, ImportReport]]
CENTRES = ("cleveland", "hungarian", "switzerland", "va")
FEWEST = 8
"""Switzerland has eight patients without disease."""


@dataclass(frozen=True)
class Run:
    study: Study
    folders: dict[str, Path]
    result: Result

    def rows(self, *sites: str) -> tuple[FloatArray, FloatArray]:
        """(n, p) predictors and (n,) outcomes of some centres' complete cases."""
        (model,) = self.study.models
        columns = coded_columns(self.study, model.predictors)
        names = tuple(column.name for column in columns)
        recipe, frames = Recipe((Select(columns), Complete(names, ("disease",)))), []
        for name in sites:
            site = load_site(self.folders[name])
            table = load_prepared(site, self.study)
            inside = members(site, table, self.study, self.study.cohort("train"))
            frames.append(recipe.apply(table, inside, ("disease",)))
        x = np.concatenate([frame.matrix(names) for frame in frames])
        return x, np.concatenate([frame.endpoints["disease"] for frame in frames])

    def value(self, name: str, term: str = "") -> float:
        found = next(e.value for e in self.result.estimates if (e.name, e.term) == (name, term))
        assert found is not None
        return found


def all_four(text: str) -> str:
    """The shipped study of these data, trained on all four centres, of which each may be left out."""
    head, _, rest = text.partition('[[cohorts]]\nname = "external-va"')
    model = rest[rest.index("[[models]]") :].partition('[[models]]\nname = "clinical-mean"')[0]
    head = head.replace('"cleveland", "hungarian", "switzerland"]', '"cleveland", "hungarian", "switzerland", "va"]')
    model = "\n".join(line for line in model.splitlines() if not line.startswith("evaluate"))
    shift = '[shift]\nmodels = ["clinical"]\nleave_one_centre_out = true\n'
    return f"{head}\n{model}\n{shift}\n[limits]\nmin_test_class = {FEWEST}\n"


@pytest.fixture(scope="module")
def run(imported: Imported, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("centres")
    shutil.copytree(imported("heart-disease")[0], folder / "sites", ignore=NO_STORE)
    for toml in (folder / "sites").glob("*/site.toml"):
        toml.write_text(toml.read_text().replace("[policy]\n", "[policy]\nmay_be_left_out = true\n"))
    path = folder / "study.toml"
    path.write_text(all_four(shipped_study(Path("heart-disease")).read_text()))
    simulation = Simulation.of(path, folder / "sites", folder / "run", in_process=True)
    simulation.conduct(Action.RUN, lambda _: None)
    results = read_results(simulation.run.results_file)
    folders = {name: site.folder for name, site in simulation.sites.items()}
    return Run(load_study(path), folders, results.get("model.clinical.leave-one-centre-out"))


def test_each_area_is_that_of_the_pooled_model_of_the_other_centres(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run.result.status == "estimated"
    for site in CENTRES:
        x, y = run.rows(*(other for other in CENTRES if other != site))
        fit = sm.Logit(y, sm.add_constant(x)).fit(disp=0, tol=1e-14, maxiter=100)
        own, label = run.rows(site)
        score = np.round(fit.predict(sm.add_constant(own)), 4)
        assert run.value("auc", site) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    with capsys.disabled():
        told = ", ".join(f"{site} {run.value('auc', site):.3f}" for site in CENTRES)
        print(f"\nheart-disease, each centre left out: {told}; mean {run.value('mean_auc'):.3f}")


def test_their_summary_is_told_with_the_worst_centre(run: Run):
    areas = {site: run.value("auc", site) for site in CENTRES}
    worst = min(areas, key=lambda site: areas[site])
    assert run.value("worst_auc", worst) == areas[worst]
    assert run.value("mean_auc") == pytest.approx(np.mean(list(areas.values())))
    errors = [e.std_err or 0.0 for e in run.result.estimates if e.name == "auc"]
    mean = next(e for e in run.result.estimates if e.name == "mean_auc")
    assert mean.std_err == pytest.approx(np.sqrt(np.sum(np.square(errors))) / len(CENTRES))
    assert run.value("gap") == pytest.approx(max(areas.values()) - areas[worst])
    new = next(e for e in run.result.estimates if e.name == "auc_prediction")
    assert new.low is not None and new.high is not None and new.low < min(areas.values()) < new.high
    assert run.value("chosen", "clinical") == 1.0
