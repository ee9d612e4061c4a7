"""common/study: what a score is made of, and the recipes that make it: of one model or several, anywhere.

A model in use reads the columns that it needs, fills what is missing, keeps the patients of whom all is known, and
scores them: first by the models whose scores are its own predictors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common.study.chain import ChainedImpute
from common.study.coding import CodedColumn
from common.study.expressed import Genes
from common.study.harmonisation import Combat
from common.study.recipe import Complete, Cut, Impute, Made, ModelColumns, Recipe, Score, SecondReadings, Select, Step
from common.study.scores import GROUP

Link = Score | Cut


@dataclass(frozen=True)
class Parts:
    """What makes the scores of some models.

    Attributes
    ----------
    columns
        Columns of the hospitals' tables, by name in the recipe's `Select`.
    reads
        Columns that are read as a whole: of reduced models, and what networks made.
    filling
        How missing values are filled, if they are.
    known
        Columns of which none may be missing.
    chain
        The scores, each after those that it needs.
    harmonising
        What harmonises columns, before anything else is done with them.
    """

    columns: tuple[CodedColumn, ...]
    reads: tuple[ModelColumns | Made | Genes, ...]
    filling: tuple[Impute | ChainedImpute, ...]
    known: tuple[str, ...]
    chain: tuple[Link, ...]
    harmonising: tuple[Combat, ...] = ()

    def recipe(self, keys: tuple[str, ...]) -> Recipe:
        """From a site's table to the scores of the patients whose endpoint columns `keys` are known."""
        select: tuple[Step, ...] = (Select(self.columns),) if self.columns else ()
        reads = sorted(self.reads, key=lambda step: isinstance(step, ModelColumns))
        return Recipe((*select, *reads, *self.harmonising, *self.filling, Complete(self.known, keys), *self.chain))

    def frozen(self, keys: tuple[str, ...]) -> set[str]:
        """Digests of the recipe up to each of its scores: what a freeze names."""
        return frozen_prefixes(self.recipe(keys))


def merged(parts: Iterable[Parts]) -> Parts:
    """One frame for several models; those that fill missing values fill them alike."""
    whole = list(parts)
    filled: dict[str, float] = {}
    chained: list[ChainedImpute] = []
    for part in whole:
        for step in part.filling:
            if isinstance(step, Impute):
                filled |= dict(zip(step.names, step.values, strict=True))
            else:
                chained.append(step)
    impute = (Impute(tuple(filled), tuple(filled.values())),) if filled else ()
    return Parts(
        tuple({column.name: column for part in whole for column in part.columns}.values()),
        tuple(dict.fromkeys(step for part in whole for step in part.reads)),
        (*impute, *dict.fromkeys(chained)),
        tuple(dict.fromkeys(name for part in whole for name in part.known)),
        tuple(dict.fromkeys(link for part in whole for link in part.chain)),
        tuple(dict.fromkeys(step for part in whole for step in part.harmonising)),
    )


def frozen_prefixes(recipe: Recipe) -> set[str]:
    """Digests of a recipe up to each score and cut-off that it has."""
    ends = (i + 1 for i, step in enumerate(recipe.steps) if isinstance(step, Score | Cut))
    return {Recipe(recipe.steps[:end]).digest for end in ends}


def grouped(parts: Parts, column: str, cutoff: float, keys: tuple[str, ...]) -> Recipe:
    """Patients below, and at or above, the cut-off of a score, as groups 0 and 1."""
    return parts.recipe(keys).then(Cut(column, GROUP, cutoff))


def read_twice(recipe: Recipe) -> Recipe:
    """The same patients with both readers' values of a model's features, as they were read: harmonised by nothing."""
    steps = [step for step in recipe.steps if not isinstance(step, Combat)]
    place, read = next((i, step) for i, step in enumerate(steps) if isinstance(step, ModelColumns))
    return Recipe((*steps[: place + 1], SecondReadings(read.model), *steps[place + 1 :]))
