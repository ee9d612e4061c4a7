"""simulation: benchmarks: shift: real centres: which data there are, and the frames of their patients.

TCGA-LIHC is of 38 centres, most of a few patients. The two that are large enough stand alone; the importer groups the
others in order of their code (see `simulation.importers.tcga_lihc`), so that "pooled" is a group and no hospital, and
what differs between two groups is less than what differs between two hospitals.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.study.recipe import Frame
from common.study.table import FloatArray
from simulation.benchmarks.shift.cohorts import stream
from simulation.benchmarks.shift.sites import frame_of
from simulation.exactness.measuring import public_data
from simulation.importers.folder import ImportReport
from simulation.importers.heart_disease import import_heart_disease
from simulation.importers.tcga_lihc import import_tcga_lihc


@dataclass(frozen=True)
class RealData:
    """One data set of several centres.

    Attributes
    ----------
    name, folder
        What the command calls it, and its folder of public data.
    importer
        Writes its site folders.
    numbers, logarithms
        Columns that ComBat harmonises, as they are and as their natural logarithm.
    kept
        A number that is no measurement, and stays as it is.
    indicators
        Columns that are 1 at this level and 0 at the other.
    outcome, levels
        Column of the outcome, and its levels without and with it; who has neither is left out.
    note
        What a reader must know of the centres; "" for nothing.
    """

    name: str
    folder: str
    importer: Callable[[Path, Path], ImportReport]
    numbers: tuple[str, ...]
    logarithms: tuple[str, ...]
    kept: tuple[str, ...]
    indicators: Mapping[str, str]
    outcome: str
    levels: tuple[str, str]
    note: str = ""

    @property
    def measured(self) -> tuple[str, ...]:
        """The columns that ComBat harmonises, by their names in frames."""
        return (*self.numbers, *(f"log({name})" for name in self.logarithms))

    @property
    def columns(self) -> tuple[str, ...]:
        """All predictors."""
        return (*self.measured, *self.kept, *self.indicators)

    def frames(self) -> dict[str, Frame]:
        """By site, those of whom the outcome is known; `Absent` without the public data."""
        with TemporaryDirectory(prefix="fedmvi-shift-") as name:
            folder = Path(name) / "sites"
            self.importer(public_data(self.folder), folder)
            found = sorted(path.parent for path in folder.glob("*/patients.csv"))
            return {path.name: self._frame(path) for path in found}

    def _frame(self, folder: Path) -> Frame:
        with (folder / "patients.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row[self.outcome] in self.levels]

        def number(name: str) -> FloatArray:
            return np.array([float(row[name]) if row[name] else np.nan for row in rows])

        columns = {name: number(name) for name in (*self.numbers, *self.kept)}
        columns |= {f"log({name})": np.log(number(name)) for name in self.logarithms}
        for name, level in self.indicators.items():
            columns[name] = np.array([float(row[name] == level) if row[name] else np.nan for row in rows])
        y = np.array([float(row[self.outcome] == self.levels[1]) for row in rows])
        ordered = {name: columns[name] for name in self.columns}
        return frame_of(ordered, y, stream(0, f"keys of {folder.name}"))


HEART_DISEASE = RealData(
    "heart-disease", "heart_disease_4centres", import_heart_disease,
    numbers=("age", "resting_blood_pressure", "maximum_heart_rate", "st_depression"), logarithms=(), kept=(),
    indicators={"sex": "male", "no_chest_pain": "yes", "exercise_angina": "yes"},
    outcome="disease", levels=("no", "yes"),
)  # fmt: skip
TCGA_LIHC = RealData(
    "tcga-lihc", "tcga_lihc", import_tcga_lihc,
    numbers=("platelets", "albumin"), logarithms=("afp", "total_bilirubin"), kept=("age",),
    indicators={"sex": "male", "alcohol": "yes"}, outcome="vascular_invasion", levels=("None", "Micro"),
    note="DD and G3 are one hospital each; each 'pooled' one is a group of hospitals too small to stand alone.",
)  # fmt: skip
REAL = {data.name: data for data in (HEART_DISEASE, TCGA_LIHC)}
