"""simulation: benchmarks: shift: one seed after another: hospitals, models, actions, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from common.errors import FedmviError
from common.federation.ports import SitesPort
from common.parallel import in_processes
from common.study.recipe import Frame
from simulation.benchmarks.shift.cohorts import (
    NYUL,
    Drawing,
    Trained,
    draw_alike,
    draw_target,
    draw_training,
    features,
    stream,
)
from simulation.benchmarks.shift.detecting import PATIENTS, Look, look, model_of, prior_error
from simulation.benchmarks.shift.methods import (
    CEILING,
    LOCAL,
    NOTHING,
    POOLED,
    PREPARED_CEILING,
    PRIMARY_ACTION,
    area,
    develop,
    pooled_area,
    stacked,
)
from simulation.benchmarks.shift.models import Developed
from simulation.benchmarks.shift.patients import draw_patients
from simulation.benchmarks.shift.recalibrating import FEW, MANY, RULES, Recalibrated, draws_of, recalibrated
from simulation.benchmarks.shift.scenarios import (
    JUDGED,
    JUDGED_SCENARIOS,
    SEVERITIES,
    USUAL,
    Scenario,
)
from simulation.benchmarks.shift.sites import CALIBRATION, HERE, TEST, TRAIN, Hospital, frame_of, port_to

RECALIBRATED = ("label", "appearance", "concept")
"""Kinds of shift, at the judged severity, after which risks are recalibrated."""
APPEARANCE = ("appearance", "gain", "offset", "bias")
"""Kinds of shift of an image's values that could be undone."""
GRADED = ("appearance", "label", "concept")
"""Kinds of shift of which there is every severity."""
LOOKED_AT = (*APPEARANCE, "label", "concept")
"""Kinds of shift that are looked for, at every severity that there is."""
IDENTICAL = "identical hospitals"
"""Looks where there is nothing to find."""
FEW_DRAWS = 10
"""How often risks are recalibrated on few patients."""
_LABELLED, _LOCAL_CEILING = "labelled", "trained at the target"


@dataclass(frozen=True)
class Outcome:
    """What one scenario gave.

    Attributes
    ----------
    areas
        By method, under the ROC curve in the target's patients; None where there is none.
    refused
        By method, the number of the error that stands for the area.
    recalibrations, looks
        Corrections, and looks at the target.
    priors
        |logit O/E| before and after each prior correction.
    """

    areas: Mapping[str, float | None] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    recalibrations: Sequence[Recalibrated] = ()
    looks: Sequence[Look] = ()
    priors: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Found:
    """What one seed gave: outcomes by scenario, or the error that stopped it."""

    seed: int
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    error: str = ""


def run_campaign(
    seeds: Sequence[int], drawing: Drawing, workers: int | None, done: Callable[[Found], None]
) -> tuple[Found, ...]:
    """Every seed; `done` is told each that has ended."""
    found = []
    for one in in_processes(partial(one_seed, drawing=drawing), seeds, workers):
        found.append(one)
        done(one)
    return tuple(found)


def one_seed(seed: int, drawing: Drawing) -> Found:
    """All scenarios of one seed; the result depends on nothing else."""
    try:
        trained = draw_training(seed)
        alike = draw_alike(seed, 0, trained.scale)
        outcomes = {
            scenario.name: _outcome(seed, scenario, drawing, trained, alike) for scenario in _scenarios(drawing)
        }
        outcomes[IDENTICAL] = Outcome(looks=_identical(seed, drawing, trained))
    except FedmviError as error:
        return Found(seed, error=str(error))
    return Found(seed, outcomes)


def _scenarios(drawing: Drawing) -> list[Scenario]:
    others = [scenario for scenario in SEVERITIES if drawing.every_severity or scenario.kind in GRADED]
    every = [*JUDGED_SCENARIOS, *others]
    return [scenario for scenario in every if not drawing.kinds or scenario.kind in drawing.kinds]


def _outcome(seed: int, scenario: Scenario, drawing: Drawing, trained: Trained, alike: Trained) -> Outcome:
    recalibrates = scenario.kind in RECALIBRATED and scenario.severity == JUDGED
    looks = drawing.looks if scenario.kind in LOOKED_AT or scenario.broken else 0
    parts = {TEST: drawing.tested, HERE: scenario.here, _LOCAL_CEILING: drawing.trained}
    parts |= {_LABELLED: MANY * drawing.calibrations} if recalibrates else {}
    parts |= {f"look-{k}": PATIENTS for k in range(looks)}
    target = draw_target(seed, scenario, parts, trained.scale)
    hospitals = trained.with_broken(seed) if scenario.broken else trained
    port = port_to(
        {name: Hospital({TRAIN: frame}) for name, frame in hospitals.frames.items()}
        | {"target": Hospital({TEST: target[TEST], HERE: target[HERE]})}
    )
    models = develop(port, hospitals.frames)
    areas, refused = _areas(port, models)
    seen = alike.with_broken(seed) if scenario.broken else alike
    plain = model_of(seen.frames)
    looked = [look(seen.frames, target[f"look-{k}"], plain) for k in range(looks)]
    priors = [prior_error(plain, target[TEST], one) for one in looked]
    return Outcome(
        {**areas, **_of_rows(hospitals.frames, target)},
        refused,
        _corrections(models, target) if recalibrates else (),
        looked,
        [prior for prior in priors if prior is not None],
    )


def _areas(
    port: SitesPort, models: Mapping[str, Developed | FedmviError]
) -> tuple[dict[str, float | None], dict[str, int]]:
    """Of federated models, and the errors that stand for areas."""
    areas, refused = dict[str, float | None](), dict[str, int]()
    for method, model in models.items():
        found = model if isinstance(model, FedmviError) else area(port, model)
        if isinstance(found, FedmviError):
            areas[method], refused[method] = None, found.number
        else:
            areas[method] = found
    return areas, refused


def _of_rows(train: Mapping[str, Frame], target: Mapping[str, Frame]) -> dict[str, float | None]:
    """Areas of models that need rows which no federation has."""
    test, here = target[TEST], target[_LOCAL_CEILING]
    return {
        POOLED: pooled_area(stacked(train), test),
        LOCAL: pooled_area(target[HERE], test, penalised=True),
        CEILING: pooled_area(here, test),
        PREPARED_CEILING: pooled_area(here, test, prefix=NYUL),
    }


def _corrections(models: Mapping[str, Developed | FedmviError], target: Mapping[str, Frame]) -> list[Recalibrated]:
    """Every rule, on many patients and on few; slopes are looked at after many only."""
    corrections = []
    for action in (NOTHING, PRIMARY_ACTION):
        model = models[action]
        if isinstance(model, FedmviError):
            continue
        for n in (MANY, FEW):
            for part in draws_of(target[_LABELLED], n)[:FEW_DRAWS]:
                hospital = Hospital({TEST: target[TEST], HERE: target[HERE], CALIBRATION: part})
                corrections += recalibrated(action, model, hospital, RULES[n], slopes=n == MANY)
    return corrections


def _identical(seed: int, drawing: Drawing, trained: Trained) -> list[Look]:
    """Looks at a target and hospitals that all have one scanner, drawn anew for each."""
    looks = []
    for k in range(drawing.looks):
        alike = draw_alike(seed, k + 1, trained.scale)
        draw = stream(seed, f"target, alike, {k + 1}")
        patients = draw_patients(PATIENTS, draw)
        target = frame_of(features(patients, USUAL, trained.scale, draw), patients.mvi, draw)
        looks.append(look(alike.frames, target, model_of(alike.frames)))
    return looks
