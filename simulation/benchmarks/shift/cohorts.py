"""simulation: benchmarks: shift: one seed's hospitals: four that train, and the target as a scenario has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from common.federation.runner import conclude
from common.study.preparation import Intensity
from common.study.recipe import Frame
from common.study.table import FloatArray
from simulation.benchmarks.shift.measurements import IMAGE_FEATURES, measure
from simulation.benchmarks.shift.patients import PREVALENCE, Patients, draw_patients
from simulation.benchmarks.shift.pictures import Pictures, draw_pictures
from simulation.benchmarks.shift.preparation import BIN_WIDTH, landmarks, standard_scale, standardised
from simulation.benchmarks.shift.scenarios import (
    TRAINING_PATIENTS,
    TRAINING_SITES,
    USUAL,
    Scanner,
    Scenario,
    training_scanner,
)
from simulation.benchmarks.shift.sites import TRAIN, Hospital, frame_of, port_to

RAW_BIN_WIDTH = 10.0
"""Of texture in a scanner's own units."""
NYUL = "nyul."
"""Begins the names of features of standardised intensities."""
_BATCH = 500
_OTHER_UNITS = 100.0


@dataclass(frozen=True)
class Drawing:
    """How large everything is.

    Attributes
    ----------
    tested
        Patients of the target whom performance is measured in.
    calibrations
        How often risks are recalibrated on many patients.
    looks
        How often the target is looked at for a difference.
    every_severity
        Whether areas are measured at every severity of every kind of shift.
    kinds
        Of shift that are made; all where empty.
    """

    tested: int = 2000
    calibrations: int = 3
    looks: int = 2
    every_severity: bool = False
    kinds: tuple[str, ...] = ()

    @property
    def trained(self) -> int:
        """Patients who train, at all hospitals or, for the ceiling, at the target."""
        return TRAINING_SITES * TRAINING_PATIENTS


def stream(seed: int, what: str) -> np.random.Generator:
    """Randomness that depends on the seed and on what it is for, and on nothing else."""
    return np.random.default_rng([seed, crc32(what.encode())])


@dataclass(frozen=True)
class Trained:
    """The hospitals that train.

    Attributes
    ----------
    frames
        By site; raw features and those of standardised intensities.
    scale
        Nyul's, learned from them.
    """

    frames: Mapping[str, Frame]
    scale: Intensity

    def with_broken(self, seed: int) -> Trained:
        """And a fifth, see `Scenario.broken`."""
        draw = stream(seed, "broken hospital")
        patients = draw_patients(TRAINING_PATIENTS, draw)
        columns = features(patients, Scanner(gain=_OTHER_UNITS), self.scale, draw)
        for prefix in ("", NYUL):
            columns[f"{prefix}t1a.core.skewness"] = np.zeros(patients.n)
            columns[f"{prefix}log(afp)"] = np.exp(columns[f"{prefix}log(afp)"])
        return Trained({**self.frames, "broken": frame_of(columns, patients.mvi, draw)}, self.scale)


def draw_alike(seed: int, again: int, scale: Intensity) -> Trained:
    """Hospitals that train with one scanner, the usual one: any difference of a target is then the scenario's."""
    frames = {}
    for number in range(1, TRAINING_SITES + 1):
        draw = stream(seed, f"hospital-{number}, alike, {again}")
        patients = draw_patients(TRAINING_PATIENTS, draw)
        frames[f"hospital-{number}"] = frame_of(features(patients, USUAL, scale, draw), patients.mvi, draw)
    return Trained(frames, scale)


def draw_training(seed: int) -> Trained:
    """Draw and picture the patients of the hospitals that train; they learn the scale of intensities together."""
    drawn: dict[str, tuple[Patients, Pictures]] = {}
    marks: dict[str, Hospital] = {}
    for number in range(1, TRAINING_SITES + 1):
        name = f"hospital-{number}"
        draw = stream(seed, name)
        patients = draw_patients(TRAINING_PATIENTS, draw)
        pictures = draw_pictures(patients, training_scanner(draw), draw)
        drawn[name] = patients, pictures
        marks[name] = Hospital({TRAIN: frame_of(landmarks(pictures), patients.mvi, draw)})
    (scale,) = conclude(port_to(marks), [standard_scale(TRAIN)])
    frames = {
        name: frame_of(_both(patients, pictures, scale), patients.mvi, stream(seed, f"keys of {name}"))
        for name, (patients, pictures) in drawn.items()
    }
    return Trained(frames, scale)


def draw_target(seed: int, scenario: Scenario, parts: Mapping[str, int], scale: Intensity) -> dict[str, Frame]:
    """Disjoint patients of the target hospital, one frame a part."""
    draw = stream(seed, scenario.name)
    patients = draw_patients(sum(parts.values()), draw, scenario.prevalence or PREVALENCE, scenario.relation)
    columns = features(patients, scenario.scanner, scale, draw)
    frames, at = dict[str, Frame](), 0
    for part, n in parts.items():
        rows = slice(at, at + n)
        frames[part] = frame_of({k: v[rows] for k, v in columns.items()}, patients.mvi[rows], draw)
        at += n
    return frames


def features(
    patients: Patients, scanner: Scanner, scale: Intensity, draw: np.random.Generator
) -> dict[str, FloatArray]:
    """Raw features and those of standardised intensities, pictured in batches that fit in memory."""
    found = []
    for at in range(0, patients.n, _BATCH):
        part = Patients(patients.traits[at : at + _BATCH], patients.mvi[at : at + _BATCH])
        found.append(_both(part, draw_pictures(part, scanner, draw), scale))
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _both(patients: Patients, pictures: Pictures, scale: Intensity) -> dict[str, FloatArray]:
    raw = measure(pictures, patients, RAW_BIN_WIDTH)
    comparable = measure(standardised(pictures, scale), patients, BIN_WIDTH)
    return {**raw, **{f"{NYUL}{name}": column for name, column in comparable.items()}}


def image_features(prefix: str) -> tuple[str, ...]:
    """Names of the features that a scanner changes."""
    return tuple(f"{prefix}{name}" for name in IMAGE_FEATURES)
