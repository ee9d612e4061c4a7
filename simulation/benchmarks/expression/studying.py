"""simulation: benchmarks: expression: the product's conclusions on drawn studies, and what they found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Ask, Mode, Query, Summary
from common.federation.runner import Conclusion
from common.parallel import in_processes
from common.statistics.expression import expression
from common.statistics.voom import DifferentialExpression
from common.study.genomics import GENE, LIBRARY, GeneSets, gene_columns
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray
from server.study.enrichment import Ranking, looked_for, over_represented, preranked
from simulation.benchmarks.expression import scenarios as s
from simulation.benchmarks.expression.drawing import NAMES, Drawn, draw_counts, draw_patients, null_sets
from simulation.cohorts.gene_sets import GLUCOSE_METABOLISM
from simulation.views import COHORT

R = TypeVar("R")
PATHWAY = "Glucose metabolism"
_COVARIATE = "covariate"
_PLACE = {name: place for place, name in enumerate(gene_columns(NAMES))}
_DECLARED = GeneSets(file="drawn.gmt", sha256="0" * 64)


@dataclass(frozen=True)
class Sets:
    """What was found among gene sets at the same false discovery rate.

    Attributes
    ----------
    pathway
        Whether Glucose metabolism was, by ranks and by over-representation.
    false
        By kind of null set: how many were, by ranks, of how many.
    """

    pathway: tuple[bool, bool]
    false: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Found:
    """What one conclusion found.

    Attributes
    ----------
    compared
        Genes that were compared, and those with many zeros among them.
    discoveries, false, false_zero_heavy
        Genes called different; those of them that are not, and those of these with many zeros.
    true
        By absolute log2 fold change: how many of the genes that differ were found.
    sets
        None where no sets were looked for.
    """

    compared: tuple[int, int]
    discoveries: int
    false: int
    false_zero_heavy: int
    true: Mapping[float, int]
    sets: Sets | None = None

    @property
    def proportion(self) -> float:
        """The false discovery proportion; 0 without a discovery."""
        return self.false / max(self.discoveries, 1)

    @property
    def sensitivity(self) -> float:
        """Share of the genes that differ."""
        return sum(self.true.values()) / (s.PER_EFFECT * len(s.EFFECTS))


@dataclass(frozen=True)
class Studied:
    """All scenarios of one seed and size, by name, or the error that stopped it."""

    seed: int
    patients: int
    found: Mapping[str, Found]
    error: str = ""


def run_studies(
    seeds: Sequence[int],
    sizes: Sequence[int],
    enriched: int,
    workers: int | None,
    done: Callable[[Studied], None],
) -> tuple[Studied, ...]:
    """Every seed at every size; sets are looked for in the first `enriched` seeds."""
    tasks = [(seed, patients, k < enriched) for patients in sizes for k, seed in enumerate(seeds)]
    studied = []
    for one in in_processes(_task, tasks, workers):
        studied.append(one)
        done(one)
    return tuple(studied)


def _task(task: tuple[int, int, bool]) -> Studied:
    seed, patients, enriched = task
    try:
        return Studied(seed, patients, one_study(seed, patients, enriched=enriched))
    except FedmviError as error:
        return Studied(seed, patients, {}, str(error))


def one_study(seed: int, patients: int, *, enriched: bool) -> dict[str, Found]:
    """All scenarios of one seed; the result depends on nothing else."""
    people, found = draw_patients(seed, patients), {}
    for signal in (False, True):
        for correlated in (False, True):
            drawn = draw_counts(seed, people, signal=signal, correlated=correlated)
            asked = [x for x in s.SCENARIOS if (x.signal, x.correlated) == (signal, correlated)]
            fits = fitted(drawn, [scenario.grouping.name for scenario in asked])
            for scenario, fit in zip(asked, fits, strict=True):
                sets = _sets(fit, seed) if enriched else None
                found[scenario.name] = _held(fit, drawn, sets)
    return found


def fitted(drawn: Drawn, groupings: Sequence[str]) -> list[DifferentialExpression]:
    """Each grouping's conclusion, beside the covariate, over the drawn hospitals."""
    people, genes = drawn.patients, gene_columns(NAMES)
    columns: dict[str, FloatArray] = {name: drawn.counts[:, g] for g, name in enumerate(genes)}
    columns |= people.groups | {LIBRARY: drawn.counts.sum(axis=1), _COVARIATE: people.covariate}
    frames = hospitals(columns, people.site, drawn.counts)
    asked = [
        expression(
            COHORT,
            Recipe(),
            genes,
            (grouping, _COVARIATE),
            scale="counts",
            libraries="effective",
            least=s.LEAST_PER_MILLION,
            found=s.FOUND_IN,
        )
        for grouping in groupings
    ]
    return [summed(frames, one).fit for one in asked]


@dataclass(frozen=True)
class Counted(Frame):
    """A frame that has its genes side by side, too, so that no matrix of them is put together anew."""

    counts: FloatArray = field(default_factory=lambda: np.empty((0, 0)))

    def matrix(self, names: tuple[str, ...]) -> FloatArray:
        """See `Frame`."""
        if not names or names[0] not in _PLACE:
            return super().matrix(names)
        return self.counts[:, [_PLACE[name] for name in names]]


def hospitals(columns: Mapping[str, FloatArray], site: NDArray[np.int64], counts: FloatArray) -> list[Frame]:
    """Each hospital's rows of a pooled table."""
    rows = [site == label for label in np.unique(site)]
    return [Counted({k: v[own] for k, v in columns.items()}, {}, int(own.sum()), counts=counts[own]) for own in rows]


def summed(frames: Sequence[Frame], conclusion: Conclusion[R]) -> R:
    """The result of a conclusion whose questions are answered by these frames, and whose answers are added as floats.

    What travels is not encoded: a campaign asks some hundred thousand questions, and that would take most of its time.
    """
    prepared: dict[Recipe, list[Frame]] = {}

    def reply(ask: Ask) -> Summary:
        query = ask.question
        if not isinstance(query, Query) or ask.mode is not Mode.TOTAL:
            raise FedmviError(901, f"{ask.question.name} is no sum")
        if query.recipe not in prepared:
            prepared[query.recipe] = [query.recipe.apply_to(frame) for frame in frames]
        answers = [query.answer(frame) for frame in prepared[query.recipe]]
        return {block: np.sum([answer[block] for answer in answers], axis=0) for block in answers[0]}

    try:
        request = next(conclusion)
        while True:
            several = isinstance(request, tuple)
            replies = tuple(map(reply, request if isinstance(request, tuple) else (request,)))
            request = conclusion.send(replies if several else replies[0])
    except StopIteration as stop:
        result: R = stop.value
        return result


def _held(fit: DifferentialExpression, drawn: Drawn, sets: Sets | None) -> Found:
    """What a fit calls different, against the truth."""
    place = {name: g for g, name in enumerate(NAMES)}
    rows = np.array([place[gene.removeprefix(GENE)] for gene in fit.genes])
    change, zero_heavy, called = drawn.change[rows], drawn.zero_heavy[rows], fit.adjusted_p_ < s.LEVEL
    null = called & (change == 0)
    return Found(
        (rows.size, int(zero_heavy.sum())),
        int(called.sum()),
        int(null.sum()),
        int((null & zero_heavy).sum()),
        {effect: int(np.count_nonzero(called & (np.abs(change) == effect))) for effect in s.EFFECTS},
        sets,
    )


def _sets(fit: DifferentialExpression, seed: int) -> Sets:
    """Look for the pathway and for null sets, as a study does."""
    symbols = [gene.removeprefix(GENE) for gene in fit.genes]
    kinds = null_sets(seed)
    every = {PATHWAY: GLUCOSE_METABOLISM} | {name: genes for sets in kinds.values() for name, genes in sets.items()}
    sets = looked_for(every, symbols, _DECLARED)
    differing = {symbol for symbol, p in zip(symbols, fit.adjusted_p_, strict=True) if p < s.LEVEL}
    ranked, over = (
        {row.name for row in rows if row.adjusted_p is not None and row.adjusted_p < s.LEVEL}
        for rows in (
            preranked(Ranking.of(symbols, fit.t_), sets, _DECLARED, seed),
            over_represented(symbols, differing, sets),
        )
    )
    false = {kind: (len(ranked & set(names)), len(set(sets) & set(names))) for kind, names in kinds.items()}
    return Sets((PATHWAY in ranked, PATHWAY in over), false)
