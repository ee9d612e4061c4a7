"""client/approval: a subject: what one part of a study asks about in one cohort."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.federation.query import Mode
from common.study.recipe import Recipe


@dataclass(frozen=True)
class Subject:
    """What one part of a study asks about in one cohort.

    Attributes
    ----------
    part
        The part, for people: "model clinical".
    questions
        Names of the questions that it may ask.
    recipe
        From the table to a frame like the one that is asked about; fitted numbers in it are examples.
    columns
        Of the frame, that the questions are about.
    endpoint
        Its name, or "".
    groups
        How many groups are compared; 1 where none are.
    ranges
        (low, high) of each column.
    levels
        Of the columns, for tables of categories; else empty.
    computed
        Whether its frame can be made here before anything is asked: scores of networks are not there yet.
    modes
        How it is asked, of the ways in which a question may be.
    covariates
        Columns whose effects are kept where features are harmonised.
    thresholds
        Of scores, where the study says which; else empty.
    horizon
        At which whoever is followed longer is censored; None for all the time there is.
    rule, target
        How a recalibration is chosen, and the sensitivity that a cut-off guarantees; "" and 0 where there is none.
    """

    part: str
    cohort: str
    questions: frozenset[str]
    recipe: Recipe = field(default_factory=Recipe)
    columns: tuple[str, ...] = ()
    endpoint: str = ""
    groups: int = 1
    ranges: tuple[tuple[float, float], ...] = ()
    levels: tuple[int, ...] = ()
    computed: bool = True
    modes: tuple[Mode, ...] = tuple(Mode)
    thresholds: tuple[float, ...] = ()
    rule: str = ""
    target: float = 0.0
    covariates: tuple[str, ...] = ()
    horizon: float | None = None
