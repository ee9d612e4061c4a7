"""simulation: imports 227 resected HCC patients of one hospital (R package asaur), split into four sites by a rule.

Source: `hepatoCellular.csv` (R package asaur, CC0; Li et al., PLoS One 2014). The hospital is one, so the sites are
made: patients in the order of `Number` form four uneven consecutive blocks of 75, 60, 50 and 42. The rule looks at
nothing but the number.

The package documents most columns as "a numeric vector" only. What is certain is named: times in months with 1 for
death or recurrence. A 0/1 column that is named after a finding (HBsAg, cirrhosis, vascular invasion) is read as
absent/present. Columns coded 1/2, and `Gender` and `Capsulation`, whose direction is stated nowhere, keep their
codes under a name that ends in `_code`. `Vascularinvasion` does not tell microscopic from macroscopic invasion;
studies call it MVI only with that reservation. Tissue markers (CXCL17 and others) are not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

from common.errors import FedmviError
from simulation.importers.folder import ImportReport, SiteRows, refuse_filled, rule_counts, write_sites
from simulation.importers.source import CleaningRule, Tally, decimal, expect_files, number, read_rows, word

NAME = "asaur"
FILE = "hepatoCellular.csv"
BLOCKS = (75, 60, 50, 42)
_NO_YES = {"0": "no", "1": "yes"}
_ONE_TWO = {"1": "1", "2": "2"}
_ZERO_ONE = {"0": "0", "1": "1"}
_WORDS: dict[str, tuple[str, dict[str, str]]] = {
    "gender_code": ("Gender", _ZERO_ONE),
    "hbv": ("HBsAg", _NO_YES),
    "cirrhosis": ("Cirrhosis", _NO_YES),
    "alt_code": ("ALT", _ONE_TWO),
    "ast_code": ("AST", _ONE_TWO),
    "afp_code": ("AFP", _ONE_TWO),
    "size_code": ("Tumorsize", _ONE_TWO),
    "differentiation_code": ("Tumordifferentiation", _ONE_TWO),
    "vascular_invasion": ("Vascularinvasion", _NO_YES),
    "multiplicity_code": ("Tumormultiplicity", _ONE_TWO),
    "capsulation_code": ("Capsulation", _ZERO_ONE),
    "tnm_code": ("TNM", _ONE_TWO),
    "bclc_code": ("BCLC", _ONE_TWO),
    "os_event": ("Death", _ZERO_ONE),
    "rfs_event": ("Recurrence", _ZERO_ONE),
}
_NUMBERS = {"age": "Age", "os_months": "OS", "rfs_months": "RFS"}
_HEADER = ("patient_id", *_NUMBERS, *_WORDS)
RULES = (
    CleaningRule("order", "rfs_months", "kept", "recurrence-free survival longer than overall survival"),
    CleaningRule("month-zero", "rfs_months", "kept", "an event or censoring in month 0"),
)


def import_asaur(source: Path, out: Path) -> ImportReport:
    """Write the cohort as four site folders; see the module's text for every rule.

    Raises
    ------
    FedmviError
        801 where the file, a column or a patient is absent; 303 or 308 for a cell that no rule foresees; 213 where
        `out` is not empty.
    """
    refuse_filled(out)
    files = expect_files(source, (FILE,))
    tally = Tally(RULES)
    sources = ("Number", *_NUMBERS.values(), *(column for column, _ in _WORDS.values()))
    rows = sorted(read_rows(source / FILE, sources), key=lambda row: int(float(row["Number"])))
    patients = [_patient(row, tally) for row in rows]
    if len(patients) != sum(BLOCKS):
        raise FedmviError(801, f"{source / FILE} has {len(patients)} patients, {sum(BLOCKS)} expected")
    starts = accumulate(BLOCKS, initial=0)
    blocks = (patients[start : start + size] for start, size in zip(starts, BLOCKS, strict=False))
    sites = [_site(f"block-{i}", block) for i, block in enumerate(blocks, start=1)]
    return write_sites(
        out,
        NAME,
        sites,
        about="Imported from the R package asaur (CC0); one hospital, split by patient number.",
        sources=files,
        rules=rule_counts(tally),
        notes=(
            f"Patients in the order of Number form blocks of {', '.join(map(str, BLOCKS))}; one hospital, not four.",
            "Columns whose coding the source does not document keep their codes and end in _code.",
            "Vascular invasion is not told apart into microscopic and macroscopic.",
        ),
    )


def _site(name: str, patients: list[dict[str, str]]) -> SiteRows:
    return SiteRows(
        name=name,
        header=_HEADER,
        rows=tuple(tuple(p[column] for column in _HEADER) for p in patients),
        classes={level: sum(p["vascular_invasion"] == level for p in patients) for level in ("no", "yes")},
    )


def _patient(row: Mapping[str, str], tally: Tally) -> dict[str, str]:
    where = f"{FILE}, Number {row['Number']}"
    patient = {"patient_id": f"asaur-{int(float(row['Number'])):03d}"}
    values = {name: number(row[column], name, where) for name, column in _NUMBERS.items()}
    patient |= {name: decimal(value, 1) for name, value in values.items()}
    patient |= {name: word(row[column], words, name, where) for name, (column, words) in _WORDS.items()}
    recurrence, death = values["rfs_months"], values["os_months"]
    if recurrence is not None and death is not None and recurrence > death:
        tally.add("order")
    if recurrence == 0:
        tally.add("month-zero")
    return patient
