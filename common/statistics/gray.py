"""common/statistics: Gray's test that k groups have the same cumulative incidence, from their pooled life table.

(Gray, Ann Stat 1988;16:1141, with weight 1; the variance by his `cmprsk`, which also corrects it for tied events.)
"""

from __future__ import annotations

import numpy as np

from common.statistics.distributions import chi2_p
from common.statistics.life_table import Counts, remaining
from common.study.table import FloatArray


def gray_test(events: Counts, competing: Counts, censored: Counts) -> tuple[float, int, float]:
    """Chi-square, degrees of freedom and p, from (groups, grid) counts.

    Groups without patients do not count; NaN with fewer than two groups, without events, or if their scores have
    no full covariance.
    """
    leaving = events + competing + censored
    present = leaving.sum(axis=1) > 0
    degrees = max(int(present.sum()) - 1, 0)
    if degrees < 1 or int(events.sum()) == 0:
        return float("nan"), degrees, float("nan")
    at_risk = remaining(leaving[present])
    times = np.flatnonzero((events + competing).sum(axis=0))
    score, covariance = gray_sums(events[present][:, times], competing[present][:, times], at_risk[:, times])
    among = covariance[:-1, :-1]
    if np.linalg.matrix_rank(among) < degrees:
        return float("nan"), degrees, float("nan")
    chi2 = float(score[:-1] @ np.linalg.solve(among, score[:-1]))
    return chi2, degrees, chi2_p(chi2, degrees)


def gray_sums(events: Counts, competing: Counts, at_risk: Counts) -> tuple[FloatArray, FloatArray]:
    """(groups,) scores and their (groups, groups) covariance, from (groups, times) counts at event times.

    In the paper's notation, with R = r (1 - F-) / S- the adjusted risk set and h = r / S-: the score of a group is
    the sum of d - R d. / R. over times. Its variance follows from that of the groups' jumps, each weighted by what it
    does to the score at once and, through the curves, later on.
    """
    d1, d2, r = (counts.astype(np.float64) for counts in (events, competing, at_risk))
    there = r > 0
    safe = np.where(there, r, 1.0)
    survival: FloatArray = np.asarray(np.cumprod(np.where(there, 1.0 - (d1 + d2) / safe, 1.0), axis=1), np.float64)
    before = _shifted(survival, 1.0)
    incidence: FloatArray = np.asarray(np.cumsum(before * d1 / safe, axis=1), np.float64)
    incidence_before = _shifted(incidence, 0.0)
    hazard = np.where(there, r / np.where(before > 0, before, 1.0), 0.0)
    adjusted = hazard * (1.0 - incidence_before)
    d, h = d1.sum(axis=0), hazard.sum(axis=0)
    pooled = np.asarray(np.cumsum(d / h), dtype=np.float64)
    pooled_before = _shifted(pooled[np.newaxis], 0.0)[0]
    score = np.sum(d1 - d * adjusted / adjusted.sum(axis=0), axis=1)

    now = _diagonal(hazard) - hazard[:, np.newaxis] * hazard / h  # (groups, groups, times)
    later = np.cumsum(now * d / (h * (1.0 - pooled_before)), axis=2)
    free = np.where(survival > 0, (1.0 - pooled) / np.where(survival > 0, survival, 1.0), 0.0)

    def tied(deaths: FloatArray, others: FloatArray) -> FloatArray:
        return np.where(deaths > 1, 1.0 - (deaths - 1.0) / np.maximum(others, 1.0), 1.0)

    # Under the hypothesis the events of interest are those of all groups, shared out by their adjusted risk.
    jump1 = np.where(there, tied(d, h * before - 1.0) * before * d / (h * safe), 0.0)
    jump2 = np.where(survival > 0, tied(d2, safe - 1.0) * np.square(before / safe) * d2, 0.0)
    end = later[:, :, -1:]
    effect1 = now - (1.0 - free) * later + (1.0 - free) * end
    effect2 = free * later - free * end
    covariance = sum(
        np.einsum("ikt,jkt,kt->ij", effect, effect, jump) for effect, jump in ((effect1, jump1), (effect2, jump2))
    )
    return score, np.asarray(covariance)


def _shifted(curves: FloatArray, first: float) -> FloatArray:
    """(groups, times) each curve just before its steps."""
    return np.concatenate([np.full((curves.shape[0], 1), first), curves[:, :-1]], axis=1)


def _diagonal(rows: FloatArray) -> FloatArray:
    """(groups, groups, times) with the rows on the diagonal."""
    return np.eye(rows.shape[0])[:, :, np.newaxis] * rows
