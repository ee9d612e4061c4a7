"""simulation/cohorts: how well MVI can be told at all: the AUC of the exact likelihood ratio of the latent scores.

No model of the same variables has a higher AUC than the likelihood ratio of patients with MVI, a mixture of two
grades, against those without (the lemma of Neyman and Pearson). It is computed from the latent scores: a model that
only sees which side of a threshold a finding is on, or features of a noisy image, stays below. The hospital's shifts
of the scores are known to it and taken off. Tumour size has its own quartiles by MVI.

Scores are divided by the standard deviation of the patients' own part, which leaves unit variances and the model's
correlations. Where tumour size has a spread of its own in each half and by MVI, the density carries the derivative of
the normal score with respect to the logarithm of the size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.stats import rankdata

from simulation.cohorts.clinical import size_cm
from simulation.cohorts.consortium import Consortium, Quartiles
from simulation.cohorts.latent import (
    PROCESSES,
    SIZE,
    UPPER_QUARTILE,
    Floats,
    LatentModel,
    centre_shifts,
    latent_model,
)
from simulation.cohorts.patients import Patients
from simulation.cohorts.published import MARGINS
from simulation.cohorts.streams import stream

POPULATION = 60_000
"""Patients without, and patients with MVI, behind each population AUC."""

_POPULATION_SEED = 321


@dataclass(frozen=True)
class BestAuc:
    """The AUC of the likelihood ratio of some variables among some patients.

    Attributes
    ----------
    site
        Hospital; empty for all hospitals together.
    label
        Group label; empty for all groups together.
    variables
        `image_processes`; `image`: these, tumour size and the traits; `clinical`: what Table 1 has before the
        operation; `findings`: these, tumour size and the traits, which is all but the processes; `all`.
    absent, present
        Patients without and with MVI.
    auc
        Among the drawn patients; None where one class is empty.
    population, error
        Among very many patients of the same hospitals in the same proportions, and its Monte-Carlo standard error; None
        where one class is empty.
    """

    site: str
    label: str
    variables: str
    absent: int
    present: int
    auc: float | None
    population: float | None
    error: float | None


@dataclass(frozen=True)
class Attainable:
    """The best AUC by hospital, group and set of variables.

    Attributes
    ----------
    seed
        Seed of the drawn patients.
    population_patients
        Patients of each class behind a population AUC.
    rows
        All hospitals and groups first.
    """

    seed: int
    population_patients: int
    rows: tuple[BestAuc, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, texts and numbers, ready for JSON."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}


def attainable(consortium: Consortium, drawn: Sequence[Patients], seed: int) -> Attainable:
    """The best AUC of every hospital and group that was drawn from a consortium with a seed."""
    signals = {site.name: site.signal for site in consortium.sites}
    sets = variable_sets(consortium)
    ratios = {p.site: _ratios_of(consortium, p, seed) for p in drawn}
    populations = {signal: _population(consortium, signal) for signal in {signals[p.site] for p in drawn}}

    @cache
    def population_auc(name: str, parts: tuple[tuple[float, int, int], ...]) -> tuple[float, float]:
        below = [populations[signal][name][:POPULATION][:absent] for signal, absent, _ in parts]
        above = [populations[signal][name][POPULATION:][:present] for signal, _, present in parts]
        score = np.concatenate([*below, *above])
        return auc_with_error(score, np.arange(len(score)) >= sum(map(len, below)))

    rows = []
    for members, label in _parts(drawn):
        chosen = [(p, np.array([not label or own == label for own in p.labels])) for p in members]
        present = np.concatenate([p.present[inside] for p, inside in chosen])
        absent, found = int((~present).sum()), int(present.sum())
        signal = np.concatenate([np.full(inside.sum(), signals[p.site]) for p, inside in chosen])
        for name in sets:
            auc = population = error = None
            if absent and found:
                ratio = np.concatenate([ratios[p.site][name][inside] for p, inside in chosen])
                auc, _ = auc_with_error(ratio, present)
                population, error = population_auc(name, _composition(signal, present))
            site = members[0].site if len(members) == 1 else ""
            rows.append(BestAuc(site, label, name, absent, found, auc, population, error))
    return Attainable(seed, POPULATION, tuple(rows))


def variable_sets(consortium: Consortium) -> Mapping[str, tuple[str, ...]]:
    """Names of the latent scores by set of variables; without images there is nothing to see of the processes."""
    image = (*PROCESSES, SIZE, *consortium.clinical.traits)
    clinical = tuple(name for name, margin in MARGINS.items() if margin.preoperative)
    findings = {"clinical": clinical, "findings": (*clinical, SIZE, *consortium.clinical.traits)}
    if not consortium.imaging:
        return findings
    return {"image_processes": PROCESSES, "image": image, **findings, "all": (*clinical, *image)}


def log_likelihood_ratio(
    consortium: Consortium, model: LatentModel, scores: Floats, present: NDArray[np.bool_], names: Sequence[str]
) -> Floats:
    """Log density with MVI less log density without, of the named variables, (n,).

    Parameters
    ----------
    consortium, model
        What is declared, and the distribution of the scores at the hospital.
    scores
        In the order of the model's names, without the hospital's shifts, (n, k).
    present
        MVI, (n,); it is needed to turn the score of tumour size, which is by MVI, back into a size.
    names
        The variables that are seen.
    """
    clinical = consortium.clinical
    seen = [model.names.index(name) for name in names]
    root = np.linalg.cholesky(model.correlation[np.ix_(seen, seen)])
    score = scores[:, model.names.index(SIZE)]
    log_size = np.log(np.where(present, size_cm(clinical.size_present, score), size_cm(clinical.size_absent, score)))
    densities = []
    for grade, quartiles in enumerate((clinical.size_absent, clinical.size_present, clinical.size_present)):
        own = (scores[:, seen] - model.means[grade, seen]) / model.own_sd[seen]
        log_density = np.zeros(len(scores))
        if SIZE in names:
            own[:, list(names).index(SIZE)], slope = _size_score(quartiles, log_size)
            log_density = np.log(slope)
        white = solve_triangular(root, own.T, lower=True)
        densities.append(log_density - (white**2).sum(axis=0) / 2)
    second = clinical.second_grade
    with_mvi = np.logaddexp(math.log(1 - second) + densities[1], math.log(second) + densities[2])
    # Rounding lets patients tie whom the variables do not tell apart.
    ratio: Floats = np.round(with_mvi - densities[0], 9)
    return ratio


def auc_with_error(score: Floats, present: NDArray[np.bool_]) -> tuple[float, float]:
    """The AUC, ties counting half, and its standard error by placements (DeLong and others, Biometrics 1988)."""
    ranks = rankdata(score)
    absent, found = int((~present).sum()), int(present.sum())
    below = (ranks[present] - rankdata(score[present])) / absent
    above = 1 - (ranks[~present] - rankdata(score[~present])) / found
    return float(below.mean()), math.sqrt(below.var() / found + above.var() / absent)


def _parts(drawn: Sequence[Patients]) -> list[tuple[Sequence[Patients], str]]:
    """Hospitals and group label of every row: all first, then each group, then each hospital and its groups."""
    labels = list(dict.fromkeys(label for p in drawn for label in p.labels if label))
    parts: list[tuple[Sequence[Patients], str]] = []
    for label in ("", *labels):
        members = [p for p in drawn if not label or label in p.labels]
        if len(members) > 1:
            parts.append((members, label))
    return parts + [((p,), label) for p in drawn for label in ("", *labels) if not label or label in p.labels]


def _ratios_of(consortium: Consortium, patients: Patients, seed: int) -> dict[str, Floats]:
    """Log ratios of the patients by set of variables, the hospital's shifts taken off."""
    site = next(site for site in consortium.sites if site.name == patients.site)
    model = latent_model(consortium, site.signal)
    scores = np.column_stack([patients.scores[name] for name in model.names]) - centre_shifts(consortium, site, seed)
    sets = variable_sets(consortium)
    return {
        name: log_likelihood_ratio(consortium, model, scores, patients.present, names) for name, names in sets.items()
    }


def _population(consortium: Consortium, signal: float) -> dict[str, Floats]:
    """Log ratios by set of `POPULATION` patients without and then as many with MVI at such a hospital."""
    rng = stream(consortium.name, _POPULATION_SEED, "", f"population {signal!r}")
    second = (rng.random(POPULATION) < consortium.clinical.second_grade).astype(np.int64)
    grade = np.concatenate([np.zeros(POPULATION, dtype=np.int64), 1 + second])
    model = latent_model(consortium, signal)
    scores = model.draw(grade, rng)
    return {
        name: log_likelihood_ratio(consortium, model, scores, grade > 0, names)
        for name, names in variable_sets(consortium).items()
    }


def _composition(signal: Floats, present: NDArray[np.bool_]) -> tuple[tuple[float, int, int], ...]:
    """How many of a population without and with MVI come from hospitals with each factor on the signal."""
    return tuple(
        (
            float(factor),
            round(POPULATION * float((signal[~present] == factor).mean())),
            round(POPULATION * float((signal[present] == factor).mean())),
        )
        for factor in np.unique(signal)
    )


def _size_score(quartiles: Quartiles, log_size: Floats) -> tuple[Floats, Floats]:
    """Normal score of a size under these quartiles, and its derivative with respect to the log size, each (n,)."""
    centre = math.log(quartiles.median)
    below = log_size < centre
    lower, upper = centre - math.log(quartiles.lower), math.log(quartiles.upper) - centre
    slope = UPPER_QUARTILE / np.where(below, lower, upper)
    return (log_size - centre) * slope, slope
