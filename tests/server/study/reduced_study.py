"""tests: a consortium whose patients have forty features, few of which tell MVI; two radiomics models, a Hybrid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.disclosure.consortium import SITES, STUDY, Row, rows_of

FEATURES = tuple(f"x{i:02d}" for i in range(40))
SIGNAL = ("x00", "x07", "x21")
"""x30 to x34 are copies of x00 with a little noise."""
PATIENTS = 130


def _model(name: str, features: tuple[str, ...], optimism: int) -> str:
    predictors = ", ".join(f'"{feature}"' for feature in features)
    return f"""
[[models]]
name = "{name}"
endpoint = "mvi"
cohort = "train"
predictors = [{predictors}]
reduction = {{ count = 12 }}
optimism = {optimism}
evaluate = ["external"]
"""


def study_text(optimism: int = 0) -> str:
    variables = "".join(
        f'\n[[variables]]\nname = "{name}"\nkind = "continuous"\nknown = "preoperative"\nlow = -100.0\nhigh = 100.0\n'
        for name in FEATURES
    )
    models = _model("first", FEATURES[:20], optimism) + _model("second", FEATURES[20:], 0)
    return (
        STUDY
        + variables
        + models
        + f"""
[[choices]]
name = "radiomics"
label = "Radiomics score"
models = ["second", "first"]

[[models]]
name = "hybrid"
endpoint = "mvi"
cohort = "train"
predictors = ["score.radiomics", {{ variable = "age", coding = "linear" }}, "cirrhosis"]
missing = "mean"
optimism = {optimism}
evaluate = ["external"]

[[models]]
name = "high"
endpoint = "mvi"
cohort = "train"
predictors = [{{ variable = "score.radiomics", coding = "above" }}, "cirrhosis"]
evaluate = ["external"]

[[models]]
name = "formula"
endpoint = "mvi"
cohort = "train"
predictors = ["cirrhosis", {{ variable = "score.radiomics", coding = "above" }}]
missing = "mean"
fixed = {{ intercept = -1.5, coefficients = [0.25, 2.0] }}
evaluate = ["external"]

[[comparisons]]
name = "os-by-hybrid"
endpoint = "os"
group = "score.hybrid"
cohort = "later"
times = [12, 36]

[[comparisons]]
name = "os-by-radiomics"
endpoint = "os"
group = "score.radiomics"
cohort = "later"

[[cohorts]]
name = "later"
role = "outcome"
sites = ["d", "e", "f"]

[[subgroups]]
name = "hybrid"
model = "hybrid"
cohort = "external"
by = ["sex"]

[[subgroups]]
name = "high"
model = "high"
cohort = "external"
by = ["sex"]

[[analyses]]
name = "areas"
statistic = "compare-areas"
cohort = "external"
endpoint = "mvi"
models = ["hybrid", "first", "second", "formula"]

[[analyses]]
name = "headline"
statistic = "compare-areas"
cohort = "external"
endpoint = "mvi"
models = ["hybrid", "radiomics", "clinical"]

[[analyses]]
name = "cut"
statistic = "cut-off"
cohort = "external"
endpoint = "mvi"
models = ["hybrid", "first"]
"""
    )


def featured(rows: list[Row], *, signal: float = 1.2) -> None:
    """Give a site its features and their MVI; without signal nothing tells MVI."""
    site = rows[0]["patient_id"][0]
    rng = np.random.default_rng(1000 + ord(site))
    rows[:] = rows_of(site, PATIENTS)
    x = rng.normal(size=(PATIENTS, len(FEATURES)))
    for i in range(30, 35):
        x[:, i] = x[:, 0] + 0.2 * rng.normal(size=PATIENTS)
    names = [FEATURES.index(name) for name in SIGNAL]
    logit = signal * x[:, names] @ np.array([1.0, -0.8, 0.7]) - 0.3
    mvi = rng.random(PATIENTS) < 1.0 / (1.0 + np.exp(-logit))
    for i, row in enumerate(rows):
        row["mvi"] = str(int(mvi[i]))
        row["os_months"] = str(int(np.clip(rng.exponential(20 if mvi[i] else 40), 1, 59)))
        row |= {name: f"{x[i, j]:.6f}" for j, name in enumerate(FEATURES)}


def without_signal(rows: list[Row]) -> None:
    featured(rows, signal=0.0)


def everywhere(change: Callable[[list[Row]], None]) -> dict[str, Callable[[list[Row]], None]]:
    return dict.fromkeys(SITES, change)
