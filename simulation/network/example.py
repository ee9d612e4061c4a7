"""simulation/network: a small study and its made-up hospitals, for whoever needs a deployment to do something real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from common.files import write_whole
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals

HOSPITALS = {"hospital-a": 90, "hospital-b": 80, "hospital-c": 70}
"""Patients of each."""

_HEAD = """\
[study]
name = "{name}"
title = "{title}"
simulated = true

[federation]
wait_hours = {wait_hours}
deadline_minutes = 10

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]

[[endpoints]]
name = "rfs"
kind = "survival"
columns = ["rfs_days", "rfs_event"]
positive = ["1"]
negative = ["0"]
unit = "days"
maximum = 2557

[[cohorts]]
name = "train"
role = "train"
sites = {sites}

[[cohorts]]
name = "outcome"
role = "outcome"
sites = {sites}

[[comparisons]]
name = "rfs-by-mvi"
endpoint = "rfs"
group = "mvi"
cohort = "outcome"
times = [365, 730]
"""

_MODEL = """
[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = ["afp", "ast", { variable = "age", coding = "linear" }]
missing = "complete-case"

[[analyses]]
name = "recurrence"
statistic = "cox"
cohort = "train"
endpoint = "rfs"
predictors = ["afp", { variable = "tumour_size_imaging", coding = "linear" }]
"""


def make_example_hospitals(folder: Path, seed: int = 7) -> dict[str, Path]:
    """Three hospitals with tables of simulated patients, in a new folder; their folders by name."""
    make_hospitals(load_consortium("demo").with_patients(HOSPITALS), folder, seed)
    return {name: folder / name for name in HOSPITALS}


def write_example_study(
    file: Path,
    name: str,
    sites: Sequence[str] = tuple(HOSPITALS),
    *,
    title: str = "Survival by microvascular invasion in synthetic hospitals",
    models: bool = False,
    wait_hours: float = 24.0,
) -> Path:
    """Write the protocol of a study that ends after a few exchanges; with models it takes some more of them."""
    text = _HEAD.format(name=name, title=title, wait_hours=wait_hours, sites=json.dumps(list(sites)))
    write_whole(file, (text + _MODEL * models).encode(), 0o644)
    return file
