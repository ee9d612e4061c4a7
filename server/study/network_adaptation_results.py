"""server/study: what is published of adapted networks: with and without adaptation, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import HIDDEN, Summary
from common.networks.adapting import ADAPTED, UNADAPTED
from common.published.results import Estimate, Result
from common.statistics.areas_alone import own_difference
from common.statistics.distributions import Z975
from common.statistics.roc import AreaDifference, RocResult
from common.statistics.score_mixture import ADAPTED as ADAPTS
from common.statistics.shift_verdict import Verdict
from common.study.networks import Network
from common.study.protocol import Study
from server.study.evaluation import alone_base
from server.study.models import refusal
from server.study.network_adaptation import COLUMNS, AdaptedCohort, Areas, Rule
from server.study.network_development_results import result_base

BEFORE, AFTER = "before", "after"
"""Terms of what is measured as trained, and as adapted."""

WORDS: Mapping[str, str] = {
    Verdict.NONE_DETECTED: "adapted: its scores are as in training, before and afterwards",
    Verdict.COVARIATE: "adapted: no frequency of the endpoint explains its scores before, that of training does after",
    Verdict.LABEL: "not adapted: another frequency of the endpoint alone explains its scores",
    Verdict.SEVERAL: "not adapted: its scores are not those of training afterwards either",
    Verdict.CANNOT_TELL: "not adapted: too few patients, or another frequency of the endpoint could not be seen",
}

WHAT = (
    "Adapted: means and variances of all batch normalisation layers are estimated from the hospital's own images, of "
    "the patients who are scored, and count n / (n + {k}) for n patients, those of training the rest. No outcome "
    "enters them. Each hospital decides by its scores, before any outcome is looked at, whether it uses them: it keeps "
    "the network as trained where another frequency of the endpoint would explain its scores, where adapted scores are "
    "not distributed as those of training, and with fewer than 20 patients. A change of frequency that comes together "
    "with one of the images, or is too small to be found, is not seen, and adaptation then hides a part of it."
)


def publish_adaptations(
    study: Study, rules: Sequence[Rule | FedmviError | None], found: Sequence[Sequence[AdaptedCohort]]
) -> list[Result]:
    """A result for each cohort of each adapted network; of sites that answer alone, one a site."""
    results: list[Result] = []
    for network, rule, cohorts in zip(study.networks, rules, found, strict=True):
        if isinstance(rule, FedmviError) and network.adaptation is not None:
            results += [_failed(_base(study, network, name), rule) for name in network.adaptation.cohorts]
        for one in cohorts:
            results += _published(study, network, one)
    return results


def _base(study: Study, network: Network, cohort: str) -> dict[str, Any]:
    title = f"Adapted to the images of cohort {cohort}"
    base = result_base(study, network, f"adaptation.{cohort}", "network-adaptation", title, cohort)
    return {**base, "note": WHAT.format(k=network.adaptation.patients if network.adaptation else 0)}


def _failed(base: dict[str, Any], error: FedmviError) -> Result:
    status, why = refusal(error)
    return Result.model_validate({**base, "status": status, "note": why})


def _published(study: Study, network: Network, one: AdaptedCohort) -> list[Result]:
    base = _base(study, network, one.cohort)
    if isinstance(one.found, FedmviError):
        return [_failed(base, one.found)]
    if isinstance(one.found, Areas):
        return [_pooled(study, base, one.found, one.told)]
    return [_one_site(study, alone_base(base, site), part, one.told.get(site, ""))
            for site, part in sorted(one.found.items())]  # fmt: skip


def _pooled(study: Study, base: dict[str, Any], found: Areas, told: Mapping[str, str]) -> Result:
    limits, (adapted, trained) = study.limits, found.compared.rocs_
    smaller = min(adapted.events_, adapted.n_ - adapted.events_)
    counts = {"n": adapted.n_, "events": adapted.events_ if smaller >= limits.min_cell else None}
    if smaller < limits.min_test_class:
        why = f"Not estimable: fewer than {limits.min_test_class} patients in a class."
        return Result.model_validate({**base, **counts, "status": "not-estimable", "note": why})
    first, second = found.compared.columns
    estimates = [_area(BEFORE, trained), _area(AFTER, adapted), _difference(found.compared.difference(first, second))]
    for term, column in ((BEFORE, UNADAPTED), (AFTER, ADAPTED)):
        line = found.calibrations[column]
        if isinstance(line, FedmviError):
            estimates += _no_line(term, refusal(line)[1])
        else:
            slope = line.slope_, float(line.covariance_[1, 1]) ** 0.5
            estimates += _line(term, (line.in_the_large_, line.in_the_large_std_err_), slope)
    sites = sorted(study.cohort(str(base["cohort"])).sites)
    estimates += [estimate for site in sites for estimate in _decision(site, told.get(site, ""))]
    return Result.model_validate({**base, **counts, "estimates": estimates})


def _area(term: str, area: RocResult) -> Estimate:
    low, high = area.interval
    return Estimate(name="auc", term=term, value=area.auc_, low=low, high=high, std_err=area.std_err_)


def _difference(test: AreaDifference) -> Estimate:
    """As adapted less as trained."""
    low, high = test.interval
    p = test.p_ if test.std_err_ > 0 and test.p_ == test.p_ else None
    return Estimate(name="auc_difference", value=test.difference_, low=low, high=high, std_err=test.std_err_, p=p)


_LINE = ("calibration_intercept", "calibration_slope")


def _no_line(term: str, why: str) -> list[Estimate]:
    return [Estimate(name=name, term=term, value=None, note=why) for name in _LINE]


def _line(term: str, *told: tuple[float, float]) -> list[Estimate]:
    """Calibration in the large and slope, each with its error."""
    return [
        Estimate(name=name, term=term, value=value, low=value - Z975 * error, high=value + Z975 * error, std_err=error)
        for name, (value, error) in zip(_LINE, told, strict=True)
    ]


def _decision(site: str, verdict: str) -> list[Estimate]:
    """Whether a site uses its own statistics, as far as it tells."""
    if not verdict:
        return [Estimate(name="adapted", term=site, value=None, note="tells nothing of itself alone")]
    return [Estimate(name="adapted", term=site, value=float(verdict in ADAPTS), note=WORDS[verdict])]


def _one_site(study: Study, base: dict[str, Any], part: Summary | FedmviError, told: str) -> Result:
    if isinstance(part, FedmviError):
        return _failed(base, part)
    absent, present, _ = (int(v) for v in part["classes"])
    base["n"] = None if HIDDEN in (absent, present) else absent + present
    base["events"] = None if present == HIDDEN else present
    if not int(part["estimable"]):
        why = f"Not estimable: fewer than {study.limits.min_test_class} patients in a class."
        return Result.model_validate({**base, "status": "not-estimable", "note": why})
    sides = tuple((term, COLUMNS.index(column)) for term, column in ((BEFORE, UNADAPTED), (AFTER, ADAPTED)))
    estimates = []
    for term, i in sides:
        auc, std_err = (float(v) for v in part["auc"][i])
        estimates.append(_area(term, RocResult(np.array([]), np.array([]), auc, std_err, 0)))
    estimates.append(_difference(own_difference(COLUMNS, part)))
    for term, i in sides:
        if int(part["calibrated"][i]):
            estimates += _line(term, *((float(a), float(b)) for a, b in (part["large"][i], part["slope"][i])))
        else:
            estimates += _no_line(term, "these scores have no finite calibration line")
    return Result.model_validate({**base, "estimates": [*estimates, *_decision(str(base["sites"][0]), told)]})
