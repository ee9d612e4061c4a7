"""server/study: Nyul's standard scale, learned by a study of means, as the lines that the next protocol needs."""

from __future__ import annotations

from common.errors import FedmviError
from common.published.results import Results
from common.study.features import FEATURE, LANDMARKS


def standard_scale(results: Results) -> dict[str, tuple[float, ...]]:
    """For each phase the mean of every landmark over all patients (Nyul et al. 2000, equation 3).

    Parameters
    ----------
    results
        Of a study with `means` of the columns `<phase>.body.original_landmark_P<percentile>`.

    Raises
    ------
    FedmviError
        707 where no phase has all its landmarks.
    """
    means: dict[str, dict[str, float]] = {}
    for result in results.results:
        for estimate in result.estimates:
            found = FEATURE.fullmatch(estimate.term)
            if estimate.name == "mean" and estimate.value is not None and found and found["kind"] == "landmark":
                means.setdefault(found["image"], {})[found["name"]] = estimate.value
    wanted = [f"P{at}" for at in LANDMARKS]
    whole = {phase: tuple(at[name] for name in wanted) for phase, at in means.items() if set(wanted) <= set(at)}
    if not whole or len(whole) < len(means):
        raise FedmviError(707, ", ".join(sorted(set(means) - set(whole))))
    return whole


def as_toml(scale: dict[str, tuple[float, ...]]) -> str:
    """The lines for `study.toml`, to a ten-thousandth of the scale."""
    lines = ["[preparation.intensity]", 'scale = "nyul"', "", "[preparation.intensity.landmarks]"]
    lines += [f"{phase} = [{', '.join(repr(round(at, 4)) for at in marks)}]" for phase, marks in scale.items()]
    return "\n".join(lines) + "\n"
