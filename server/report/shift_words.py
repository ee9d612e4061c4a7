"""server/report: hospitals that differ in plain sentences: which, of what kind, what was done, and whether that helped.

Each follows from the estimates of one result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from common.published import format as fmt
from common.published.results import Estimate, Result, Results
from server.report.contents import Labels, estimate, interval_words, models, of

ALPHA = 0.05
"""Of tests whose p values are adjusted."""


def sentences(results: Results) -> list[str]:
    """For the clinician: one sentence for each kind of verdict that a hospital got, those that differ first."""
    found = of(results, "shift")
    labels = Labels(results)
    told = [_sentence(r, labels) for r in found if r.verdict in ("covariate", "label", "concept", "several")]
    quiet = [r for r in found if r.verdict == "none-detected"]
    if quiet:
        sizes = [e.value for r in quiet if (e := estimate(r, "smallest_detectable")) and e.value is not None]
        unseen = f", although differences up to {max(sizes):.2f} standard deviations may go unnoticed" if sizes else ""
        told.append(f"No difference from training was detected at {names_of(quiet)}{unseen}.")
    unknown = [r for r in found if r.status != "estimated" or r.verdict == "cannot-tell"]
    if unknown:
        told.append(f"Whether {names_of(unknown)} differs from training cannot be told.")
    return [*told, *_recalibrated(results), *_harmonised(results)]


def names_of(results: Iterable[Result]) -> str:
    """The sites of some results, as a sentence names them."""
    names = list(dict.fromkeys(fmt.plain(site) for result in results for site in result.sites))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(result: Result, labels: Labels) -> str:
    site = f"{names_of([result])} ({fmt.plain(result.cohort)})"
    most = _most(result, labels)
    words = {
        "covariate": f"its patients or images differ from those of training{most}",
        "label": f"the endpoint is {_commoner(result)}, which explains what else differs",
        "concept": "the same findings go with another risk than in training, so that the model's risks are not right",
        "several": f"it differs from training in several ways{most}",
    }
    return f"At {site} {words[result.verdict]}."


def _commoner(result: Result) -> str:
    """How the endpoint's frequency differs: by the patients' outcomes where they are told, else as scores tell it."""
    before, there = estimate(result, "reference_prevalence"), estimate(result, "estimated_prevalence")
    usual = None if before is None else before.value
    ratio = estimate(result, "observed_expected")
    if result.events is not None and result.n and usual is not None:
        share = result.events / result.n
        return f"{_more(share > usual)} common than in training ({fmt.share(share)} against {fmt.share(usual)})"
    if ratio is not None and ratio.value is not None and _apart(ratio, 1.0):
        return (
            f"{_more(ratio.value > 1.0)} common than the model expects (observed / expected {interval_words(ratio, 2)})"
        )
    if there is None or there.value is None or usual is None:
        return "more or less common than in training"
    told = fmt.share_interval(there.value, there.low, there.high)
    return (
        f"{_more(there.value > usual)} common than in training ({told}, estimated without outcomes, against "
        f"{fmt.share(usual)})"
    )


def _more(more: bool) -> str:
    return "more" if more else "less"


def _apart(found: Estimate, from_: float) -> bool:
    """Whether the limits of an estimate leave a value out."""
    return found.low is not None and found.high is not None and not found.low <= from_ <= found.high


def _most(result: Result, labels: Labels) -> str:
    """The predictor that was found to differ most: in its mean if in that, else in its distribution; "" if in none.

    A verdict may rest on all predictors together, and then none is named.
    """
    apart = _found(result, "standardised_difference")
    if apart is not None:
        return f", most in {labels.term(apart.term)} by {abs(apart.value or 0.0):.2f} standard deviations"
    apart = _found(result, "ks")
    if apart is None:
        return ""
    share = fmt.share(apart.value or 0.0)
    return f", most in how {labels.term(apart.term)} is spread: at least {share} have other values"


def _found(result: Result, name: str) -> Estimate | None:
    """Of what was found at an adjusted 5 % the estimate farthest from 0."""
    found = [e for e in result.estimates if e.name == name and e.value is not None and e.p is not None and e.p < ALPHA]
    return max(found, key=lambda e: abs(e.value or 0.0), default=None)


# ------------------------------------------------------------------------------------------- whether it helped


def _recalibrated(results: Results) -> Iterator[str]:
    """By observed to expected: whether risks are right on average before and after."""
    for result in of(results, "recalibration"):
        before, after = (estimate(result, "observed_expected", side) for side in ("before", "after"))
        if before is None or after is None or not before.value or not after.value:
            continue
        was, now = _apart(before, 1.0), _apart(after, 1.0)
        nearer = abs(math.log(after.value)) < abs(math.log(before.value))
        how = {
            (True, False): "risks that were wrong on average are not clearly wrong with it",
            (True, True): "risks are nearer to the truth with it, and still wrong on average"
            if nearer
            else "risks are wrong on average without and with it, and no nearer to the truth",
            (False, False): "risks were not clearly wrong without it, and are not with it",
            (False, True): "it makes risks wrong on average that were not clearly wrong without it",
        }[was, now]
        yield (
            f"Recalibration at {names_of([result])} ({fmt.plain(result.cohort)}): observed / expected "
            f"{interval_words(before, 2)} without and {interval_words(after, 2)} with it; {how}."
        )


def _harmonised(results: Results) -> Iterator[str]:
    """By the difference of both areas, with limits that are wide rather than narrow."""
    titles = {model.name: model.title for model in models(results)}
    for result in of(results, "harmonisation"):
        name = result.id.split(".")[1]
        for found in result.estimates:
            if found.name != "auc_difference" or found.value is None:
                continue
            clear = "higher" if found.value > 0 else "lower"
            yield (
                f"Harmonised columns (ComBat) in {fmt.plain(found.term)}: the AUC of {titles.get(name, name)} is "
                f"{clear if _apart(found, 0.0) else 'not clearly other'} than that of the model without "
                f"(difference {interval_words(found, 3)})."
            )
