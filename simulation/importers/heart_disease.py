"""simulation: imports the UCI heart disease data of four centres, with the shift and gaps that real centres have.

Source: `processed.{cleveland,hungarian,switzerland,va}.data`, 920 patients (Janosi, Steinbrunn, Pfisterer, Detrano;
UCI Machine Learning Repository, CC BY 4.0; Detrano et al., Am J Cardiol 1989). 14 columns without a header, `?` for
missing. The endpoint `disease` is `num` > 0: a coronary artery narrowed by more than half.

Codes become words as in the repository's own description (heart-disease.names). A serum cholesterol of 0 (all of
Switzerland, a quarter of VA) and a blood pressure of 0 are missing values written as zero. Negative ST depressions
(elevations) stay. Patients are numbered in the order of the files; a duplicate row of the source is kept, because
two patients may share fourteen rounded values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.errors import FedmviError
from simulation.importers.folder import ImportReport, SiteRows, refuse_filled, rule_counts, write_sites
from simulation.importers.source import CleaningRule, Tally, decimal, expect_files, number, read_cells

NAME = "heart-disease"
SITES = ("cleveland", "hungarian", "switzerland", "va")
_SOURCE = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal",
    "num",
)  # fmt: skip
_NUMBERS = {
    # column of patients.csv: (source column, decimals)
    "age": ("age", 0),
    "resting_blood_pressure": ("trestbps", 0),
    "cholesterol": ("chol", 0),
    "maximum_heart_rate": ("thalach", 0),
    "st_depression": ("oldpeak", 2),
    "coloured_vessels": ("ca", 0),
}
_NO_YES = {0.0: "no", 1.0: "yes"}
_CODES: dict[str, tuple[str, Mapping[float, str]]] = {
    "sex": ("sex", {0.0: "female", 1.0: "male"}),
    "chest_pain": ("cp", {1.0: "typical", 2.0: "atypical", 3.0: "non-anginal", 4.0: "none"}),
    "no_chest_pain": ("cp", {1.0: "no", 2.0: "no", 3.0: "no", 4.0: "yes"}),
    "fasting_glucose_high": ("fbs", _NO_YES),
    "resting_ecg": ("restecg", {0.0: "normal", 1.0: "st-t abnormality", 2.0: "hypertrophy"}),
    "exercise_angina": ("exang", _NO_YES),
    "st_slope": ("slope", {1.0: "up", 2.0: "flat", 3.0: "down"}),
    "thallium": ("thal", {3.0: "normal", 6.0: "fixed defect", 7.0: "reversible defect"}),
    "disease_extent": ("num", {float(i): str(i) for i in range(5)}),
    "disease": ("num", {0.0: "no", 1.0: "yes", 2.0: "yes", 3.0: "yes", 4.0: "yes"}),
}
_HEADER = ("patient_id", *_NUMBERS, *_CODES)
RULES = (
    CleaningRule("cholesterol-zero", "cholesterol", "set missing", "0 mg/dL: a missing value written as zero"),
    CleaningRule("pressure-zero", "resting_blood_pressure", "set missing", "0 mmHg: a missing value written as zero"),
    CleaningRule("st-negative", "st_depression", "kept", "negative: an ST elevation"),
)


def import_heart_disease(source: Path, out: Path) -> ImportReport:
    """Write the four centres as site folders; see the module's text for every rule.

    Raises
    ------
    FedmviError
        801 where a file is absent or has not 14 columns; 303 for a cell that is neither a number nor `?`; 308 for
        a code that the source's description does not name; 213 where `out` is not empty.
    """
    refuse_filled(out)
    files = expect_files(source, [_file(site) for site in SITES])
    tally = Tally(RULES)
    return write_sites(
        out,
        NAME,
        [_site(site, source, tally) for site in SITES],
        about="Imported from the UCI heart disease data (CC BY 4.0).",
        sources=files,
        rules=rule_counts(tally),
        notes=(
            "The four centres are kept as they are.",
            "no_chest_pain joins three levels of chest_pain, two of which Switzerland has only four patients of.",
        ),
    )


def _file(site: str) -> str:
    return f"processed.{site}.data"


def _site(site: str, source: Path, tally: Tally) -> SiteRows:
    rows = []
    for i, cells in enumerate(read_cells(source / _file(site), _SOURCE), start=1):
        patient = _patient(cells, tally, f"{_file(site)}, row {i}")
        patient["patient_id"] = f"{site}-{i:03d}"
        rows.append(tuple(patient[column] for column in _HEADER))
    place = _HEADER.index("disease")
    classes = {level: sum(row[place] == level for row in rows) for level in ("no", "yes")}
    return SiteRows(name=site, header=_HEADER, rows=tuple(rows), classes=classes)


def _patient(cells: Mapping[str, str], tally: Tally, where: str) -> dict[str, str]:
    values = {name: number(cells[name], name, where) for name in _SOURCE}
    for name, key in (("chol", "cholesterol-zero"), ("trestbps", "pressure-zero")):
        if values[name] == 0:
            tally.add(key)
            values[name] = None
    depression = values["oldpeak"]
    if depression is not None and depression < 0:
        tally.add("st-negative")
    patient = {name: decimal(values[column], places) for name, (column, places) in _NUMBERS.items()}
    for name, (column, codes) in _CODES.items():
        code = values[column]
        if code is not None and code not in codes:
            raise FedmviError(308, f"{where}: {column} = {cells[column]}", variable=name)
        patient[name] = "" if code is None else codes[code]
    return patient
