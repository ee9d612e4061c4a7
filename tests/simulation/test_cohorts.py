"""tests/simulation: synthetic hospitals keep the published margins, the dictionary's ranges and the default limits."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from client.cohort.site import load_site
from common.errors import FedmviError
from common.study.dictionary import DICTIONARY
from common.study.loader import load_study
from common.study.protocol import Limits
from simulation.cohorts import (
    DAYS_PER_MONTH,
    FOLLOW_UP_DAYS,
    HAZARD_RATIO,
    HOSPITALS,
    MARGINS,
    MEDIAN_MONTHS,
    SIZE,
    TRAITS,
    draw_hospitals,
    make_hospitals,
)
from simulation.importers.folder import SiteRows

ROOT = Path(__file__).parents[2]
SEEDS = 50


def frame(site: SiteRows) -> pd.DataFrame:
    return pd.DataFrame(site.rows, columns=list(site.header)).assign(site=site.name)


@pytest.fixture(scope="module")
def draws() -> list[pd.DataFrame]:
    return [pd.concat([frame(site) for site in draw_hospitals(seed)], ignore_index=True) for seed in range(SEEDS)]


def dichotomy(rows: pd.DataFrame, name: str) -> pd.Series:
    cutoff = MARGINS[name].cutoff
    if cutoff is not None:
        assert cutoff == DICTIONARY[name].cutoff
        return rows[name].astype(float) > cutoff
    return rows[name].isin({"sex": ["female"], "edmondson": ["III", "IV"]}.get(name, ["yes"]))


@pytest.mark.parametrize("mvi", ["absent", "present"])
@pytest.mark.parametrize("name", list(MARGINS))
def test_the_share_by_mvi_is_the_published_one(draws: list[pd.DataFrame], name: str, mvi: str) -> None:
    shares = []
    for rows in draws:
        chosen = rows[(rows["mvi"] == mvi) & (rows[name] != "")]
        shares.append(float(dichotomy(chosen, name).mean()))
    error = float(np.std(shares, ddof=1)) / math.sqrt(SEEDS)
    assert abs(float(np.mean(shares)) - MARGINS[name].share(mvi == "present")) <= 3 * error
    assert error < 0.01  # the margin is tight enough to mean something


@pytest.mark.parametrize("mvi", ["absent", "present"])
def test_tumour_size_has_the_published_median(draws: list[pd.DataFrame], mvi: str) -> None:
    medians = [float(rows.loc[rows["mvi"] == mvi, "tumour_size_pathology"].astype(float).median()) for rows in draws]
    assert float(np.mean(medians)) == pytest.approx(SIZE[mvi == "present"][1], abs=0.1)


@pytest.mark.parametrize("name", list(TRAITS))
def test_imaging_traits_have_the_declared_odds_ratio(draws: list[pd.DataFrame], name: str) -> None:
    rows = pd.concat(draws)
    rows = rows[(rows[name] != "") & (rows["mvi"] != "")]
    share = {mvi: float((rows.loc[rows["mvi"] == mvi, name] == "yes").mean()) for mvi in ("absent", "present")}
    odds = {mvi: s / (1 - s) for mvi, s in share.items()}
    assert odds["present"] / odds["absent"] == pytest.approx(TRAITS[name][1], rel=0.06)


@pytest.mark.parametrize("endpoint", ["rfs", "os"])
def test_survival_has_the_declared_hazards(draws: list[pd.DataFrame], endpoint: str) -> None:
    rows = pd.concat(draws)
    rows = rows[rows[f"{endpoint}_days"] != ""]
    hazard = {}
    for mvi in ("absent", "present"):
        group = rows[rows["mvi"] == mvi]
        hazard[mvi] = group[f"{endpoint}_event"].astype(int).sum() / group[f"{endpoint}_days"].astype(int).sum()
    declared = math.log(2) / (MEDIAN_MONTHS[endpoint] * DAYS_PER_MONTH)
    assert hazard["present"] == pytest.approx(declared, rel=0.03)
    assert hazard["present"] / hazard["absent"] == pytest.approx(HAZARD_RATIO[endpoint], rel=0.04)


def test_survival_is_coherent_and_ends_administratively(draws: list[pd.DataFrame]) -> None:
    rows = pd.concat(draws)
    assert ((rows["rfs_days"] == "") == (rows["os_event"] == "")).all()
    rows = rows[rows["rfs_days"] != ""]
    rfs, os = rows["rfs_days"].astype(int), rows["os_days"].astype(int)
    assert (rfs <= os).all()
    assert int(rfs.min()) >= 1
    assert int(os.max()) == FOLLOW_UP_DAYS


def test_every_value_fits_the_dictionary(draws: list[pd.DataFrame]) -> None:
    rows = pd.concat(draws)
    for column in rows.columns:
        variable = DICTIONARY.get(column)
        if variable is None:
            continue
        known = rows.loc[rows[column] != "", column]
        if variable.kind == "continuous":
            assert variable.low is not None
            assert variable.high is not None
            assert known.astype(float).between(variable.low, variable.high).all(), column
        else:
            assert set(known) <= set(variable.levels), column


def test_conjugated_bilirubin_never_exceeds_the_total(draws: list[pd.DataFrame]) -> None:
    rows = pd.concat(draws)
    rows = rows[rows["conjugated_bilirubin"] != ""]
    assert (rows["conjugated_bilirubin"].astype(float) < rows["total_bilirubin"].astype(float)).all()


def test_missing_values_are_few_and_depend_on_age_where_declared(draws: list[pd.DataFrame]) -> None:
    rows = pd.concat(draws)
    old = rows["age"].astype(float) > 60
    assert float((rows["afp"] == "").mean()) == pytest.approx(0.02, abs=0.003)
    assert float((rows.loc[old, "ggt"] == "").mean()) == pytest.approx(0.08, abs=0.01)
    assert float((rows.loc[~old, "ggt"] == "").mean()) == pytest.approx(0.03, abs=0.01)


def test_every_hospital_satisfies_the_default_limits_of_the_demo(draws: list[pd.DataFrame]) -> None:
    study = load_study(ROOT / "studies" / "demo.toml")
    assert study.study.simulated
    assert set(study.sites()) == set(HOSPITALS)
    internal = study.cohort("internal-test")
    assert internal.split is not None
    for rows in draws:
        eligible = rows[
            (rows["mvi"] != "")
            & (rows["macrovascular_invasion"] == "no")
            & (rows["prior_treatment"] == "no")
            & (rows["imaging_to_surgery_days"].astype(int) <= 30)
        ]
        for site, group in eligible.groupby("site"):
            classes = Counter(group["mvi"])
            fewest = min(classes["absent"], classes["present"])
            if site in internal.sites:
                assert len(group) * internal.split.fraction >= Limits().min_patients
                assert fewest * internal.split.fraction >= Limits().min_class
            else:
                assert fewest >= Limits().min_test_class


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        make_hospitals(tmp_path / name, seed)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == 4 * len(HOSPITALS) + 1
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    table = Path("hospital-a") / "patients.csv"
    assert (tmp_path / "one" / table).read_bytes() != (tmp_path / "other" / table).read_bytes()


def test_a_hospital_says_that_it_is_simulated(tmp_path: Path) -> None:
    report = make_hospitals(tmp_path / "sites", 1, {"hospital-a": 120})
    assert report.sites[0].patients == 120
    assert any("simulated" in note for note in report.notes)
    assert "simulated" in (tmp_path / "sites" / "cohort.json").read_text(encoding="utf-8")
    assert load_site(tmp_path / "sites" / "hospital-a").site.simulated


def test_a_filled_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(FedmviError) as caught:
        make_hospitals(tmp_path, 1)
    assert caught.value.number == 213
