"""tests: hospitals whose patients have other risks than those of training, half of them for calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.study.recipe import Frame
from tests.disclosure.consortium import SITES, STUDY, Consortium, Row, make, rows_of

PATIENTS = 160

MODEL = """
[[models]]
name = "risk"
endpoint = "mvi"
cohort = "train"
predictors = [{ variable = "albumin", coding = "linear" }, { variable = "platelets", coding = "linear" }, "cirrhosis"]
missing = "mean"
evaluate = ["external"]
"""

CALIBRATION = """
[[cohorts]]
name = "calibration"
role = "calibration"
sites = ["d", "e", "f"]
split = { fraction = 0.5, stratify = "mvi" }
"""


def recalibration(name: str, method: str = "closed-testing", extra: str = "", cohort: str = "calibration") -> str:
    return f'\n[[recalibrations]]\nname = "{name}"\nmodel = "risk"\ncohort = "{cohort}"\nmethod = "{method}"\n{extra}\n'


SEVERAL = (
    recalibration("closed", extra="sensitivity = 0.8")
    + recalibration("large", "intercept")
    + recalibration("line", "slope")
    + recalibration("prior", "prior")
)


def study_text(recalibrations: str = SEVERAL, calibration: str = CALIBRATION) -> str:
    return STUDY + MODEL + calibration + recalibrations


ALONE = ("a", "b", "c", "d")
"""The sites of a study of which one calibrates and tests by itself."""


def alone_text(recalibrations: str) -> str:
    text = study_text(recalibrations, CALIBRATION.replace('["d", "e", "f"]', '["d"]'))
    return text.replace('"external-test"\nsites = ["d", "e", "f"]', '"external-test"\nsites = ["d"]')


def outcomes(
    intercept: float = 0.0, slope: float = 1.0, turn: float = 1.0, n: int = PATIENTS
) -> Callable[[list[Row]], None]:
    """Outcomes by another intercept and slope than in training; `turn` -1 has one predictor work the other way."""

    def change(rows: list[Row]) -> None:
        site = rows[0]["patient_id"][0]
        rows[:] = rows_of(site, n)
        rng = np.random.default_rng(500 + ord(site))
        for row in rows:
            albumin, platelets = (float(row["albumin"]) - 40) / 4, (float(row["platelets"]) - 180) / 40
            linear = -0.2 - 1.0 * albumin + 0.7 * turn * platelets + 0.6 * (row["cirrhosis"] == "yes")
            row["age"] = f"{30 + (float(row['age']) - 30) % 60:g}"
            row["mvi"] = str(int(rng.random() < 1.0 / (1.0 + np.exp(-intercept - slope * linear))))

    return change


TRAINED = dict.fromkeys(("a", "b", "c"), outcomes())


def consortium(
    folder: Path,
    elsewhere: Callable[[list[Row]], None],
    study: str = "",
    sites: Sequence[str] = SITES,
    *,
    masked: bool = False,
) -> Consortium:
    changes = {**TRAINED, **dict.fromkeys(("d", "e", "f"), elsewhere)}
    return make(folder, changes, study=study or study_text(), sites=sites, masked=masked)


def pooled(frames: list[Frame], column: str) -> tuple[np.ndarray, np.ndarray]:
    """A column and the endpoint of the patients of several sites."""
    values = np.concatenate([frame.columns[column] for frame in frames])
    return values, np.concatenate([frame.endpoints["mvi"] for frame in frames])
