"""simulation: benchmarks: shift: what differs at the target hospital, and by how much.

The severities are constants, chosen for what scanners do to abdominal images, before any method was run on them. The
second of three is the one that methods are judged by. Nothing here may be changed to suit a method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

TUNING_SEEDS = range(9001, 9011)
"""For choosing the strength of the signal and settings of methods; never evaluated."""
EVALUATION_SEED = 201
"""The first of the seeds that are evaluated. Those from 1 on had been looked at when the rule was set by which closed
testing may refit, those from 101 on when ComBat was to cost less where nothing differs."""

TRAINING_SITES, TRAINING_PATIENTS = 4, 150
"""Hospitals that train, and patients of each."""
HERE = 150
"""Patients of the target hospital without a known outcome, by whom it is harmonised; with one, for its local model."""
TINY = 15
"""The same, of a tiny hospital."""
JUDGED = 2
"""The severity that methods are compared at."""


@dataclass(frozen=True)
class Scanner:
    """How a hospital's pictures come about.

    Attributes
    ----------
    gain, offset
        Of the receiver; the plain liver has a signal of 100.
    bias
        Half the logarithm of the ratio of the brightest to the darkest place of the coil's field, on average.
    noise
        Factor of its standard deviation.
    blur_mm
        Standard deviation of what is added to the point spread.
    spacing_mm
        Width of the pixels as acquired, each the mean of what lies in it, which are then resampled to those of all
        hospitals; 0 for those of all hospitals.
    late
        Arterial phase: 0 on time; at 1 the liver has enhanced by 80 % more, and lesion and rim by 60 % less.
    """

    gain: float = 1.0
    offset: float = 0.0
    bias: float = 0.05
    noise: float = 1.0
    blur_mm: float = 0.0
    spacing_mm: float = 0.0
    late: float = 0.0


USUAL = Scanner()


def training_scanner(draw: np.random.Generator) -> Scanner:
    """One of those that trained: they differ a little, too."""
    return Scanner(gain=float(draw.uniform(0.9, 1.1)), offset=float(draw.uniform(-5.0, 5.0)))


@dataclass(frozen=True)
class Scenario:
    """What differs at the target.

    Attributes
    ----------
    kind
        Of shift.
    severity
        1, 2 or 3; 0 where there is only one.
    scanner
        Of the target.
    prevalence
        Of MVI; None for that of training.
    relation
        See `draw_patients`.
    here
        Patients of the target by whom it is harmonised, or on whom its local model is trained.
    broken
        A fifth hospital trains, whose intensities and laboratory values are in other units, and of which one feature is
        constant; the target is as all others.
    """

    kind: str
    severity: int
    scanner: Scanner = USUAL
    prevalence: float | None = None
    relation: tuple[float, ...] = ()
    here: int = HERE
    broken: bool = False

    @property
    def name(self) -> str:
        """`gain-2`."""
        return f"{self.kind}-{self.severity}" if self.severity else self.kind


GAIN = (1.5, 2.5, 4.0)
OFFSET = (20.0, 40.0, 60.0)
BIAS = (0.1, 0.2, 0.3)
NOISE = (1.5, 2.5, 4.0)
BLUR_MM = (2.0, 3.5, 5.0)
SPACING_MM = (5.0, 7.0, 9.0)
LATE = (0.25, 0.5, 1.0)
LABEL = (0.15, 0.25, 0.35)
"""Added to the prevalence."""
CONCEPT = (0.5, 0.0, -0.5)
"""What is left of the effects of rim and heterogeneity on MVI."""
APPEARANCE = tuple(Scanner(gain, offset, bias) for gain, offset, bias in zip(GAIN, OFFSET, BIAS, strict=True))


def _of(kind: str, severity: int) -> Scenario:
    k = severity - 1
    scanner = {
        "gain": lambda: replace(USUAL, gain=GAIN[k]),
        "offset": lambda: replace(USUAL, offset=OFFSET[k]),
        "bias": lambda: replace(USUAL, bias=BIAS[k]),
        "appearance": lambda: APPEARANCE[k],
        "noise": lambda: replace(USUAL, noise=NOISE[k]),
        "blur": lambda: replace(USUAL, blur_mm=BLUR_MM[k]),
        "spacing": lambda: replace(USUAL, spacing_mm=SPACING_MM[k]),
        "timing": lambda: replace(USUAL, late=LATE[k]),
    }.get(kind, lambda: USUAL)()
    return Scenario(
        kind,
        severity,
        scanner,
        prevalence=0.4 + LABEL[k] if kind == "label" else None,
        relation=(1.0, CONCEPT[k], CONCEPT[k], 1.0, 1.0) if kind == "concept" else (),
    )


KINDS = ("label", "gain", "offset", "bias", "appearance", "noise", "blur", "spacing", "timing", "concept")
NONE = Scenario("none", 0)
JUDGED_SCENARIOS = (
    NONE,
    *(_of(kind, JUDGED) for kind in KINDS),
    Scenario("tiny", 0, APPEARANCE[JUDGED - 1], here=TINY),
    Scenario("broken", 0, broken=True),
)
"""Every kind once."""
ALL_KINDS = tuple(scenario.kind for scenario in JUDGED_SCENARIOS)
SEVERITIES = tuple(_of(kind, severity) for kind in KINDS for severity in (1, 3))
"""The others."""
PRIMARY = _of("appearance", JUDGED).name
"""The invertible shift by which actions without outcomes are judged."""
