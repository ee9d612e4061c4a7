"""tests/server/study: means of columns over a federation are those of the pooled rows, as landmarks need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from server.study.conduct import conduct
from tests.disclosure.consortium import STUDY, Row, make

COLUMNS = ("age", "albumin", "platelets", "inr")
ANALYSIS = f"""
[[analyses]]
name = "marks"
statistic = "means"
cohort = "train"
predictors = [{", ".join(f'{{ variable = "{name}", coding = "linear" }}' for name in COLUMNS)}]
"""


def forget(rows: list[Row]) -> None:
    """Values that few or many patients lack, so that columns have different weights at every site."""
    for i, row in enumerate(rows):
        row["albumin"] = "" if i % 7 == 0 else row["albumin"]
        row["inr"] = "" if i % 2 == 0 else row["inr"]


@pytest.mark.parametrize("masked", [False, True])
def test_means_and_deviations_are_those_of_the_pooled_rows(masked: bool, tmp_path: Path) -> None:
    made = make(tmp_path, {"b": forget}, study=STUDY + ANALYSIS, masked=masked)
    result = conduct(made.study, made.port(), lambda _: None).results.get("analysis.marks")
    assert result.status == "estimated", result.note
    found = {(e.term, e.name): e.value for e in result.estimates}
    rows = pd.concat([pd.read_csv(made.folders[site] / "patients.csv") for site in "abc"])
    alone = rows.groupby(rows["patient_id"].str[0])[list(COLUMNS)].mean()
    for name in COLUMNS:
        values = rows[name].dropna().to_numpy()
        assert found[name, "known"] == len(values)
        assert found[name, "mean"] == pytest.approx(np.mean(values), rel=1e-12)
        assert found[name, "std"] == pytest.approx(np.std(values, ddof=1), rel=1e-9)
    # Hospitals count by their patients: the mean of their means is another number.
    assert found["inr", "mean"] != pytest.approx(alone["inr"].mean(), rel=1e-6)
