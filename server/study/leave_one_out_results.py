"""server/study: what is published of leave-one-centre-out: the area at each hospital that a model never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.errors import FedmviError
from common.published.results import Estimate, Result
from common.statistics.distributions import Z975
from common.study.protocol import Study
from server.study.centre_areas import Area, mean_area, mean_std_err
from server.study.centres import over_centres
from server.study.leave_one_out import LeftOut, LeftOutModel
from server.study.models import refusal


def publish_left_out(study: Study, found: LeftOut | None) -> list[Result]:
    """One result a model of [shift]; the first has the name of the best. Nothing where the study asks for none."""
    if found is None:
        return []
    return [_one(study, one, found.chosen if i == 0 else "") for i, one in enumerate(found.models)]


_HOW = (
    "Developed anew without each hospital, and measured there; limits of DeLong. The mean is over hospitals, whatever "
    "their size. Choosing the model with the best mean uses no other cohort."
)


def _one(study: Study, left: LeftOutModel, chosen: str) -> Result:
    model = left.model
    base: dict[str, Any] = {
        "id": f"model.{model.name}.leave-one-centre-out",
        "statistic": "leave-one-centre-out",
        "title": f"{model.title} at hospitals that it never saw",
        "cohort": model.cohort,
        "sites": sorted(study.cohort(model.cohort).sites),
        "how": "site-alone",
    }
    return left_out_result(base, left.areas, chosen, _HOW)


def left_out_result(base: Mapping[str, Any], told: Mapping[str, Area | FedmviError], chosen: str, how: str) -> Result:
    """The areas by hospital that was left out, and over all of them.

    Parameters
    ----------
    base
        Id, statistic, title, cohort and sites.
    chosen
        The best of several, where this result is to name it; else "".
    how
        For readers, where there are areas.
    """
    estimates, areas = [], {}
    for site, area in told.items():
        if isinstance(area, Area):
            low, high = max(0.0, area.auc - Z975 * area.std_err), min(1.0, area.auc + Z975 * area.std_err)
            why = "" if area.std_err else "no predictor was found"
            estimates.append(
                Estimate(name="auc", term=site, value=area.auc, low=low, high=high, std_err=area.std_err, note=why)
            )
            areas[site] = (area.auc, area.std_err)
        else:
            why = refusal(area)[1]
            estimates.append(Estimate(name="auc", term=site, value=None, note=why))
    notes = _refused(told)
    errors = [area for area in told.values() if isinstance(area, FedmviError)]
    named = [Estimate(name="chosen", term=chosen, value=1.0)] if chosen else []
    if not areas:
        # The best of several may be another one than that whose areas these are, and was frozen with its name.
        status = refusal(errors[0])[0] if errors else "not-estimable"
        note = " ".join(dict.fromkeys(notes))
        return Result.model_validate({**base, "status": status, "estimates": named, "note": note})
    mean, half, note = mean_area(told), Z975 * mean_std_err(told), f"over {len(areas)} hospitals" if notes else ""
    low, high = max(0.0, mean - half), min(1.0, mean + half)
    estimates.append(Estimate(name="mean_auc", value=mean, low=low, high=high, std_err=half / Z975, note=note))
    estimates += [*over_centres(areas), *named]
    return Result.model_validate({**base, "estimates": estimates, "note": " ".join([*notes, how])})


def _refused(told: Mapping[str, Area | FedmviError]) -> list[str]:
    """A sentence for each kind of error: the first site's in full, and at which others it was met."""
    met: dict[int, list[tuple[str, FedmviError]]] = {}
    for site, area in told.items():
        if isinstance(area, FedmviError):
            met.setdefault(area.number, []).append((site, area))
    return [
        f"Without {sites[0][0]}: {refusal(sites[0][1])[1]}"
        + (f" The same without {', '.join(site for site, _ in sites[1:])}." if sites[1:] else "")
        for sites in met.values()
    ]
