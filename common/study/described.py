"""common/study: what `[characteristics]` asks: of which cohorts, which columns, and where classes are told apart.

The table of how images were acquired is of cohorts by the same rule.

Server and gate read the same functions. A sum over one cohort less one over another is that of the patients, or of the
site, in which they differ: so only cohorts that share nobody are described.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.study.acquisition import acquisition_facts
from common.study.coding import CodedColumn, columns_of
from common.study.dictionary import Variable
from common.study.features import FEATURE
from common.study.protocol import Cohort, Study
from common.study.terms import Term

_PREDICTION = frozenset({"train", "internal-test", "calibration", "external-test"})
"""A patient has one of these roles."""


@dataclass(frozen=True)
class Described:
    """A variable as it is described.

    Attributes
    ----------
    number
        Of a measured variable: the column of its values, for mean and standard deviation.
    table
        Its levels, or whether it is above its cut-off, as a column of 0, 1, ...; None where it has no cut-off.
    terms
        The level of each such number, as `sex=male`, or as `afp>20` for above; "" for what is not told on its own.
    """

    variable: Variable
    number: CodedColumn | None
    table: CodedColumn | None
    terms: tuple[str, ...]


def described_cohorts(study: Study) -> tuple[Cohort, ...]:
    """The cohorts that are described: of enough sites, and without patients of one before."""
    return tuple(c for c in cohorts_apart(study) if poolable(study, c)) if study.characteristics is not None else ()


def acquired_cohorts(study: Study) -> tuple[Cohort, ...]:
    """The cohorts of which the acquisition of images is told; the same, and of fewer sites where each may tell its."""
    return cohorts_apart(study) if study.preparation is not None else ()


def acquired_columns(study: Study) -> tuple[tuple[CodedColumn, int], ...]:
    """Every fact of the acquisition that the study has, as the index of its level, and its number of levels."""
    facts = acquisition_facts(study.preparation)
    return tuple((CodedColumn(name, name, "linear"), len(study.variable(name).level_names)) for name in facts)


def poolable(study: Study, cohort: Cohort) -> bool:
    """Whether a cohort has enough sites for a sum."""
    return len(cohort.sites) >= study.limits.min_sites


def cohorts_apart(study: Study) -> tuple[Cohort, ...]:
    """In the order of the study the cohorts that share no patients with one chosen before, of enough sites first."""
    found: list[Cohort] = []
    for cohort in sorted(study.cohorts, key=lambda cohort: not poolable(study, cohort)):
        if all(_apart(cohort, other) for other in found):
            found.append(cohort)
    return tuple(sorted(found, key=study.cohorts.index))


def _apart(one: Cohort, other: Cohort) -> bool:
    """Whether no patient can be in both, whatever the sites' tables hold."""
    labels = one.label is not None and other.label is not None and one.label != other.label
    return labels or not set(one.sites) & set(other.sites) or {one.role, other.role} <= _PREDICTION


def described_classes(study: Study, cohort: Cohort) -> str:
    """The binary endpoint whose classes are told apart in a cohort; "" where endpoints are closed, or there is none."""
    if study.characteristics is None or cohort.role in study.closed_roles:
        return ""
    binary = (endpoint.name for endpoint in study.endpoints if endpoint.kind == "binary")
    return study.characteristics.by or next(binary, "")


def described_variables(study: Study, cohort: Cohort) -> tuple[Described, ...]:
    """The variables that are described in a cohort, in order; where endpoints are closed none that tells of them."""
    if study.characteristics is None:
        return ()
    closed = cohort.role in study.closed_roles
    if ("described", closed) not in study.worked_out:
        study.worked_out["described", closed] = _worked_out(study, study.characteristics.variables, closed=closed)
    known: tuple[Described, ...] = study.worked_out["described", closed]
    return known


def _worked_out(study: Study, names: tuple[str, ...], *, closed: bool) -> tuple[Described, ...]:
    variables = [study.variable(name) for name in names or _usual(study)]
    return tuple(_described(v) for v in variables if not closed or not _tells_of_outcome(v))


def _usual(study: Study) -> tuple[str, ...]:
    """What the study uses, in the order of first use, but for features and other facts of images."""
    used = [term.variable for part in study.on_predictors for term in part.predictors]
    acquired = acquisition_facts(study.preparation)  # they have a table of their own
    known = [n for n in study.variable_names() if n not in acquired and not FEATURE.fullmatch(n)]
    return tuple(n for n in dict.fromkeys((*used, *known)) if n in known)


def _tells_of_outcome(variable: Variable) -> bool:
    return bool(variable.leaks) or variable.known == "follow-up"


def _described(variable: Variable) -> Described:
    own = CodedColumn(variable.name, variable.name, "linear")
    if variable.kind != "continuous":
        terms = tuple(f"{variable.name}={level}" for level in variable.level_names)
        return Described(variable, None, own, terms)
    if variable.cutoff is None:
        return Described(variable, own, None, ())
    (above,) = columns_of(variable, Term(variable=variable.name, coding="above"))
    return Described(variable, own, above, ("", above.name))
