"""server/study: step: the frozen models of [shift] at each hospital of a cohort, and how hospitals differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import HIDDEN, Summary, each
from common.federation.runner import Conclusion, attempt, together
from common.published.results import Estimate, Result
from common.statistics.by_centre import (
    DECISIONS,
    CentreAlone,
    Share,
    combined_areas,
    decisions,
    extremes,
    majority_class,
)
from common.statistics.confusion import ConfusionResult
from common.statistics.distributions import Z975
from common.statistics.refinement import Counts
from common.study.centres import cut_at, shift_models
from common.study.protocol import Study
from common.study.recipe import Recipe
from common.study.scoring import frozen_prefixes
from server.study.models import ScoredModel, refusal

Told = Mapping[str, Summary | FedmviError]
"""What each site says of itself, or why it says nothing."""


def looked_at(study: Study, fitted: Sequence[ScoredModel]) -> list[ScoredModel]:
    """The models of [shift] that have a score, in its order."""
    by_name = {one.model.name: one for one in fitted}
    return [by_name[name] for name in shift_models(study) if name in by_name and by_name[name].score is not None]


def at_cutoff(model: ScoredModel, *, own: bool = False) -> Recipe | None:
    """The recipe of a model's score, in its training cohort or another, that ends in its cut-off where it has one."""
    recipe, score = model.training if own else model.scoring, model.score
    if recipe is None or score is None or not isinstance(model.cutoff, float):
        return recipe
    return recipe.then(cut_at(model.model.name, score.column, model.cutoff))


def frozen_with_centres(study: Study, fitted: Sequence[ScoredModel]) -> set[str]:
    """Digests of the recipes up to the cut-offs by which centres are compared: frozen with the models."""
    recipes = [at_cutoff(model, own=own) for model in looked_at(study, fitted) for own in (False, True)]
    return set().union(*(frozen_prefixes(recipe) for recipe in recipes if recipe is not None))


def ask_centres(study: Study, model: ScoredModel, cohort: str) -> Conclusion[Told]:
    """What every site of a cohort says of the model at its own patients."""
    recipe, score = at_cutoff(model), model.score
    if recipe is None or score is None:
        raise FedmviError(604, model=model.model.name)
    limits = study.limits
    query = CentreAlone(
        cohort, recipe, model.model.endpoint, score.column, limits.min_test_class, min_cell=limits.min_cell
    )
    told: Told = yield each(query)
    return told


@dataclass(frozen=True)
class ByCentre:
    """What the sites of a cohort say of a model."""

    model: ScoredModel
    cohort: str
    told: Told | FedmviError


def by_centre(study: Study, fitted: Sequence[ScoredModel]) -> Conclusion[list[ByCentre]]:
    """Every model of [shift] at every hospital of the cohorts in which it is evaluated, in lock-step; one round."""
    pairs = [(model, name) for model in looked_at(study, fitted) for name in model.model.evaluate]
    found = yield from together(*(attempt(ask_centres(study, model, name)) for model, name in pairs))
    return [ByCentre(model, name, told) for (model, name), told in zip(pairs, found, strict=True)]


Tables = Mapping[tuple[str, str], ConfusionResult | FedmviError | None]
"""By model and cohort: the table over all sites, which with those of other sites tells what a site hides."""


def publish_centres(study: Study, found: Sequence[ByCentre], tables: Tables) -> list[Result]:
    """One result a model and cohort."""
    return [_published(study, one, tables.get((one.model.model.name, one.cohort))) for one in found]


def _published(study: Study, one: ByCentre, pooled: ConfusionResult | FedmviError | None) -> Result:
    model, told = one.model, one.told
    base: dict[str, Any] = {
        "id": f"model.{model.model.name}.centres.{one.cohort}",
        "statistic": "centres",
        "title": f"{model.model.title} by hospital, cohort {one.cohort}",
        "cohort": one.cohort,
        "sites": sorted(study.cohort(one.cohort).sites),
        "how": "site-alone",
    }
    cutoff = model.cutoff if isinstance(model.cutoff, float) else None
    whole = pooled.counts_[0] if isinstance(pooled, ConfusionResult) else None
    return published_by_centre(study, base, told, whole, cutoff)


def published_by_centre(
    study: Study, base: Mapping[str, Any], told: Told | FedmviError, pooled: Counts | None, cutoff: float | None
) -> Result:
    """What the sites of a cohort say of a score, and together.

    Parameters
    ----------
    base
        What the result is: its id, statistic, title, cohort, sites and how.
    pooled
        (2, 2) patients by class and test over all sites; None where it is not known.
    cutoff
        Of the score; None where none was chosen.
    """
    if isinstance(told, FedmviError):
        status, why = refusal(told)
        return Result.model_validate({**base, "status": status, "note": why})
    tables = own_tables(told)
    if len(told) >= study.limits.min_sites:
        tables = shown_tables(tables, pooled, study.limits.min_cell)
    estimates, notes, areas = [], [], {}
    for site in sorted(told):
        answer = told[site]
        if isinstance(answer, FedmviError):
            notes.append(refusal(answer)[1])
            continue
        own, note = of_site(site, {**answer, "table": tables[site]}, cutoff, study.limits.min_test_class)
        estimates += own
        notes += [note] if note else []
        if int(answer["estimable"]):
            areas[site] = (float(answer["auc"][0]), float(answer["auc"][1]))
    if not estimates:
        refused = any(isinstance(answer, FedmviError) for answer in told.values())
        status = "refused" if refused else "not-estimable"
        return Result.model_validate({**base, "status": status, "note": " ".join(notes)})
    if cutoff is None:
        notes.append("No cut-off could be chosen in training, so nothing is told of decisions.")
    estimates += over_centres(areas)
    return Result.model_validate({**base, "estimates": estimates, "note": " ".join([*notes, _HOW])})


def own_tables(told: Told) -> dict[str, Counts]:
    """(2, 2) of each site, as it tells them; hidden where it tells nothing."""
    nothing = np.full((2, 2), HIDDEN, dtype=np.int64)
    parts = sorted(told.items())
    return {site: nothing if isinstance(one, FedmviError) else np.array(one["table"]) for site, one in parts}


def shown_tables(tables: Mapping[str, Counts], pooled: Counts | None, min_cell: int) -> dict[str, Counts]:
    """The sites' tables as they may be published beside one over all of them.

    The table over all sites less those shown is that of the others, so where a site hides a row, further sites' rows
    are hidden in their order until what is hidden is of two sites and no small count.

    Parameters
    ----------
    pooled
        (2, 2) over all sites; None where it is not known, and a second site's row is enough.
    """
    found = {site: table.copy() for site, table in tables.items()}
    for row in (0, 1):
        shown = [site for site in found if int(found[site][row].min()) >= 0]
        while shown and len(shown) < len(found) and not _uncertain(found, shown, row, pooled, min_cell):
            found[shown.pop(0)][row] = HIDDEN
    return found


def _uncertain(
    tables: Mapping[str, Counts], shown: Sequence[str], row: int, pooled: Counts | None, min_cell: int
) -> bool:
    if len(tables) - len(shown) < 2:
        return False
    if pooled is None:
        return True
    rest = pooled[row] - np.sum([tables[site][row] for site in shown], axis=0)
    return bool(np.all(rest >= min_cell))


_HOW = (
    "Areas with DeLong's limits; shares with Wilson's; balanced accuracy with limits made of those of its two shares. "
    "Areas are combined on the logit scale by random effects (REML; limits of Hartung and Knapp; of I² by Q's "
    "profile). Limits of the worst and of the gap hold for all hospitals at once. A share is hidden where one of its "
    "counts is small."
)


def of_site(site: str, answer: Summary, cutoff: float | None, min_class: int) -> tuple[list[Estimate], str]:
    """The estimates of one site, and what a reader must know beside them."""
    absent, present = (int(count) for count in answer["classes"][:2])
    if not int(answer["estimable"]):
        return [], f"Site {site}: not estimable, fewer than {min_class} patients in a class."
    auc, std_err = (float(v) for v in answer["auc"])
    found = [_between("auc", site, auc, std_err, 0.0, 1.0)]
    note = ""
    if int(answer["calibrated"]):
        (large, large_error), (slope, slope_error) = answer["large"].tolist(), answer["slope"].tolist()
        found.append(_between("calibration_intercept", site, large, large_error))
        found.append(_between("calibration_slope", site, slope, slope_error))
        if HIDDEN not in (absent, present):
            found.append(_observed_expected(site, present, absent + present, float(answer["expected"])))
    else:
        note = f"Site {site}: its risks have no finite calibration."
    told = {name: Share() for name in DECISIONS} if cutoff is None else decisions(answer["table"], cutoff)
    hidden = "not told" if cutoff is None else "hidden: a count is small"
    for name in DECISIONS:
        found.append(_share(name, site, told[name], hidden))
    if HIDDEN not in (absent, present):
        found.append(_share("majority_class", site, majority_class(absent, present)))
    return found, note


def _between(
    name: str, site: str, value: float, std_err: float, least: float = -math.inf, most: float = math.inf
) -> Estimate:
    half = Z975 * std_err
    low, high = max(least, value - half), min(most, value + half)
    return Estimate(name=name, term=site, value=value, low=low, high=high, std_err=std_err)


def _observed_expected(site: str, events: int, n: int, expected: float) -> Estimate:
    """As `Calibration.observed_to_expected`."""
    ratio = events / expected
    half = Z975 * math.sqrt((1.0 - events / n) / events)
    low, high = ratio * math.exp(-half), ratio * math.exp(half)
    return Estimate(name="observed_expected", term=site, value=ratio, low=low, high=high)


def _share(name: str, site: str, share: Share, hidden: str = "") -> Estimate:
    note = hidden if share.value is None else ""
    return Estimate(name=name, term=site, value=share.value, low=share.low, high=share.high, note=note)


def over_centres(areas: Mapping[str, tuple[float, float]]) -> list[Estimate]:
    """How hospitals differ: the summary of their areas with its error, its limits for a new one, the worst, and the
    gap between the best and the worst, each with its limits; nothing of no hospital, and the worst alone of one."""
    if not areas:
        return []
    ends = extremes(areas)
    low, high = ends.worst_limits_
    found = [Estimate(name="worst_auc", term=ends.worst_, value=ends.auc_, low=low, high=high)]
    if len(areas) < 2:
        return found
    low, high = ends.gap_limits_
    found.append(Estimate(name="gap", value=ends.gap_, low=low, high=high))
    combined = combined_areas(areas)
    if combined is None:
        return found
    left = sorted(set(areas) - set(combined.sites_))
    note = f"without {', '.join(left)}, whose area has no finite logit" if left else ""
    low, high = combined.hartung_knapp_
    found.insert(0, Estimate(name="auc_random_effects", value=combined.mean_, low=low, high=high, note=note))
    if math.isfinite(combined.prediction_[0]):
        low, high = combined.prediction_
        found.insert(1, Estimate(name="auc_prediction", value=combined.mean_, low=low, high=high))
    low, high = combined.tau2_limits_
    found.append(Estimate(name="tau2", value=combined.tau2_, low=low, high=high))
    low, high = combined.i2_limits_
    found.append(Estimate(name="i2", value=combined.i2_, low=low, high=high, unit="%"))
    return found
