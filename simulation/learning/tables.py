"""simulation: learning: the tables beside drawn stacks: grades, and, where a study needs more, clinical columns.

A study of networks alone needs the endpoints that a grade decides. One with models and survival gets the patients of
`simulation.cohorts`, with their grades: laboratory values and traits as published margins have them, and follow-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import FedmviError
from common.study.acquisition import acquisition_facts
from common.study.features import FEATURE
from common.study.protocol import Endpoint, Study
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Consortium, Group, Site, load_consortium
from simulation.cohorts.patients import GRADES
from simulation.cohorts.streams import stream
from simulation.learning.pictures import draw_grades

_TRAITS = "demo"
"""The consortium whose odds ratios of clinical-radiological traits are taken."""

_SECOND = 0.4
"""Share of M2 among patients with MVI; half of the patients have MVI."""


@dataclass(frozen=True)
class Table:
    """One hospital's patients.

    Attributes
    ----------
    grades
        0 to 2 by patient.
    cells
        The columns of patients.csv as text, `patient_id` first.
    """

    grades: Mapping[str, int]
    cells: Mapping[str, list[str]]

    @property
    def classes(self) -> dict[str, int]:
        """Patients of each grade."""
        return {name: list(self.grades.values()).count(at) for at, name in enumerate(GRADES)}


def draw_tables(study: Study, seed: int, patients: int) -> dict[str, Table]:
    """A table of so many patients for every site of a study; error 815 for a column that cannot be drawn."""
    plain = {site: _plain(study, site, seed, patients) for site in study.sites()}
    needed = _needed(study) - set(next(iter(plain.values())).cells)
    if not needed:
        return plain
    consortium = _consortium(study, patients)
    drawn = {site.name: _with_clinic(study, consortium, site, seed) for site in consortium.sites}
    unknown = sorted(needed - set(next(iter(drawn.values())).cells))
    if unknown:
        raise FedmviError(815, f"the column {unknown[0]}", study=study.study.name)
    return drawn


def _needed(study: Study) -> set[str]:
    """Columns that a study reads."""
    columns = {column for endpoint in study.endpoints for column in endpoint.columns}
    from_images = acquisition_facts(study.preparation)
    columns |= {name for name in study.variable_names() if not FEATURE.fullmatch(name) and name not in from_images}
    columns |= {rule.column or name for name, rule in study.eligibility.rules()}
    return columns | ({"cohort"} if any(cohort.label is not None for cohort in study.cohorts) else set())


def _plain(study: Study, site: str, seed: int, patients: int) -> Table:
    """Nothing but ids, and the endpoints that a grade decides."""
    drawn = draw_grades(patients, stream(study.study.name, seed, site, "grades"))
    grades = {f"{site}-{i:03d}": grade for i, grade in enumerate(drawn.tolist(), start=1)}
    return Table(grades, {"patient_id": list(grades), **_endpoints(study, list(grades.values()))})


def _endpoints(study: Study, grades: list[int]) -> dict[str, list[str]]:
    cells = {}
    for endpoint in study.endpoints:
        if not endpoint.timed:
            words = _words(endpoint)
            cells[endpoint.columns[0]] = [words[grade] for grade in grades]
    return cells


def _words(endpoint: Endpoint) -> tuple[str, str, str]:
    """The cell of each grade."""
    if endpoint.kind == "ordinal":
        first, second, third = (level[0] for level in endpoint.levels)
        return first, second, third
    return endpoint.negative[0], endpoint.positive[0], endpoint.positive[0]


def _consortium(study: Study, patients: int) -> Consortium:
    """Hospitals of so many patients; where cohorts have labels, as many of each label."""
    clinical = load_consortium(_TRAITS).clinical
    changed = {"prevalence": 0.5, "second_grade": _SECOND, "ineligible": 0.0}
    sites = []
    for name in study.sites():
        labels = sorted({c.label or "" for c in study.cohorts if name in c.sites})
        sizes = [patients // len(labels) + (i < patients % len(labels)) for i in range(len(labels))]
        groups = tuple(Group(label=label, patients=n, present=n // 2) for label, n in zip(labels, sizes, strict=True))
        sites.append(Site(name=name, groups=groups))
    return Consortium(
        name=study.study.name, title=study.study.title, sites=tuple(sites), clinical=clinical.model_copy(update=changed)
    )


def _with_clinic(study: Study, consortium: Consortium, site: Site, seed: int) -> Table:
    drawn = draw_site(consortium, site, seed)
    grades = dict(zip(drawn.ids, drawn.grade.tolist(), strict=True))
    cells = {**drawn.cells, **_endpoints(study, list(grades.values()))}
    for endpoint in (e for e in study.endpoints if e.timed and e.columns[1] in cells):
        words = (endpoint.negative[0], endpoint.positive[0])
        cells[endpoint.columns[1]] = [words[cell == "1"] for cell in drawn.cells[endpoint.columns[1]]]
    return Table(grades, cells)
