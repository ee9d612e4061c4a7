"""tests: a consortium with follow-up whose comparisons have Cox regressions, of which some covariates are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.disclosure.consortium import SITES, STUDY, Consortium, Row, make, rows_of

PATIENTS = 110
LATER = ("d", "e", "f")
COX = '["afp", { variable = "albumin", coding = "linear" }]'

COHORT = """
[[cohorts]]
name = "later"
role = "outcome"
sites = ["d", "e", "f"]
"""


def comparison(name: str, group: str, cox: str = COX, more: str = "") -> str:
    return f"""
[[comparisons]]
name = "{name}"
endpoint = "os"
group = "{group}"
cohort = "later"
cox = {cox}
{more}
"""


def study_text(cox: str = COX) -> str:
    compared = comparison("os-by-clinical", "score.clinical", cox) + comparison("later-by-mvi", "mvi", "[]")
    return STUDY + COHORT + compared + comparison("early-by-clinical", "score.clinical", cox, "horizon = 24")


def followed(rows: list[Row]) -> None:
    """More patients, who die the sooner the higher their AFP is; of twelve at a site albumin is not known."""
    site = rows[0]["patient_id"][0]
    rows[:] = rows_of(site, PATIENTS)
    rng = np.random.default_rng(2000 + ord(site))
    for i, row in enumerate(rows):
        risk = np.exp(0.6 * (float(row["afp"]) > 20.0) + 0.5 * (row["mvi"] == "1"))
        row["os_months"] = str(int(np.clip(rng.exponential(40.0 / risk), 1, 59)))
        if i % 9 == 4:
            row["albumin"] = ""


def consortium(folder: Path, *, study: str = "", masked: bool = True) -> Consortium:
    made = make(folder, dict.fromkeys(SITES, followed), study=study or study_text(), masked=masked)
    return made.sign() if masked else made
