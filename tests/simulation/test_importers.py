"""tests/simulation: what the importers write, against what is published about the data."""

import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.statistics import logrank_test

from client.cohort.site import load_site
from common.errors import FedmviError
from common.study.dictionary import DICTIONARY
from common.study.loader import load_study
from simulation.importers import IMPORTERS
from simulation.importers.folder import ImportReport, SiteRows, simulated_secret, write_sites
from simulation.importers.source import Tally, decimal, number, word
from simulation.importers.tcga_laboratory import _LIMITS, _VALUES, RULES, laboratory
from simulation.importers.tcga_lihc import group_centres

ROOT = Path(__file__).parents[2]
Imported = Callable[[str], tuple[Path, ImportReport]]


def table(out: Path) -> pd.DataFrame:
    """All sites of a folder in one table of text; `None` stays a level."""
    parts = [
        pd.read_csv(path, dtype=str, keep_default_na=False).assign(site=path.parent.name)
        for path in sorted(out.glob("*/patients.csv"))
    ]
    return pd.concat(parts, ignore_index=True)


def log_rank(rows: pd.DataFrame, endpoint: str, unit: str, group: pd.Series) -> tuple[float, float]:
    known = rows[f"{endpoint}_event"] != ""
    time, event = rows.loc[known, f"{endpoint}_{unit}"].astype(float), rows.loc[known, f"{endpoint}_event"].astype(int)
    inside = group[known]
    result = logrank_test(time[inside], time[~inside], event[inside], event[~inside])
    return float(result.test_statistic), float(result.p_value)


# ------------------------------------------------------------------------------------------------ every importer


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_every_imported_site_is_a_simulated_site_of_its_shipped_study(imported: Imported, name: str) -> None:
    out, report = imported(name)
    study = load_study(ROOT / "studies" / IMPORTERS[name].study)
    assert set(study.sites()) == {site.name for site in report.sites}
    for summary in report.sites:
        site = load_site(out / summary.name)
        assert site.name == summary.name
        assert site.site.simulated
        assert site.policy.approved_studies == ("any",)
        assert site.policy.release_alone
        assert stat.S_IMODE(site.secret_file.stat().st_mode) == 0o600
        raw = (out / summary.name / "patients.csv").read_bytes()
        assert b"\r" not in raw
        assert raw.startswith(b"patient_id,")
        assert raw.count(b"\n") == summary.patients + 1


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_an_import_is_recorded_with_the_hashes_of_its_sources(
    imported: Imported, public_data: Callable[[str], Path], name: str
) -> None:
    out, report = imported(name)
    record = json.loads((out / "import.json").read_text(encoding="utf-8"))
    assert record == json.loads(report.as_json())
    folder = {"tcga-lihc": "tcga_lihc", "heart-disease": "heart_disease_4centres", "asaur": "hcc_resection_asaur"}[name]
    for source in report.sources:
        assert hashlib.sha256((public_data(folder) / source.name).read_bytes()).hexdigest() == source.sha256


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_a_wrong_source_folder_is_named_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FedmviError) as caught:
        IMPORTERS[name].run(tmp_path / "empty", tmp_path / "out")
    assert caught.value.number == 801
    assert "lacks" in caught.value.local
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_a_filled_target_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    with pytest.raises(FedmviError) as caught:
        IMPORTERS[name].run(tmp_path / "nowhere", tmp_path / "out")
    assert caught.value.number == 213
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_the_same_import_gives_the_same_bytes(
    imported: Imported, public_data: Callable[[str], Path], tmp_path: Path
) -> None:
    out, _ = imported("tcga-lihc")
    (tmp_path / "again").mkdir()  # an empty folder is a fine target
    IMPORTERS["tcga-lihc"].run(public_data("tcga_lihc"), tmp_path / "again")
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(out)).read_bytes()


# ---------------------------------------------------------------------------------------------------- TCGA-LIHC


def test_tcga_becomes_six_sites_by_the_stated_rule(imported: Imported) -> None:
    _, report = imported("tcga-lihc")
    found = {s.name: (s.patients, s.classes["None"], s.classes["Micro"]) for s in report.sites}
    assert found == {
        "DD": (151, 110, 31),
        "G3": (33, 21, 8),
        "pooled-1": (50, 16, 15),
        "pooled-2": (53, 10, 16),
        "pooled-3": (33, 20, 6),
        "pooled-4": (57, 33, 18),
    }
    members = {s.name: s.members for s in report.sites}
    assert members["pooled-1"] == ("2V", "2Y", "3K", "4R", "5C", "5R", "BC")
    assert members["pooled-4"][-1] == "ZS"
    assert sum(len(m) for m in members.values()) == 38


def test_the_remainder_joins_the_last_pool() -> None:
    def centre(code: str, none: int, micro: int) -> list[dict[str, str]]:
        return [{"centre": code, "vascular_invasion": "None"}] * none + [
            {"centre": code, "vascular_invasion": "Micro"}
        ] * micro

    patients = {"DD": centre("DD", 3, 3), "AA": centre("AA", 30, 4), "AB": centre("AB", 0, 1), "AC": centre("AC", 9, 0)}
    assert group_centres(patients) == [("DD", ("DD",)), ("pooled-1", ("AA", "AB", "AC"))]


@pytest.mark.parametrize(
    ("endpoint", "statistic", "p"), [("dfi", 4.6856, 0.0304), ("pfi", 6.6871, 0.0097), ("os", 0.6203, 0.4309)]
)
def test_tcga_survival_by_mvi_is_the_published_log_rank(
    imported: Imported, endpoint: str, statistic: float, p: float
) -> None:
    rows = table(imported("tcga-lihc")[0])
    rows = rows[rows["vascular_invasion"].isin(["None", "Micro"])]
    assert len(rows) == 304
    found, probability = log_rank(rows, endpoint, "days", rows["vascular_invasion"] == "Micro")
    assert found == pytest.approx(statistic, abs=5e-5)
    assert probability == pytest.approx(p, abs=5e-5)


def test_tcga_times_and_events_come_in_pairs(imported: Imported) -> None:
    rows = table(imported("tcga-lihc")[0])
    for endpoint in ("dfi", "pfi", "os"):
        assert ((rows[f"{endpoint}_days"] == "") == (rows[f"{endpoint}_event"] == "")).all()
        assert set(rows[f"{endpoint}_event"]) <= {"", "0", "1"}


def test_tcga_unit_rules_are_counted(imported: Imported) -> None:
    counts = {(r.variable, r.action): 0 for r in imported("tcga-lihc")[1].rules}
    texts = {r.text: r.count for r in imported("tcga-lihc")[1].rules}
    for rule in imported("tcga-lihc")[1].rules:
        counts[rule.variable, rule.action] += rule.count
    assert counts["platelets", "repaired"] == 32
    assert counts["platelets", "set missing"] == 1
    assert counts["inr", "repaired"] == 210
    assert counts["prothrombin_time", "kept"] == 89
    assert counts["prothrombin_time", "set missing"] == 1
    assert counts["albumin", "set missing"] == 18
    assert counts["total_bilirubin", "repaired"] == 300
    assert counts["total_bilirubin", "set missing"] == 2
    assert counts["creatinine", "set missing"] == 14
    assert counts["afp", "set missing"] == 2
    assert any("per uL" in text and count == 32 for text, count in texts.items())


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_every_value_fits_the_dictionary(imported: Imported, name: str) -> None:
    rows = table(imported(name)[0])
    for column in rows.columns:
        variable = DICTIONARY.get(column)
        if variable is None or column == "vascular_invasion":
            continue
        known = rows.loc[rows[column] != "", column]
        if variable.kind == "continuous":
            values = known.astype(float)
            assert variable.low is not None
            assert variable.high is not None
            assert values.between(variable.low, variable.high).all(), column
            assert known.str.len().max() <= 9, column  # shortest text, no float artefacts
        else:
            assert set(known) <= set(variable.levels), column


def lab_row(**tests: tuple[str, str, str]) -> dict[str, str]:
    row = dict.fromkeys((*_VALUES.values(), *(n for pair in _LIMITS.values() for n in pair)), "[Not Available]")
    for test, (value, low, high) in tests.items():
        row[_VALUES[test]], row[_LIMITS[test][0]], row[_LIMITS[test][1]] = value, low, high
    return row


@pytest.mark.parametrize(
    ("test", "cells", "column", "expected", "rule"),
    [
        ("platelets", ("204000", "150", "440"), "platelets", "204", "platelets-per-ul"),
        ("platelets", ("225", "150000", "400000"), "platelets", "225", None),
        ("platelets", ("4", "0", "6"), "platelets", "", "platelets-other-test"),
        ("albumin", ("4.2", "3.5", "5.0"), "albumin", "42", "albumin-g-per-dl"),
        ("albumin", ("44", "36", "50"), "albumin", "44", None),
        ("albumin", ("5200", "3800", "5100"), "albumin", "52", "albumin-mg-per-dl"),
        ("albumin", ("0.4", "0.3", "0.5"), "albumin", "", "albumin-coarse"),
        ("albumin", ("8.0", "3.8", "5.1"), "albumin", "", "albumin-implausible"),
        ("albumin", ("1.2", "[Not Available]", "[Not Available]"), "albumin", "", "albumin-implausible"),
        ("total_bilirubin", ("0.5", "0.2", "1.2"), "total_bilirubin", "8.6", "bilirubin-mg-per-dl"),
        ("total_bilirubin", ("19.0", "0", "17"), "total_bilirubin", "19", None),
        ("total_bilirubin", ("13.0", "0.1", "1.0"), "total_bilirubin", "", "bilirubin-ambiguous"),
        ("coagulation", ("1.1", "1.0", "1.0"), "inr", "1.1", "coagulation-inr"),
        ("coagulation", ("10.8", "8.3", "11.5"), "prothrombin_time", "10.8", "coagulation-seconds"),
        ("coagulation", ("6.9", "1.0", "1.0"), "inr", "", "coagulation-contradiction"),
        ("creatinine", ("0.9", "0.7", "1.5"), "creatinine", "80", "creatinine-mg-per-dl"),
        ("creatinine", ("72", "62", "106"), "creatinine", "72", None),
        ("creatinine", ("54.0", "4.1", "5.9"), "creatinine", "", "creatinine-other-test"),
        ("afp", ("12986", "0", "44"), "afp", "", "afp-unit-in-doubt"),
        ("afp", ("2035400", "0", "6"), "afp", "2035400", "afp-extreme"),
    ],
)
def test_laboratory_rules(test: str, cells: tuple[str, str, str], column: str, expected: str, rule: str | None) -> None:
    tally = Tally(RULES)
    assert laboratory(lab_row(**{test: cells}), tally, "row")[column] == expected
    assert {r.key: tally[r.key] for r in RULES if tally[r.key]} == ({rule: 1} if rule else {})


def test_a_word_that_no_rule_foresees_stops_the_import() -> None:
    with pytest.raises(FedmviError) as caught:
        word("Massive", {"None": "None"}, "vascular_invasion", "row 7")
    assert (caught.value.number, caught.value.facts) == (308, {"variable": "vascular_invasion"})
    with pytest.raises(FedmviError) as caught:
        number("<20", "afp", "row 7")
    assert caught.value.number == 303


# ------------------------------------------------------------------------------------------------ heart disease


def test_heart_disease_keeps_its_four_centres(imported: Imported) -> None:
    _, report = imported("heart-disease")
    found = {s.name: (s.patients, s.classes["yes"]) for s in report.sites}
    assert found == {"cleveland": (303, 139), "hungarian": (294, 106), "switzerland": (123, 115), "va": (200, 149)}


def test_zero_cholesterol_and_pressure_are_missing(imported: Imported) -> None:
    out, report = imported("heart-disease")
    assert {r.variable: r.count for r in report.rules} == {
        "cholesterol": 172,
        "resting_blood_pressure": 1,
        "st_depression": 12,
    }
    rows = table(out)
    assert (rows.loc[rows["site"] == "switzerland", "cholesterol"] == "").all()
    assert not (rows["resting_blood_pressure"] == "0").any()


# -------------------------------------------------------------------------------------------------------- asaur


def test_asaur_is_cut_by_number_alone(imported: Imported) -> None:
    out, report = imported("asaur")
    assert [s.patients for s in report.sites] == [75, 60, 50, 42]
    ids = table(out)["patient_id"].tolist()
    assert ids == [f"asaur-{i:03d}" for i in range(1, 228)]


@pytest.mark.parametrize(
    ("endpoint", "statistic", "p", "ratio"), [("rfs", 5.33796, 0.02087, 1.6195), ("os", 11.56991, 6.70e-4, 2.198)]
)
def test_asaur_survival_by_vascular_invasion_is_as_published(
    imported: Imported, endpoint: str, statistic: float, p: float, ratio: float
) -> None:
    rows = table(imported("asaur")[0])
    invaded = rows["vascular_invasion"] == "yes"
    found, probability = log_rank(rows, endpoint, "months", invaded)
    assert found == pytest.approx(statistic, abs=5e-6)
    assert probability == pytest.approx(p, rel=1e-3)
    data = pd.DataFrame(
        {
            "time": rows[f"{endpoint}_months"].astype(float),
            "event": rows[f"{endpoint}_event"].astype(int),
            "invaded": invaded.astype(float),
        }
    )
    fitted = CoxPHFitter().fit(data, "time", "event")
    assert float(fitted.hazard_ratios_["invaded"]) == pytest.approx(ratio, abs=5e-4)


# ------------------------------------------------------------------------------------------------------- folders


def test_two_sites_of_one_name_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    site = SiteRows("a", ("patient_id",), (("1",),))
    with pytest.raises(FedmviError) as caught:
        write_sites(tmp_path / "out", "test", [site, site], about="A test.")
    assert caught.value.number == 210
    assert not list(tmp_path.iterdir())


def test_a_simulated_secret_depends_on_importer_and_site() -> None:
    secrets = {simulated_secret(i, s) for i in ("one", "two") for s in ("a", "b")}
    assert len(secrets) == 4
    assert simulated_secret("one", "a") == simulated_secret("one", "a")


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.1 + 0.2, 2, "0.3"),
        (40.0, 1, "40"),
        (100.0, 0, "100"),
        (-0.04, 1, "0"),
        (2035400.0, 1, "2035400"),
        (None, 1, ""),
    ],
)
def test_numbers_are_written_in_their_shortest_form(value: float | None, places: int, text: str) -> None:
    assert decimal(value, places) == text
