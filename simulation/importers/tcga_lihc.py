"""simulation: imports TCGA-LIHC (clinical table with the curated outcomes of TCGA-CDR) as six hospitals.

Source: `tcga_lihc_clinical_cdr.csv`, 377 resected patients; outcomes after Liu et al., Cell 2018 (TCGA-CDR).

**Centres.** Characters 6-7 of the barcode are the tissue source site. DD and G3 stand alone. All others, in order of
their code, are pooled into `pooled-1..k`; a pool is closed when it has at least 25 patients with the levels None or
Micro and at least 5 of each; what remains joins the last pool. The rule counts classes only to reach the sizes that
a site needs to take part at all; it never looks at a predictor or at survival.

**Vascular invasion.** `None`, `Micro`, `Macro`; the level `None` is not missing. `[Unknown]` and `[Not Available]`
are. Macro stays in the table: excluding it is the study's decision, and is counted there.

**Times** are days from diagnosis, which is surgery in all but three patients (unknown in those). An event without
its time, or a time without its event, leaves both empty.

**Hepatitis and alcohol** come from the risk factor history. The column of viral serology lists tests, not positive
results (of 142 patients with "Hepatitis B Surface Antigen", 19 have hepatitis B as a risk factor and 44 have none),
and is left out. **Cirrhosis** is not filled from the Ishak group: that is read by the pathologist after surgery, and
the dictionary's `cirrhosis` is preoperative.

**Laboratory values** mix units; see `tcga_laboratory`. Every rule is counted in the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from simulation.importers.folder import ImportReport, SiteRows, refuse_filled, rule_counts, write_sites
from simulation.importers.source import CleaningRule, Tally, decimal, expect_files, number, read_rows, word
from simulation.importers.tcga_laboratory import COLUMNS, RULES, laboratory

NAME = "tcga-lihc"
FILE = "tcga_lihc_clinical_cdr.csv"
ALONE = ("DD", "G3")
MIN_POOL, MIN_CLASS = 25, 5

_INVASION = {"None": "None", "Micro": "Micro", "Macro": "Macro"}
_YES_NO = {"YES": "yes", "Yes": "yes", "NO": "no", "No": "no"}
_WORDS: dict[str, tuple[str, dict[str, str]]] = {
    # column of patients.csv: (source column, the source's word -> ours)
    "vascular_invasion": ("vascular_tumor_cell_invasion_type", _INVASION),
    "sex": ("gender", {"MALE": "male", "FEMALE": "female"}),
    "child_pugh": ("child_pugh_classification_grade", {"A": "A", "B": "B", "C": "C"}),
    "ecog": ("eastern_cancer_oncology_group", {level: level for level in "01234"}),
    "race": (
        "race",
        {
            "WHITE": "white",
            "ASIAN": "asian",
            "BLACK OR AFRICAN AMERICAN": "black",
            "AMERICAN INDIAN OR ALASKA NATIVE": "native",
        },
    ),
    "neoadjuvant": ("history_of_neoadjuvant_treatment", _YES_NO),
    "prior_malignancy": ("prior_dx", _YES_NO),
    "ishak": (
        "liver_fibrosis_ishak_score_category",
        {
            "0 - No Fibrosis": "0",
            "1,2 - Portal Fibrosis": "1-2",
            "3,4 - Fibrous Speta": "3-4",
            "5 - Nodular Formation and Incomplete Cirrhosis": "5",
            "6 - Established Cirrhosis": "6",
        },
    ),
    "histology": (
        "histological_type",
        {
            "Hepatocellular Carcinoma": "hcc",
            "Hepatocholangiocarcinoma (Mixed)": "mixed",
            "Fibrolamellar Carcinoma": "fibrolamellar",
        },
    ),
    "histologic_grade": ("neoplasm_histologic_grade", {f"G{i}": f"G{i}" for i in range(1, 5)}),
    "resection_margin": ("residual_tumor", {"R0": "R0", "R1": "R1", "R2": "R2", "RX": ""}),
    "ajcc_stage": ("pathologic_stage_combined", {f"Stage {s}": s for s in ("I", "II", "III", "IV")}),
    "ajcc_t": ("pathologic_T_combined", {"T0": "", **{f"T{i}": f"T{i}" for i in range(1, 5)}}),
    "procedure": (
        "specimen_collection_method_name",
        {
            "Lobectomy": "lobectomy",
            "Extended Lobectomy": "extended lobectomy",
            "Segmentectomy, Single": "single segmentectomy",
            "Segmentectomy, Multiple": "multiple segmentectomy",
            "Total Hepatectomy with Transplant": "transplant",
            "Other (specify)": "other",
        },
    ),
    "adjuvant_treatment": ("postoperative_rx_tx", _YES_NO),
}
_RISKS = {"hbv": "Hepatitis B", "hcv": "Hepatitis C", "alcohol": "Alcohol consumption"}
_RISK_COLUMN = "history_hepato_carcinoma_risk_factor"
_SURVIVAL = {"dfi": "DFI", "pfi": "PFI", "os": "OS"}
_HEADER = (
    "patient_id", "centre", "vascular_invasion", "age", "sex", "height", "weight", "race", "afp", "albumin",
    "platelets", "inr", "prothrombin_time", "total_bilirubin", "creatinine", "child_pugh", "ecog", "hbv", "hcv",
    "hepatitis_virus", "alcohol", "neoadjuvant", "prior_malignancy", "procedure", "ishak", "histology",
    "histologic_grade", "resection_margin", "ajcc_stage", "ajcc_t", "adjuvant_treatment",
    "dfi_days", "dfi_event", "pfi_days", "pfi_event", "os_days", "os_event",
)  # fmt: skip
_SOURCE_COLUMNS = (
    "bcr_patient_barcode",
    "age_at_initial_pathologic_diagnosis",
    "height",
    "weight",
    _RISK_COLUMN,
    *(source for source, _ in _WORDS.values()),
    *(name for code in _SURVIVAL.values() for name in (code, f"{code}.time")),
    *COLUMNS,
)
_OWN_RULES = (
    CleaningRule("height-unit", "height", "set missing", "below 100 cm: the unit is in doubt"),
    CleaningRule(
        "risk-unknown", "hepatitis_virus", "set missing", "risk factor history unknown: hbv, hcv, alcohol too"
    ),
    CleaningRule("margin-rx", "resection_margin", "set missing", "RX, the margin could not be assessed"),
    CleaningRule("t0", "ajcc_t", "set missing", "T0, no evidence of a primary tumour"),
    *(
        CleaningRule(f"{name}-half", f"{name}_days", "set missing", f"{code} has only one of time and event")
        for name, code in _SURVIVAL.items()
    ),
)


def import_tcga_lihc(source: Path, out: Path) -> ImportReport:
    """Write TCGA-LIHC as site folders; see the module's text for every rule.

    Parameters
    ----------
    source
        Folder that holds `tcga_lihc_clinical_cdr.csv`.
    out
        Folder for the sites; absent or empty.

    Raises
    ------
    FedmviError
        801 where the file or a column is absent; 303 or 308 for a cell that no rule foresees; 213 where `out` is
        not empty.
    """
    refuse_filled(out)
    files = expect_files(source, (FILE,))
    tally = Tally((*RULES, *_OWN_RULES))
    patients: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(source / FILE, _SOURCE_COLUMNS):
        patient = _patient(row, tally)
        patients.setdefault(patient["centre"], []).append(patient)
    sites = [_site(name, codes, patients) for name, codes in group_centres(patients)]
    return write_sites(
        out,
        NAME,
        sites,
        about="Imported from TCGA-LIHC (open access; outcomes: Liu et al., Cell 2018).",
        sources=files,
        rules=rule_counts(tally),
        notes=(
            "DD and G3 stand alone; the other centres are pooled in order of their code, each pool closed at "
            f"{MIN_POOL} None or Micro patients with {MIN_CLASS} of each, the remainder joining the last pool.",
            "Hepatitis and alcohol come from the risk factor history; the serology column lists tests done.",
            "cirrhosis is left out: the Ishak group is known only after surgery.",
        ),
    )


def group_centres(patients: Mapping[str, Sequence[Mapping[str, str]]]) -> list[tuple[str, tuple[str, ...]]]:
    """(site name, centre codes) by the rule of the module's text, the two that stand alone first."""
    pools: list[list[str]] = []
    open_pool: list[str] = []
    for code in sorted(set(patients) - set(ALONE)):
        open_pool.append(code)
        classes = _classes(p for c in open_pool for p in patients[c])
        none, micro = classes["None"], classes["Micro"]
        if none + micro >= MIN_POOL and min(none, micro) >= MIN_CLASS:
            pools.append(open_pool)
            open_pool = []
    if open_pool and pools:
        pools[-1] += open_pool
    elif open_pool:
        pools.append(open_pool)
    alone = [(code, (code,)) for code in ALONE if code in patients]
    return [*alone, *((f"pooled-{i}", tuple(codes)) for i, codes in enumerate(pools, start=1))]


def _classes(patients: Iterable[Mapping[str, str]]) -> Counter[str]:
    return Counter(p["vascular_invasion"] or "unknown" for p in patients)


def _site(name: str, codes: Sequence[str], patients: Mapping[str, Sequence[Mapping[str, str]]]) -> SiteRows:
    members = sorted((p for code in codes for p in patients[code]), key=lambda p: p["patient_id"])
    classes = _classes(members)
    return SiteRows(
        name=name,
        header=_HEADER,
        rows=tuple(tuple(p[column] for column in _HEADER) for p in members),
        members=tuple(codes),
        classes={level: classes[level] for level in ("None", "Micro", "Macro", "unknown")},
    )


def _patient(row: Mapping[str, str], tally: Tally) -> dict[str, str]:
    barcode = row["bcr_patient_barcode"]
    where = f"{FILE}, {barcode}"
    patient = {"patient_id": barcode, "centre": barcode[5:7]}
    for name, (column, words) in _WORDS.items():
        patient[name] = word(row[column], words, name, where)
    if row["residual_tumor"] == "RX":
        tally.add("margin-rx")
    if row["pathologic_T_combined"] == "T0":
        tally.add("t0")
    patient["age"] = decimal(number(row["age_at_initial_pathologic_diagnosis"], "age", where), 0)
    patient["weight"] = decimal(number(row["weight"], "weight", where), 1)
    height = number(row["height"], "height", where)
    if height is not None and height < 100:
        tally.add("height-unit")
        height = None
    patient["height"] = decimal(height, 1)
    patient.update(_risks(row[_RISK_COLUMN], tally))
    patient.update(laboratory(row, tally, where))
    for name, code in _SURVIVAL.items():
        patient.update(_survival(name, row[code], row[f"{code}.time"], tally, where))
    return patient


def _risks(cell: str, tally: Tally) -> dict[str, str]:
    if not cell.strip() or cell.startswith("["):
        tally.add("risk-unknown")
        return dict.fromkeys((*_RISKS, "hepatitis_virus"), "")
    factors = cell.split("|")
    found = {name: "yes" if factor in factors else "no" for name, factor in _RISKS.items()}
    found["hepatitis_virus"] = "yes" if "yes" in (found["hbv"], found["hcv"]) else "no"
    return found


def _survival(name: str, event: str, time: str, tally: Tally, where: str) -> dict[str, str]:
    happened = number(event, f"{name}_event", where)
    days = number(time, f"{name}_days", where)
    if happened is None or days is None:
        if (happened is None) != (days is None):
            tally.add(f"{name}-half")
        return {f"{name}_days": "", f"{name}_event": ""}
    return {f"{name}_days": decimal(days, 0), f"{name}_event": decimal(happened, 0)}
