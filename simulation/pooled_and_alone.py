"""simulation: the models of a study that ran, developed once more: on pooled rows, and by each hospital alone.

What a federation is worth is seen beside what there would be without one. Only a simulation has the rows for it: its
patients are made up or public. The development is the study's own in every way, from filling missing values to the
penalty, so that nothing but the patients differs; all ways score the same patients of the cohorts that were closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.membership import members, patient_keys
from client.cohort.site import Site
from client.cohort.store import load_prepared
from common.errors import FedmviError
from common.federation.ports import SitesPort
from common.federation.query import Query
from common.federation.runner import conclude
from common.published.results import Estimate, Result, read_results
from common.study.protocol import Model, Study
from common.study.recipe import Frame, ModelColumns, Recipe
from common.study.scales import Scales, scales
from common.study.scores import named_network, needed_columns, of_score, score_terms
from common.study.table import Column, FloatArray, SiteTable
from server.study import models, reduced
from server.study.models import ScoredModel
from server.study.results import write_results
from server.study.run_directory import RunDirectory
from server.study.score_inputs import Scores
from simulation.learning.comparison import Row, Scored, compare
from simulation.running import find_sites, sites_of_study
from simulation.views import DrawnView, classes_of, over_cohorts

STATISTIC = "pooled-and-alone"
FEDERATED, POOLED = "federated", "pooled"
BOOTSTRAP_SEED = 0
_NOTE = (
    "Simulation: the study's own development on the rows of all training hospitals in one place, and on those of each "
    "of them; the same patients are scored by all. Intervals: paired bootstrap over patients."
)


Progress = Callable[[str], None]


def compare_run(run: RunDirectory, sites: Path, progress: Progress) -> None:
    """Put the comparison into the results of a finished run, in place of an earlier one.

    Raises
    ------
    FedmviError
        702 the run has not finished; 706 another process works on it; those of `sites_of_study` and `developments`.
    """
    with run.locked():
        results, study = read_results(run.results_file), run.study()
        compared = developments(study, sites_of_study(study, find_sites(sites)), progress)
        # Those of networks are of `compare-training`.
        kept = [r for r in results.results if r.statistic != STATISTIC or r.id.startswith("network.")]
        write_results(results.model_copy(update={"results": [*kept, *compared]}), run.results_file)


@dataclass(frozen=True)
class Rows(DrawnView):
    """A hospital without gate or ledger: its table, as prepared.

    Attributes
    ----------
    study
        Says which columns a reduced model reads.
    keys
        (n,) of the table's patients, see `Frame`.
    members
        (n,) who is in each of the study's cohorts, by its name.
    scales
        By whom patients are harmonised; of rows in one place None: by each other.
    """

    study: Study
    table: SiteTable
    keys: NDArray[np.uint64]
    members: Mapping[str, NDArray[np.bool_]]
    scales: Scales | None = None

    @property
    def cohorts(self) -> list[str]:
        """Those that have patients here."""
        return [name for name, rows in self.members.items() if rows.any()]

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        return self.prepared(query.cohort, query.recipe)

    def prepared(self, cohort: str, recipe: Recipe) -> Frame:
        """The frame of a cohort after a recipe, with its endpoints."""
        named = {step.model for step in recipe.steps if isinstance(step, ModelColumns)}
        declared = {m.name: needed_columns(self.study, m) for m in self.study.models if m.name in named}
        table = replace(self.table, declared=declared)
        rows, visible = self.members[cohort], tuple(table.endpoints)
        return recipe.apply(table, rows, visible, self.keys, self.scales, cohort)

    def outcomes(self, cohort: str, endpoint: str) -> FloatArray:
        """(n,) of the cohort's patients."""
        return self.table.endpoints[endpoint][self.members[cohort]]

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """See `SiteView`."""
        return classes_of(self.outcomes(cohort, endpoint))


def developments(study: Study, sites: Mapping[str, Site], progress: Progress = lambda _: None) -> list[Result]:
    """The area under the curve of every model and way of developing it, in every cohort that the model names.

    Models of networks' scores are left out, as their networks would have to be trained anew, and so are given formulas.

    Parameters
    ----------
    study
        Its protocol, over all of its sites.
    sites
        Simulated sites with prepared stores, by name.

    Raises
    ------
    FedmviError
        817 sites that are not simulated; 212 of the stores.
    """
    for site in sites.values():
        if not site.site.simulated:
            raise FedmviError(817, site=site.name)
    whole = _without_optimism(study)
    held = {name: _rows(site, study) for name, site in sites.items()}
    training = sorted({site for model in whole.models for site in study.cohort(model.cohort).sites})
    ways = {
        FEDERATED: {site: held[site] for site in training},
        POOLED: {POOLED: _pooled(study, [held[site] for site in training])},
        **{f"alone: {site}": {site: held[site]} for site in training},
    }
    fitted = {}
    for way, hospitals in ways.items():
        progress(f"develop the models: {way}")
        fitted[way] = _developed(whole, _port(hospitals))
    progress("score the patients of closed cohorts")
    return [
        _result(study, model, cohort, {way: by_name[model.name] for way, by_name in fitted.items()}, held)
        for model in whole.models
        if model.name in fitted[FEDERATED]
        for cohort in model.evaluate
    ]


def _without_optimism(study: Study) -> Study:
    """Bootstrap sets take most of the time, and say nothing here."""
    plain = tuple(model.model_copy(update={"optimism": 0}) for model in study.models if model.fixed is None)
    return study.model_copy(update={"models": plain})


def _rows(site: Site, study: Study) -> Rows:
    table = load_prepared(site, study)
    rows = {cohort.name: members(site, table, study, cohort) for cohort in study.cohorts}
    by = partial(scales, study, site.name, table.labels, rows.__getitem__)
    return Rows(study, table, patient_keys(site, table), rows, by)


def _joined(tables: Sequence[SiteTable]) -> SiteTable:
    """The rows of several hospitals as one table."""
    first = tables[0]
    return SiteTable(
        tuple(patient for table in tables for patient in table.patients),
        {
            name: Column(
                np.concatenate([table.columns[name].values for table in tables]),
                column.levels,
                np.concatenate([table.columns[name].censored for table in tables]),
            )
            for name, column in first.columns.items()
        },
        {name: np.concatenate([table.endpoints[name] for table in tables]) for name in first.endpoints},
        {name: np.concatenate([table.failed[name] for table in tables]) for name in first.failed},
        tuple(label for table in tables for label in table.labels),
        second={
            name: Column(
                np.concatenate([table.second[name].values for table in tables]),
                column.levels,
                np.concatenate([table.second[name].censored for table in tables]),
            )
            for name, column in first.second.items()
        },
    )


def _pooled(study: Study, hospitals: Sequence[Rows]) -> Rows:
    """One hospital that has everybody."""
    return Rows(
        study,
        _joined([one.table for one in hospitals]),
        np.concatenate([one.keys for one in hospitals]),
        {c.name: np.concatenate([one.members[c.name] for one in hospitals]) for c in study.cohorts},
    )


def _port(hospitals: Mapping[str, Rows]) -> SitesPort:
    return over_cohorts(hospitals, {name: hospital.cohorts for name, hospital in hospitals.items()})


def _developed(study: Study, port: SitesPort) -> dict[str, ScoredModel]:
    """Every model whose scores need no network, developed over a port."""
    small, plain = conclude(port, [reduced.reduce_all(study), models.fit_all(study)])
    chosen = reduced.choose_all(study, small)
    untrained = [FedmviError(659, model=network.name) for network in study.networks]
    (further,) = conclude(port, [models.fit_all(study, Scores.of(study, small, chosen, untrained))])
    return {one.model.name: one for one in (*small, *plain, *further) if not _needs_network(study, one.model)}


def _needs_network(study: Study, model: Model) -> bool:
    return any(named_network(study, of_score(term.variable)) for term in score_terms(model))


def _result(
    study: Study, model: Model, cohort: str, ways: Mapping[str, ScoredModel], held: Mapping[str, Rows]
) -> Result:
    base: dict[str, Any] = {
        "id": f"model.{model.name}.{STATISTIC}.{cohort}",
        "statistic": STATISTIC,
        "title": f"Federated, pooled and alone: {model.title}, cohort {cohort}",
        "cohort": cohort,
        "sites": sorted(study.cohort(cohort).sites),
        "how": "simulated",
    }
    if ways[FEDERATED].scoring is None:
        return Result.model_validate({**base, "status": "not-estimable", "note": "The model could not be fitted."})
    y, scores = _scores(study, model, cohort, ways, held)
    counts = np.sum(y == 0.0), np.sum(y == 1.0)
    if min(counts) < study.limits.min_test_class:
        why = f"Not estimable: fewer than {study.limits.min_test_class} patients in a class."
        return Result.model_validate({**base, "status": "not-estimable", "note": why})
    scored = {way: Scored(score[None, :], (score >= 0.5).astype(np.float64)[None, :]) for way, score in scores.items()}
    rows = {row.way: row for row in compare(cohort, y.astype(np.int64), scored, FEDERATED, BOOTSTRAP_SEED)}
    estimates = [part for way, one in ways.items() for part in _estimates(way, one, rows.get(way))]
    return Result.model_validate(
        {**base, "n": int(sum(counts)), "events": int(counts[1]), "estimates": estimates, "note": _NOTE}
    )


def _scores(
    study: Study, model: Model, cohort: str, ways: Mapping[str, ScoredModel], held: Mapping[str, Rows]
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """(n,) outcomes, and (n,) scores of every way that gave a model, of the patients whom all of them score."""
    hospitals = [held[site] for site in sorted(study.cohort(cohort).sites) if held[site].members[cohort].any()]
    outcomes = np.concatenate([view.outcomes(cohort, model.endpoint) for view in hospitals])
    scores = {}
    for way, one in ways.items():
        recipe, score = one.scoring, one.score
        if recipe is not None and score is not None:
            scores[way] = np.concatenate([_score_of(view, cohort, recipe, score.column) for view in hospitals])
    known = ~np.isnan(outcomes)
    for values in scores.values():
        known &= ~np.isnan(values)
    return outcomes[known], {way: values[known] for way, values in scores.items()}


def _score_of(view: Rows, cohort: str, recipe: Recipe, column: str) -> FloatArray:
    """(n,) of all patients of the cohort; NaN for whom the model does not score."""
    keys = view.keys[view.members[cohort]]
    frame = view.prepared(cohort, recipe)
    found = np.full(keys.size, np.nan)
    order = np.argsort(keys)
    found[order[np.searchsorted(keys, frame.keys, sorter=order)]] = frame.columns[column]
    return found


def _estimates(way: str, one: ScoredModel, row: Row | None) -> list[Estimate]:
    if row is None:
        return [Estimate(name="auc", term=way, value=None, note=_why_not(one))]
    area, apart = row.auc, row.auc_difference
    found = [Estimate(name="auc", term=way, value=area.value, low=area.low, high=area.high)]
    if apart is not None:
        found.append(Estimate(name="auc_difference", term=way, value=apart.value, low=apart.low, high=apart.high))
    return found


def _why_not(one: ScoredModel) -> str:
    """Why a way gave no score."""
    found = one.whole if isinstance(one, reduced.ReducedModel) else one.fit
    if isinstance(found, FedmviError):
        return f"{found.code}: {found.what}"
    if isinstance(one, reduced.ReducedModel):
        return "no signal found" if getattr(found, "empty", False) else "no out-of-fold score"
    return "the classes are separated"
