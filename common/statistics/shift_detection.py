"""common/statistics: which hospitals differ from those of training, in what, and of what kind the difference is.

One conclusion over the training cohort and any others: profiles of single sites (`site_profile`), the training cohort's
(`training_profile`), and what chance does (`site_permutation`). A training site is compared with the other training
sites, any other site with all of them. No outcome of a site outside the training cohort is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Summary, each, total
from common.federation.runner import Conclusion
from common.statistics.detectable import smallest_detectable
from common.statistics.label_shift import Classes, estimated_prevalence, label_shift
from common.statistics.max_t import LEVEL, max_t
from common.statistics.moments import Moments, moments
from common.statistics.newton import symmetric
from common.statistics.refinement import Counts
from common.statistics.shift_findings import Compared, Detection, SiteShift
from common.statistics.shift_verdict import LEAST_PATIENTS, Verdict, without_outcomes
from common.statistics.site_permutation import SMALLER_HALF, SitePermutations
from common.statistics.site_profile import BINS, HALVES, SiteProfile, Standard, cumulative, merged
from common.statistics.site_shift import SCORE_WEIGHT, Profiles, Tests, area, tests, within
from common.statistics.training_profile import TrainingProfile
from common.study.table import FloatArray

__all__ = ["Compared", "Detection", "SiteShift", "detect_shift"]

MARGIN = 1.1
"""How much larger than the least that sites allow a drawn hospital is: they know each other's patients by the cell."""

MAX_NUMBERS = 1 << 20
"""Of one answer about drawn hospitals; deals are asked for in as many questions as that needs."""


@dataclass(frozen=True)
class _Told:
    """A hospital that told enough."""

    cohort: str
    site: str
    part: Summary

    @property
    def n(self) -> int:
        return int(self.part["n"].sum())


def detect_shift(compared: Compared) -> Conclusion[Detection]:
    """Compare all hospitals; five rounds.

    Raises
    ------
    FedmviError
        602 one class only in training, 603 a column that is the same for all patients there; and what sites refuse of
        sums over the training cohort. What a site meets that is asked alone is told of it.
    """
    standard = yield from _standard(compared)
    names = (compared.columns, compared.numbers, standard.centre, standard.scale, standard.direction)
    asked = [(compared.cohort, compared.recipe), *compared.others]
    replies = yield (
        total(TrainingProfile(compared.cohort, compared.recipe, names[0], compared.endpoint, *names[1:])),
        *(each(SiteProfile(cohort, recipe, *names, min_cell=compared.min_cell)) for cohort, recipe in asked),
    )
    training, parts = replies[0], dict(zip([cohort for cohort, _ in asked], replies[1:], strict=True))
    if int(training["class_n"].min()) < 2:
        raise FedmviError(602, endpoint=compared.endpoint, cohort=compared.cohort)
    told, silent = _sorted(parts)
    if not told:
        return Detection(compared, _classes(training, len(compared.columns)).prevalence, float("nan"), silent)
    chance = yield from _chance(compared, standard, training, told, len(parts[compared.cohort]))
    return _concluded(compared, standard, training, told, silent, chance)


def _standard(compared: Compared) -> Conclusion[Standard]:
    """Mean and spread of the columns in training, and the model's score as one of the standardised columns."""
    columns = compared.columns
    spread: Moments = yield from moments(compared.cohort, compared.recipe, columns)
    spread.require_spread("shift")
    centre, scale = spread.mean_, spread.std_
    coefficients = np.array(compared.coefficients)
    limit = float(np.log(compared.high_risk / (1.0 - compared.high_risk)))
    at = compared.intercept + float(coefficients @ centre) - limit
    return Standard(columns, compared.numbers, centre, scale, np.append(at, coefficients * scale))


def _sorted(
    parts: Mapping[str, Mapping[str, Summary | FedmviError]],
) -> tuple[tuple[_Told, ...], tuple[SiteShift, ...]]:
    """Hospitals that can be compared, and what is said of the others."""
    told, silent = [], []
    for cohort, by_site in parts.items():
        for site, part in sorted(by_site.items()):
            if isinstance(part, FedmviError):
                silent.append(SiteShift(cohort, site, Verdict.CANNOT_TELL, error=part))
            elif int(part["n"].sum()) < LEAST_PATIENTS:
                error = FedmviError(634, cohort=cohort, limit=LEAST_PATIENTS)
                silent.append(SiteShift(cohort, site, Verdict.CANNOT_TELL, n_=int(part["n"].sum()), error=error))
            elif not part["told"].any():
                error = FedmviError(635, cohort=cohort)
                silent.append(SiteShift(cohort, site, Verdict.CANNOT_TELL, n_=int(part["n"].sum()), error=error))
            else:
                told.append(_Told(cohort, site, part))
    return tuple(told), tuple(silent)


def _profiles(n: Counts, total_: FloatArray, counts: Counts, masks: FloatArray) -> Profiles:
    """Profiles with NaN for the columns that a hospital does not tell; `counts` are merged."""
    return Profiles(n, total_ * masks[..., np.newaxis, :], cumulative(counts))


def _masks(told: Sequence[_Told]) -> FloatArray:
    """(hospitals, p) 1 where a column is told, else NaN."""
    return np.array([np.where(one.part["told"] == 1, 1.0, np.nan) for one in told])


def _whole(training: Summary) -> Profiles:
    counts = training["counts"]
    below = np.cumsum(counts, axis=-1)[..., :-1].astype(np.float64)
    return Profiles(training["n"], training["sum"], below)


# ------------------------------------------------------------------------------------------------- what chance does


def _chance(
    compared: Compared, standard: Standard, training: Summary, told: Sequence[_Told], sites: int
) -> Conclusion[Tests]:
    """(deals, hospitals) tests of drawn hospitals, in the order of `told`; of so many sites of the training cohort."""
    whole = float(training["n"].sum())
    inside = [one.n for one in told if one.cohort == compared.cohort]
    outside = [one.n for one in told if one.cohort != compared.cohort]
    shares = np.array(inside, dtype=np.float64)
    rest = whole - float(shares.sum())
    if rest >= LEAST_PATIENTS or not inside:
        shares = np.append(shares, rest)
    least = MARGIN * (compared.min_cell + sites) / (SMALLER_HALF * whole)
    shares = at_least(shares / shares.sum(), least)
    samples = np.clip(np.array(outside, dtype=np.float64) / whole, min(least, 0.5), 0.5)
    p, k = len(compared.columns), len(compared.numbers)
    one_deal = (shares.size + samples.size) * (2 + 2 * p + BINS * k)
    chunk = max(1, MAX_NUMBERS // one_deal)
    asks = [
        SitePermutations(
            compared.cohort, compared.recipe, standard.columns, standard.numbers, standard.centre, standard.scale,
            shares, samples, first, min(chunk, compared.deals - first + 1),
        )
        for first in range(1, compared.deals + 1, chunk)
    ]  # fmt: skip
    replies = yield tuple(total(ask) for ask in asks)
    drawn = {name: np.concatenate([reply[name] for reply in replies]) for name in ("n", "sum", "counts")}
    return _dealt_tests(compared, standard, training, told, drawn, len(inside), shares.size)


def at_least(shares: FloatArray, least: float) -> FloatArray:
    """(hospitals,) shares of which none is below `least`, the others smaller in proportion; equal ones where that
    cannot be, which sites refuse."""
    if least * shares.size >= 1.0:
        return np.full(shares.size, 1.0 / shares.size)
    small = np.zeros(shares.size, dtype=bool)
    while bool(np.any(~small & (shares < least))):
        small |= shares < least
        shares = np.where(small, least, shares * (1.0 - least * small.sum()) / shares[~small].sum())
    return shares


def _dealt_tests(
    compared: Compared,
    standard: Standard,
    training: Summary,
    told: Sequence[_Told],
    drawn: Summary,
    inside: int,
    dealt: int,
) -> Tests:
    """Tests of drawn hospitals as of true ones: without the columns that the true one does not tell."""
    # Dealt inside hospitals, patients vary as within them: what the training hospitals differ by is in no deal.
    covariance = _covariance(compared, training, told)
    places = [*range(inside), *range(dealt, drawn["n"].shape[1])]
    counts = drawn["counts"][:, places]
    sites = _profiles(drawn["n"][:, places], drawn["sum"][:, places], merged(counts, compared.min_cell), _masks(told))
    below = np.cumsum(drawn["counts"][:, :dealt].sum(axis=1), axis=-1)[..., :-1].astype(np.float64)
    everybody = Profiles(
        drawn["n"][:, :dealt].sum(axis=1)[:, np.newaxis],
        drawn["sum"][:, :dealt].sum(axis=1)[:, np.newaxis],
        below[:, np.newaxis],
    )
    return tests(sites, everybody.less(sites), covariance, standard.direction[1:])


# --------------------------------------------------------------------------------------------------- what was found


def _classes(training: Summary, p: int) -> Classes:
    n, sums = training["class_n"].astype(np.float64), training["class_sum"]
    mean = sums / n[:, np.newaxis]
    cross = symmetric(training["cross"], p)
    inside = (cross - (mean.T * n) @ mean) / (n.sum() - 2.0)
    return Classes(training["class_n"], mean, inside, training["above"])


def _concluded(
    compared: Compared,
    standard: Standard,
    training: Summary,
    told: Sequence[_Told],
    silent: tuple[SiteShift, ...],
    chance: Tests,
) -> Detection:
    p = len(compared.columns)
    whole, classes = _whole(training), _classes(training, p)
    counts = np.stack([one.part["counts"] for one in told])
    n, sums = np.stack([one.part["n"] for one in told]), np.stack([one.part["sum"] for one in told])
    sites = _profiles(n, sums, counts, _masks(told))
    inside = np.array([one.cohort == compared.cohort for one in told])
    others = _others(whole, sites, inside)
    covariance = _covariance(compared, training, told)
    found = tests(sites, others, covariance, standard.direction[1:])
    adjusted = max_t(found.sizes, chance.sizes)
    looked = tuple(
        replace(
            _site(compared, classes, told[i], found, sites, others, adjusted.p_[i], adjusted.critical_, i),
            smallest_frequency_=_frequency(
                classes.apart(standard.direction[1:] * (told[i].part["told"] == 1)),
                smallest_detectable(adjusted.critical_ / SCORE_WEIGHT, float(sites.size[i]), float(others.size[i])),
            ),
        )
        for i in range(len(told))
    )
    order = [compared.cohort, *(cohort for cohort, _ in compared.others)]
    everybody = sorted((*looked, *silent), key=lambda one: (order.index(one.cohort), one.site))
    return Detection(compared, classes.prevalence, adjusted.critical_, tuple(everybody))


def _frequency(apart: float, smallest: float) -> float | None:
    """The difference of the outcome's frequency that moves the score's mean by so much."""
    return smallest / abs(apart) if abs(apart) > smallest else None


def _others(whole: Profiles, sites: Profiles, inside: NDArray[np.bool_]) -> Profiles:
    """With whom each hospital is compared: all of training, less itself if it is one of them."""
    rest = whole.less(sites)
    return Profiles(
        np.where(inside[:, np.newaxis], rest.n, whole.n),
        np.where(inside[:, np.newaxis, np.newaxis], rest.total, whole.total),
        np.where(inside[:, np.newaxis, np.newaxis], rest.below, whole.below),
    )


def _covariance(compared: Compared, training: Summary, told: Sequence[_Told]) -> FloatArray:
    """(p, p) within the hospitals of training; of a column, those that do not tell it are one hospital."""
    own = [one.part for one in told if one.cohort == compared.cohort]
    n = np.array([part["n"] for part in own], dtype=np.int64).reshape(len(own), HALVES)
    sums = np.array([part["sum"] for part in own]).reshape(len(own), HALVES, len(compared.columns))
    tells = np.array([part["told"] == 1 for part in own]).reshape(len(own), 1, len(compared.columns))
    left_n = training["n"][:, np.newaxis] - np.sum(n[..., np.newaxis] * tells, axis=0)
    left = (training["sum"] - np.sum(sums * tells, axis=0)) / np.maximum(left_n, 1)
    sums = np.where(tells, sums, n[..., np.newaxis] * left)
    return within(symmetric(training["cross"], len(compared.columns)), _hospitals(_whole(training), n, sums))


def _hospitals(whole: Profiles, n: Counts, sums: FloatArray) -> Profiles:
    """The hospitals of training that told, and all others of them as one."""
    rest_n, rest = whole.n - n.sum(axis=0), whole.total - sums.sum(axis=0)
    return Profiles(np.concatenate([n, rest_n[np.newaxis]]), np.concatenate([sums, rest[np.newaxis]]), np.zeros(0))


def _site(
    compared: Compared,
    classes: Classes,
    told: _Told,
    found: Tests,
    sites: Profiles,
    others: Profiles,
    p: FloatArray,
    critical: float,
    i: int,
) -> SiteShift:
    columns, numbers = len(compared.columns), len(compared.numbers)
    n, m = float(sites.size[i]), float(others.size[i])
    gap = sites.mean[i] - others.mean[i]
    label = label_shift(gap, n, m, classes)
    hidden = int(told.part["above"].min()) < 0
    spread = np.maximum(told.part["square"] / n - np.square(sites.mean[i]), 0.0) * n / (n - 1.0)
    verdict = without_outcomes(bool(np.nanmin(p) <= LEVEL), label, classes.prevalence)
    return SiteShift(
        cohort=told.cohort,
        site=told.site,
        verdict=verdict,
        n_=int(n),
        others_=int(m),
        untold_=tuple(name for name, one in zip(compared.columns, told.part["told"], strict=True) if one != 1),
        difference_=gap,
        # The columns have the variance 1 in training, near enough that of the others.
        std_err_=np.sqrt(spread / n + 1.0 / m),
        difference_p_=p[:columns],
        distance_=found.distances[i],
        distance_p_=p[columns : columns + numbers],
        area_=area(float(found.separation[i]), float(found.separation_std_err[i])),
        area_p_=float(p[-2]),
        # Its test times its standard error.
        score_=float(found.score[i]) * float(np.sqrt(1.0 / n + 1.0 / m)),
        score_p_=float(p[-1]),
        prevalence_=None if hidden else estimated_prevalence(told.part["above"], classes),
        label_=label,
        smallest_detectable_=smallest_detectable(critical, n, m),
    )
