"""tests/client/cohort: makes sites from rows of cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from client.cohort.site import Site, load_site
from common.study.loader import parse_study
from common.study.protocol import Study

STUDY = """
[study]
name = "mvi"
title = "MVI"

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["vascular_invasion"]
positive = ["Micro"]
negative = ["None"]

[[endpoints]]
name = "os"
kind = "survival"
columns = ["os_months", "os_event"]
unit = "months"
precision = 0.1
maximum = 120

[eligibility]
no_macrovascular_invasion = { column = "vascular_invasion", refuse = ["Macro"], missing = "keep" }
imaging_to_surgery_days = { at_least = 0, at_most = 30, missing = "keep" }

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[cohorts]]
name = "test"
role = "internal-test"
sites = ["a", "b", "c"]
split = { fraction = 0.3, stratify = "mvi" }

[[cohorts]]
name = "calibrate"
role = "calibration"
sites = ["a"]
split = { fraction = 0.2 }

[[cohorts]]
name = "late"
role = "outcome"
sites = ["a"]
label = "2018"

[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = ["afp", "sex", "cirrhosis", { variable = "total_bilirubin", coding = "log" }, "albumin", "platelets",
              "child_pugh"]
"""

HEADER = [
    "patient_id", "cohort", "vascular_invasion", "os_months", "os_event", "imaging_to_surgery_days",
    "afp", "sex", "cirrhosis", "total_bilirubin", "albumin", "platelets", "child_pugh",
]  # fmt: skip


def clean_row(i: int) -> dict[str, str]:
    """A plausible patient; neighbours differ, and nothing equals the endpoint."""
    cells = [
        f"p{i}", "2018" if i % 2 else "2015", "Micro" if i % 3 == 0 else "None", f"{1 + i % 60}.5", str(i % 4 // 3),
        str(i % 28), str(3 + 7 * (i % 50)), "male" if i % 5 else "female", "yes" if i % 7 else "no",
        str(8 + i % 11), str(35 + i % 10), str(120 + i % 90), "AAAB"[i % 4],
    ]  # fmt: skip
    return dict(zip(HEADER, cells, strict=True))


def as_csv(rows: list[dict[str, str]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, HEADER)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


MakeSite = Callable[..., Site]


@pytest.fixture(scope="session")
def study() -> Study:
    return parse_study(STUDY)


@pytest.fixture
def make_site(tmp_path: Path) -> MakeSite:
    """Site `a` with 60 clean patients; `change` edits rows (by patient number) or `text` replaces the table."""

    def make(change: dict[int, dict[str, str]] | None = None, *, n: int = 60, toml: str = "", text: str = "") -> Site:
        rows = [clean_row(i) | (change or {}).get(i, {}) for i in range(n)]
        (tmp_path / "patients.csv").write_text(text or as_csv(rows), encoding="utf-8")
        (tmp_path / "site.toml").write_text(f'[site]\nname = "a"\n{toml}', encoding="utf-8")
        (tmp_path / "site.secret").write_text("5e" * 32)
        return load_site(tmp_path)

    return make
