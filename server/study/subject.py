"""server/study: what an analysis of `[[analyses]]` asks about, and the form in which its statistic is published."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import FedmviError
from common.published.results import Curve, Estimate, Result
from common.study.analyses import ANALYSES
from common.study.coding import CodedColumn, coded_columns
from common.study.protocol import Analysis, Study
from common.study.recipe import Complete, Recipe, Select
from server.study.models import refusal

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a statistic publishes; `n` and `events` where it knows them."""

    estimates: list[Estimate]
    n: int | None = None
    events: int | None = None
    note: str = ""
    how: str = "exact"
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class Subject:
    """An analysis on predictors, with what its conclusion needs.

    Attributes
    ----------
    select
        From a site's table to the coded columns; missing values are still there.
    recipe
        The same, complete cases only.
    """

    study: Study
    analysis: Analysis
    coded: tuple[CodedColumn, ...]
    select: Recipe
    recipe: Recipe

    @classmethod
    def of(cls, study: Study, analysis: Analysis) -> Subject:
        """Columns of the analysis's predictors."""
        coded = coded_columns(study, analysis.predictors)
        select = Recipe().then(Select(coded))
        keys = study.endpoint(analysis.endpoint).keys if analysis.endpoint else ()
        names = tuple(column.name for column in coded)
        return cls(study, analysis, coded, select, select.then(Complete(names, keys)))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(column.name for column in self.coded)

    @property
    def endpoint(self) -> str:
        """The endpoint, "" where there is none."""
        return self.analysis.endpoint or ""

    @property
    def grid(self) -> tuple[float, int]:
        """Precision and points of a survival endpoint's time grid."""
        endpoint = self.study.endpoint(self.endpoint)
        return endpoint.precision, endpoint.grid_points

    @property
    def known(self) -> Recipe:
        """All patients whose endpoint is known, whatever predictor they lack."""
        return self.select.then(Complete((), self.study.endpoint(self.endpoint).keys))


def result_of(study: Study, analysis: Analysis, finding: Finding | FedmviError) -> Result:
    """What is published of an analysis; small numbers of patients are not."""
    kind = ANALYSES[analysis.statistic]
    base: dict[str, Any] = {
        "id": f"analysis.{analysis.name}",
        "statistic": "analysis",
        "kind": analysis.statistic,
        "title": _title(analysis),
        "cohort": analysis.cohort,
        "sites": sorted(study.cohort(analysis.cohort).sites),
        "how": "exact",
    }
    if isinstance(finding, FedmviError):
        status, why = refusal(finding)
        return Result.model_validate({**base, "status": status, "note": why})
    small = min(finding.events or 0, (finding.n or 0) - (finding.events or 0)) < study.limits.min_cell
    shown: dict[str, Any] = {"n": finding.n, "events": None if small else finding.events}
    shown |= {"estimates": finding.estimates, "curves": list(finding.curves)}
    note = f"{kind.title}. {finding.note}".strip()
    return Result.model_validate({**base, **shown, "how": finding.how, "note": note})


def _title(analysis: Analysis) -> str:
    kind = ANALYSES[analysis.statistic].title
    return analysis.label or (kind if analysis.name == analysis.statistic else f"{kind}: {analysis.name}")


def number(value: float | None) -> float | None:
    """A number that can be published: None for what is not finite."""
    return float(value) if value is not None and math.isfinite(value) else None


def estimates(rows: Sequence[Row], name: str, value: str, term: str = "term", p: str = "p") -> list[Estimate]:
    """An estimate a row of a summary, with limits `<value>_low` and `<value>_high` where the row has them."""
    return [
        Estimate(
            name=name,
            term=str(row[term]),
            value=number(row[value]),
            low=number(row.get(f"{value}_low")),
            high=number(row.get(f"{value}_high")),
            std_err=number(row.get("std_err")) if value in ("coef", "difference") else None,
            p=number(row.get(p)),
            note="" if number(row[value]) is not None else "not estimable",
        )
        for row in rows
    ]
