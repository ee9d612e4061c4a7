"""server/study: what is published of adapted networks: with and without adaptation, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import FedmviError
from common.federation.query import HIDDEN, Summary
from common.networks.adapting import ADAPTED, UNADAPTED
from common.statistics.calibration import Calibration
from common.statistics.distributions import Z975
from common.statistics.score_mixture import ADAPTED as ADAPTS
from common.statistics.shift_verdict import Verdict
from common.study.networks import Network
from common.study.protocol import Study
from server.study.evaluation import alone_base, own_area
from server.study.models import refusal
from server.study.network_adaptation import AdaptedCohort, Areas, Rule
from server.study.network_development_results import result_base
from server.study.results import Estimate, Result

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
    estimates = []
    for term, area in ((BEFORE, trained), (AFTER, adapted)):
        low, high = area.interval
        estimates.append(Estimate(name="auc", term=term, value=area.auc_, low=low, high=high, std_err=area.std_err_))
    first, second = found.compared.columns
    test = found.compared.difference(first, second)
    low, high = test.interval
    p = test.p_ if test.std_err_ > 0 and test.p_ == test.p_ else None
    estimates.append(
        Estimate(name="auc_difference", value=test.difference_, low=low, high=high,
                 std_err=test.std_err_, p=p)
    )  # fmt: skip
    for term, column in ((BEFORE, UNADAPTED), (AFTER, ADAPTED)):
        estimates += _calibration(term, found.calibrations[column])
    sites = sorted(study.cohort(str(base["cohort"])).sites)
    estimates += [estimate for site in sites for estimate in _decision(site, told.get(site, ""))]
    return Result.model_validate({**base, **counts, "estimates": estimates})


def _calibration(term: str, line: Calibration | FedmviError) -> list[Estimate]:
    if isinstance(line, FedmviError):
        why = refusal(line)[1]
        return [Estimate(name=name, term=term, value=None, note=why)
                for name in ("calibration_intercept", "calibration_slope")]  # fmt: skip
    errors = {"calibration_intercept": (line.in_the_large_, line.in_the_large_std_err_),
              "calibration_slope": (line.slope_, float(line.covariance_[1, 1]) ** 0.5)}  # fmt: skip
    return [
        Estimate(name=name, term=term, value=value, low=value - Z975 * error, high=value + Z975 * error, std_err=error)
        for name, (value, error) in errors.items()
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
    estimate, _ = own_area(part, AFTER)
    site = str(base["sites"][0])
    estimates = [estimate.model_copy(update={"term": AFTER}), *_decision(site, told)]
    note = f"{base['note']} The area as trained is that of the network's performance in this cohort."
    return Result.model_validate({**base, "estimates": estimates, "note": note})
