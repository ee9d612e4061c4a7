"""server/study: a network's scores in a cohort: the task that makes them at the sites, and what is measured on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.learning import Member, ScorePatients
from common.federation.query import Summary, each, perform
from common.federation.runner import Conclusion, R, attempt, together
from common.statistics.grades import grades, grades_alone
from common.statistics.refinement import Counts
from common.statistics.roc import RocAlone, RocResult, rocs
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import Complete, Made, Recipe
from common.study.table import FloatArray
from server.study.network_faults import attempt_unless_mendable

COLUMNS = ("mean", "first", "mean.grade", "first.grade")
"""What `ScorePatients` makes: probabilities of presence and likeliest grades, by both ways of inference."""

INFERENCES = ("mean", "first")

Combination = tuple[str, ...]


@dataclass(frozen=True)
class Frozen:
    """A network as it is used: what scores, and the score from which on MVI is called present.

    Attributes
    ----------
    model
        Digest of what scores (`ScorePatients.model`).
    cutoffs
        (2,) of `mean` and `first`; None where none could be chosen.
    """

    model: str
    cutoffs: FloatArray | None


def scoring(network: Network, study: Study, model: str, by_fold: tuple[str, ...] = ()) -> Recipe:
    """From a site's table to the frame of the scored patients whose endpoints are known; `by_fold` as in `Made`."""
    named = dict.fromkeys((network.grades, network.binary))
    keys = tuple(key for name in named for key in study.endpoint(name).keys)
    return Recipe((Made(model, network.name, COLUMNS, by_fold), Complete((f"{network.name}.mean",), keys)))


def score(
    network: Network,
    combination: Combination,
    seed: int,
    cohort: str,
    members: Sequence[Member],
    *,
    project: bool = False,
) -> Conclusion[str]:
    """Let the cohort's sites score their patients; returns the digest of what scored them. `project` as of the task."""
    task = ScorePatients(cohort, network.name, combination, seed, tuple(members), project)
    yield perform(task)
    return task.model


@dataclass(frozen=True)
class Measured:
    """Performance over all sites of a cohort, or at one site by itself.

    Attributes
    ----------
    areas
        By way of inference.
    tables
        (levels, levels) patients by true and predicted level: of the likeliest grade by `mean.grade` and
        `first.grade`, of presence at the frozen cut-off by `mean` and `first` where there is one; hidden cells -1.
    """

    areas: Mapping[str, RocResult]
    tables: Mapping[str, Counts]


@dataclass(frozen=True)
class MeasuredAlone:
    """What the sites of a cohort that is too small to be summed tell of themselves, or why they do not.

    Attributes
    ----------
    areas
        By way of inference and site.
    tables
        By site, as in `Measured`.
    """

    areas: Mapping[str, Mapping[str, Summary | FedmviError]]
    tables: Mapping[str, Mapping[str, Counts] | FedmviError]


def column_names(network: Network, names: Sequence[str]) -> tuple[str, ...]:
    """Columns of `ScorePatients` as frames name them."""
    return tuple(f"{network.name}.{name}" for name in names)


def areas(
    study: Study, network: Network, cohort: str, model: str, by_fold: tuple[str, ...] = ()
) -> Conclusion[dict[str, RocResult]]:
    """Areas of both ways of inference, over all sites."""
    recipe = scoring(network, study, model, by_fold)
    found = yield from rocs(cohort, recipe, network.binary, column_names(network, INFERENCES))
    return dict(zip(INFERENCES, found, strict=True))


def measure(study: Study, network: Network, cohort: str, frozen: Frozen, levels: int) -> Conclusion[Measured]:
    """Areas and cross tables over all sites of a cohort, in lock-step.

    Raises
    ------
    FedmviError
        602 one class only; and those of the sites.
    """
    recipe = scoring(network, study, frozen.model)
    found, *tables = yield from together(
        areas(study, network, cohort, frozen.model),
        *(
            grades(cohort, recipe, endpoint, n, column_names(network, columns), cuts)
            for endpoint, n, columns, cuts in _tables(network, frozen, levels)
        ),
    )
    columns = [column for _, _, columns, _ in _tables(network, frozen, levels) for column in columns]
    flat = [one.table_ for part in tables for one in part]
    return Measured(found, dict(zip(columns, flat, strict=True)))


def measure_alone(
    study: Study, network: Network, cohort: str, frozen: Frozen, levels: int
) -> Conclusion[MeasuredAlone]:
    """As `measure`, by each site on its own."""
    recipe, limits = scoring(network, study, frozen.model), study.limits
    asked = _tables(network, frozen, levels)
    answers = yield from together(
        *(
            _each(RocAlone(cohort, recipe, network.binary, name, limits.min_test_class, min_cell=limits.min_cell))
            for name in column_names(network, INFERENCES)
        ),
        *(
            grades_alone(cohort, recipe, endpoint, n, column_names(network, columns), cuts, limits.min_cell)
            for endpoint, n, columns, cuts in asked
        ),
    )
    of_sites, by_site = answers[: len(INFERENCES)], answers[len(INFERENCES) :]
    tables: dict[str, Mapping[str, Counts] | FedmviError] = {}
    for site in sorted(by_site[0]):
        parts = [part[site] for part in by_site]
        refused = next((part for part in parts if isinstance(part, FedmviError)), None)
        columns = [column for _, _, columns, _ in asked for column in columns]
        flat = [] if refused is not None else [table for part in parts for table in part]
        tables[site] = refused or dict(zip(columns, flat, strict=True))
    return MeasuredAlone(dict(zip(INFERENCES, of_sites, strict=True)), tables)


def _tables(network: Network, frozen: Frozen, levels: int) -> list[tuple[str, int, tuple[str, ...], FloatArray]]:
    """Endpoint, levels, columns and cut-offs of the cross tables: of the likeliest grade, and of presence."""
    half = np.tile(np.arange(1, levels) - 0.5, (2, 1))
    asked = [(network.grades, levels, tuple(f"{name}.grade" for name in INFERENCES), half)]
    if frozen.cutoffs is not None:
        asked.append((network.binary, 2, INFERENCES, frozen.cutoffs[:, np.newaxis]))
    return asked


def _each(query: RocAlone) -> Conclusion[Mapping[str, Summary | FedmviError]]:
    replies: Mapping[str, Summary | FedmviError] = yield each(query)
    return replies


def in_batches(
    makers: Sequence[Callable[[], Conclusion[R]]], size: int, *, stops: bool = True
) -> Conclusion[list[R | FedmviError]]:
    """Conclusions in lock-step, `size` at a time, so that only theirs is in memory; of each its result or its error.

    Parameters
    ----------
    stops
        Whether an error that a site can mend is raised (`network_faults`).
    """
    trying: Callable[[Conclusion[R]], Conclusion[R | FedmviError]] = attempt_unless_mendable if stops else attempt
    results: list[R | FedmviError] = []
    for start in range(0, len(makers), size):
        results += yield from together(*(trying(make()) for make in makers[start : start + size]))
    return results
