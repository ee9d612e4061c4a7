"""server/study: step: how images were acquired, by cohort: scanners, spacing and contrast timing, by level.

Counts of all sites are told where a sum may be, counts of a site where it tells its own. Small ones are hidden, and
enough others with them that none follows from all that is shown: levels add up to a cohort's patients, and sites to the
total.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import FedmviError
from common.federation.query import HIDDEN
from common.federation.runner import Conclusion, together
from common.published.results import ALL_SITES, Count, Result
from common.statistics.counts import Counts
from common.statistics.level_table import LevelTables, level_tables
from common.study.acquisition import UNKNOWN
from common.study.described import acquired_cohorts, acquired_columns, poolable
from common.study.protocol import Cohort, Study
from common.study.recipe import Recipe, Select
from server.study.models import refusal
from server.study.published import Published
from server.study.suppression import CountSystem, Key

PATIENTS = "patients"
"""Name of the first count of a result: the cohort's patients, of whom all levels of a fact are shares."""


def acquisitions(study: Study, published: Published) -> Conclusion[list[Result]]:
    """How the images of every cohort were acquired; two rounds, in lock-step; nothing in a study without images."""
    cohorts = acquired_cohorts(study)
    tables: list[LevelTables] = yield from together(*(_ask(study, cohort) for cohort in cohorts))
    return [_result(study, cohort, told, published) for cohort, told in zip(cohorts, tables, strict=True)]


def _ask(study: Study, cohort: Cohort) -> Conclusion[LevelTables]:
    columns, levels = zip(*acquired_columns(study), strict=True)
    recipe, names = Recipe((Select(columns),)), tuple(column.name for column in columns)
    limits = study.limits
    return level_tables(cohort.name, recipe, names, levels, min_cell=limits.min_cell, min_sites=limits.min_sites)


def _result(study: Study, cohort: Cohort, told: LevelTables, published: Published) -> Result:
    patients = published.row(cohort.name, PATIENTS, ("n",))
    own = {site: counts for site, counts in told.by_site.items() if not isinstance(counts, FedmviError)}
    pooled = None if isinstance(told.pooled, FedmviError) else told.pooled
    facts: dict[str, Any] = {
        "id": f"acquisition.{cohort.name}",
        "statistic": "acquisition",
        "title": f"Acquisition of images, cohort {cohort.name}",
        "cohort": cohort.name,
        "sites": sorted(cohort.sites),
        "n": patients.pooled,
        "how": "exact" if poolable(study, cohort) and (pooled is not None or not own) else "site-alone",
        "note": " ".join(_notes(study, cohort, told)),
    }
    if pooled is None and not own:
        errors = [e for e in (told.pooled, *told.by_site.values()) if isinstance(e, FedmviError)]
        return Result(**facts, status=refusal(errors[0])[0] if errors else "not-estimable")
    rows = [patients]
    for place, (column, levels) in enumerate(acquired_columns(study)):
        names = (UNKNOWN, *study.variable(column.name).level_names)
        table = _Table(
            {site: counts[place, : levels + 1] for site, counts in own.items()},
            None if pooled is None else pooled[place, : levels + 1],
            patients,
        )
        shown = table.rows([f"{column.name}={name}" for name in names], study.limits.min_cell)
        rows += [*shown[1:], shown[0]]
    return Result(**facts, counts=rows)


def _notes(study: Study, cohort: Cohort, told: LevelTables) -> Iterator[str]:
    """Why something is not told, once for each reason."""
    reasons: dict[str, list[str]] = {}
    for site, answer in told.by_site.items():
        if isinstance(answer, FedmviError):
            reasons.setdefault(f"{answer.code}: {answer.what}", []).append(site)
    for reason, sites in reasons.items():
        yield f"No table of {', '.join(sites)} alone: {reason}"
    if isinstance(told.pooled, FedmviError):
        yield f"No table of all sites: {refusal(told.pooled)[1]}"
    elif told.pooled is None and poolable(study, cohort):
        yield "No table of all sites: less those of single sites it would tell the sum of too few others."


@dataclass(frozen=True)
class _Table:
    """One fact: (1 + levels,) counts of each site that tells its own, and of all; see `level_table`."""

    own: Mapping[str, Counts]
    pooled: Counts | None
    patients: Count

    def rows(self, names: list[str], cell: int) -> list[Count]:
        """The counts as they may be published, by level, those without a value first."""
        system = self._system(cell)
        values = system.protect(cell)
        large = system.not_small(cell)
        found = []
        for i, name in enumerate(names):
            keys = {site: _key(site, i) for site in self.own}
            whole = _key(None, i)
            clear = [site for site, key in keys.items() if key in large] + [ALL_SITES] * (whole in large)
            by_site = {site: values[key] for site, key in keys.items()}
            total = self._added(by_site) if self.pooled is None else values[whole]
            found.append(Count(name=name, by_site=by_site, pooled=total, large=clear))
        return found

    def _added(self, by_site: Mapping[str, int | None]) -> int | None:
        """The sum of what all sites of the cohort have told; None where one has not."""
        known = [count for count in by_site.values() if count is not None]
        return sum(known) if len(known) == len(self.patients.by_site) else None

    def _system(self, cell: int) -> CountSystem:
        """All counts of the fact, and what a reader knows of them: the patients of each site and of all."""
        system = CountSystem()
        for site, counts in self.own.items():
            _enter(system, site, counts.tolist(), self.patients.by_site.get(site), cell)
        if self.pooled is None:
            return system
        _enter(system, None, self.pooled.tolist(), self.patients.pooled, cell)
        for site, patients in self.patients.by_site.items():
            if site not in self.own:  # what it has is not known, and nothing needs hiding for it
                _enter(system, site, [None] * len(self.pooled), patients, cell)
        for i in range(len(self.pooled)):
            system.sums(_key(None, i), [_key(site, i) for site in self.patients.by_site])
        return system


def _enter(
    system: CountSystem, site: str | None, counts: Sequence[int | None], patients: int | None, cell: int
) -> None:
    """The counts of a site, or of all (`None`), which add up to its patients; None is a count that is not told."""
    keys = [_key(site, i) for i in range(len(counts))]
    for key, value in zip(keys, counts, strict=True):
        system.values[key] = None if value == HIDDEN else value
        if value is not None and (value == HIDDEN or 0 < value < cell):
            system.small.add(key)
    whole = _key(site, PATIENTS)
    system.values[whole] = patients
    system.fixed.add(whole)
    system.sums(whole, keys)


def _key(site: str | None, what: int | str) -> Key:
    """Of a count: `pooled` at the place where `suppression` looks for it."""
    return ("pooled", str(what)) if site is None else ("site", site, str(what))
