"""server/study: step: the table of patients' characteristics, by cohort and by class, with standardised differences.

Small counts are hidden, and enough others with them that none can be worked out from all patients, the classes and
the numbers with a known value, which are told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import Summary, total
from common.federation.runner import Conclusion, attempt, together
from common.published.results import Estimate, Result
from common.statistics.chi_square import ClassTable
from common.statistics.counts import Counts
from common.statistics.moments import Moments, moments
from common.statistics.standardised_difference import ByClass, moments_by_class, of_means, of_shares
from common.statistics.variance import LevelCounts
from common.study.coding import CodedColumn
from common.study.described import Described, described_classes, described_cohorts, described_variables
from common.study.protocol import Cohort, Study
from common.study.recipe import Recipe, Select
from server.study.models import refusal
from server.study.published import Published
from server.study.subject import number
from server.study.suppression import CountSystem

CLASSES = ("absent", "present")
"""Behind the name of an estimate of one class of the endpoint."""


@dataclass(frozen=True)
class Answers:
    """What the sites of a cohort told of one variable; None where it was not asked."""

    part: Described
    moments: Moments | FedmviError | None = None
    by_class: ByClass | FedmviError | None = None
    levels: Counts | FedmviError | None = None
    table: Counts | FedmviError | None = None


@dataclass(frozen=True)
class Shown:
    """What is published of one variable: counts by level, None where hidden, of all patients and by class.

    Attributes
    ----------
    all_, classes
        By level; `classes` is None where few patients are of a class, or of none.
    """

    all_: tuple[int | None, ...] = ()
    classes: tuple[tuple[int | None, ...], tuple[int | None, ...]] | None = None
    known: tuple[int, int] = field(default=(0, 0))


def describe(study: Study, published: Published) -> Conclusion[list[Result]]:
    """The characteristics of every cohort that is described; at most three rounds, all in lock-step."""
    cohorts = described_cohorts(study)
    asked = [[_ask(study, cohort, part) for part in described_variables(study, cohort)] for cohort in cohorts]
    found: list[list[Answers]] = yield from together(*(_all(parts) for parts in asked))
    answers = {cohort.name: told for cohort, told in zip(cohorts, found, strict=True)}
    train = next((cohort for cohort in cohorts if cohort.role == "train"), None)
    results = []
    for cohort in cohorts:
        against = {a.part.variable.name: a for a in answers[train.name]} if train not in (None, cohort) else {}
        results.append(_patients(study, cohort, answers[cohort.name], against, published))
        if described_classes(study, cohort):
            results.append(_classes(study, cohort, answers[cohort.name], published))
    return results


def _all(parts: list[Conclusion[Answers]]) -> Conclusion[list[Answers]]:
    return (yield from together(*parts))


def _ask(study: Study, cohort: Cohort, part: Described) -> Conclusion[Answers]:
    """Everything that is asked of a variable; what a site refuses of it spoils nothing else."""
    endpoint = described_classes(study, cohort)
    asked: dict[str, Conclusion[Any]] = {}
    if part.number is not None:
        values = (cohort.name, _only(part.number))
        asked["moments"] = attempt(moments(*values, (part.number.name,)))
        if endpoint:
            asked["by_class"] = attempt(moments_by_class(*values, endpoint, part.number.name))
    if part.table is not None:
        values, levels = (cohort.name, _only(part.table)), len(part.terms)
        asked["levels"] = attempt(_counted(LevelCounts(*values, (part.table.name,), (levels,)), 0))
        if endpoint:
            asked["table"] = attempt(_counted(ClassTable(*values, endpoint, part.table.name, levels), None))
    told = yield from together(*asked.values())
    return Answers(part, **dict(zip(asked, told, strict=True)))


def _only(column: CodedColumn) -> Recipe:
    """A recipe of one column, so that a site that lacks it refuses nothing else."""
    return Recipe((Select((column,)),))


def _counted(query: LevelCounts | ClassTable, row: int | None) -> Conclusion[Counts]:
    sums: Summary = yield total(query)
    counts: Counts = sums["counts"]
    return counts if row is None else counts[row]


# ------------------------------------------------------------------------------------------------ what is published


def _shown(answers: Answers, cell: int) -> Shown:
    """The counts of a variable by level as they may be published."""
    if not isinstance(answers.levels, np.ndarray):
        return Shown()
    levels, table = answers.levels, answers.table
    usable = isinstance(table, np.ndarray) and _classes_hold(table.sum(axis=0), int(levels.sum()), cell)
    system = CountSystem()
    keys = [("pooled", "all", str(i)) for i in range(levels.size)]
    whole = ("pooled", "all", "known")
    system.values |= {whole: int(levels.sum()), **dict(zip(keys, levels.tolist(), strict=True))}
    system.fixed.add(whole)
    system.sums(whole, keys)
    if usable and isinstance(table, np.ndarray):
        _enter_classes(system, levels, table)
    for key, value in system.values.items():
        if value is not None and 0 < value < cell and key not in system.fixed:
            system.small.add(key)
    values = system.protect(cell)
    all_ = tuple(values[key] for key in keys)
    if not usable or not isinstance(table, np.ndarray):
        return Shown(all_)
    first, second = (tuple(values["pooled", str(k), key[2]] for key in keys) for k in (0, 1))
    return Shown(all_, (first, second), (int(table[:, 0].sum()), int(table[:, 1].sum())))


def _enter_classes(system: CountSystem, levels: Counts, table: Counts) -> None:
    """The counts of each class, and of those whose class is unknown, which readers get by subtraction only."""
    rest = levels - table.sum(axis=1)
    for k, counts in (("0", table[:, 0]), ("1", table[:, 1]), ("?", rest)):
        keys = [("pooled", k, str(i)) for i in range(levels.size)]
        known = ("pooled", k, "known")
        system.values |= {known: int(counts.sum()), **dict(zip(keys, counts.tolist(), strict=True))}
        system.fixed.add(known)
        system.sums(known, keys)
    for i in range(levels.size):
        system.sums(("pooled", "all", str(i)), [("pooled", k, str(i)) for k in ("0", "1", "?")])


def _classes_hold(known: Counts, everybody: int, cell: int) -> bool:
    """Whether each class has enough patients with a value, and so have those of no known class, unless there are none:
    what is told of all patients less that of the classes is theirs."""
    rest = everybody - int(known.sum())
    return bool(np.all(known >= cell)) and not 0 < rest < cell


def _patients(
    study: Study, cohort: Cohort, answers: list[Answers], against: Mapping[str, Answers], published: Published
) -> Result:
    cell = study.limits.min_cell
    estimates: list[Estimate] = []
    for one in answers:
        other = against.get(one.part.variable.name)
        estimates += _number(one, cell) + _levels(one, _shown(one, cell))
        estimates += _differences(one, other, cell) if other is not None else []
    row = published.row(cohort.name, "", ("n",))
    note = "Standardised differences are against the training cohort." if against else ""
    return _result(study, cohort, "", estimates, n=row.pooled, note=note)


def _classes(study: Study, cohort: Cohort, answers: list[Answers], published: Published) -> Result:
    endpoint, cell = described_classes(study, cohort), study.limits.min_cell
    estimates: list[Estimate] = []
    for one in answers:
        estimates += _number_by_class(one, cell) + _levels_by_class(one, _shown(one, cell), cell)
    absent, present = (published.row(cohort.name, "", ("class", endpoint, i)).pooled for i in ("0", "1"))
    n = None if absent is None or present is None else absent + present
    note = "Patients whose class is unknown are left out."
    return _result(study, cohort, endpoint, estimates, n=n, events=present, note=note)


def _result(study: Study, cohort: Cohort, endpoint: str, estimates: list[Estimate], **facts: Any) -> Result:
    by = f" by {study.endpoint(endpoint).title}" if endpoint else ""
    return Result(
        id=f"characteristics.{cohort.name}" + (f".{endpoint}" if endpoint else ""),
        statistic="characteristics",
        kind=endpoint,
        title=f"Patients' characteristics{by}, cohort {cohort.name}",
        cohort=cohort.name,
        sites=sorted(cohort.sites),
        how="exact",
        status="estimated" if any(e.value is not None for e in estimates) else "not-estimable",
        estimates=estimates,
        **facts,
    )


def _number(one: Answers, cell: int) -> list[Estimate]:
    variable, fit = one.part.variable, one.moments
    if fit is None:
        return []
    if isinstance(fit, FedmviError):
        return [Estimate(name="mean", term=variable.name, value=None, unit=variable.unit, note=refusal(fit)[1])]
    n, mean, std = (float(values[0]) for values in (fit.n_, fit.mean_, fit.std_))
    if n < cell:
        return [Estimate(name="mean", term=variable.name, value=None, unit=variable.unit, note=f"fewer than {cell}")]
    return _moments(variable.name, variable.unit, "", n, mean, std)


def _moments(term: str, unit: str, suffix: str, n: float, mean: float, std: float) -> list[Estimate]:
    return [
        Estimate(name=f"known{suffix}", term=term, value=n),
        Estimate(name=f"mean{suffix}", term=term, value=mean, unit=unit),
        Estimate(name=f"std{suffix}", term=term, value=number(std), unit=unit),
    ]


def _number_by_class(one: Answers, cell: int) -> list[Estimate]:
    variable, fit, whole = one.part.variable, one.by_class, one.moments
    if isinstance(fit, FedmviError):
        return _refused("mean", variable.name, fit)
    if fit is None or not isinstance(whole, Moments):
        return []
    if not _classes_hold(fit.n_.astype(np.int64), int(whole.n_[0]), cell):
        return [Estimate(name="mean_present", term=variable.name, value=None, note=_FEW.format(cell=cell))]
    found = []
    for k, name in enumerate(CLASSES):
        n, mean, std = (float(values[k]) for values in (fit.n_, fit.mean_, fit.std_))
        found += _moments(variable.name, variable.unit, f"_{name}", n, mean, std)
    first, second = ((float(fit.mean_[k]), float(fit.std_[k])) for k in (0, 1))
    return [*found, _smd(variable.name, of_means(first, second))]


def _smd(term: str, value: float) -> Estimate:
    shown = number(value)
    return Estimate(name="smd", term=term, value=shown, note="" if shown is not None else "not estimable")


def _refused(name: str, term: str, error: FedmviError) -> list[Estimate]:
    return [Estimate(name=f"{name}_present", term=term, value=None, note=refusal(error)[1])]


def _levels(one: Answers, shown: Shown) -> list[Estimate]:
    variable, terms = one.part.variable, one.part.terms
    if isinstance(one.levels, FedmviError):
        why = refusal(one.levels)[1]
        return [Estimate(name="patients", term=term, value=None, note=why) for term in terms if term]
    if not isinstance(one.levels, np.ndarray):
        return []
    known = int(one.levels.sum())
    head = one.part.table.name if one.part.table is not None else variable.name
    found = [Estimate(name="known", term=head, value=float(known))]
    return found + _counts(terms, shown.all_, known, "")


_FEW = "fewer than {cell} patients of a class, or of none, have a value"


def _counts(terms: tuple[str, ...], counts: tuple[int | None, ...], known: int, suffix: str) -> list[Estimate]:
    found = []
    for term, count in zip(terms, counts, strict=True):
        if not term:
            continue
        found.append(Estimate(name=f"patients{suffix}", term=term, value=None if count is None else float(count)))
        if count is not None and known:
            found.append(Estimate(name=f"share{suffix}", term=term, value=count / known))
    return found


def _levels_by_class(one: Answers, shown: Shown, cell: int) -> list[Estimate]:
    terms = tuple(term for term in one.part.terms if term)
    if isinstance(one.table, FedmviError):
        return [e for term in terms for e in _refused("patients", term, one.table)]
    if one.table is None or one.part.table is None:
        return []
    if shown.classes is None:
        few = _FEW.format(cell=cell)
        return [Estimate(name="patients_present", term=term, value=None, note=few) for term in terms]
    found = []
    for name, counts, known in zip(CLASSES, shown.classes, shown.known, strict=True):
        found.append(Estimate(name=f"known_{name}", term=one.part.table.name, value=float(known)))
        found += _counts(one.part.terms, counts, known, f"_{name}")
    if isinstance(one.table, np.ndarray):
        # The difference of hidden counts would tell them.
        hidden = None in shown.classes[0] or None in shown.classes[1]
        value = math.nan if hidden else of_shares(one.table[:, 0], one.table[:, 1])
        found.append(_smd(one.part.table.name, value))
    return found


def _differences(one: Answers, other: Answers, cell: int) -> list[Estimate]:
    """Standardised differences of a cohort's variable against the training cohort's."""
    found = []
    if isinstance(one.moments, Moments) and isinstance(other.moments, Moments):
        groups = [fit for fit in (other.moments, one.moments) if fit.n_[0] >= cell]
        if len(groups) == 2:
            first, second = ((float(fit.mean_[0]), float(fit.std_[0])) for fit in groups)
            found.append(_smd(one.part.variable.name, of_means(first, second)))
    if isinstance(one.levels, np.ndarray) and isinstance(other.levels, np.ndarray) and one.part.table is not None:
        hidden = None in _shown(one, cell).all_ or None in _shown(other, cell).all_
        found.append(_smd(one.part.table.name, math.nan if hidden else of_shares(other.levels, one.levels)))
    return found
