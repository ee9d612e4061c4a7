"""tests: a consortium whose scanners give the same lesions other numbers: a gain and an offset by site."""

from __future__ import annotations

import numpy as np

from tests.disclosure.consortium import STUDY, Row, rows_of

FEATURES = tuple(f"x{i:02d}" for i in range(12))
SIGNAL = ("x00", "x03", "x07")
PATIENTS = 110
GAIN = {"a": 1.0, "b": 1.3, "c": 0.8, "d": 2.0, "e": 0.6, "f": 1.5}
OFFSET = {"a": 0.0, "b": 1.0, "c": -1.0, "d": 4.0, "e": -4.0, "f": 3.0}


def model(name: str, *further: str, predictors: tuple[str, ...] = FEATURES[:6]) -> str:
    listed = ", ".join(f'{{ variable = "{p}", coding = "linear" }}' for p in predictors)
    lines = [f'name = "{name}"', 'endpoint = "mvi"', 'cohort = "train"', 'evaluate = ["external"]', *further]
    return "\n[[models]]\n" + "\n".join(lines) + f"\npredictors = [{listed}]\n"


HARMONISE = 'harmonise = { method = "combat", covariates = ["age", "cirrhosis"] }'


def variables() -> str:
    return "".join(
        f'\n[[variables]]\nname = "{name}"\nkind = "continuous"\nknown = "preoperative"\nlow = -100.0\nhigh = 100.0\n'
        for name in FEATURES
    )


def study_text() -> str:
    return (
        STUDY
        + variables()
        + model("raw")
        + model("combat", HARMONISE)
        + model("filled", HARMONISE, 'missing = "median"', predictors=(*FEATURES[:6], "age"))
        + model("selected", HARMONISE, "reduction = { count = 6 }", predictors=FEATURES[6:])
        + """
[[models]]
name = "hybrid"
endpoint = "mvi"
cohort = "train"
predictors = ["score.selected", { variable = "age", coding = "linear" }]
evaluate = ["external"]

[[analyses]]
name = "cal"
statistic = "calibration"
cohort = "external"
endpoint = "mvi"
models = ["hybrid", "combat"]

[[subgroups]]
name = "by-sex"
model = "combat"
cohort = "external"
by = ["sex"]
"""
    )


def scanned(rows: list[Row], *, patients: int = PATIENTS) -> None:
    """Give a site its features, on the scale of its scanner, and their MVI; age moves a feature everywhere.

    One scanner does not measure the last feature.
    """
    site = rows[0]["patient_id"][0]
    rng = np.random.default_rng(2000 + ord(site))
    rows[:] = rows_of(site, patients)
    age = np.array([float(row["age"]) for row in rows])
    x = rng.normal(size=(patients, len(FEATURES)))
    x[:, 1] += 0.05 * (age - 45.0)
    logit = 1.3 * x[:, [FEATURES.index(name) for name in SIGNAL]].sum(axis=1) - 0.4
    mvi = rng.random(patients) < 1.0 / (1.0 + np.exp(-logit))
    measured = GAIN[site] * x + OFFSET[site]
    for i, row in enumerate(rows):
        row["mvi"] = str(int(mvi[i]))
        row.update({name: f"{measured[i, j]:.6f}" for j, name in enumerate(FEATURES)})
        if site == "b":
            row["x11"] = "1.0"
