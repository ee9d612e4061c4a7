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
    told += [*_withheld(results), *_chosen(results)]
    return [*told, *_recalibrated(results), *_harmonised(results), *_remaining(results)]


def names_of(results: Iterable[Result]) -> str:
    """The sites of some results, as a sentence names them."""
    return _listed(list(dict.fromkeys(fmt.plain(site) for result in results for site in result.sites)))


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


# ------------------------------------------------------------------------------------- what was done, or was not


def _withheld(results: Results) -> Iterator[str]:
    """Of each harmonised model: where it is not used, why, and what is read there; one sentence a reason."""
    for result in of(results, "harmonisation"):
        sites: dict[str, list[str]] = {}
        for found in result.estimates:
            if found.name == "admitted" and found.value == 0.0:
                sites.setdefault(found.note, []).append(fmt.plain(found.term))
        for note, names in sites.items():
            yield (
                f"Harmonised columns (ComBat): {_title(results, result)} is withheld at {_listed(names)}, as "
                f"{fmt.plain(note)}."
            )


def _chosen(results: Results) -> Iterator[str]:
    """Which of the models with and without a remedy was frozen as the best, before external outcomes were open."""
    for result in of(results, "leave-one-centre-out"):
        chosen = estimate(result, "chosen")
        if chosen is not None and not result.id.startswith("network."):
            yield (
                "The remedy that was chosen before any external outcome was seen, by leaving each training hospital "
                f"out, is {_titled(results, chosen.term)}."
            )


def _remaining(results: Results) -> Iterator[str]:
    """Of the chosen model, or of the first: how much of its drop neither optimism nor case mix explains."""
    drops = [r for r in of(results, "performance-drop") if estimate(r, "remaining", "auc") is not None]
    chosen = [c.term for r in of(results, "leave-one-centre-out") if (c := estimate(r, "chosen")) is not None]
    names = list(dict.fromkeys(r.id.split(".")[1] for r in drops))
    name = next((name for name in chosen if name in names), next(iter(names), ""))
    for result in drops:
        left, before = estimate(result, "remaining", "auc"), estimate(result, "out_of_fold", "auc")
        if result.id.split(".")[1] != name or left is None or left.value is None:
            continue
        clear = "is left unexplained" if _apart(left, 0.0) else "is left, which may be chance,"
        of_what = "" if before is None or before.value is None else f" from {fmt.area(before.value)} in training"
        yield (
            f"{_titled(results, name)} in {_where(result)}: of the fall of the AUC{of_what}, {interval_words(left, 3)} "
            f"{clear} when case mix is taken off."
        )


def _where(result: Result) -> str:
    alone = result.how == "site-alone"
    return f"{fmt.plain(result.cohort)} at {names_of([result])}" if alone else fmt.plain(result.cohort)


def _title(results: Results, result: Result) -> str:
    return _titled(results, result.id.split(".")[1])


def _titled(results: Results, name: str) -> str:
    return next((model.title for model in models(results) if model.name == name), fmt.plain(name))


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


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
    for result in of(results, "harmonisation"):
        for found in result.estimates:
            if found.name != "auc_difference" or found.value is None:
                continue
            clear = "higher" if found.value > 0 else "lower"
            yield (
                f"Harmonised columns (ComBat) in {fmt.plain(found.term)}: the AUC of {_title(results, result)} is "
                f"{clear if _apart(found, 0.0) else 'not clearly other'} than that of the model without "
                f"(difference {interval_words(found, 3)})."
            )
