"""simulation: the three shipped studies on real patients of real centres equal the pooled analysis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.published.results import Results, read_results
from common.study.loader import load_study
from server.study.run_directory import RunDirectory
from simulation.importers import IMPORTERS
from simulation.importers.folder import ImportReport
from tests.docs.reader import Reader
from tests.docs.rounds import compare_rounds
from tests.simulation.pooled import Differences, compare_models, compare_survival

ROOT = Path(__file__).parents[2]
Imported = Callable[[str], tuple[Path, ImportReport]]

# The guide's command of each study, with its places.
TYPED = {
    "tcga-lihc": ("fedmvi-simulate run tcga-lihc-mvi", "sites/tcga", "runs/tcga"),
    "heart-disease": ("fedmvi-simulate run heart-disease", "sites/heart", "runs/heart"),
    "asaur": ("fedmvi-simulate run asaur", "sites/asaur", "runs/asaur"),
}

# Absolute differences, on the standardised scale where so named.
TOLERANCE = {
    "logistic coef (standardised)": 1e-9,
    "logistic SE (standardised)": 1e-9,
    "univariable coef (standardised)": 1e-9,
    "univariable SE (standardised)": 1e-9,
    "logistic log10 p": 1e-8,
    "log-likelihood": 1e-8,
    "mean (relative)": 1e-12,
    "SD (relative)": 1e-12,
    "AUC": 1e-12,
    "DeLong SE": 1e-12,
    "log-rank chi2": 1e-8,
    "log-rank p": 1e-8,
    "median survival": 1e-12,
    "Kaplan-Meier survival": 1e-12,
}


@pytest.fixture(scope="module")
def runs() -> dict[str, RunDirectory]:
    """Those that were conducted, by name."""
    return {}


@pytest.fixture(scope="module")
def conducted(
    imported: Imported, tmp_path_factory: pytest.TempPathFactory, runs: dict[str, RunDirectory]
) -> Callable[[str], tuple[Path, Results]]:
    done: dict[str, tuple[Path, Results]] = {}

    def run(name: str) -> tuple[Path, Results]:
        if name not in done:
            sites, _ = imported(name)
            out = tmp_path_factory.mktemp("runs") / name
            line, *places = TYPED[name]
            with pytest.MonkeyPatch.context() as patched:
                reader = Reader(out.parent, patched, dict(zip(places, map(str, (sites, out)), strict=True)))
                reader.instead = {line: reader.in_one_process}
                reader.type_from("howto/public-data.md", line)
            runs[name] = RunDirectory(out)
            done[name] = (sites, read_results(runs[name].results_file))
        return done[name]

    return run


@pytest.mark.parametrize("name", ["tcga-lihc", "heart-disease", "asaur"])
def test_a_federated_study_equals_the_pooled_one(
    conducted: Callable[[str], tuple[Path, Results]], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sites, results = conducted(name)
    study = load_study(ROOT / "studies" / IMPORTERS[name].study)
    seen = Differences()
    compare_models(study, sites, results, seen)
    compare_survival(study, sites, results, seen)
    with capsys.disabled():
        print(f"\n{name}: largest difference to the pooled analysis (statsmodels, scikit-learn, lifelines)")
        for statistic, worst in seen.worst.items():
            print(f"  {statistic:34s} {worst:8.1e}  tolerance {TOLERANCE[statistic]:.0e}  n={seen.compared[statistic]}")
    assert {s: w for s, w in seen.worst.items() if w > TOLERANCE[s]} == {}
    assert all(result.how in ("exact-masked", "site-alone") for result in results.results)


@pytest.mark.parametrize("name", ["tcga-lihc", "heart-disease", "asaur"])
def test_it_takes_the_rounds_that_the_page_on_the_network_tells(
    conducted: Callable[[str], tuple[Path, Results]], runs: dict[str, RunDirectory], name: str
) -> None:
    conducted(name)
    compare_rounds(IMPORTERS[name].study.removesuffix(".toml"), runs[name].facts())


def test_tcga_log_rank_is_the_published_one(conducted: Callable[[str], tuple[Path, Results]]) -> None:
    _, results = conducted("tcga-lihc")
    expected = {"dfi-by-mvi": (4.6856, 0.0304), "pfi-by-mvi": (6.6871, 0.0097), "os-by-mvi": (0.6203, 0.43)}
    for name, (chi2, p) in expected.items():
        test = next(e for e in results.get(f"comparison.{name}").estimates if e.name == "log_rank_chi2")
        assert test.value == pytest.approx(chi2, abs=5e-5)
        assert test.p == pytest.approx(p, abs=5e-3 if name == "os-by-mvi" else 5e-5)


def test_asaur_log_rank_is_the_published_one(conducted: Callable[[str], tuple[Path, Results]]) -> None:
    _, results = conducted("asaur")
    for name, chi2, p in (("rfs-by-mvi", 5.33796, 0.02087), ("os-by-mvi", 11.56991, 6.70e-4)):
        test = next(e for e in results.get(f"comparison.{name}").estimates if e.name == "log_rank_chi2")
        assert test.value == pytest.approx(chi2, abs=5e-6)
        assert test.p == pytest.approx(p, rel=1e-3)


def test_macrovascular_invasion_is_excluded_and_counted(conducted: Callable[[str], tuple[Path, Results]]) -> None:
    _, results = conducted("tcga-lihc")
    flow = {count.name: count.pooled for count in results.get("flow.all").counts}
    assert flow["patients in the table"] == 377
    assert flow["excluded by histology_available"] == 56
    assert flow["excluded by no_macrovascular_invasion"] == 17
    assert flow["in the cohort"] == 304


def test_a_held_out_site_with_few_patients_says_not_estimable(conducted: Callable[[str], tuple[Path, Results]]) -> None:
    _, results = conducted("tcga-lihc")
    g3 = results.get("model.clinical.auc.external-g3.G3")
    assert (g3.status, g3.how) == ("not-estimable", "site-alone")
    assert "fewer than 10 patients in a class" in g3.note
